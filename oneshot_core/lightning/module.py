"""The search: a LightningModule around the user's, driven by Lightning's own training loop.

Data flow of a fit::

    construction   walk.py replaces choices by supernet modules, which hold decisions
    on_fit_start   preflight.py checks, engine.py enters the loop, appended.py adds optimizers
    each batch     loop -> engine -> drive.py -> search_step(batch, batch_idx), the strategy's
                       -> advance_optimization(), Lightning's own weight step
                       -> architecture_step(), on a batch of its own, isolated
    evaluation     prepare_evaluation(...), then the user's validation_step

A search puts nothing into the user's module but supernet modules in the place of choices.
"""

from __future__ import annotations

import os
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from ..decision import Decision, DecisionTable
from ..discovery.registry import Registry, default_registry
from ..errors import StrategyError
from ..hooks import MutationHook, no_default_hook
from ..space.spec import ParameterSpec
from .answers import Answers, Beginning
from .appended import Appended, scheduler_config
from .architecture_step import architecture_step, users_loss
from .batches import ArchitectureBatches
from .checkpoint import CHECKPOINT_KEY, load_search_state, require_search, search_state
from .checkpoint_io import read_checkpoint
from .drive import Drive
from .engine import install_engine, remove_engine
from .forwarding import install_hooks
from .host import is_defined_by_strategy
from .plugin_hooks import optimizer_shapes
from .preflight import missing_loader, require_fit, require_loss
from .trees import is_lightning_module, tree_of
from .walk import Walk

if TYPE_CHECKING:
    from .. import Ranking  # of plugins, through the package's table of contents


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


