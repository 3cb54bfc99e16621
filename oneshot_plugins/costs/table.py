"""An additive table: what an architecture costs, as a sum over what it chooses."""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from oneshot_core import Decision, ModelSpace, ParameterSpec
from oneshot_core.errors import ArchitectureError, OneShotError, StrategyError
from oneshot_core.files import write_text
from oneshot_core.space import Candidate, Choice, Interval

from .measured import per_batch

SCHEMA = "oneshot.cost-table/1"
_VERSIONS = {"torch": "torch", "oneshot_core": "oneshot-core"}
TOLERANCE = 1e-9
"""Relative deviation up to which a table counts as exact: rounding of sums."""


class CostError(OneShotError, ValueError):
    """A cost cannot be measured, or a table of costs not be used, as asked."""


class Decisions(Protocol):
    """What makes the choices of a search, by label; a ``DecisionTable`` is one."""

    def __contains__(self, label: object) -> bool: ...

    def __getitem__(self, label: str) -> Decision: ...


@dataclass(frozen=True)
class Row:
    """What is added to the cost where every one of some candidates is taken.

    Args:
        taken: label -> candidate; empty for what every architecture costs.
        cost: in the unit of the cost; negative where a candidate saves something.
    """

    taken: Mapping[str, Candidate]
    cost: float


@dataclass(frozen=True)
class Deviation:
    """How far a table was from the cost of frozen networks.

    Args:
        checked: how many architectures were compared.
        absolute: the largest difference.
        relative: the largest difference as a share of the cost.
        everything: whether these were all architectures of the space.
    """

    checked: int = 0
    absolute: float = math.nan
    relative: float = math.nan
    everything: bool = False

    def __str__(self) -> str:
        if not self.checked:
            return "not compared with frozen networks"
        which = "all" if self.everything else f"{self.checked} sampled"
        return f"off by at most {self.absolute:.4g} ({self.relative:.2%}) on {which} architectures"


