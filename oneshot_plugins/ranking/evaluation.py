"""Score architectures with the weights of the supernet.

One quiet ``Trainer.validate`` scores all of them: its validation loop is replaced by one that
runs Lightning's own loop once for each architecture, so that set-up, device transfer, precision
and the user's hooks are Lightning's, and no architecture pays for starting a Trainer.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map_only

from oneshot_core.architecture import Architecture, freeze
from oneshot_core.errors import RankingError
from oneshot_core.files import write_text
from oneshot_core.lightning import BaseOneShotLightningModule
from oneshot_core.lightning.kit import (
    Tree,
    discarded_logs,
    first_batches,
    isolated_attributes,
    isolated_buffers,
    isolated_metrics,
    isolated_rng,
    to_device,
    tree_of,
    users_loss,
)
from oneshot_core.searching import Proposals, Searcher
from oneshot_core.space import Choice
from oneshot_plugins.costs.measured import (
    in_order,
    in_turns,
    number_of,
    per_of,
    readings_of,
    scaled,
    shown,
    spreads_of,
    told,
)
from oneshot_plugins.costs.sample import arguments_of

from .agreement import kendall_tau
from .baselines import (
    Baseline,
    Baselines,
    Beside,
    Truth,
    draw_different,
    finite,
    finite_values,
    refuse_truth_alone,
    true_values,
)
from .batches import cached
from .better import UNTRAINED, better_row
from .guard import COMPARED, ComparedStep
from .show import baselines_tables, grouped, html, ranking_figure, ranking_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL_LIMIT = 20_000
"""``rank("all")`` refuses spaces larger than this."""

Metric: TypeAlias = "str | Callable[[Mapping[str, float]], float]"
Cost: TypeAlias = "str | Callable[..., float]"
SCHEMA = "oneshot.ranking/1"


@dataclass(frozen=True, slots=True)
class Ranked:
    """One scored architecture.

    Attributes:
        architecture: what was computed.
        score: value of the metric.
        metrics: everything that was logged.
        costs: name -> cost of the frozen network, for those that were asked for; a
            :class:`~oneshot_plugins.costs.measured.Measured` where it has a spread.
    """

    architecture: Architecture
    score: float
    metrics: Mapping[str, float]
    costs: Mapping[str, float] = field(default_factory=dict)


class Ranking:
    """Scored architectures, best first; of equals the first scored comes first.

    Scores that differ by no more than their spread are equal.

    Args:
        entries: in the order in which they were scored.
        metric: name of the metric.
        mode: ``"max"`` or ``"min"``.
        baselines: what to hold the best against.
        per: name of a cost -> for how many examples it is, such as ``"per example"``.
        trained: whether the supernet was trained, as far as its search can tell.

    Attributes:
        baselines: as given; None where none were asked for.
        per: as given; without costs that do not depend on inputs.
        trained: as given.
    """

    def __init__(
        self,
        entries: Iterable[Ranked],
        *,
        metric: str,
        mode: str,
        baselines: Baselines | None = None,
        per: Mapping[str, str] | None = None,
        trained: bool = True,
    ) -> None:
        self.trained = trained
        self.metric = metric
        self.mode = mode
        self.baselines = baselines
        self.per = dict(per or {})
        sign = 1 if mode == "max" else -1
        scored = list(entries)
        places = in_order([(scaled(e.score, sign),) for e in scored])
        self.entries = [scored[place] for place in places]

    @property
    def best(self) -> Architecture:
        """The best of what was ranked; :attr:`better` may be what was scored beside it."""
        return self.entries[0].architecture

    @property
    def better(self) -> Baseline | None:
        """The best of the baselines if it is an architecture with a better score, else None."""
        row = self._better_row()
        return None if row is None or self.baselines is None else self.baselines.rows[row]

    def _better_row(self) -> int | None:
        best = self.entries[0].score if self.entries else math.nan
        return better_row(self.baselines, self.metric, self.mode, best)

    @property
    def notes(self) -> list[str]:
        """What has to be said about the best architecture, in words; mostly nothing."""
        said = [] if self.trained else [UNTRAINED]
        row = self._better_row()
        if row is not None and self.baselines is not None:
            name, of = self.baselines.rows[row].name, self.baselines.rows[row].architecture
            which = "a random one" if of in self.baselines.sample else f"the {name}"
            said.append(f"{which} was better: ranking.baselines.rows[{row}]")
        return said

    def kendall_tau(self, truth: Truth) -> float:
        """Return Kendall's tau-b between the scores and a ground truth.

        1 where the shared weights order the architectures as the truth does, 0 where they say
        nothing, -1 where they reverse it. NaN if either has no two different numbers.

        Args:
            truth: what the architectures are really worth, such as accuracy after training each
                alone; better in the same direction as the scores. A mapping may be about some
                of them only.

        Raises:
            RankingError: it is about fewer than two of the architectures.

        Source: :func:`oneshot_plugins.ranking.agreement.kendall_tau`.
        """
        values = true_values(truth, [e.architecture for e in self.entries])
        known = [e for e in self.entries if e.architecture in values]
        return kendall_tau([e.score for e in known], [values[e.architecture] for e in known])

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write one line for each architecture, best first, then one for each baseline.

        Columns: whose numbers they are (``ranked``, or the name of the baseline), the metric,
        the costs, and the choices as JSON. Written whole or not at all; returns the path.
        """
        baselines = [] if self.baselines is None else self.baselines.rows
        names = [self.metric, *self.entries[0].costs]
        names += [n for row in baselines[:1] for n in row.values if n not in names]
        names += [f"{n} spread" for n in spreads_of(_values(self, self.entries[0]))]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", *names, "architecture"])
        rows = [Baseline("ranked", _with_spreads(self, e), e.architecture) for e in self.entries]
        for row in [*rows, *baselines]:
            choices = "" if row.architecture is None else json.dumps(dict(row.architecture))
            writer.writerow([row.name, *(row.values.get(n, "") for n in names), choices])
        return write_text(Path(path), text.getvalue())

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write the ranking and its baselines; see ``SCHEMA``.

        NaN and infinity become null. Written whole or not at all; returns the path.
        """
        data = {
            "schema": SCHEMA,
            "metric": self.metric,
            "mode": self.mode,
            "per": self.per,
            "trained": self.trained,
            "best": self.best.to_dict(),
            "better": self._better_row(),
            "entries": [
                {
                    "architecture": dict(e.architecture),
                    "score": finite(e.score),
                    "metrics": finite_values(e.metrics),
                    "costs": finite_values(e.costs),
                    "spreads": finite_values(spreads_of(_values(self, e))),
                }
                for e in self.entries
            ],
            "baselines": None
            if self.baselines is None
            else self.baselines.to_dict({e.architecture for e in self.entries}),
        }
        return write_text(Path(path), json.dumps(data, indent=2, allow_nan=False) + "\n")

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Ranked]:
        return iter(self.entries)

    def __getitem__(self, index: int) -> Ranked:
        return self.entries[index]

    def __str__(self) -> str:
        head = f"{len(self)} architectures by {self.metric} ({self.mode}){told(self.per)}"
        rows = [
            f"{i:>5}  {e.score:.4f}  {e.architecture}{_said(e.costs)}"
            for i, e in enumerate(self.entries[:10], 1)
        ]
        more = [f"       ... and {len(self) - 10} more"] if len(self) > 10 else []
        below = [] if self.baselines is None else ["", str(self.baselines)]
        return "\n".join([head, *rows, *more, *below, *self.notes])

    def figure(self, cost: str | None = None) -> Figure:
        """Draw the scores over a cost, as a matplotlib figure.

        Args:
            cost: name of one that was asked for; by default the first, and over the places in
                the ranking if there is none.

        Raises:
            RankingError: matplotlib is missing, or there is no such cost.
        """
        return ranking_figure(self, cost)

    def _repr_html_(self) -> str:
        return html([ranking_table(self), *baselines_tables(self.baselines)])

    def __rich__(self) -> object:
        return grouped([ranking_table(self), *baselines_tables(self.baselines)])

    def __repr__(self) -> str:
        return f"<Ranking of {len(self)} architectures by {self.metric}, best {self[0].score:.4f}>"


def _values(ranking: Ranking, entry: Ranked) -> dict[str, float]:
    return {ranking.metric: entry.score, **entry.costs}


def _with_spreads(ranking: Ranking, entry: Ranked) -> dict[str, float]:
    values = _values(ranking, entry)
    return values | {f"{name} spread": spread for name, spread in spreads_of(values).items()}


def _said(costs: Mapping[str, float]) -> str:
    return "".join(f"  {name} {shown(cost, f'{cost:,.6g}')}" for name, cost in costs.items())


def rank(
    search: BaseOneShotLightningModule,
    architectures: Any,
    dataloaders: Any,
    *,
    metric: Metric,
    mode: str = "max",
    budget: int | None = None,
    costs: Iterable[Cost] = (),
    inputs: Any = None,
    baselines: bool | None = None,
    truth: Truth | None = None,
    train_dataloader: Iterable[Any] | None = None,
    calibration_batches: int = 16,
    trainer: Trainer | None = None,
    progress: bool = True,
    **options: Any,
) -> Ranking:
    """Score architectures by what the user's ``validation_step`` logs, best first.

    The search stays as it is: weights, BatchNorm statistics, random states and metrics are as
    before afterwards.

    Args:
        search: with a trained supernet; of another one the result says so.
        architectures: an iterable of them; ``"all"`` of the space; a number, that many
            different random ones; or the name of an installed searcher, such as
            ``"evolution"``.
        dataloaders: as for ``Trainer.validate``. Few batches are kept in memory.
        metric: name of a logged metric, or a function of all of them.
        mode: ``"max"`` or ``"min"``.
        budget: how many architectures a searcher may score.
        costs: of every frozen network, to be reported beside its score: names of installed costs,
            or functions ``(network, *inputs) -> float``. Those that measure are called several
            times for each network, in turns with the others, and have a spread.
        inputs: what ``forward`` is called with to count or measure those: a tensor, or a tuple or
            list of arguments; by default the ``example_input_array`` of the model. Costs are those
            of this batch, and the ranking says of how many examples.
        baselines: whether the largest network and as many random ones as are ranked are scored
            as well, after the others, to be compared with the best. Those of the ranking are not
            scored again, so it is free for ``"all"``, takes one more for a number, and twice
            as long for a searcher. By default they are, except for given architectures without
            a truth.
        truth: what architectures are really worth, as for :meth:`Ranking.kendall_tau`; the
            baselines then say how well the score and each cost agree with it.
        train_dataloader: whose batches give each architecture its own BatchNorm statistics;
            by default what the last fit trained on. Running statistics of a supernet mix those
            of all its paths and fit none.
        calibration_batches: how many of them; 0 leaves the running statistics as they are.
        trainer: to score with; by default a quiet one like that of the last fit.
        progress: whether a bar is shown.
        **options: passed to the searcher.

    Raises:
        ArchitectureError: an architecture does not fit the model space.
        RankingError: there is nothing to score, too much of it, the metric is not logged or
            always NaN, or BatchNorm needs training batches and none are known; the truth is
            about fewer than two of what was ranked, or comes with ``baselines=False``.

    Source: Guo et al., "Single Path One-Shot", arXiv:1904.00420, section 3.4, for the
    recalibration.
    """
    if mode not in ("max", "min"):
        raise RankingError(
            f"mode={mode!r}",
            expected="'max' or 'min'",
            fix="say whether a larger or a smaller metric is better",
        )
    refuse_truth_alone(truth, baselines)
    arguments = arguments_of(search, inputs)
    measures = _measures(search, costs, arguments)
    proposals, total = _proposals(search, architectures, budget, options)
    if baselines is None:
        baselines = truth is not None or isinstance(architectures, str | int)
    beside = Beside(search, total) if baselines else None
    if beside is not None:
        proposals = beside.after(proposals)
        # The random ones are those that are ranked, where nothing else is said.
        total = len(beside.wanted) + (0 if isinstance(architectures, int) else total)
        total = int(min(total, search.space.size))
    scored = score_proposals(
        search,
        proposals,
        total,
        dataloaders,
        score=_scorer(metric),
        sign=1.0 if mode == "max" else -1.0,
        calibration=calibration_of(search, train_dataloader, calibration_batches),
        trainer=trainer,
        progress=progress,
    )
    entries = scored if beside is None else scored[: beside.begins]
    if all(math.isnan(entry.score) for entry in entries):
        raise RankingError(
            f"{_name(metric)!r} is NaN for all {len(entries)} architectures",
            expected="a number for at least one",
            fix="check that the supernet's training loss is finite",
        )
    if measures:
        costs_of = _costs(search, [e.architecture for e in scored], measures, arguments or ())
        scored = [replace(e, costs=found) for e, found in zip(scored, costs_of, strict=True)]
    ranking = Ranking(
        scored[: len(entries)], metric=_name(metric), mode=mode,
        per=per_of(measures, arguments or ()), trained=search.trained,
    )  # fmt: skip
    if beside is not None:
        values = {e.architecture: _values(ranking, e) for e in scored}
        ranked = [e.architecture for e in ranking]
        ranking.baselines = beside.compared(values, ranked, {ranking.metric: mode}, truth)
    search.ranking = ranking
    return ranking


def _measures(
    search: BaseOneShotLightningModule, costs: Iterable[Cost], inputs: Sequence[Any] | None
) -> dict[str, Callable[..., float]]:
    """Return name -> cost, before anything is scored."""
    if isinstance(costs, str):
        costs = [costs]
    found: dict[str, Callable[..., float]] = {
        _name(cost): search.registry.load("cost", cost) if isinstance(cost, str) else cost
        for cost in costs
    }
    if found and inputs is None:
        raise RankingError(
            f"the costs {list(found)} are asked for, and no inputs to measure them with",
            expected="what forward is called with, for the numbers depend on its shapes",
            fix="rank(..., inputs=[torch.zeros(1, 3, 32, 32)])",
        )
    return found


def _costs(
    search: BaseOneShotLightningModule,
    architectures: Sequence[Architecture],
    measures: Mapping[str, Callable[..., float]],
    inputs: Sequence[Any],
) -> list[dict[str, float]]:
    def called(measure: Callable[..., float]) -> Callable[[nn.Module], float]:
        def call(network: nn.Module) -> float:
            device = next((p.device for p in network.parameters()), torch.device("cpu"))
            moved = tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), tuple(inputs))
            with isolated_rng(search.model, search.seed):
                return measure(network, *moved)

        call.readings = readings_of(measure)  # type: ignore[attr-defined]
        return call

    networks = [partial(freeze, search.model, architecture) for architecture in architectures]
    return in_turns(networks, {name: called(measure) for name, measure in measures.items()})


def evaluate(
    search: BaseOneShotLightningModule,
    architecture: Mapping[str, object],
    dataloaders: Any,
    *,
    train_dataloader: Iterable[Any] | None = None,
    calibration_batches: int = 16,
    trainer: Trainer | None = None,
) -> dict[str, float]:
    """Return what the user's ``validation_step`` logs for one architecture; see :func:`rank`."""
    known = architecture if isinstance(architecture, Architecture) else Architecture(architecture)
    entries = score_proposals(
        search,
        _fixed([known.validate(search.space)]),
        1,
        dataloaders,
        score=lambda metrics: math.nan,
        sign=1.0,
        calibration=calibration_of(search, train_dataloader, calibration_batches),
        trainer=trainer,
        progress=False,
    )
    return dict(entries[0].metrics)


