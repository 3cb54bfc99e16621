"""NSGA-II and TPE, as optuna has them.

optuna, because its samplers ask for parameters one after another, so that a choice inside a
candidate is asked for only where it decides something; and because a study can be kept in a
database or journal that several processes share.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Container, Generator, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from oneshot_core import Architecture, ModelSpace, ParameterSpec
from oneshot_core.errors import PluginLoadError, RankingError
from oneshot_core.searching import Outcome
from oneshot_core.space import Choice
from oneshot_plugins.ranking.evaluation import only_warnings

from .encoding import Number, decode, encode

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

REPETITIONS = 10
"""Known architectures in a row before a random new one is put in."""
TRIES = 100
"""Random draws in a row that may be known before all architectures are listed."""

Proposed = Generator[Mapping[str, Choice], "float | Outcome", None]


def nsga2(
    space: ModelSpace,
    *,
    budget: int,
    seed: int,
    objectives: int | None = None,
    storage: str | None = None,
    population_size: int = 50,
) -> Proposed:
    """Propose by crossover and mutation of those that are dominated least and crowded least.

    Args:
        space: what architectures can be proposed.
        budget: how many are proposed; fewer if the space holds fewer.
        seed: of all draws. Without ``storage`` the proposals are a function of it and the
            scores.
        objectives: how many numbers each architecture is scored by; None for a score alone.
        storage: where the study is kept, for several processes: a URL such as
            ``"sqlite:///search.db"``, or the path of an optuna journal. None for in memory.
        population_size: how many make a generation, at least 2. The first generation is random, so
            a budget of few generations is hardly better than random search: take a tenth of it.

    Raises:
        RankingError: ``population_size`` is less than 2.
        PluginLoadError: optuna is not installed.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
    Transactions on Evolutionary Computation 6(2), 2002; ``optuna.samplers.NSGAIISampler``.
    """
    if population_size < 2:
        raise RankingError(
            f"nsga2 got population_size={population_size}", expected="2 or more", fix="correct it"
        )
    samplers = _optuna("nsga2").samplers
    number = _sampler_seed(seed, storage)
    sampler = samplers.NSGAIISampler(population_size=population_size, seed=number)
    return _propose("nsga2", sampler, space, budget, seed, objectives, storage)


def tpe(
    space: ModelSpace,
    *,
    budget: int,
    seed: int,
    objectives: int | None = None,
    storage: str | None = None,
    n_startup: int = 10,
) -> Proposed:
    """Propose what is probable among the good and improbable among the rest.

    Args:
        space: what architectures can be proposed.
        budget: how many are proposed; fewer if the space holds fewer.
        seed: of all draws; see :func:`nsga2`.
        objectives: how many numbers each architecture is scored by; None for a score alone.
        storage: where the study is kept; see :func:`nsga2`.
        n_startup: how many random ones come first.

    Raises:
        RankingError: ``n_startup`` is less than 1.
        PluginLoadError: optuna is not installed.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; Ozaki
    et al., "Multiobjective tree-structured Parzen estimator", JAIR 73, 2022, for several
    objectives; ``optuna.samplers.TPESampler``.
    """
    if n_startup < 1:
        raise RankingError(f"tpe got n_startup={n_startup}", expected="1 or more", fix="correct it")
    samplers = _optuna("tpe").samplers
    sampler = samplers.TPESampler(
        n_startup_trials=n_startup,
        seed=_sampler_seed(seed, storage),
        multivariate=True,
    )
    return _propose("tpe", sampler, space, budget, seed, objectives, storage)


def _optuna(searcher: str) -> Any:
    if find_spec("optuna") is None:
        raise PluginLoadError(
            f"the searcher {searcher!r} needs optuna, which is not installed",
            expected="the extra 'search' of oneshot-core",
            fix="pip install 'oneshot-core[search]', or use searcher='evolution'",
        )
    return import_module("optuna")


def _sampler_seed(seed: int, storage: str | None) -> int:
    # Processes that share a study must not all propose the same.
    key = f"{seed}/optuna" if storage is None else f"{seed}/optuna/{os.getpid()}/{os.urandom(8)!r}"
    return random.Random(key).getrandbits(32)


def _propose(
    name: str,
    sampler: BaseSampler,
    space: ModelSpace,
    budget: int,
    seed: int,
    objectives: int | None,
    storage: str | None,
) -> Proposed:
    """Yield new architectures of a study until it knows as many as it may.

    What the study has known from before is yielded first, so that whoever scores sees it.
    """
    study = _study(name, sampler, space, objectives or 1, storage)
    rng = random.Random(f"{seed}/{name}")
    limit = min(budget, space.size)
    known = _Known(study, space)
    known.read()
    for architecture in list(known.architectures)[:limit]:
        yield dict(architecture)
    failed = _optuna(name).trial.TrialState.FAIL
    repeated = 0
    while len(known.architectures) < limit:
        if repeated >= REPETITIONS:
            study.enqueue_trial(dict(encode(space, _unknown(space, known.architectures, rng))))
        trial = study.ask()
        chosen = decode(space, partial(_suggest, trial))
        architecture = Architecture(chosen)
        if architecture in known.architectures:
            repeated += 1
            study.tell(trial, state=failed)  # nothing new to learn from
            continue
        repeated = 0
        _tell(study, trial, (yield chosen))
        known.read()


class _Known:
    """What the finished trials of a study were about; also those of other processes."""

    def __init__(self, study: Study, space: ModelSpace) -> None:
        self.study = study
        self.space = space
        self.architectures: dict[Architecture, None] = {}
        self._read: set[int] = set()

    def read(self) -> None:
        """Take in the trials that have finished since the last call."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.number not in self._read:
                self._read.add(trial.number)
                chosen = decode(self.space, partial(_recorded, trial))
                self.architectures[Architecture(chosen)] = None