class CostTable:
    """The cost of every architecture of a model space as a sum of rows.

    Made by :func:`oneshot_plugins.costs.build.cost_table`.

    Args:
        cost: name of the cost.
        specs: label -> what can be chosen.
        rows: what is added up.
        fingerprint: of the model space.
        deviation: how far it was from frozen networks.
        origin: what was measured: model, shapes of the inputs, batch, device, versions, date.
    """

    def __init__(
        self,
        cost: str,
        specs: Mapping[str, ParameterSpec],
        rows: Iterable[Row],
        *,
        fingerprint: str = "",
        deviation: Deviation = Deviation(),
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.cost = cost
        self.specs = dict(specs)
        self.rows = tuple(rows)
        self.fingerprint = fingerprint
        self.deviation = deviation
        self.origin = dict(origin or {})
        self._groups: list[tuple[tuple[str, ...], Tensor, Tensor]] = _grouped(self.rows, self.specs)

    @property
    def exact(self) -> bool:
        """Whether no compared architecture deviated, and at least one was compared."""
        return self.deviation.checked > 0 and self.deviation.relative <= TOLERANCE

    def of(self, architecture: Mapping[str, object]) -> float:
        """Return the cost of an architecture as the sum of its rows.

        Raises:
            ArchitectureError: a label or candidate is not known, or an active one is missing.
        """
        unknown = sorted(architecture.keys() - self.specs.keys())
        if unknown:
            raise ArchitectureError(
                f"the table of {self.cost!r} knows nothing of {unknown}",
                expected=f"labels among {sorted(self.specs)}",
                fix="use an architecture of the model that the table was built for",
            )
        chosen = {label: self.specs[label].normalise(c) for label, c in architecture.items()}
        return math.fsum(row.cost for row in self.rows if self._holds(row, chosen))

    def _holds(self, row: Row, chosen: Mapping[str, Choice]) -> bool:
        missing = None
        for label, candidate in row.taken.items():
            if label not in chosen:
                missing = label
            elif candidate not in self.specs[label].members(chosen[label]):
                return False
        if missing is not None:
            raise ArchitectureError(
                f"{missing!r} is not decided, and what it takes has a cost",
                expected=f"{self.specs[missing].offer}",
                fix="use a whole architecture",
            )
        return True

    def __call__(self, decisions: Decisions) -> Tensor:
        """Return :meth:`expected`: a table is a penalty that strategies ask whether it fits."""
        return self.expected(decisions)

    def expected(self, decisions: Decisions) -> Tensor:
        """Return the expected cost where each label is decided independently by its probability.

        The exact expectation of :meth:`of`, with a gradient to the architecture parameters;
        conditions between choices, which no probability knows of, are not honoured.

        Args:
            decisions: of a search, such as ``search.decisions``.

        Raises:
            StrategyError: it does not decide a label of the table.
        """
        return self._sum(decisions, lambda decision: decision.probabilities())

    def sampled(self, decisions: Decisions) -> Tensor:
        """Return the cost of the current draw: weights of active candidates as probabilities.

        Where no decision has a gradient, neither has this. For the loss of FBNet.
        """
        return self._sum(decisions, _weights_now)

    def _sum(self, decisions: Decisions, weigh: Any) -> Tensor:
        self._require_labels(decisions)
        needed = dict.fromkeys(label for labels, _, _ in self._groups for label in labels)
        weights: dict[str, Tensor] = {label: weigh(decisions[label]) for label in needed}
        total: Tensor = torch.zeros(())
        for labels, places, costs in self._groups:
            like = weights[labels[0]] if labels else total
            product = costs.to(like)
            for column, label in enumerate(labels):
                product = product * weights[label][places[:, column].to(like.device)]
            total = product.sum() + total.to(like)
        return total

    def _require_labels(self, decisions: Decisions) -> None:
        missing = [label for labels, _, _ in self._groups for label in labels]
        missing = sorted({label for label in missing if label not in decisions})
        if missing:
            raise StrategyError(
                f"the table of {self.cost!r} is about {missing}, which this search does not decide",
                expected="the model that the table was built for",
                fix="build a table for this model",
            )

    def check(self, space: ModelSpace) -> None:
        """Refuse a model space other than the table's; asked before training.

        Raises:
            StrategyError: a label is unknown, missing, or offers something else.
        """
        for label in dict.fromkeys([*self.specs, *space.specs]):
            here, there = space.specs.get(label), self.specs.get(label)
            if here != there:
                raise StrategyError(
                    f"the table of {self.cost!r} was built for another model space: it "
                    f"{_offer(there)} at {label!r}, and the model {_offer(here)}",
                    expected=f"the choices {sorted(self.specs)}, as they were then",
                    fix="build a table for this model",
                )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write JSON to ``path``, whole or not at all; return the path.

        Raises:
            OutputError: the file cannot be written; the old one is left.
        """
        return write_text(path, json.dumps(self.describe(), indent=1) + "\n")

    def describe(self) -> dict[str, Any]:
        """Return the table as JSON-able data."""
        measured = self.deviation.checked > 0
        return {
            "schema": SCHEMA,
            "cost": self.cost,
            "exact": self.exact,
            "deviation": asdict(self.deviation) if measured else None,
            "origin": self.origin,
            "fingerprint": self.fingerprint,
            "choices": {label: spec.describe() for label, spec in self.specs.items()},
            "rows": [{"taken": dict(row.taken), "cost": row.cost} for row in self.rows],
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CostTable:
        """Read what :meth:`save` wrote.

        Raises:
            CostError: there is no such file, it cannot be read, is not JSON, not a table, damaged,
                or of an unknown schema.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise _unreadable(path, str(error.strerror)) from error
        except (ValueError, RecursionError) as error:
            raise _unreadable(path, f"it is not JSON ({error})") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise _unreadable(path, f"its schema is {schema!r}")
        try:
            specs = {label: _spec(label, said) for label, said in data["choices"].items()}
            rows = [_row(said, specs) for said in data["rows"]]
            deviation = _deviation(data["deviation"])
            table = cls(
                str(data["cost"]),
                specs,
                rows,
                fingerprint=str(data["fingerprint"]),
                deviation=deviation,
                origin=dict(data["origin"]),
            )
        except Exception as error:  # whatever the file holds in the place of what belongs there
            raise _unreadable(path, f"it is damaged ({error!r})") from error
        return table

    def __str__(self) -> str:
        words = [" ".join(f"{label}={c}" for label, c in row.taken.items()) for row in self.rows]
        names = [text or "(always)" for text in words]
        width = max(map(len, names), default=0)
        exact = "exact" if self.exact else "an estimate"
        lines = [f"{self.cost}: {exact}, {self.deviation}"]
        lines += [f"  {line}" for line in self._origin()]
        lines += [
            f"  {name:<{width}}  {row.cost:>14,.6g}"
            for name, row in zip(names, self.rows, strict=True)
        ]
        return "\n".join(lines)

    @property
    def batch(self) -> int | None:
        """For how many examples its numbers are; None if that does not matter or is not known."""
        batch = self.origin.get("batch")
        return batch if isinstance(batch, int) and not isinstance(batch, bool) else None

    def _origin(self) -> Iterator[str]:
        """Yield lines that say what was measured, as far as it is known."""

        def said(name: str) -> str:
            value = self.origin.get(name)
            texts = value if isinstance(value, list) else [] if value is None else [value]
            return ", ".join(" ".join(str(text).split()) for text in texts)

        target = f" ({said('target')})" if said("target") else ""
        inputs = f" with inputs {said('inputs')}" if said("inputs") else ""
        if per_batch(self.batch):
            yield f"all numbers are {per_batch(self.batch)}"
        if said("model") or target or inputs:
            yield f"built for {said('model') or 'a model'}{target}{inputs}"
        options = self.origin.get("options")
        where = [f"device {said('device')}"] if said("device") else []
        where += [f"{n} {said(k)}" for k, n in _VERSIONS.items() if said(k)]
        if isinstance(options, Mapping):
            where += [f"{key}={value}" for key, value in options.items()]
        if said("built"):
            where.append(said("built"))
        if where:
            yield ", ".join(where)

    def __repr__(self) -> str:
        return f"<CostTable of {self.cost!r}: {len(self.rows)} rows, {self.deviation}>"


def _grouped(
    rows: Sequence[Row], specs: Mapping[str, ParameterSpec]
) -> list[tuple[tuple[str, ...], Tensor, Tensor]]:
    """Return, for rows about the same labels, those, the places of candidates, and the costs."""
    groups: dict[tuple[str, ...], list[tuple[list[int], float]]] = {}
    for row in rows:
        labels = tuple(row.taken)
        places = [specs[label].candidates.index(c) for label, c in row.taken.items()]
        groups.setdefault(labels, []).append((places, row.cost))
    return [
        (
            labels,
            torch.tensor([places for places, _ in group], dtype=torch.long),
            torch.tensor([cost for _, cost in group], dtype=torch.float64),
        )
        for labels, group in groups.items()
    ]


def _weights_now(decision: Decision) -> Tensor:
    like = decision.probabilities()
    weights = {a.candidate: a.weight for a in decision.active()}
    return torch.stack(
        [
            like.new_zeros(())
            if candidate not in weights
            else like.new_ones(())
            if weights[candidate] is None
            else weights[candidate].to(like)  # type: ignore[union-attr]
            for candidate in decision.spec.candidates
        ]
    )


def _spec(label: str, said: Mapping[str, Any]) -> ParameterSpec:
    interval = said.get("interval")
    return ParameterSpec(
        label,
        tuple(tuple(c) if isinstance(c, list) else c for c in said["candidates"]),
        said["n_chosen"],
        interval=None if interval is None else Interval(*interval),
    )


def _row(said: Mapping[str, Any], specs: Mapping[str, ParameterSpec]) -> Row:
    taken: dict[str, Candidate] = {}
    for label, value in said["taken"].items():
        known = tuple(value) if isinstance(value, list) else value
        taken[label] = next(c for c in specs[label].candidates if c == known and _kin(c, known))
    cost = said["cost"]
    if isinstance(cost, bool) or not isinstance(cost, (int, float)) or not math.isfinite(cost):
        raise ValueError(f"a cost is {cost!r}")
    return Row(taken, float(cost))


def _deviation(said: Mapping[str, Any] | None) -> Deviation:
    if said is None:
        return Deviation()
    return Deviation(
        operator.index(said["checked"]),
        float(said["absolute"]),
        float(said["relative"]),
        bool(said["everything"]),
    )


def _offer(spec: ParameterSpec | None) -> str:
    return "has nothing" if spec is None else f"has {spec.offer}"


def _kin(one: object, other: object) -> bool:
    return isinstance(one, bool) == isinstance(other, bool)  # True == 1, but is not 1


def _unreadable(path: Any, why: str) -> CostError:
    return CostError(
        f"{os.fspath(path)!r} cannot be read as a table of costs: {why}",
        expected=f"JSON of schema {SCHEMA!r}",
        fix="write the file with CostTable.save or `oneshot cost build`",
    )


__all__ = ["CostError", "CostTable", "Deviation", "Row"]