def _proposals(
    search: BaseOneShotLightningModule,
    architectures: Any,
    budget: int | None,
    options: Mapping[str, Any],
) -> tuple[Proposals, int]:
    """Return what is to be scored, and how many of it."""
    space = search.space
    if isinstance(architectures, str) and architectures != "all":
        if budget is None or budget < 1:
            raise RankingError(
                f"the searcher {architectures!r} got budget={budget}",
                expected="how many architectures it may score",
                fix=f"rank({architectures!r}, ..., budget=500)",
            )
        searcher: Searcher = search.registry.load("searcher", architectures)
        return searcher(space, budget=budget, seed=search.seed, **options), budget
    if budget is not None or options:
        raise RankingError(
            f"budget and {sorted(options)} are options of a searcher",
            expected="architectures='evolution' or another searcher with them",
            fix="leave them out",
        )
    if isinstance(architectures, int):
        chosen = draw_different(space, architectures, search.seed)
    elif architectures == "all":
        if space.size > ALL_LIMIT:
            raise RankingError(
                f"the model space holds {space.size:,} architectures",
                expected=f"at most {ALL_LIMIT:,} to score all of them",
                fix="rank('evolution', ..., budget=1000), or a number of random ones",
            )
        chosen = list(space.architectures())
    else:
        given = [architectures] if isinstance(architectures, Mapping) else list(architectures)
        chosen = [
            dict((a if isinstance(a, Architecture) else Architecture(a)).validate(space))
            for a in given
        ]
    if not chosen:
        raise RankingError(
            "there is no architecture to rank",
            expected="at least one",
            fix="pass 'all', a number, or architectures of this model space",
        )
    return _fixed(chosen), len(chosen)


