"""Callbacks that watch a differentiable search for collapse, log what they see, and can stop it.

Give them to the Trainer: ``Trainer(callbacks=[CollapseAlarm(skip=["skip"])])``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from oneshot_core import BaseOneShotLightningModule
from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import first_batches, listed, to_device, unnoticed
from oneshot_core.space import Candidate

_LOG = logging.getLogger(__name__)
ENOUGH_STEPS = 10
"""Architecture steps after which a label may be said to learn nothing."""


@dataclass(frozen=True)
class Health:
    """How decided a search is, and for what.

    Attributes:
        skip_share: share of the labels that offer a skip whose most probable candidate it is;
            0 where no label offers one.
        entropy: mean over labels of the entropy of their probabilities, divided by that of the
            uniform distribution: 1 is undecided, 0 decided.
        finite: whether all probabilities are finite numbers.
    """

    skip_share: float
    entropy: float
    finite: bool


def health(search: BaseOneShotLightningModule, skip: Sequence[Candidate]) -> Health:
    """Return how decided ``search`` is.

    Args:
        search: any search.
        skip: names of the candidates that pass their input on.
    """
    offered, preferred, entropies, finite = 0, 0, [], True
    for decision in search.decisions:
        if decision.spec.size == 1:
            continue
        p = decision.probabilities().detach().double().cpu()
        if not p.isfinite().all():
            finite = False
            continue
        entropies.append(decision.entropy())
        here = [c for c in decision.spec.candidates if c in skip]
        if here:
            offered += 1
            preferred += decision.spec.candidates[int(p.argmax())] in here
    mean = sum(entropies) / len(entropies) if entropies else 0.0
    return Health(preferred / offered if offered else 0.0, mean, finite)


class Gradients:
    """How often the architecture gradient of a label was about 0.

    Args:
        steps: that were looked at.
        silent: in how many it was.
        said: whether there was an alarm.
    """

    def __init__(self, steps: int = 0, silent: int = 0, said: bool = False) -> None:
        self.steps = steps
        self.said = said
        self._silent: int | Tensor = silent

    def add(self, silent: Tensor) -> None:
        """Count a step; waits for no device."""
        self.steps += 1
        self._silent = self._silent + silent.int()

    def silent(self) -> int:
        """Return in how many steps it was."""
        return int(self._silent)

    def share(self) -> float:
        """Return in which part of the steps it was."""
        return self.silent() / self.steps if self.steps else 0.0


class CollapseAlarm(Callback):
    """Log after every epoch how decided the search is, and raise an alarm if it looks collapsed.

    Logged are ``oneshot/skip_share`` and ``oneshot/entropy``; see :class:`Health`. An alarm is a
    line in the log of this module, at the level WARNING.

    Args:
        skip: names of the candidates that pass their input on.
        max_skip_share: alarm if more of the labels prefer them.
        min_entropy: alarm if the search is more decided than this before ``until``.
        until: share of the epochs in which a low entropy is too early.
        stop: whether an alarm ends the training after its epoch. Numbers that are not finite
            end it in any case.
        min_gradient: alarm, once for each label, if in most steps no number of its architecture
            gradient is larger: rounding errors then move its probabilities. The default is about
            ten times the rounding error of a loss of 1 in float32.

    Attributes:
        alarms: what was said, in order.
    """

    def __init__(
        self,
        skip: Sequence[Candidate] = ("skip",),
        *,
        max_skip_share: float = 0.5,
        min_entropy: float = 0.1,
        until: float = 0.5,
        stop: bool = False,
        min_gradient: float = 1e-6,
    ) -> None:
        super().__init__()
        self.min_gradient = min_gradient
        self._gradients: dict[str, Gradients] = {}
        self._hooks: list[RemovableHandle] = []
        self.skip = tuple(skip)
        self.max_skip_share = max_skip_share
        self.min_entropy = min_entropy
        self.until = until
        self.stop = stop
        self.alarms: list[str] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the architecture gradients from now on."""
        search = require_search(pl_module, type(self).__name__)

        def look(*_: object) -> None:
            for decision in search.decisions:
                found = [p.grad.abs().max() for p in decision.parameters() if p.grad is not None]
                if found and decision.spec.size > 1:
                    seen = self._gradients.setdefault(decision.spec.label, Gradients())
                    seen.add(torch.stack(found).max() <= self.min_gradient)

        self._hooks = [
            o.register_step_pre_hook(look) for o in listed(search.architecture_optimizers())
        ]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look no longer."""
        self._unhook()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Look no longer."""
        self._unhook()

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the search."""
        search = require_search(pl_module, type(self).__name__)
        found = health(search, self.skip)
        search.log("oneshot/skip_share", found.skip_share, rank_zero_only=True)
        search.log("oneshot/entropy", found.entropy, rank_zero_only=True)
        said = self._alarms(found, trainer)
        for text in said:
            self.alarms.append(text)
            _warn(text)
        if said and (self.stop or not found.finite):
            trainer.should_stop = True

    def _alarms(self, found: Health, trainer: Trainer) -> list[str]:
        epoch = f"epoch {trainer.current_epoch}: "
        if not found.finite:
            return [epoch + "architecture probabilities are not finite; the search stops"]
        said = []
        if found.skip_share > self.max_skip_share:
            said.append(f"{epoch}{found.skip_share:.0%} of the labels prefer {list(self.skip)}")
        early = trainer.current_epoch + 1 <= self.until * (trainer.max_epochs or math.inf)
        if early and found.entropy < self.min_entropy:
            said.append(f"{epoch}the search is decided already, entropy {found.entropy:.3f}")
        return said + [epoch + text for text in self._silent()]

    def _silent(self) -> list[str]:
        """Return what is to be said of labels that learn nothing, each once."""
        said = []
        for label, seen in self._gradients.items():
            share = seen.share()
            if share > 0.5 and seen.steps >= ENOUGH_STEPS and not seen.said:
                seen.said = True
                said.append(
                    f"{label!r} learns nothing: its architecture gradient was about 0 in "
                    f"{share:.0%} of {seen.steps} steps. A strategy that runs one candidate at a "
                    "time learns from the scale of its output alone, which a normalisation after "
                    "it takes away; one that runs several compares them"
                )
        return said

    def state_dict(self) -> dict[str, Any]:
        """Return what was said, and what was seen of the gradients."""
        seen = {label: [g.steps, g.silent(), g.said] for label, g in self._gradients.items()}
        return {"alarms": list(self.alarms), "gradients": seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what was said and seen."""
        self.alarms = list(state_dict["alarms"])
        seen = state_dict.get("gradients", {})
        self._gradients = {label: Gradients(*numbers) for label, numbers in seen.items()}


