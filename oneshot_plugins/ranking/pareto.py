"""Search a trained supernet for several objectives at once.

Architectures are scored by the loop that ranks them (evaluation.py). Between that loop and the
searcher stands :class:`_Questions`: it answers from the journal what is known, measures what is
not logged, and tells the searcher what came of it.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from pytorch_lightning import Trainer
from torch import Tensor, nn

from oneshot_core.architecture import Architecture, freeze
from oneshot_core.errors import RankingError
from oneshot_core.lightning import BaseOneShotLightningModule
from oneshot_core.searching import Outcome, Proposals
from oneshot_core.space import Choice
from oneshot_plugins.costs.measured import in_turns, number_of, per_of, readings_of
from oneshot_plugins.costs.sample import arguments_of

from .baselines import Beside, Truth, refuse_truth_alone
from .evaluation import calibration_of, score_proposals
from .front import Limits, ParetoFront, Scored, violation
from .journal import Journal

BROKEN = -1e100
"""Score of what breaks a constraint, times 1 and by how much: below all that keep them."""

Measure: TypeAlias = "Callable[..., float]"


def pareto(
    search: BaseOneShotLightningModule,
    objectives: Mapping[str, str],
    dataloaders: Any,
    *,
    budget: int,
    searcher: str = "nsga2",
    constraints: Mapping[str, Limits] | None = None,
    measures: Mapping[str, Measure] | None = None,
    weights: Mapping[str, float] | None = None,
    inputs: Any = None,
    journal: str | os.PathLike[str] | None = None,
    storage: str | None = None,
    baselines: bool = True,
    truth: Truth | None = None,
    train_dataloader: Iterable[Any] | None = None,
    calibration_batches: int = 16,
    trainer: Trainer | None = None,
    progress: bool = True,
    **options: Any,
) -> ParetoFront:
    """Look for the architectures that no other one beats in all objectives.

    A name stands for one of ``measures``; else for an installed cost, such as ``"macs"``; else
    for a metric that ``validation_step`` logs. Where the budget covers the space, all
    architectures are scored, and no searcher is asked. The search stays as it is; see
    :func:`~oneshot_plugins.ranking.evaluation.rank`.

    Costs that measure are read again at the end, several times for each network, in turns with the
    others. Networks within the spread of these readings are equal on the front.

    Args:
        search: with a trained supernet; of another one the result says so.
        objectives: name -> ``"max"`` or ``"min"``.
        dataloaders: as for ``Trainer.validate``.
        budget: how many different architectures may be scored, those of the journal included.
        searcher: name of an installed one.
        constraints: name -> (lowest, highest), None for no limit. Objectives and other names.
        measures: name -> function of ``architecture``, of ``network`` (the frozen one, on the
            CPU) or of both, by the names of its parameters.
        weights: objective -> positive number, for searchers that know one score only: they look
            for the largest weighted sum, of which what is to be small is subtracted.
        inputs: what costs call the network with: a tensor, or a tuple or list of arguments; by
            default the ``example_input_array`` of the model.
        journal: file that keeps what was scored. A search with the same arguments goes on from
            it without scoring anything twice; it does not notice other data. Several processes
            may have one: none scores what another one is scoring, and all return the same.
        storage: where processes share the state of the searcher. They need one journal, too;
            the result is then no function of the seed.
        baselines: whether the largest network and as many random ones as the budget are scored
            as well, after the others, to be compared with the front. They do not enter it, nor
            the budget; what the search has scored is not scored again.
        truth: what architectures are really worth, as for :meth:`ParetoFront.kendall_tau`; the
            baselines then say how well each objective and constrained quantity agrees with it.
        train_dataloader: whose batches recalibrate BatchNorm.
        calibration_batches: how many of them.
        trainer: to score with.
        progress: whether a bar is shown.
        **options: passed to the searcher.

    Raises:
        RankingError: an argument has no meaning, a cost cannot be computed, a metric is not
            logged, or no architecture keeps the constraints with numbers for all objectives; the
            truth is about fewer than two of what was scored, or comes with ``baselines=False``.
        UnknownComponentError: there is no such searcher.
        PluginLoadError: the searcher needs a library that is not installed.
    """
    limits = dict(constraints or {})
    _check(search, objectives, limits, budget, journal, storage)
    refuse_truth_alone(truth, baselines)
    names = list(dict.fromkeys([*objectives, *limits]))
    measured = _measured(search, names, measures or {}, inputs)
    space = search.space
    total = int(min(budget, space.size))
    if space.size <= budget:
        proposals, several = None, False
        weights = dict.fromkeys(objectives, 1.0)
    else:
        load = search.registry.load("searcher", searcher)
        several = "objectives" in inspect.signature(load).parameters
        weights = _weights(searcher, several, objectives, weights)
        extra: dict[str, Any] = {"objectives": len(objectives)} if several else {}
        if storage is not None:
            extra["storage"] = _shareable(searcher, load, storage)
        proposals = load(space, budget=budget, seed=search.seed, **extra, **options)
    calibration = calibration_of(search, train_dataloader, calibration_batches)
    beside = Beside(search, total) if baselines else None
    with ExitStack() as stack:
        file = None
        if journal is not None:
            file = stack.enter_context(closing(Journal(journal, search, names, len(calibration))))
        questions = _Questions(
            search,
            _free_first(space.architectures(), file) if proposals is None else proposals,
            names,
            measured,
            objectives,
            limits,
            weights if not several else None,
            file,
            budget,
            [] if beside is None else beside.wanted,
        )
        score_proposals(
            search,
            stack.enter_context(closing(questions.unknown())),
            total if beside is None else total + len(beside.wanted),
            dataloaders,
            score=questions.hear,
            sign=1.0 if next(iter(objectives.values())) == "max" else -1.0,
            calibration=calibration,
            trainer=trainer,
            progress=progress,
        )
        scored = questions.found()
        questions.read_again()
        scored = [questions.known[entry.architecture] for entry in scored]
        front = ParetoFront(
            scored, objectives, limits, per=_per(search, measured, inputs), trained=search.trained
        )
    if not front:
        raise RankingError(
            f"none of {len(front.scored)} scored architectures keeps the constraints {limits} and "
            f"has numbers for {list(objectives)}",
            expected="at least one",
            fix="widen the constraints, use a larger budget, or look at what is NaN",
        )
    if beside is not None:
        values = {a: s.values for a, s in (questions.known | questions.others).items()}
        found = [entry.architecture for entry in front]
        judged = [entry.architecture for entry in front.scored]
        front.baselines = beside.compared(values, found, objectives, truth, judged, front.keeps)
    return front


def _check(
    search: BaseOneShotLightningModule,
    objectives: Mapping[str, str],
    limits: Mapping[str, Limits],
    budget: int,
    journal: object,
    storage: object,
) -> None:
    def refuse(what: str, expected: str, fix: str) -> None:
        raise RankingError(what, expected=expected, fix=fix)

    if not objectives or not set(objectives.values()) <= {"max", "min"}:
        refuse(
            f"objectives={dict(objectives)!r}",
            "at least one name -> 'max' or 'min'",
            "write for example {'val_acc': 'max', 'macs': 'min'}",
        )
    for name, pair in limits.items():
        fits = isinstance(pair, tuple) and len(pair) == 2 and pair != (None, None)
        if not fits or (None not in pair and pair[0] > pair[1]):  # type: ignore[operator]
            refuse(
                f"constraints={{{name!r}: {pair!r}}}",
                "(lowest, highest), None for one without a limit",
                f"write for example {{{name!r}: (None, 4e6)}}",
            )
    if budget < 1:
        refuse(f"budget={budget}", "how many architectures may be scored", "budget=500")
    if storage is not None and journal is None:
        refuse(
            f"storage={storage!r} without a journal",
            "one journal for all processes, in which their scores are",
            "pass journal='pareto.jsonl', too",
        )


def _weights(
    searcher: str,
    several: bool,
    objectives: Mapping[str, str],
    weights: Mapping[str, float] | None,
) -> Mapping[str, float]:
    if weights is None and (several or len(objectives) == 1):
        return dict.fromkeys(objectives, 1.0)
    fits = weights is not None and weights.keys() == objectives.keys()
    if several or not fits or not all(0 < w < math.inf for w in (weights or {}).values()):
        raise RankingError(
            f"the searcher {searcher!r} got weights={weights!r}.\n"
            + (
                "  expected: none; it weighs nothing\n  fix: leave weights out"
                if several
                else f"  expected: a positive number for each of {list(objectives)}; it knows one "
                "score only\n  fix: pass weights, or use a searcher of several objectives such as "
                "'nsga2'"
            )
        )
    assert weights is not None
    return weights


def _shareable(searcher: str, load: Callable[..., Any], storage: str) -> str:
    if "storage" not in inspect.signature(load).parameters:
        raise RankingError(
            f"the searcher {searcher!r} cannot share its state through storage={storage!r}",
            expected="one with a keyword storage, such as 'nsga2'",
            fix="leave storage out; the journal alone lets a search go on",
        )
    return storage


def _measured(
    search: BaseOneShotLightningModule,
    names: Iterable[str],
    measures: Mapping[str, Measure],
    inputs: Any,
) -> dict[str, Callable[[Architecture, nn.Module | None], float]]:
    """Return the functions of names that are not logged; each is tried once."""
    given = arguments_of(search, inputs) or ()
    arguments = tuple(x.detach().cpu() if isinstance(x, Tensor) else x for x in given)
    found: dict[str, Callable[[Architecture, nn.Module | None], float]] = {}
    for name in names:
        if name in measures:
            found[name] = _by_names(name, measures[name])
        elif f"cost:{name}" in search.registry:
            found[name] = _cost(search.registry.load("cost", name), arguments)
        else:
            continue
        asked = measures[name] if name in measures else search.registry.load("cost", name)
        found[name].readings = readings_of(asked)  # type: ignore[attr-defined]
    unused = [name for name in measures if name not in found]
    if unused:
        raise RankingError(
            f"the measures {unused} are neither objectives nor constraints",
            expected=f"some of {list(names)}",
            fix="name them in objectives, or leave them out",
        )
    if found:
        default = Architecture(search.space.default(), search.space)
        network = _network(search, default)
        for name, measure in found.items():
            try:
                number_of(measure(default, network))
            except Exception as error:
                raise RankingError(
                    f"{name!r} cannot be computed for {default}: {error!r}",
                    expected=f"a number; costs call the network with {len(arguments)} inputs",
                    fix="pass inputs=..., what the network is called with",
                ) from error
    return found


def _cost(
    cost: Callable[..., float], inputs: tuple[Any, ...]
) -> Callable[[Architecture, nn.Module | None], float]:
    return lambda architecture, network: cost(network, *inputs)


def _per(
    search: BaseOneShotLightningModule, measured: Iterable[str], inputs: Any
) -> dict[str, str]:
    costs = {n: search.registry.load("cost", n) for n in measured if f"cost:{n}" in search.registry}
    return per_of(costs, arguments_of(search, inputs) or ())


def _by_names(name: str, measure: Measure) -> Callable[[Architecture, nn.Module | None], float]:
    wanted = list(inspect.signature(measure).parameters)
    if not wanted or not set(wanted) <= {"architecture", "network"}:
        raise RankingError(
            f"the measure {name!r} is a function of {wanted}",
            expected="of architecture, network, or both",
            fix="name its parameters so",
        )

    def value(architecture: Architecture, network: nn.Module | None) -> float:
        given = {"architecture": architecture, "network": network}
        return measure(**{key: given[key] for key in wanted})

    return value


def _network(search: BaseOneShotLightningModule, architecture: Architecture) -> nn.Module:
    network = freeze(search.model, architecture)
    return network.cpu().eval()


def _free_first(
    architectures: Iterable[Mapping[str, Choice]], journal: Journal | None
) -> Proposals:
    """Yield all of them, those that another process is scoring last."""
    later = []
    for architecture in architectures:
        if journal is not None and journal.claimed(Architecture(architecture)):
            later.append(architecture)
        else:
            yield architecture
    for architecture in later:  # a list has no send()
        yield architecture


class _Questions:
    """Stands between a searcher and the loop that scores."""

    def __init__(
        self,
        search: BaseOneShotLightningModule,
        proposals: Proposals,
        names: list[str],
        measured: Mapping[str, Callable[[Architecture, nn.Module | None], float]],
        objectives: Mapping[str, str],
        limits: Mapping[str, Limits],
        weights: Mapping[str, float] | None,
        journal: Journal | None,
        budget: int,
        beside: Iterable[Architecture],
    ) -> None:
        self.search = search
        self.proposals = proposals
        self.names = names
        self.measured = measured
        self.objectives = objectives
        self.limits = limits
        self.weights = weights
        self.journal = journal
        self.budget = budget
        self.beside = beside
        self.known: dict[Architecture, Scored] = {}
        self.others: dict[Architecture, Scored] = {}
        self._metrics: Mapping[str, float] = {}

    def hear(self, metrics: Mapping[str, float]) -> float:
        """Take what was logged for the last question; return what the progress bar shows."""
        self._metrics = dict(metrics)
        return metrics.get(next(iter(self.objectives)), math.nan)

    def unknown(self) -> Proposals:
        """Yield what nobody has scored yet: what the searcher proposes, then what is beside it."""
        self._look_up()
        yield from self._proposed()
        for architecture in _free_first(self.beside, self.journal):
            yield from self._scored(Architecture(architecture, self.search.space), beside=True)

    def _proposed(self) -> Proposals:
        try:
            with nullcontext() if self.journal is None else self.journal.beginning():
                proposal = next(self.proposals)  # what a searcher shares is made now
            while True:
                architecture = Architecture(proposal, self.search.space)
                yield from self._scored(architecture, beside=False)
                if architecture not in self.known:  # the budget is spent
                    return
                proposal = self.proposals.send(self._told(self.known[architecture]))
        except StopIteration:
            return

    def _scored(self, architecture: Architecture, *, beside: bool) -> Proposals:
        """Yield an architecture unless it is known; keep what came of it."""
        if architecture in self.known:
            return
        with nullcontext() if self.journal is None else self.journal.claim(architecture):
            self._look_up()  # another process may have scored it
            full = not beside and len(self.known) >= self.budget
            if architecture in self.known or full or (beside and architecture in self.others):
                return
            if architecture in self.others:
                self._keep(self.others[architecture], beside=False)
                return
            yield architecture
            scored = Scored(architecture, self._values(architecture), self._metrics)
            self._keep(scored, beside=beside)

    def found(self) -> list[Scored]:
        """Return all that was scored, by other processes too."""
        if self.journal is not None:
            self.journal.wait()
        self._look_up()
        return list(self.known.values())

    def read_again(self) -> None:
        """Read measured costs again: of all networks that were scored, in turns.

        What was read when an architecture was scored was read at another time than that of the
        others. Of processes with one journal one does it, and the others take its numbers.
        """
        repeated = {n: m for n, m in self.measured.items() if readings_of(m) > 1}
        if not repeated:
            return
        with nullcontext() if self.journal is None else self.journal.measuring():
            self._look_up()
            every = [*self.known, *(a for a in self.others if a not in self.known)]
            found = [self.journal.read_again(a) for a in every] if self.journal else []
            if not found or not all(repeated.keys() <= values.keys() for values in found):
                found = self._in_turns(every, repeated)
                if self.journal is not None:
                    for architecture, values in zip(every, found, strict=True):
                        self.journal.add_readings(architecture, values)
        for architecture, values in zip(every, found, strict=True):
            for scored in (self.known, self.others):
                if architecture in scored:
                    entry = scored[architecture]
                    scored[architecture] = replace(entry, values={**entry.values, **values})

    def _in_turns(
        self,
        architectures: Iterable[Architecture],
        measured: Mapping[str, Callable[[Architecture, nn.Module | None], float]],
    ) -> list[dict[str, float]]:
        def called(name: str) -> Callable[[tuple[Architecture, nn.Module]], float]:
            def call(of: tuple[Architecture, nn.Module]) -> float:
                return measured[name](*of)

            call.readings = readings_of(measured[name])  # type: ignore[attr-defined]
            return call

        def network(architecture: Architecture) -> tuple[Architecture, nn.Module]:
            return architecture, _network(self.search, architecture)

        return in_turns(
            [partial(network, a) for a in architectures], {n: called(n) for n in measured}
        )

    def _keep(self, scored: Scored, *, beside: bool) -> None:
        if self.journal is None:
            (self.others if beside else self.known)[scored.architecture] = scored
        else:
            self.journal.add(scored, beside=beside)
            self._look_up()  # in the order of the file, which is the same for all processes

    def _look_up(self) -> None:
        if self.journal is not None:
            for scored in self.journal.read():
                self.known.setdefault(scored.architecture, scored)
            for scored in self.journal.read(beside=True):
                self.others.setdefault(scored.architecture, scored)

    def _values(self, architecture: Architecture) -> dict[str, float]:
        values: dict[str, float] = {}
        network = _network(self.search, architecture) if self.measured else None
        for name in self.names:
            if name in self.measured:
                values[name] = number_of(self.measured[name](architecture, network))
            elif name in self._metrics:
                values[name] = self._metrics[name]
            else:
                raise RankingError(
                    f"{name!r} is no measure, no installed cost, and was not logged",
                    expected=f"one of {sorted(self._metrics)}, or of the costs "
                    f"{self.search.registry.names('cost')}",
                    fix=f"self.log({name!r}, ...) in validation_step, or correct the name",
                )
        return values

    def _told(self, scored: Scored) -> float | Outcome:
        signed = {
            name: scored.values[name] * (1 if mode == "max" else -1)
            for name, mode in self.objectives.items()
        }
        broken = tuple(_relative(scored.values[n], pair) for n, pair in self.limits.items())
        if self.weights is None:
            return Outcome(tuple(signed.values()), broken)
        score = sum(self.weights[name] * value for name, value in signed.items())
        if sum(broken) > 0:
            score = BROKEN * (1 + sum(broken))
        return -math.inf if math.isnan(score) or math.isnan(sum(broken)) else score


def _relative(value: float, limits: Limits) -> float:
    """Return by how much limits are broken, in units of the limit, so that they add up."""
    by = violation(value, limits)
    limit = limits[0] if limits[0] is not None and value < limits[0] else limits[1]
    return by / abs(limit) if limit else by


__all__ = ["pareto"]
