"""What a run folder says, as far as it is there; ``docs/run-folder.md`` describes its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from oneshot_core.errors import OneShotError

Choices: TypeAlias = "Mapping[str, Any]"
"""Label -> choice: a list of candidates where several are taken. Candidates may be tuples."""

Known: TypeAlias = "Callable[[Mapping[str, Any]], Choices]"


class ReportError(OneShotError):
    """There is nothing to report on, or a file cannot be read."""


RECORD: Mapping[str, Any] = {
    "error": None, "started": None, "ended": None, "epochs": 0, "max_epochs": None,
    "seconds": None, "device": "an unknown device", "metrics": {},
}  # fmt: skip
"""What ``run.json`` may lack."""


@dataclass(frozen=True)
class Epoch:
    """The state after some epochs.

    Attributes:
        epoch: how many are done; 0 before training.
        probabilities: label -> one for each candidate.
        metrics: what was logged last; None where it was not finite.
    """

    epoch: int
    probabilities: Mapping[str, Sequence[float]]
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class History:
    """How the probabilities moved.

    Attributes:
        candidates: label -> what can be chosen.
        epochs: in order.
    """

    candidates: Mapping[str, Sequence[Any]]
    epochs: Sequence[Epoch]


@dataclass(frozen=True)
class Point:
    """One scored architecture.

    Attributes:
        architecture: what was computed.
        values: the score under the name of its metric, costs, objectives; only finite numbers.
        best: whether it is the best of a ranking, or on a front.
    """

    architecture: Choices
    values: Mapping[str, float]
    best: bool


@dataclass(frozen=True)
class Baseline:
    """Something the result is compared with."""

    name: str
    values: Mapping[str, float]
    seed: int | None
    architecture: Choices | None


@dataclass(frozen=True)
class Beside:
    """Random architectures and the largest, scored with the same weights.

    Attributes:
        rows: what is compared.
        random: numbers of the random ones that are not among the points.
        agreement: two quantities, and Kendall's tau between them; None where there is none.
    """

    rows: Sequence[Baseline]
    random: Sequence[Mapping[str, float]]
    agreement: Sequence[tuple[str, str, float | None]]


@dataclass(frozen=True)
class Scores:
    """Architectures that were scored, best first.

    Attributes:
        objectives: name -> ``"max"`` or ``"min"``; the first is the score.
        others: further names that all points have, such as costs.
        points: those that have a finite first objective.
        left_out: how many have none.
        beside: what was scored to compare them with; None without it.
        limits: name -> lowest and highest that is allowed on a front, None for no limit.
        per: name of a cost -> for how many examples it is.
    """

    objectives: Mapping[str, str]
    others: Sequence[str]
    points: Sequence[Point]
    left_out: int
    beside: Beside | None = None
    limits: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    per: Mapping[str, str] = field(default_factory=dict)

    def named(self, name: str) -> str:
        """Return a name with what its numbers are for: ``"macs, per example"``."""
        return f"{name}, {self.per[name]}" if name in self.per else name


@dataclass(frozen=True)
class Run:
    """A run folder. What is not there is None.

    Attributes:
        path: of the folder.
        record: ``run.json``.
        history: ``probabilities.jsonl``.
        architecture: the choices of ``architecture.json``, or of the file that was named.
        source: the file that was named, else None.
        ranking: ``ranking.json``.
        front: ``pareto.json``.
        baselines: ``baselines.json``.
        config: the text of ``config.yaml``.
    """

    path: Path
    record: Mapping[str, Any]
    history: History | None
    architecture: Choices | None
    ranking: Scores | None
    front: Scores | None
    baselines: Sequence[Baseline] | None
    config: str | None
    source: Path | None = None


def read_run(path: Path, architecture: Path | None = None) -> Run:
    """Read a run folder.

    Args:
        path: of the folder.
        architecture: file of the architecture to report on; of a ranking it is the best. By
            default ``architecture.json`` of the run.

    Raises:
        ReportError: there is no such folder, it holds no run, or a file in it is damaged.
    """
    if not (path / "run.json").is_file():
        what = "holds no run.json" if path.is_dir() else "is no folder"
        raise ReportError(
            f"{str(path)!r} {what}",
            expected="a folder that `oneshot search` or the callback RunRecorder wrote",
            fix="name that folder",
        )
    config = path / "config.yaml"
    record = _read(path / "run.json", "oneshot.run/1", _record)
    known = partial(_choices, record["space"]["parameters"])
    if architecture is not None and not architecture.is_file():
        raise ReportError(
            f"{str(architecture)!r} is no file",
            expected="an architecture, or a ranking, whose best it then is",
            fix=f"--architecture {path / 'ranking.json'}, or leave it out",
        )
    chosen = architecture or path / "architecture.json"
    return Run(
        path,
        record,
        _read_lines(path / "probabilities.jsonl"),
        _read(chosen, "oneshot.architecture/1", lambda d: known(d["choices"]), inside="best"),
        _read(path / "ranking.json", "oneshot.ranking/1", partial(_ranking, known)),
        _read(path / "pareto.json", "oneshot.pareto/1", partial(_front, known)),
        _read(path / "baselines.json", "oneshot.baselines/1", partial(_baselines, known)),
        config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None,
        architecture,
    )


def require_no_link(path: Path) -> None:
    """Refuse to write through a link: in a folder of others it may lead to any file of the user's.

    What is no regular file, such as ``/dev/stdout``, is no risk.

    Raises:
        ReportError: ``path`` is a link to a file, or to nothing.
    """
    if path.is_symlink() and (path.is_file() or not path.exists()):
        raise ReportError(
            f"{str(path)!r} is a link to {str(path.resolve())!r}, which would be overwritten",
            expected="a path that is no link",
            fix="remove the link, or name that file itself",
        )


def _choices(parameters: Mapping[str, Any], choices: Mapping[str, Any]) -> Choices:
    """Return an architecture in which lists stand for several candidates only."""
    return {
        label: [*map(_candidate, choice)]
        if isinstance(choice, list) and parameters.get(label, {}).get("n_chosen", 1) != 1
        else _candidate(choice)
        for label, choice in choices.items()
    }


def _candidate(value: Any) -> Any:
    return tuple(map(_candidate, value)) if isinstance(value, list) else value


def _read(path: Path, schema: str, parse: Any, inside: str | None = None) -> Any:
    """Return what a file says; None if it is not there.

    Args:
        path: of the file.
        schema: that it must have.
        parse: from what it holds to what is returned.
        inside: field that may hold all of it.
    """
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data = data.get(inside, data)
        if data["schema"] != schema:
            raise ReportError(
                f"{str(path)!r} is of schema {data['schema']!r}",
                expected=f"{schema!r}",
                fix="use the version of oneshot-core that wrote it",
            )
        return parse(data)
    except (ReportError, OSError):
        raise
    except Exception as error:  # whatever the file holds in the place of what belongs there
        raise _damaged(path, schema, error) from error


def _damaged(path: Path, schema: str, error: Exception) -> ReportError:
    return ReportError(
        f"{str(path)!r} cannot be read: {type(error).__name__}: {str(error)[:200]}",
        expected=f"JSON of schema {schema!r}, as docs/run-folder.md describes it",
        fix="write it again, or take it out of the folder: the report goes without",
    )


def _record(data: dict[str, Any]) -> dict[str, Any]:
    for name in ("status", "strategy", "model"):
        data[name]
    for parameter in data["space"]["parameters"].values():
        parameter["candidates"] = [*map(_candidate, parameter["candidates"])]
    return {**RECORD, **data}


def _read_lines(path: Path) -> History | None:
    if not path.is_file():
        return None
    schema = "oneshot.probabilities/1"
    try:
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        first = json.loads(head)
        if first["schema"] != schema:
            raise ValueError(f"its schema is {first['schema']!r}")
        epochs = []
        for number, line in enumerate(lines):
            try:
                data = json.loads(line)
            except ValueError:
                if number == len(lines) - 1:  # cut off by a kill
                    break
                raise
            epochs.append(Epoch(int(data["epoch"]), data["probabilities"], data.get("metrics", {})))
        candidates = {k: [*map(_candidate, c)] for k, c in first["candidates"].items()}
        return History(candidates, [e for e in epochs if _is_complete(e, candidates)])
    except OSError:
        raise
    except Exception as error:
        raise _damaged(path, schema, error) from error


def _is_complete(epoch: Epoch, candidates: Mapping[str, Sequence[Any]]) -> bool:
    """Say whether all probabilities are numbers, which they are not in a search that diverged.

    Raises:
        ValueError: there are more or fewer than candidates.
    """
    for label, offered in candidates.items():
        if len(epoch.probabilities[label]) != len(offered):
            raise ValueError(f"epoch {epoch.epoch} has other candidates of {label!r}")
    return all(p is not None for row in epoch.probabilities.values() for p in row)


def _ranking(known: Known, data: dict[str, Any]) -> Scores:
    metric, entries = data["metric"], data["entries"]
    points = [
        Point(
            known(e["architecture"]),
            _finite({metric: e["score"], **e.get("costs", {})}),
            place == 0,
        )
        for place, e in enumerate(entries)
    ]
    beside = _beside(known, points, data.get("baselines"))
    return replace(_scores({metric: data["mode"]}, points, beside), per=_per(data))


def _front(known: Known, data: dict[str, Any]) -> Scores:
    front = set(data["front"])
    points = [
        Point(known(scored["architecture"]), _finite(scored["values"]), place in front)
        for place, scored in enumerate(data["scored"])
    ]
    name, mode = next(iter(data["objectives"].items()))
    points.sort(key=lambda p: p.values.get(name, 0.0), reverse=mode == "max")
    beside = _beside(known, points, data.get("baselines"))
    scores = _scores(data["objectives"], points, beside)
    return replace(scores, limits=data.get("constraints", {}), per=_per(data))


def _per(data: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(about) for name, about in data.get("per", {}).items()}


def _scores(
    objectives: Mapping[str, str], points: Sequence[Point], beside: Beside | None
) -> Scores:
    needed = next(iter(objectives))
    kept = [point for point in points if needed in point.values]
    shared = [n for n in (kept[0].values if kept else ()) if all(n in p.values for p in kept)]
    others = [name for name in shared if name != needed]
    return Scores(objectives, others, kept, len(points) - len(kept), beside)


def _beside(known: Known, points: Sequence[Point], data: Mapping[str, Any] | None) -> Beside | None:
    if data is None:
        return None
    drawn = {json.dumps(point.architecture, sort_keys=True) for point in points}
    random = [
        _finite(one["values"])
        for one in data.get("random") or []
        if json.dumps(known(one["architecture"]), sort_keys=True) not in drawn
    ]
    return Beside(
        [_baseline(known, row) for row in data["rows"]],
        random,
        [(*pair["between"], pair["tau"]) for pair in data["kendall_tau"]],
    )


def _baselines(known: Known, data: dict[str, Any]) -> list[Baseline]:
    return [_baseline(known, entry) for entry in data["entries"]]


def _baseline(known: Known, entry: Mapping[str, Any]) -> Baseline:
    of = entry.get("architecture")
    values = _finite(entry["values"])
    return Baseline(
        str(entry["name"]), values, entry.get("seed"), None if of is None else known(of)
    )


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}


__all__ = [
    "Baseline", "Beside", "Choices", "Epoch", "History", "Point", "ReportError", "Run", "Scores",
    "read_run", "require_no_link",
]  # fmt: skip
