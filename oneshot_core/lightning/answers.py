"""What a search is asked: for its space, for draws, for the best architectures, for scores.

Supernet modules answer one after another. Each gets a *memo* of what those before it, or the
caller, have decided.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from ..architecture import Architecture, Lead
from ..decision import DecisionTable
from ..discovery.registry import Registry, default_registry
from ..errors import ArchitectureError, StrategyError
from ..model_space import ModelSpace
from ..space.running_network import running
from ..space.spec import Candidate, Choice, ParameterSpec
from ..supernet import BaseSuperNetModule
from ..tables import Table
from .appended import Appended
from .facade import ModuleFacade
from .host import is_fitting
from .plugin_hooks import search_method
from .preflight import require_choices
from .walk import Walk

if TYPE_CHECKING:
    from typing_extensions import Self

    from .. import ParetoFront, Ranking  # of plugins, through the package's table of contents

_LOG = logging.getLogger(f"{__package__}.module")
CANDIDATES_SHOWN = 8
"""Candidates of a label in the table of a search."""


class Answers(ModuleFacade):
    """The part of a search that a user asks; it trains nothing."""

    model: LightningModule
    decisions: DecisionTable
    registry: Registry
    seed: int
    needs_choices = True
    train_dataloader_of_fit: Any
    _appended: Appended
    _walk: Walk
    _beginning: Beginning

    # --- what can be chosen -------------------------------------------------------------------

    @property
    def nas_modules(self) -> list[BaseSuperNetModule]:
        """The supernet modules in ``model``, each once, parents first.

        Asked for inside a constructor, they are made then: what :meth:`make_decision` reads must
        have been set before.
        """
        if "_complete" not in self.__dict__:
            self._walk.mutate_early()
        return list(self._walk.supernets)

    @property
    def space(self) -> ModelSpace:
        """The model space of ``model``."""
        return self._walk.space

    def search_space_spec(self) -> dict[str, ParameterSpec]:
        """Return label -> spec for everything that can be chosen."""
        return dict(self.space.specs)

    # --- draws --------------------------------------------------------------------------------

    def resample(self, memo: Mapping[str, Choice] | None = None) -> dict[str, Choice]:
        """Draw for the next forward passes; return label -> choice for what was drawn.

        Draws that break a constraint of the model space are thrown away. If those are nearly
        all, one that keeps them is drawn uniformly instead.

        Args:
            memo: label -> choice for what is not to be drawn but followed; part of what is
                returned.

        Raises:
            ArchitectureError: ``memo`` holds something else than choices, or what no
                architecture has that keeps the constraints.
        """
        given, modules = self.space.normalise(memo), self.nas_modules

        def draw() -> dict[str, Choice]:
            drawn = dict(given)
            for module in modules:
                drawn |= module.resample(drawn)
            return drawn

        drawn = self.space.draw_possible(draw)
        if drawn is None:
            drawn = self.space.complete(given, self.decisions.rng)
            for module in modules:
                module.resample(drawn)
        return drawn

    def reseed(self, *key: object) -> None:
        """Make the next draws a function of the search's seed and ``key`` alone."""
        self.decisions.reseed(self.seed, *key)

    @contextmanager
    def at(self, architecture: Mapping[str, object]) -> Iterator[Self]:
        """Let ``model`` compute exactly ``architecture`` inside the context.

        Raises:
            ArchitectureError: ``architecture`` does not fit the model space.
            StrategyError: a supernet module decides by itself, and cannot be told.
        """
        given = (
            architecture if isinstance(architecture, Architecture) else Architecture(architecture)
        )
        chosen = given.validate(self.space)
        for label in chosen:
            if label not in self.decisions:
                raise StrategyError(
                    f"{label!r} is decided by a supernet module without a Decision",
                    expected="modules that follow decisions, where architectures are set or ranked",
                    fix="let its mutate() call mutate_kwargs['decisions'].decide(spec, "
                    "path=name), as docs/from-nni.md shows",
                )
        before = [(d, d.is_pinned, d.pinned) for d in self.decisions]
        try:
            for decision, _, _ in before:
                decision.unpin()
                if decision.spec.label in chosen:
                    decision.pin(chosen[decision.spec.label])
            with running:
                yield self
        finally:
            for decision, was_pinned, pinned in before:
                decision.unpin()
                if was_pinned:
                    decision.pin(pinned)

    # --- what it prefers ----------------------------------------------------------------------

    def export(self, memo: Mapping[str, Choice] | None = None) -> Architecture:
        """Return the architecture that the strategy prefers. Deterministic.

        With constraints, the most probable of those that keep them. It carries by how much each
        choice is ahead (:attr:`.Architecture.margins`). After a fit, a line in the log of
        ``oneshot_core.lightning.module``, at the level WARNING, names the choices that are hardly
        ahead.

        Args:
            memo: label -> choice for what is decided already.

        Raises:
            StrategyError: the strategy learns what it prefers and has learned nothing yet, or
                there is nothing to choose.
            ArchitectureError: see :meth:`resample`.
        """
        self._require_preference()
        chosen = self._preferred(self.space.normalise(memo))
        leads = {
            label: Lead(*self.decisions[label].lead(choice))
            for label, choice in chosen.items()
            if label in self.decisions
        }
        found = Architecture(chosen, self.space, leads=leads)
        if found.undecided and not is_fitting(self.model):
            _LOG.warning(
                "%s exports what it hardly prefers: %s. A longer search or a larger learning rate "
                "of the architecture decides more; search.rank compares architectures without.",
                type(self).__name__,
                found.undecided,
            )
        return found

    def export_probs(
        self, memo: Mapping[str, Mapping[Candidate, float]] | None = None
    ) -> dict[str, dict[Candidate, float]]:
        """Return label -> candidate -> probability of being taken.

        Args:
            memo: the same for what is known already; part of what is returned.

        Warns:
            UserWarning: a supernet module has no probabilities to export
                (``NotImplementedError``), and is left out.
        """
        found = {label: dict(row) for label, row in (memo or {}).items()}
        for module in self.nas_modules:
            try:
                found |= module.export_probs(found)
            except NotImplementedError:
                warnings.warn(
                    f"a {type(module).__name__} has no probabilities to export; "
                    f"{', '.join(map(repr, module.search_space_spec()))} left out",
                    UserWarning,
                    stacklevel=2,
                )
        return found

    def top_k(self, k: int) -> list[Architecture]:
        """Return the ``k`` most probable architectures, best first; fewer if there are no more.

        Labels are treated as independent; choices that decide nothing do not count. A choice is
        as good as its probability is beside that of the best one under its label, so the first
        architecture is that of :meth:`export`.

        Raises:
            StrategyError: as for :meth:`export`.
            ValueError: ``k`` is less than 1.
        """
        self._require_preference()
        found = self._most_probable(k, {})
        return [Architecture(chosen, self.space) for chosen in found]

    @property
    def trained(self) -> bool:
        """Whether the weights are other than those that the search was made with.

        By a fit, a checkpoint, or by hand. False also where they were trained before that.
        """
        fitted = self.train_dataloader_of_fit is not None
        return fitted or not self._beginning.has_weights_of(self.model)

    def _preferred(self, memo: dict[str, Choice]) -> Mapping[str, Choice]:
        """Return what the supernet modules prefer, given ``memo``."""
        chosen = dict(memo)
        for module in self.nas_modules:
            chosen |= module.export(chosen)
        if not self.space.possible(chosen):
            if not memo:
                return self.top_k(1)[0]
            found = self._most_probable(1, memo)
            if not found:
                raise ArchitectureError(
                    f"no architecture with {memo} keeps the constraints",
                    expected=f"{', '.join(map(repr, self.space.constraints))}",
                    fix="decide less, or something else",
                )
            chosen = found[0]
        return self.space.reduce(chosen)

    def _most_probable(self, k: int, memo: dict[str, Choice]) -> list[dict[str, Choice]]:
        alone: dict[str, Choice] = {}  # what supernet modules decide without a decision
        for module in self.nas_modules:
            if any(label not in self.decisions for label in module.search_space_spec()):
                alone |= module.export(alone)
        fixed = {label: choice for label, choice in alone.items() if label not in self.decisions}
        found: list[dict[str, Choice]]
        found = search_method("top_k", self.registry)(self, k, fixed | memo)
        return found

    def _require_preference(self) -> None:
        """Refuse to answer before any fit what the search was made with.

        A fit that teaches the architecture nothing yet, such as a warm-up, is not ended by a
        callback that asks: what is exported then is hardly ahead, and says so.
        """
        require_choices(self)
        specs = [d.spec for d in self.decisions if d.spec.size > 1]
        opinion = not specs or any(spec.prior is not None for spec in specs)
        untried = self.model._trainer is None and not opinion
        if untried and self._beginning.has_parameters_of(self.decisions):
            raise StrategyError(
                f"{type(self).__name__} prefers no architecture: its architecture parameters are "
                "those that it was made with",
                expected="a fit, or the checkpoint of one",
                fix="trainer.fit(search, ...); "
                "Architecture(search.space.sample(random.Random(0))) is a random one",
            )

    def architecture_optimizers(self) -> Optimizer | list[Optimizer] | None:
        """Return the optimizers of the architecture parameters; a list only of two or more.

        None if the strategy has none, and before a fit. Each has an attribute
        ``is_arch_optimizer``, which is true.
        """
        found = self._appended.optimizers
        return (found[0] if found else None) if len(found) < 2 else list(found)

    def is_architecture_scheduler(self, scheduler: object) -> bool:
        """Say whether ``scheduler`` is one of the strategy's, not the user's."""
        return self._appended.holds_scheduler(scheduler)

    def is_architecture_optimizer(self, optimizer: object) -> bool:
        """Say whether ``optimizer``, or what Lightning wrapped in it, is the strategy's."""
        return self._appended.holds_optimizer(optimizer)

    # --- scores, which installed plugins give -------------------------------------------------

    def evaluate(
        self, architecture: Mapping[str, object], dataloaders: Any, **options: Any
    ) -> dict[str, float]:
        """Return what the user's ``validation_step`` logs for one architecture.

        Args:
            architecture: what is computed, with the weights of the supernet.
            dataloaders: as for ``Trainer.validate``.
            **options: ``train_dataloader``, ``calibration_batches`` and ``trainer`` of
                :meth:`rank`.

        Raises:
            ArchitectureError: ``architecture`` does not fit the model space.
            RankingError: nothing was logged, or BatchNorm cannot be recalibrated.
        """
        method = search_method("evaluate", self.registry)
        metrics: dict[str, float] = method(self, architecture, dataloaders, **options)
        return metrics

    def rank(self, architectures: Any, dataloaders: Any, **options: Any) -> Ranking:
        """Score architectures with the weights of the supernet; return them, best first.

        The first installed component of the kind ``search_method`` with this name does it; ours is
        ``oneshot_plugins.ranking.evaluation.rank``, which describes the options.

        Args:
            architectures: which ones, such as ``"all"``, a number of random ones, or the name
                of a searcher.
            dataloaders: as for ``Trainer.validate``.
            **options: ``metric``, ``mode`` and others.

        Returns:
            An :class:`oneshot_core.Ranking`; it is kept as :attr:`ranking`, too.
        """
        require_choices(self)
        ranking: Ranking = search_method("rank", self.registry)(
            self, architectures, dataloaders, **options
        )
        return ranking

    def pareto(
        self, objectives: Mapping[str, str], dataloaders: Any, **options: Any
    ) -> ParetoFront:
        """Look for the best trade-offs between objectives.

        The first installed component of the kind ``search_method`` with this name does it; ours is
        ``oneshot_plugins.ranking.pareto.pareto``, which describes the options.

        Args:
            objectives: name -> ``"max"`` or ``"min"``.
            dataloaders: as for ``Trainer.validate``.
            **options: ``budget``, ``constraints`` and others.

        Returns:
            An :class:`oneshot_core.ParetoFront`.
        """
        require_choices(self)
        front: ParetoFront = search_method("pareto", self.registry)(
            self, objectives, dataloaders, **options
        )
        return front

    def _repr_html_(self) -> str:
        """Return what can be chosen, and how probable the candidates are, for notebooks."""
        probable = self.export_probs()
        rows = [[d.spec.label, _offer(d.spec, probable)] for d in self.decisions]
        title = f"{type(self).__name__} over {type(self.model).__name__}: {len(rows)} choices"
        return Table(["label", "candidates and their probabilities"], rows, title).html()

    def __getstate__(self) -> dict[str, Any]:
        return {
            **super().__getstate__(),
            "train_dataloader_of_fit": None,
            "registry": None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.__dict__["registry"] = default_registry()


class Beginning:
    """What the parameters of a search were when it was made.

    Args:
        model: of whose weights one number each is kept, for a training changes nearly all of them.
        decisions: of which all parameters are kept.
    """

    def __init__(self, model: nn.Module, decisions: nn.Module) -> None:
        self._weights = _middles(model)
        self._learned = [parameter.detach().clone() for parameter in decisions.parameters()]

    def has_weights_of(self, model: nn.Module) -> bool:
        """Say whether the weights of ``model`` are still those."""
        return self._weights == _middles(model)

    def has_parameters_of(self, decisions: nn.Module) -> bool:
        """Say whether there are parameters of ``decisions``, and they are still those."""
        now = [parameter.detach() for parameter in decisions.parameters()]
        return len(now) == len(self._learned) > 0 and all(map(_equal, now, self._learned))


@torch.no_grad()
def _middles(model: nn.Module) -> list[object]:
    return [
        None if is_lazy(p) or p.is_meta or not p.numel() else p.reshape(-1)[p.numel() // 2].item()
        for p in model.parameters()
    ]


def _equal(now: Tensor, then: Tensor) -> bool:
    return now.dtype == then.dtype and torch.equal(now, then.to(now.device))


def _offer(spec: ParameterSpec, probabilities: Mapping[str, Mapping[Candidate, float]]) -> str:
    if spec.interval is not None:
        return spec.offer
    ordered = sorted(probabilities[spec.label].items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{name} {p:.2f}" for name, p in ordered[:CANDIDATES_SHOWN])
    more = len(ordered) - CANDIDATES_SHOWN
    several = "" if spec.n_chosen == 1 else f"{spec.n_chosen or 'any'} of "
    return f"{several}{shown}" + (f", ... {more} more" if more > 0 else "")