def _fixed(chosen: Iterable[Mapping[str, Choice]]) -> Proposals:
    for architecture in chosen:  # noqa: UP028  # a list has no send()
        yield architecture


def _name(metric: Metric | Cost) -> str:
    return metric if isinstance(metric, str) else getattr(metric, "__name__", repr(metric))


def _scorer(metric: Metric) -> Callable[[Mapping[str, float]], float]:
    if not isinstance(metric, str):
        return metric

    def score(metrics: Mapping[str, float]) -> float:
        if metric not in metrics:
            raise RankingError(
                f"the metric {metric!r} was not logged",
                expected=f"one of {sorted(metrics)}",
                fix=f"self.log({metric!r}, ...) in validation_step, or choose a logged one",
            )
        return metrics[metric]

    return score


def calibration_of(
    search: BaseOneShotLightningModule, train_dataloader: Iterable[Any] | None, n: int
) -> list[Any]:
    """Return training batches for BatchNorm; none if the model has no running statistics."""
    if n < 1 or not any(_tracks(module) for module in search.model.modules()):
        return []
    loader = search.train_dataloader_of_fit if train_dataloader is None else train_dataloader
    if loader is None:
        raise RankingError(
            f"{type(search.model).__name__} has BatchNorm, and no training batches are known",
            expected="batches that give each architecture its own statistics",
            fix="pass train_dataloader=..., or calibration_batches=0 to use the statistics of the "
            "whole supernet",
        )
    if not search.model.automatic_optimization:
        raise RankingError(
            f"{type(search.model).__name__} optimizes manually; its training_step cannot be run "
            "to recalibrate BatchNorm",
            expected="automatic optimization",
            fix="pass calibration_batches=0",
        )
    return first_batches(loader, n, search.model, search.seed)