class BaseOneShotLightningModule(Answers, metaclass=_MutatedWhenBuilt):
    """A one-shot search over the choices in a LightningModule; the base of every strategy.

    To Lightning it looks like ``model`` itself. Attributes that a search does not have are read
    from and written to ``model``. A strategy supplies :meth:`make_decision` and, where it does
    more than draw, :meth:`search_step` and :meth:`configure_architecture_optimizers`.

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

    _automatic: bool | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A plain attribute would hide the property, which also knows what the user's module says.
        if isinstance(cls.__dict__.get("automatic_optimization"), bool):
            cls._automatic = cls.__dict__["automatic_optimization"]
            del cls.automatic_optimization

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
                f"{type(self).__name__} got a {type(model).__name__}",
                expected="a LightningModule that is not a search itself",
                fix="write a LightningModule around your network; its training_step trains the "
                "supernet",
            )
        super().__init__(model)
        self.mutation_hooks = list(mutation_hooks or [])
        self.arch_dataloader = arch_dataloader
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self.ranking: Ranking | None = None
        self.decisions = DecisionTable(self.make_decision)
        self.registry = default_registry() if registry is None else registry
        self.architecture_batches = None
        if arch_dataloader is not None:
            self.architecture_batches = ArchitectureBatches(arch_dataloader, self.seed, model)
        self._appended = Appended()
        self._walk = Walk(self)
        self._drive = Drive(self, self._automatic)
        self.train_dataloader_of_fit = None
        install_hooks(self)

    # --- what a strategy supplies -----------------------------------------------------------

    def make_decision(self, spec: ParameterSpec) -> Decision:
        """Build the decision for one label; every strategy has to."""
        raise StrategyError(
            f"{type(self).__name__} makes no decision for {spec.label!r}",
            expected="a method make_decision(spec) that returns a Decision",
            fix="write it, as docs/tutorials/strategy.md shows; docs/from-nni.md shows a strategy "
            "of NNI before and after",
        )

    def search_step(self, batch: Any, batch_idx: int) -> None:
        """Do what the search does with one training batch.

        Without a call of :meth:`advance_optimization` the batch trains no weights. The default
        calls it and does nothing else.
        """
        self.advance_optimization()

    def configure_architecture_optimizers(self) -> Any:
        """Return optimizers of the architecture parameters, in any shape Lightning knows.

        None, the default, is for strategies that learn no architecture parameters. Lightning
        steps the schedulers, like the user's.
        """
        return None

    def default_mutation_hooks(self) -> list[MutationHook]:
        """Return the hooks that are asked last; the last of them refuses unhandled choices.

        The installed hooks, which are asked before, handle all choices of this package.
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
            OneShotError: naming what is missing and the fix.
        """
        require_fit(self)

    def require_loss_of_training_step(self) -> None:
        """Raise if the user's ``training_step`` cannot be run for its loss alone.

        Raises:
            StrategyError: the user's module optimizes manually.
        """
        require_loss(self)

    def mutate(self) -> None:
        """Replace choices in new modules: at first, after ``setup`` and ``configure_model``."""
        self._walk.mutate()

    # --- one batch ----------------------------------------------------------------------------

    def advance_optimization(
        self,
        loss: Any = None,
        batch_idx: int | None = None,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Train the weights on the current batch: Lightning's own step, or the user's manual one.

        :meth:`search_step` calls it without arguments. Architecture parameters get no gradient.

        A strategy may define ``training_step`` instead, as the reference's do: it runs
        ``self.model.training_step`` itself, and gives the loss to this method. The weights are
        then trained by hand (:mod:`oneshot_plugins.strategies.manual` says what differs), with the
        Trainer's accumulation and clipping. Of several losses in a step each is divided by their
        number. The architecture parameters get the gradient of the loss, too.

        Args:
            loss: what a ``training_step`` of the strategy computed; None skips the batch.
            batch_idx: the batch that it counts as for accumulation.
            gradient_clip_val: in the place of the Trainer's.
            gradient_clip_algorithm: ``"norm"`` or ``"value"``, in the place of the Trainer's.

        Raises:
            StrategyError: called outside of a batch, or with a loss where Lightning computes it.
        """
        self._drive.advance(loss, batch_idx, gradient_clip_val, gradient_clip_algorithm)

    def architecture_step(self, batch: Any = None) -> Tensor | None:
        """Train the architecture parameters on the next batch of ``arch_dataloader``.

        The gradient is that of :meth:`architecture_gradient`. What the user's training could
        notice is put back: random states, buffers, metrics, plain attributes, logged values.

        Args:
            batch: used instead, as it is, if given.

        Returns:
            The loss, detached; None if the batch is skipped, or there is nothing to train.

        Raises:
            StrategyError: there is no batch, or an architecture optimizer holds weights.
        """
        if batch is None and self.architecture_batches is None:
            raise self.no_arch_dataloader()
        return architecture_step(self, batch)

    def architecture_gradient(
        self, batch: Any, batch_idx: int, parameters: Sequence[nn.Parameter], scale: float
    ) -> tuple[Tensor, Sequence[Tensor | None]] | None:
        """Return the loss and the gradient that train the architecture; None skips the batch.

        By default the gradient of :meth:`architecture_loss`; no weight gradient is computed.
        The user's training does not notice what happens here.

        Args:
            batch: what the loss is computed on.
            batch_idx: how many batches came before it.
            parameters: the architecture parameters.
            scale: factor of the gradient, against underflow; 1 unless the Trainer scales losses.

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
        """Return the error for a strategy that needs an ``arch_dataloader`` and has none."""
        return missing_loader(self)

    def run_training_step(self, step: Callable[[], Any]) -> Any:
        """Return what the weights are trained on: by default the user's ``training_step``.

        A strategy may run ``step`` several times, as for several paths, and return one output.
        It is called inside the forward pass of the Trainer's strategy, once for each evaluation
        of the closure; not for a user who optimizes manually.

        Args:
            step: the user's ``training_step``, with its batch.
        """
        return step()

    def drive_manually(
        self,
        *,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> BaseOneShotLightningModule:
        """Train the weights under Lightning's manual optimization; return the search itself.

        Call it before the fit. Training is then not exactly that of the bare module;
        :mod:`oneshot_plugins.strategies.manual` says where.

        Args:
            accumulate_grad_batches: instead of the Trainer's, which refuses it here.
            gradient_clip_val: instead of the Trainer's.
            gradient_clip_algorithm: ``"norm"`` (default) or ``"value"``.

        Raises:
            StrategyError: an argument is out of range.
        """
        settings = accumulate_grad_batches, gradient_clip_val, gradient_clip_algorithm
        self._drive.drive_by("drive_manually", *settings)
        return self

    def advance_lr_schedulers(self, batch_idx: int | None = None) -> None:
        """Step the schedulers that are due after this batch; once, however often it is called.

        A search that is driven by hand may do it inside :meth:`search_step` or its own
        ``training_step``; it is done after that otherwise.

        Args:
            batch_idx: what frequencies are counted by. None is the position of the batch.

        Raises:
            StrategyError: Lightning itself steps them.
        """
        self._drive.advance_lr_schedulers(batch_idx)

    @property
    def automatic_optimization(self) -> bool:
        """Whether Lightning's loop trains the weights: as ``model`` says, unless driven by hand."""
        chosen = self._drive.chosen
        return self.model.automatic_optimization if chosen is None else not chosen.settled

    @automatic_optimization.setter
    def automatic_optimization(self, automatic_optimization: bool) -> None:
        if is_defined_by_strategy(type(self), "training_step"):
            self._drive.choose(automatic_optimization)
        else:
            self.model.automatic_optimization = automatic_optimization

    # --- Lightning: start and end of a fit ------------------------------------------------------

    def on_fit_start(self) -> None:
        """Start the user's fit, then enter the loop and append the architecture optimizers."""
        self.call_users("on_fit_start")
        self._drive.require_agreement()
        self.check_fit()
        self._drive.start(lambda: install_engine(self.trainer, self))
        self._appended.append(
            self.configure_architecture_optimizers(),
            self.trainer,
            f"configure_architecture_optimizers of {type(self).__name__}",
            optimizer_shapes(self.registry),
        )
        self._appended.hide_from(self.model)
        if self._drive.manual is not None:
            self._drive.manual.start(partial(scheduler_config, tree_of(self.trainer)))
        self.registry.hook.oneshot_fit_started(search=self)

    def on_fit_end(self) -> None:
        """End the user's fit and give back what was entered."""
        self.train_dataloader_of_fit = self.trainer.train_dataloader
        self._appended.unhide(self.model)
        remove_engine(self.trainer)
        self.registry.hook.oneshot_fit_ended(search=self)
        self._drive.stop()
        self.call_users("on_fit_end")

    # --- Lightning: checkpoints -----------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the user's module save, then add the state of the search as one entry."""
        self.call_users("on_save_checkpoint", checkpoint)
        checkpoint[CHECKPOINT_KEY] = search_state(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back the state of the search, if there is one, then let the user's module load.

        A checkpoint of the bare module is accepted: the search then starts at its beginning.

        Raises:
            StrategyError: it was saved by another strategy.
            ArchitectureError: it was saved by a search over another model space.
        """
        if checkpoint.get(CHECKPOINT_KEY) is not None:
            load_search_state(self, checkpoint[CHECKPOINT_KEY])
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
        require_search(checkpoint, checkpoint_path, model, cls)
        search = cls(model, **options)
        search.on_load_checkpoint(checkpoint)
        search.load_state_dict(checkpoint["state_dict"], strict=strict)
        return search