class EigenvalueStop(Callback):
    """Stop before the architecture Hessian gets sharp, and go back to where it was not.

    After every epoch the dominant eigenvalue of the Hessian of the architecture's loss is
    computed. When the mean over the last ``window`` epochs has grown by more than ``1 / ratio``
    within the last ``window`` epochs, the training stops, and the architecture parameters are
    set to those of ``window`` epochs before.

    Args:
        window: epochs of the running mean, and of the comparison.
        ratio: the earlier mean must stay at least this share of the present one.
        n_batches: how many batches of ``arch_dataloader`` the loss is averaged over.
        warmup_epochs: epochs that do not count.

    Attributes:
        eigenvalues: one for each epoch that counts.

    Source: Zela et al., "Understanding and Robustifying Differentiable Architecture Search",
    arXiv:1909.09656, section 4.3, with its window of 5 and ratio of 0.75.
    """

    def __init__(
        self,
        *,
        window: int = 5,
        ratio: float = 0.75,
        n_batches: int = 1,
        warmup_epochs: int = 0,
    ) -> None:
        super().__init__()
        if window < 1 or not 0 < ratio <= 1 or n_batches < 1:
            raise StrategyError(
                f"EigenvalueStop got window={window}, ratio={ratio}, n_batches={n_batches}",
                expected="window and n_batches of at least 1, a ratio in (0, 1]",
                fix="correct them",
            )
        self.window = window
        self.ratio = ratio
        self.n_batches = n_batches
        self.warmup_epochs = warmup_epochs
        self.eigenvalues: list[float] = []
        self._parameters: list[list[Tensor]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the eigenvalue, and stop if it has grown too much."""
        search = require_search(pl_module, type(self).__name__)
        if trainer.current_epoch < self.warmup_epochs:
            return
        value = self.measure(search)
        search.log("oneshot/eigenvalue", value, rank_zero_only=True)
        self.eigenvalues.append(value)
        kept = [p.detach().cpu().clone() for p in search.decisions.parameters()]
        self._parameters = [*self._parameters, kept][-self.window - 1 :]
        if self._has_grown():
            with torch.no_grad():
                for p, old in zip(search.decisions.parameters(), self._parameters[0], strict=True):
                    p.copy_(old)
            trainer.should_stop = True
            _warn(
                f"epoch {trainer.current_epoch}: the dominant eigenvalue of the architecture "
                f"Hessian has grown to {value:.3g}; the architecture is that of {self.window} "
                "epochs before"
            )

    def measure(self, search: BaseOneShotLightningModule) -> float:
        """Return how sharp the loss is around the present architecture."""
        return dominant_eigenvalue(search, n_batches=self.n_batches)

    def _has_grown(self) -> bool:
        n, values = self.window, [abs(v) for v in self.eigenvalues]
        if len(values) < 2 * n:
            return False
        now, before = sum(values[-n:]) / n, sum(values[-2 * n : -n]) / n
        return before < self.ratio * now

    def state_dict(self) -> dict[str, Any]:
        """Return the history."""
        return {"eigenvalues": list(self.eigenvalues), "parameters": self._parameters}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back the history."""
        self.eigenvalues = list(state_dict["eigenvalues"])
        self._parameters = list(state_dict["parameters"])


def dominant_eigenvalue(
    search: BaseOneShotLightningModule,
    *,
    n_batches: int = 1,
    max_iterations: int = 200,
    tolerance: float = 1e-4,
) -> float:
    """Return the eigenvalue of largest magnitude of the Hessian of the architecture's loss.

    By power iteration with exact Hessian-vector products, on the first batches of
    ``arch_dataloader``. The training does not notice.

    Args:
        search: in a fit.
        n_batches: how many batches the loss is averaged over.
        max_iterations: after which it returns what it has.
        tolerance: relative change at which it ends.

    Raises:
        StrategyError: the search has no ``arch_dataloader``.
    """
    if search.architecture_batches is None:
        raise search.no_arch_dataloader()
    parameters = [p for p in search.decisions.parameters() if p.requires_grad]
    loader, trainer = search.architecture_batches.loader, search.trainer
    batches = first_batches(loader, n_batches, search.model, search.seed)
    with unnoticed(search, batches[0], -1):
        losses = []
        for index, batch in enumerate(batches):
            with trainer.precision_plugin.train_step_context():
                on_device = to_device(batch, search, trainer)
                loss = search.architecture_loss(on_device, index)
            if loss is not None:
                losses.append(loss)
        if not losses:
            return 0.0
        gradients = torch.autograd.grad(
            torch.stack(losses).mean(), parameters, create_graph=True, allow_unused=True
        )
        used = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
        average = trainer.strategy.reduce
        return _power_iteration(used, average, max_iterations, tolerance)


def _power_iteration(
    used: Sequence[tuple[Tensor, Tensor]], average: Any, max_iterations: int, tolerance: float
) -> float:
    parameters, gradients = zip(*used, strict=True)
    flat = torch.cat([g.flatten() for g in gradients])
    if not flat.requires_grad:  # linear in the architecture
        return 0.0
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(len(flat), generator=generator, dtype=torch.float64).to(flat)
    v, value = v / v.norm(), 0.0
    for _ in range(max_iterations):
        products = torch.autograd.grad(flat @ v, parameters, retain_graph=True, allow_unused=True)
        hv = torch.cat(
            [
                (torch.zeros_like(p) if h is None else h).flatten()
                for p, h in zip(parameters, products, strict=True)
            ]
        )
        hv = average(hv, reduce_op="mean")
        before, value = value, float(v @ hv)
        norm = hv.norm()
        if norm == 0:
            return 0.0
        v = hv / norm
        if abs(value - before) <= tolerance * abs(value):
            break
    return value


def require_search(module: LightningModule, who: str) -> BaseOneShotLightningModule:
    """Return ``module`` as a search.

    Args:
        module: what a callback was given.
        who: name of that callback; for the message.

    Raises:
        StrategyError: it is none.
    """
    if not isinstance(module, BaseOneShotLightningModule):
        raise StrategyError(
            f"{who} got a {type(module).__name__}",
            expected="a search",
            fix="give the Trainer oneshot.search(model, ...), or leave the callback out",
        )
    return module


@rank_zero_only
def _warn(text: str) -> None:
    _LOG.warning("%s", text)


__all__ = ["CollapseAlarm", "EigenvalueStop", "Health", "dominant_eigenvalue", "health"]
