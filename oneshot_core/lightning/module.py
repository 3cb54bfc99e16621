"""The search: a LightningModule around the user's, driven by Lightning's own training loop.

Data flow of a fit::

    construction   the walk replaces choices inside the user's model by supernet modules,
                   each holding a decision of `self.decisions`
    on_fit_start   the loop's optimization is entered (engine.py), architecture optimizers
                   are appended after the user's
    each batch     loop -> engine -> search_step(batch, batch_idx), the strategy's method
                       -> advance_optimization(), Lightning's own weight step
                       -> architecture_step(), on a batch of its own, isolated
    evaluation     prepare_evaluation(...), then the user's validation_step

Nothing of a search enters the user's module except supernet modules in the place of choices.
"""

from __future__ import annotations

import logging
import os
from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from ..architecture import Architecture
from ..decision import Decision, DecisionTable
from ..discovery.registry import Registry, default_registry
from ..errors import MissingDataError, OneShotError, StrategyError
from ..hooks import MutationHook, no_default_hook
from ..model_space import ModelSpace
from ..space.running_network import running
from ..space.spec import Candidate, Choice, ParameterSpec
from ..supernet import BaseSuperNetModule, supernet_modules
from ..traversal import traverse_and_mutate_submodules
from .appended import Appended, scheduler_config
from .architecture_step import architecture_step, users_loss
from .batches import ArchitectureBatches
from .checkpoint import CHECKPOINT_KEY, load_search_state, search_state
from .checkpoint_io import read_checkpoint, require_folders
from .engine import install_engine, remove_engine
from .facade import ModuleFacade
from .forwarding import install_hooks
from .learned import Beginning
from .manual import ManualDriver, SchedulerSteps
from .memo import (
    decided_alone,
    exported,
    probabilities,
    require_pinnable,
    resampled,
    with_leads,
)
from .own_step import advance, driver_of, is_defined_by_strategy, require_agreement
from .plugin_hooks import (
    hooks_in_order,
    optimizer_shapes,
    options_of_hooks,
    plugin_hooks,
    search_method,
)
from .trees import is_lightning_module, tree_of

if TYPE_CHECKING:  # of plugins, through the package's table of contents
    from .. import ParetoFront, Ranking

_LOG = logging.getLogger(__name__)