def _tracks(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def score_proposals(
    search: BaseOneShotLightningModule,
    proposals: Proposals,
    total: int,
    dataloaders: Any,
    *,
    score: Callable[[Mapping[str, float]], float],
    sign: float,
    calibration: list[Any],
    trainer: Trainer | None,
    progress: bool,
) -> list[Ranked]:
    """Score what is proposed, telling each score (times ``sign``) to where it came from.

    Args:
        search: with a trained supernet; as before afterwards.
        proposals: what to score.
        total: how much of it, for the progress bar.
        dataloaders: as for ``Trainer.validate``.
        score: of what was logged.
        sign: 1 where larger is better, else -1.
        calibration: from :func:`calibration_of`.
        trainer: to score with; None for a quiet one.
        progress: whether a bar is shown.
    """
    previous = search._trainer
    tree = tree_of(search)
    if trainer is None:
        trainer = _quiet_trainer(tree, previous)
    tree.require(trainer, "the Trainer")
    tree.require(dataloaders, f"the {type(dataloaders).__name__} to score with")
    with ExitStack() as stack:
        bar = stack.enter_context(_progress_bar(total, progress, max if sign > 0 else min))
        if not isinstance(dataloaders, tree.own(LightningDataModule)):
            dataloaders = cached(dataloaders, search.model, search.seed)
        ranking_loop = tree.rebased(_RankingLoop)
        loop = ranking_loop(trainer, search, proposals, score, sign, calibration, bar)
        original, trainer.validate_loop = trainer.validate_loop, loop
        stack.callback(setattr, trainer, "validate_loop", original)
        stack.enter_context(only_warnings(f"{tree}.utilities.rank_zero"))
        stack.enter_context(isolated_rng(search.model, search.seed))
        stack.enter_context(isolated_buffers(search.model))
        stack.enter_context(isolated_metrics(search.model))
        stack.enter_context(isolated_attributes(search.model))
        stack.callback(setattr, search, "trainer", previous)
        stack.callback(search.train, search.training)
        trainer.validate(search, dataloaders, verbose=False)
    return loop.entries


def _quiet_trainer(tree: Tree, like: Trainer | None) -> Trainer:
    options: dict[str, Any] = {}
    if like is not None:
        options["accelerator"] = (
            like.accelerator.name() if hasattr(like.accelerator, "name") else "auto"
        )
        options["precision"] = like.precision
    with only_warnings(f"{tree}.utilities.rank_zero"):
        return tree.own(Trainer)(
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            inference_mode=False,  # recalibration writes to buffers that training uses later
            **options,
        )


@contextmanager
def only_warnings(logger: str) -> Iterator[None]:
    """Keep what a logger says below warnings out of the terminal."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _progress_bar(
    total: int, show: bool, better: Callable[[float, float], float]
) -> Iterator[Callable[[float], None]]:
    bar = Progress(
        TextColumn("ranking"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("best {task.fields[best]}"),
        disable=not show,
    )
    best: float | None = None

    def advance(score: float) -> None:
        nonlocal best
        if not math.isnan(score):
            best = score if best is None else better(best, score)
        bar.update(task, advance=1, best="-" if best is None else f"{best:.4f}")

    with bar:
        task = bar.add_task("ranking", total=total, best="-")
        yield advance


class _RankingLoop(_EvaluationLoop):
    """Lightning's validation loop, run once for every proposed architecture."""

    def __init__(
        self,
        trainer: Trainer,
        search: BaseOneShotLightningModule,
        proposals: Proposals,
        score: Callable[[Mapping[str, float]], float],
        sign: float,
        calibration: list[Any],
        progress: Callable[[float], None],
    ) -> None:
        tree = tree_of(trainer)
        super().__init__(
            trainer,
            tree.own(TrainerFn).VALIDATING,
            tree.own(RunningStage).VALIDATING,
            verbose=False,
            inference_mode=False,
        )
        self.search = search
        self.proposals = proposals
        self.score = score
        self.sign = sign
        self.calibration = calibration
        self.progress = progress
        self.entries: list[Ranked] = []

    def run(self) -> list[Any]:
        """Score every proposal, telling its score to where it came from."""
        self.calibration = [to_device(b, self.search, self.trainer) for b in self.calibration]
        try:
            proposal = next(self.proposals)
            while True:
                value = self._score(Architecture(proposal, self.search.space))
                proposal = self.proposals.send(-math.inf if math.isnan(value) else value)
        except StopIteration:
            return []

    def _score(self, architecture: Architecture) -> float:
        with self.search.at(architecture):
            if self.calibration:
                self._recalibrate()
            self.trainer._logger_connector.reset_metrics()
            if len(self.entries) < COMPARED:
                ComparedStep.install(self.search, architecture)
            try:
                super().run()
            finally:
                ComparedStep.remove(self.search)
        metrics = {k: float(v) for k, v in self.trainer.callback_metrics.items()}
        if not metrics:
            raise RankingError(
                f"validation_step of {type(self.search.model).__name__} logged nothing",
                expected="the metric to rank by",
                fix="call self.log('val_acc', ...) in validation_step",
            )
        value = number_of(self.score(metrics))
        self.entries.append(Ranked(architecture, value, metrics))
        self.progress(value)
        return self.sign * value

    @torch.no_grad()
    def _recalibrate(self) -> None:
        """Give every BatchNorm the plain average of its statistics over the batches."""
        norms = [m for m in self.search.model.modules() if _tracks(m)]
        assert all(isinstance(norm, _BatchNorm) for norm in norms)
        before = [dict(norm.__dict__) for norm in norms]
        modes = {module: module.training for module in self.search.model.modules()}
        self.search.model.eval()  # dropout is off when the statistics are used
        for norm in norms:
            norm.reset_running_stats()  # type: ignore[operator]
            # A cumulative average, for all architectures, even where momentum is to be chosen.
            norm.__dict__["momentum"] = None
            norm.train()
        for index, batch in enumerate(self.calibration):
            with isolated_metrics(self.search.model), discarded_logs(self.search.model, batch):
                users_loss(self.search.model, batch, index)
        for norm, attributes in zip(norms, before, strict=True):
            norm.__dict__.pop("momentum")
            norm.__dict__.update({k: v for k, v in attributes.items() if k == "momentum"})
        for module, mode in modes.items():
            module.training = mode


__all__ = ["Ranked", "Ranking", "evaluate", "rank"]