def _study(
    name: str,
    sampler: BaseSampler,
    space: ModelSpace,
    objectives: int,
    storage: str | None,
) -> Study:
    optuna = _optuna(name)
    with only_warnings("optuna"):  # else a line about a new study
        study: Study = optuna.create_study(
            study_name=f"oneshot-{name}-{space.fingerprint}",
            storage=_storage(storage),
            sampler=sampler,
            directions=["maximize"] * objectives,
            load_if_exists=storage is not None,
        )
    if len(study.directions) != objectives:
        raise RankingError(
            f"the study in {storage!r} is about {len(study.directions)} objectives",
            expected=f"{objectives}, as asked for now",
            fix="use another storage for another question",
        )
    return study


def _storage(storage: str | None) -> BaseStorage | str | None:
    if storage is None or "://" in storage:
        return storage
    journal = import_module("optuna.storages.journal")
    storages = import_module("optuna.storages")
    found: BaseStorage = storages.JournalStorage(journal.JournalFileBackend(storage))
    return found


def _recorded(trial: FrozenTrial, name: str, spec: ParameterSpec) -> Number:
    value: Number = trial.params[name]
    return value


def _suggest(trial: Trial, name: str, spec: ParameterSpec) -> Number:
    if spec.interval is not None:
        return trial.suggest_float(
            name, spec.interval.low, spec.interval.high, log=spec.interval.log
        )
    if spec.n_chosen == 1:
        return trial.suggest_categorical(name, range(len(spec.candidates)))
    return trial.suggest_categorical(name, (False, True))


def _tell(study: Study, trial: Trial, result: float | Outcome) -> None:
    outcome = result if isinstance(result, Outcome) else Outcome((result,), ())
    numbers = (*outcome.values, *outcome.violations)
    if not all(map(math.isfinite, numbers)):
        study.tell(trial, state=_optuna("study").trial.TrialState.FAIL)
        return
    for index, violation in enumerate(outcome.violations):
        trial.set_constraint(str(index), violation)
    study.tell(trial, outcome.values)


def _unknown(
    space: ModelSpace, known: Container[Architecture], rng: random.Random
) -> Mapping[str, Choice]:
    """Return a random architecture that is not known."""
    for _ in range(TRIES):
        drawn = space.sample(rng)
        if Architecture(drawn) not in known:
            return drawn
    return next(a for a in space.architectures() if Architecture(a) not in known)