class _MutatedWhenBuilt(ABCMeta):
    """Builds a search in the tree of its model, and mutates it after its whole constructor ran."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        model = args[0] if args else kwargs.get("model")
        own: Any = tree_of(model).rebased(cls)
        search = ABCMeta.__call__(own, *args, **kwargs)
        search.mutate()
        search.complete()
        search.__dict__["_beginning"] = Beginning(search.model, search.decisions)
        return search


class BaseOneShotLightningModule(ModuleFacade, metaclass=_MutatedWhenBuilt):
    """A one-shot search over the choices in a LightningModule; the base of every strategy.

    To Lightning it looks like ``model`` itself: hooks, logged names, hyperparameters,
    checkpoint keys and optimizers are those of ``model``. Attributes that a search does not
    have are read from and written to ``model``.

    A strategy supplies :meth:`make_decision` and, where it does more than draw,
    :meth:`search_step` and :meth:`configure_architecture_optimizers`. It may define
    ``training_step`` instead, as strategies of the reference do; see
    :meth:`advance_optimization`.

    Args:
        model: the user's module; its choices are replaced in place.
        mutation_hooks: asked before the installed ones.
        arch_dataloader: batches for :meth:`architecture_step`.
        seed: of everything the search draws. None takes the seed of ``seed_everything``, else 0.
        registry: where plugins are looked up. None takes the default.

    Attributes:
        model: the user's module.
        decisions: one for each label.
        mutation_hooks: as given.
        seed: as given or found.
        registry: where plugins are looked up.
        needs_choices: whether a model without any choice is refused, by a fit, a ranking and
            :meth:`export`. Switched off, such a model is trained as it is.
        ranking: the last result of :meth:`rank`, None before.
        architecture_batches: what ``arch_dataloader`` yields, endlessly; None without one.
        train_dataloader_of_fit: what the last fit trained on, None before.

    Raises:
        StrategyError: ``model`` is no LightningModule.
        UnsupportedModuleError: no hook handles one of the choices.
        LabelError: one label names two different choices.

    Source: ``nni.nas.oneshot.pytorch.base_lightning.BaseOneShotLightningModule``.
    """

    decisions: DecisionTable
    needs_choices = True
    _automatic: bool | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A plain attribute would hide the property, which also knows what the user's module says.
        if isinstance(cls.__dict__.get("automatic_optimization"), bool):
            cls._automatic = cls.__dict__["automatic_optimization"]
            del cls.automatic_optimization

    _beginning: Beginning

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        arch_dataloader: Iterable[Any] | None = None,
        seed: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        if not is_lightning_module(model) or isinstance(model, BaseOneShotLightningModule):
            raise StrategyError(
                f"{type(self).__name__} got a {type(model).__name__}.\n"
                "  expected: a LightningModule that is not a search itself\n"
                "  fix: write a LightningModule around your network; its training_step trains "
                "the supernet"
            )
        super().__init__(model)
        self.mutation_hooks = list(mutation_hooks or [])
        self.arch_dataloader = arch_dataloader
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self.ranking: Ranking | None = None
        self.decisions = DecisionTable(self.make_decision)
        self.registry = default_registry() if registry is None else registry
        self._nas_modules: list[BaseSuperNetModule] = []
        self._walked: set[nn.Module] = set()
        self._space: ModelSpace | None = None
        self.architecture_batches = (
            None
            if arch_dataloader is None
            else ArchitectureBatches(arch_dataloader, self.seed, model)
        )
        self._appended = Appended()
        self._advance: Callable[[], Any] | None = None
        self._outputs: Any = None
        self._inside_loop = False
        self._manual: ManualDriver | None = driver_of(self, self._automatic)
        self._scheduler_steps: SchedulerSteps | None = None
        self.train_dataloader_of_fit: Any = None
        install_hooks(self)

    # --- what a strategy supplies -----------------------------------------------------------

    def make_decision(self, spec: ParameterSpec) -> Decision:
        """Build the decision for one label; every strategy has to."""
        raise StrategyError(
            f"{type(self).__name__} makes no decision for {spec.label!r}.\n"
            "  expected: a method make_decision(spec) that returns a Decision\n"
            "  fix: write it, as docs/tutorials/strategy.md shows; docs/from-nni.md shows a "
            "strategy of NNI before and after"
        )

    def search_step(self, batch: Any, batch_idx: int) -> None:
        """Do what the search does with one training batch.

        Call :meth:`advance_optimization` where the weights are to be trained on ``batch``; a
        batch without that call trains nothing. The default does nothing else.
        """
        self.advance_optimization()

    def configure_architecture_optimizers(self) -> Any:
        """Return optimizers of the architecture parameters, in any shape Lightning knows.

        None, the default, for strategies that learn no architecture parameters. Schedulers
        are stepped by Lightning, like the user's.
        """
        return None

    def default_mutation_hooks(self) -> list[MutationHook]:
        """Return the hooks that are asked last; the last of them refuses unhandled choices.

        They get what the installed hooks leave, which handle all choices of this package. For
        what is to be asked before those, see :meth:`first_mutation_hooks`.
        """
        return [no_default_hook]

    def first_mutation_hooks(self) -> list[MutationHook]:
        """Return the hooks that are asked before the installed ones, after the user's."""
        return []

    def mutate_kwargs(self) -> dict[str, object]:
        """Return what every mutation hook gets in its last argument, beside ``"decisions"``."""
        return {}

    def prepare_evaluation(self, stage: str, batch_idx: int) -> None:
        """Choose what the next evaluated batch is computed with; by default as things stand.

        Args:
            stage: ``"validation"``, ``"test"`` or ``"predict"``.
            batch_idx: position of the batch in its loader.
        """

    @property
    def search_phase(self) -> str:
        """What the search is doing at present, in a word or two; progress bars show it."""
        return "search"

    def strategy_state(self) -> dict[str, Any]:
        """Return further state for the checkpoint: plain data and tensors."""
        return {}

    def load_strategy_state(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`strategy_state` returned."""

    def check_fit(self) -> None:
        """Raise for what cannot work, before training starts.

        Raises:
            StrategyError: naming what is missing and the fix.
            OutputError: checkpoints cannot be written where they are to be.
        """
        learns = self.architecture_batches is not None and any(
            d.spec.size > 1 and list(d.parameters()) for d in self.decisions
        )
        own_loss = type(self).architecture_loss is not BaseOneShotLightningModule.architecture_loss
        if learns and not own_loss:
            self.require_loss_of_training_step()
        base = BaseOneShotLightningModule
        if type(self).run_training_step is not base.run_training_step:
            self.require_loss_of_training_step()
        self._require_equal_plugins()
        self._require_its_modules()
        self.require_choices()
        self._require_shapes()
        self._require_numbers()
        require_folders(self.trainer)
        if self.architecture_batches is not None:
            self.architecture_batches.require()
        strategy = self.trainer.strategy
        samples = any(d.leaves_out and d.spec.size > 1 for d in self.decisions)
        if not samples or not isinstance(strategy, tree_of(strategy).own(DDPStrategy)):
            return
        if strategy._ddp_kwargs.get("static_graph"):
            raise StrategyError(
                f"{type(self).__name__} trains another graph with each batch, which "
                "static_graph=True rules out.\n"
                "  expected: a DDP strategy without static_graph\n"
                "  fix: Trainer(strategy='ddp_find_unused_parameters_true')"
            )
        if not strategy._ddp_kwargs.get("find_unused_parameters"):
            raise StrategyError(
                f"{type(self).__name__} leaves candidates out of a batch, which DDP refuses.\n"
                "  expected: a DDP strategy that looks for unused parameters\n"
                "  fix: Trainer(strategy='ddp_find_unused_parameters_true')"
            )

    def _require_its_modules(self) -> None:
        """Refuse to train without the supernet modules, which something else has replaced."""
        inside = set(self.model.modules())
        for module in self._nas_modules:
            if module not in inside:
                raise StrategyError(
                    f"a {type(module).__name__} is no longer in {type(self.model).__name__}.\n"
                    "  expected: the modules that the search put there\n"
                    "  fix: replace modules before the search is made; leave out "
                    "Trainer(sync_batchnorm=True), which replaces BatchNorm after that"
                )

    def require_choices(self) -> None:
        """Refuse a model with nothing to choose.

        Raises:
            StrategyError: there is no choice, and :attr:`needs_choices` is set.
        """
        if self.needs_choices and not self._nas_modules:
            raise StrategyError(
                f"there is no choice in {type(self.model).__name__}.\n"
                "  expected: at least one, in a submodule; torch does not see into plain lists\n"
                "  fix: put a LayerChoice or another choice where a layer is, a list of them into "
                "an nn.ModuleList; search.needs_choices = False trains the model as it is"
            )

    def _require_shapes(self) -> None:
        """Refuse layers that have no shape yet, which no walk could look into."""
        for path, part in self.model.named_modules() if self._nas_modules else ():
            if any(map(is_lazy, [*part._parameters.values(), *part._buffers.values()])):
                raise StrategyError(
                    f"the {type(part).__name__} at {path!r} has no shape before its first batch.\n"
                    "  expected: layers with shapes; a search may train others first\n"
                    "  fix: say its number of inputs, or run the model once on a batch before "
                    "oneshot.search"
                )

    def _require_numbers(self) -> None:
        for decision in self.decisions:
            if not all(bool(p.isfinite().all()) for p in decision.parameters()):
                raise StrategyError(
                    f"the architecture parameters of {decision.spec.label!r} are not finite.\n"
                    "  expected: numbers\n"
                    "  fix: go on from an earlier checkpoint"
                )

    def require_loss_of_training_step(self) -> None:
        """Raise if the user's ``training_step`` cannot be run for its loss alone.

        Raises:
            StrategyError: the user's module optimizes manually.
        """
        if not self.model.automatic_optimization:
            raise StrategyError(
                f"{type(self.model).__name__} optimizes manually; its training_step cannot be run "
                "for its loss alone.\n"
                "  expected: automatic optimization, or a strategy with an architecture_loss of "
                "its own\n"
                f"  fix: override architecture_loss(batch, batch_idx) of {type(self).__name__}"
            )

    def _require_equal_plugins(self) -> None:
        """Compare what is installed across processes: another hook there is another supernet."""
        if self.trainer.world_size == 1:
            return
        fingerprint = self.registry.fingerprint()
        number = int(fingerprint.partition(":")[2], 16) >> 1  # fits a signed integer
        everywhere: Any = self.all_gather(torch.tensor(number, device=self.device))
        if (everywhere != number).any():
            raise StrategyError(
                f"the processes of this fit use different plugins; here {fingerprint}.\n"
                "  expected: the same plugins, in the same versions, on every machine\n"
                "  fix: compare `oneshot plugins list` on each"
            )

    # --- the walk ---------------------------------------------------------------------------

    def mutate(self) -> None:
        """Walk over the modules of ``model`` that no walk has seen, replacing choices in place.

        Called after construction, after the user's ``setup`` and after ``configure_model``.
        """
        if all(module in self._walked for module in self.model.modules()):
            return
        for path, part in self.model.named_modules():
            name = type(part).__name__
            tree_of(self).require(part, f"the module {path!r} ({name})" if path else name)
            self._require_own(part, path)
        self.registry.require()
        events = self.registry.hook
        options = options_of_hooks(self)
        events.oneshot_before_mutation(model=self.model, mutate_kwargs=options)
        traverse_and_mutate_submodules(
            self.model,
            [self._keep_known, *hooks_in_order(self, plugin_hooks(self.registry))],
            options,
            on_replace=lambda path, original, replacement: events.oneshot_module_replaced(
                path=path, original=original, replacement=replacement
            ),
        )
        # Not assigned as attributes would be: a module set must not become a submodule.
        self.__dict__["_nas_modules"] = list(supernet_modules(self.model))
        self.__dict__["_walked"] = set(self.model.modules())
        self.__dict__["_space"] = None
        events.oneshot_after_mutation(model=self.model, nas_modules=self.nas_modules)

    def _require_own(self, module: nn.Module, path: str) -> None:
        """Refuse a supernet module of another search: its decisions are not of this one."""
        if isinstance(module, BaseSuperNetModule) and not all(
            d.spec.label in self.decisions and self.decisions[d.spec.label] is d
            for d in module.decisions
        ):
            raise StrategyError(
                f"the {type(module).__name__} at {path!r} belongs to another search.\n"
                "  expected: a model that no search has been made of\n"
                "  fix: build the model anew; a search replaces the choices in it for good"
            )

    def _keep_known(self, module: nn.Module, name: str, memo: Any, options: Any) -> bool | None:
        return True if module in self._walked else None

    @property
    def nas_modules(self) -> list[BaseSuperNetModule]:
        """The supernet modules in ``model``, each once, parents first.

        Asked for inside a constructor, they are made then: what :meth:`make_decision` reads must
        have been set before.
        """
        if "_complete" not in self.__dict__:
            self._mutate_early()
        return list(self._nas_modules)

    def _mutate_early(self) -> None:
        try:
            self.mutate()
        except AttributeError as error:  # nn.Module would say that there are no nas_modules
            raise StrategyError(
                f"{type(self).__name__} asked for nas_modules before it was ready: {error}.\n"
                "  expected: a constructor that first sets what make_decision and the mutation "
                "hooks read\n"
                "  fix: set it before, or ask later"
            ) from error

    @property
    def space(self) -> ModelSpace:
        """The model space of ``model``."""
        if self._space is None:
            self._space = ModelSpace(self.model)
        return self._space

    def search_space_spec(self) -> dict[str, ParameterSpec]:
        """Return label -> spec for everything that can be chosen."""
        return dict(self.space.specs)

    # --- asking and setting the architecture --------------------------------------------------

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
        return resampled(self, self.space.normalise(memo))

    def reseed(self, *key: object) -> None:
        """Make the next draws a function of the search's seed and ``key`` alone."""
        self.decisions.reseed(self.seed, *key)

    def export(self, memo: Mapping[str, Choice] | None = None) -> Architecture:
        """Return the architecture that the strategy prefers. Deterministic.

        With constraints, the most probable of those that keep them. It carries by how much each
        choice is ahead (:attr:`.Architecture.margins`). After a fit, a line in the log of this
        module, at the level WARNING, names the choices that are hardly ahead.

        Args:
            memo: label -> choice for what is decided already.

        Raises:
            StrategyError: the strategy learns what it prefers and no fit has begun, or there is
                nothing to choose.
            ArchitectureError: see :meth:`resample`.
        """
        self._require_preference()
        found = with_leads(self, exported(self, self.space.normalise(memo)))
        if found.undecided and not self._is_fitting():
            _LOG.warning(
                "%s exports what it hardly prefers: %s. A longer search or a larger learning rate "
                "of the architecture decides more; search.rank compares architectures without.",
                type(self).__name__,
                found.undecided,
            )
        return found

    def _require_preference(self) -> None:
        """Refuse to answer before any fit what the search was made with.

        A fit that teaches the architecture nothing yet, such as a warm-up, is not ended by a
        callback that asks: what is exported then is hardly ahead, and says so.
        """
        self.require_choices()
        specs = [d.spec for d in self.decisions if d.spec.size > 1]
        opinion = not specs or any(spec.prior is not None for spec in specs)
        untried = self._trainer is None and not opinion
        if untried and self._beginning.has_parameters_of(self.decisions):
            raise StrategyError(
                f"{type(self).__name__} prefers no architecture: its architecture parameters are "
                "those that it was made with.\n"
                "  expected: a fit, or the checkpoint of one\n"
                "  fix: trainer.fit(search, ...); "
                "Architecture(search.space.sample(random.Random(0))) is a random one"
            )

    @property
    def trained(self) -> bool:
        """Whether the weights are other than those that the search was made with.

        By a fit, a checkpoint, or by hand. False also where they were trained before that.
        """
        fitted = self.train_dataloader_of_fit is not None
        return fitted or not self._beginning.has_weights_of(self.model)

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
        return probabilities(self.nas_modules, memo)

    def top_k(self, k: int) -> list[Architecture]:
        """Return the ``k`` most probable architectures, best first; fewer if there are no more.

        Labels are treated as independent; choices that decide nothing do not count. A choice is
        as good as its probability is beside that of the best one under its label, so the first
        architecture is that of :meth:`export`.

        Raises:
            StrategyError: as for :meth:`export`.
            ValueError: ``k`` is less than 1.
        """
        from .top_k import most_probable

        self._require_preference()

        return [
            Architecture(chosen, self.space)
            for chosen in most_probable(
                self.space, self.decisions, k, relative=True, fixed=decided_alone(self)
            )
        ]

    @contextmanager
    def at(self, architecture: Mapping[str, object]) -> Iterator[BaseOneShotLightningModule]:
        """Let ``model`` compute exactly ``architecture`` inside the context.

        Raises:
            ArchitectureError: ``architecture`` does not fit the model space.
        """
        given = (
            architecture if isinstance(architecture, Architecture) else Architecture(architecture)
        )
        chosen = given.validate(self.space)
        require_pinnable(self, chosen)
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

    # --- one batch ----------------------------------------------------------------------------

    def advance_optimization(
        self,
        loss: Any = None,
        batch_idx: int | None = None,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Train the weights on the current batch: Lightning's own step, or the user's manual one.

        Called without arguments from :meth:`search_step`. Architecture parameters get no gradient
        here.

        A strategy may define ``training_step`` instead, as the reference's do: it runs
        ``self.model.training_step`` itself, and gives the loss to this method. The weights are
        then trained by hand (:mod:`oneshot_core.lightning.manual` says what differs), with the
        Trainer's accumulation and clipping; of a step of several losses each is divided by their
        number. The architecture parameters get the gradient of the loss, too.

        Args:
            loss: what a ``training_step`` of the strategy computed; None skips the batch.
            batch_idx: the batch that it counts as for accumulation.
            gradient_clip_val: in the place of the Trainer's.
            gradient_clip_algorithm: ``"norm"`` or ``"value"``, in the place of the Trainer's.

        Raises:
            StrategyError: called outside of a batch, or with a loss where Lightning computes it.
        """
        if advance(self, loss, batch_idx, gradient_clip_val, gradient_clip_algorithm):
            return
        if self._advance is None:
            if not self._inside_loop and self._is_fitting():
                return  # Lightning's loop could not be entered; it trains after this method
            raise StrategyError(
                "advance_optimization() was called outside of a training batch.\n"
                "  expected: a call from search_step\n"
                "  fix: override search_step(batch, batch_idx) and call it there"
            )
        frozen = [p for p in self.decisions.parameters() if p.requires_grad]
        step = self._advance
        self.__dict__["_advance"] = None  # what it runs does not advance
        try:
            for parameter in frozen:
                parameter.requires_grad_(False)
            self.__dict__["_outputs"] = step()
        finally:
            self.__dict__["_advance"] = step
            for parameter in frozen:
                parameter.requires_grad_(True)

    def architecture_step(self, batch: Any = None) -> Tensor | None:
        """Train the architecture parameters on the next batch of ``arch_dataloader``.

        The gradient is that of :meth:`architecture_gradient`: for the architecture parameters
        alone. What the user's training could notice is put back: random states, buffers,
        metrics, plain attributes, logged values.

        Args:
            batch: used instead, as it is, if given.

        Returns:
            The loss, detached; None if the user's ``training_step`` skipped the batch, or there
            is nothing to train.

        Raises:
            StrategyError: there is no ``arch_dataloader``, or it is empty; or an architecture
                optimizer holds weights.
        """
        if batch is not None:
            return architecture_step(self, None, batch)
        if self.architecture_batches is None:
            raise self.no_arch_dataloader()
        return architecture_step(self, self.architecture_batches)

    def architecture_gradient(
        self, batch: Any, batch_idx: int, parameters: Sequence[nn.Parameter], scale: float
    ) -> tuple[Tensor, Sequence[Tensor | None]] | None:
        """Return the loss and the gradient that train the architecture; None skips the batch.

        By default the gradient of :meth:`architecture_loss`; no weight gradient is computed.
        Called where the user's training notices nothing.

        Args:
            batch: what the loss is computed on.
            batch_idx: how many batches came before it.
            parameters: the architecture parameters.
            scale: factor that the gradient is to carry, against underflow; 1 unless the
                Trainer scales losses.

        Returns:
            The loss without, the gradient with ``scale``; one tensor, or None, for each of
            ``parameters``.
        """
        with self.trainer.precision_plugin.train_step_context():
            loss = self.architecture_loss(batch, batch_idx)
        if loss is None:
            return None
        return loss, torch.autograd.grad(loss * scale, parameters, allow_unused=True)

    def architecture_loss(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Return the loss whose gradient trains the architecture: the user's training loss.

        Override it to add to it. None skips the batch.
        """
        return users_loss(self.model, batch, batch_idx)

    def no_arch_dataloader(self) -> StrategyError:
        return MissingDataError(
            f"{type(self).__name__} has no data to train the architecture on.\n"
            "  expected: a loader of batches that do not train the weights\n"
            "  fix: pass arch_dataloader=..., for example one half of the training set"
        )

    def run_training_step(self, step: Callable[[], Any]) -> Any:
        """Return what the weights are trained on: by default the user's ``training_step``.

        Override it to run ``step`` several times, as for several paths, and to return one
        output in its stead. It is called inside the forward pass of the Trainer's strategy,
        once for each evaluation of the closure; not for a user who optimizes manually.

        Args:
            step: the user's ``training_step``, with its batch.
        """
        return step()

    def run_around(
        self,
        advance: Callable[[], Any],
        arguments: tuple[Any, ...],
        batch_idx: int | None = None,
        default: Any = None,
    ) -> Any:
        """Run :meth:`search_step` around the weight step ``advance``; return what that returned.

        Called by the drivers. ``default`` is returned if the strategy left the step out.
        """
        if batch_idx is None:
            batch_idx = arguments[1] if len(arguments) > 1 else self._current_batch_idx()
        self.__dict__.update(_advance=advance, _outputs=default)
        try:
            self.search_step(arguments[0] if arguments else None, batch_idx)
            if self._scheduler_steps is not None:
                self._scheduler_steps.advance_lr_schedulers()
            return self._outputs
        except Exception as error:
            self.note_path(error)
            raise
        finally:
            self.__dict__.update(_advance=None, _outputs=None)

    def note_path(self, error: Exception) -> None:
        """Let an error of the user's code say which path was computed.

        A note, which Python knows since 3.11; errors of ours say more themselves.
        """
        is_path = not any(d.superposes and not d.is_pinned for d in self.decisions)
        known = isinstance(error, OneShotError) or self.space.size == 1
        if known or not is_path or not hasattr(error, "add_note"):
            return
        with suppress(OneShotError):
            taken = {d.spec.label: [a.candidate for a in d.active()] for d in self.decisions}
            chosen = {d.spec.label: d.spec.normalise(taken[d.spec.label]) for d in self.decisions}
            error.add_note(
                f"raised by the path {Architecture(self.space.reduce(chosen), self.space)}; "
                "oneshot.inspect(model, batch) finds candidates that do not fit, before training"
            )

    def drive_manually(
        self,
        *,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> BaseOneShotLightningModule:
        """Train the weights from ``training_step``, under Lightning's manual optimization.

        For what must own the whole batch without touching Lightning's loop. Training is then
        not exactly that of the bare module; :mod:`oneshot_core.lightning.manual` says where.
        To be called before the fit.

        Args:
            accumulate_grad_batches: instead of the Trainer's, which refuses it here.
            gradient_clip_val: instead of the Trainer's.
            gradient_clip_algorithm: ``"norm"`` (default) or ``"value"``.

        Returns:
            The search itself.

        Raises:
            StrategyError: an argument is out of range.
        """
        self._manual = ManualDriver(
            self, accumulate_grad_batches, gradient_clip_val, gradient_clip_algorithm
        )
        return self

    def advance_lr_schedulers(self, batch_idx: int | None = None) -> None:
        """Step the schedulers that are due after this batch; once, however often it is called.

        For a search that is driven by hand and wants it at some place of :meth:`search_step` or
        of its own ``training_step``; it is done after that otherwise.

        Args:
            batch_idx: what frequencies are counted by. None is the position of the batch.

        Raises:
            StrategyError: Lightning itself steps them.
        """
        driver = self.manual_driver
        if driver is None:
            raise StrategyError(
                f"advance_lr_schedulers() was called on {type(self).__name__}, whose schedulers "
                "Lightning steps.\n"
                "  expected: a search that is driven by hand\n"
                "  fix: leave the call out, or call drive_manually() before the fit"
            )
        driver.advance_lr_schedulers(batch_idx)

    @property
    def manual_driver(self) -> ManualDriver | None:
        """What trains the weights by hand; None if Lightning or the user's module does."""
        base = BaseOneShotLightningModule.automatic_optimization
        says = type(self).automatic_optimization is not base and self.automatic_optimization
        return None if says else self._manual

    @property
    def scheduler_steps(self) -> SchedulerSteps | None:
        """What steps schedulers in a fit whose optimization is manual, else None."""
        return self._scheduler_steps

    @property
    def searches_in_hooks(self) -> bool:
        """Whether something is done in ``on_train_batch_start``, by hooks instead of the loop."""
        outside = self._is_fitting() and not self._inside_loop
        return outside or self._scheduler_steps is not None

    @property
    def automatic_optimization(self) -> bool:
        """Whether Lightning's loop trains the weights: as ``model`` says, unless driven by hand."""
        if self._manual is not None:
            return not self._manual.settled
        return self.model.automatic_optimization

    @automatic_optimization.setter
    def automatic_optimization(self, automatic_optimization: bool) -> None:
        if is_defined_by_strategy(type(self), "training_step"):
            self.__dict__["_manual"] = driver_of(self, automatic_optimization)
        else:
            self.model.automatic_optimization = automatic_optimization

    def run_before(self, batch: Any, batch_idx: int) -> None:
        """Run :meth:`search_step` before a weight step that Lightning does by itself.

        The driver where the training loop could not be entered. The weights are then trained
        once after the strategy's part, whether it asks for it or not.
        """
        if not self._inside_loop and self.automatic_optimization:
            self.search_step(batch, batch_idx)

    def _current_batch_idx(self) -> int:
        return int(self.trainer.fit_loop.epoch_loop.batch_idx)

    def _is_fitting(self) -> bool:
        return self._trainer is not None and self._trainer.training

    # --- Lightning: start and end of a fit ------------------------------------------------------

    def on_fit_start(self) -> None:
        """Start the user's fit, then enter the loop and append the architecture optimizers."""
        self.call_users("on_fit_start")
        require_agreement(self)
        self.check_fit()
        self._inside_loop = not self.automatic_optimization or install_engine(self.trainer, self)
        if not self._inside_loop:
            rank_zero_info(
                "oneshot: this Lightning's training loop is not as expected; the search runs in "
                "on_train_batch_start instead."
            )
        driver = self.manual_driver
        if not self.automatic_optimization:
            self._scheduler_steps = driver or SchedulerSteps(self)
        self._appended.append(
            self.configure_architecture_optimizers(),
            self.trainer,
            f"configure_architecture_optimizers of {type(self).__name__}",
            optimizer_shapes(self.registry),
        )
        self._appended.hide_from(self.model)
        if driver is not None:
            driver.start(partial(scheduler_config, tree_of(self.trainer)))
        self.registry.hook.oneshot_fit_started(search=self)

    def on_fit_end(self) -> None:
        """End the user's fit and give back what was entered."""
        self.train_dataloader_of_fit = self.trainer.train_dataloader
        self._appended.unhide(self.model)
        remove_engine(self.trainer)
        self.registry.hook.oneshot_fit_ended(search=self)
        if self.manual_driver is not None:
            self.manual_driver.stop()
        self._scheduler_steps = None
        self._inside_loop = False
        self.call_users("on_fit_end")

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

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        # Decisions are equal on all ranks by construction; in a bucket they would be unused.
        users = getattr(self.model, "_ddp_params_and_buffers_to_ignore", [])
        return [*users, *(name for name, _ in self._own.named_parameters())]

    # --- Lightning: checkpoints -----------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the user's module save, then add the state of the search as one entry."""
        self.call_users("on_save_checkpoint", checkpoint)
        checkpoint[CHECKPOINT_KEY] = search_state(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back the state of the search, if there is one, then let the user's module load.

        A checkpoint of the bare module is accepted: its weights are loaded, and the search
        starts at its beginning.

        Raises:
            StrategyError: it was saved by another strategy.
            ArchitectureError: it was saved by a search over another model space.
        """
        saved = checkpoint.get(CHECKPOINT_KEY)
        if saved is not None:
            load_search_state(self, saved)
        self.call_users("on_load_checkpoint", checkpoint)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        *,
        model: LightningModule,
        strict: bool = True,
        weights_only: bool = True,
        **options: Any,
    ) -> BaseOneShotLightningModule:
        """Build a search over ``model`` and load weights and decisions from a checkpoint.

        Args:
            checkpoint_path: what a Trainer wrote during a search.
            map_location: as in ``torch.load``.
            model: a new instance of the user's module.
            strict: whether the keys of weights must match exactly.
            weights_only: False lets the file run code; only for files you trust.
            **options: of the strategy.

        Raises:
            CheckpointError: the file is cut off, or no checkpoint.
            StrategyError: the checkpoint holds no search, or one of another strategy.
            ArchitectureError: it was saved by a search over another model space.
        """
        checkpoint = read_checkpoint(checkpoint_path, map_location, weights_only=weights_only)
        if CHECKPOINT_KEY not in checkpoint:
            raise StrategyError(
                f"{checkpoint_path!r} holds no search.\n"
                f"  expected: a checkpoint of {cls.__name__}\n"
                f"  fix: load it with {type(model).__name__}.load_from_checkpoint"
            )
        search = cls(model, **options)
        search.on_load_checkpoint(checkpoint)
        search.load_state_dict(checkpoint["state_dict"], strict=strict)
        return search

    # --- after training -------------------------------------------------------------------------

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
        self.require_choices()
        method = search_method("rank", self.registry)
        ranking: Ranking = method(self, architectures, dataloaders, **options)
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
        self.require_choices()
        method = search_method("pareto", self.registry)
        front: ParetoFront = method(self, objectives, dataloaders, **options)
        return front

    def _repr_html_(self) -> str:
        from .notebook import search_table

        return search_table(self).html()

    def __getstate__(self) -> dict[str, Any]:
        return {
            **super().__getstate__(),
            "train_dataloader_of_fit": None,
            "registry": None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.__dict__["registry"] = default_registry()
