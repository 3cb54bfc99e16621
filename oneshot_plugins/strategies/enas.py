"""Let a recurrent controller draw the paths, and reward it for good ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from oneshot_core import (
    BaseOneShotLightningModule,
    Decision,
    MutationHook,
    ParameterSpec,
    Registry,
)
from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import users_loss
from oneshot_core.space import Choice

from .paths import Path
from .uniform import UniformDecision

MAX_LISTED = 4096
"""A label with more choices than this cannot be decided by a controller."""

Reward = Callable[[LightningModule, Any], "Tensor | float"]


class Controller(nn.Module):
    """An LSTM that decides one label after another, each knowing the choices before it.

    Args:
        specs: what is decided, in order.
        seed: of its initial weights, uniform in [-0.1, 0.1].
        hidden: size of its state.
        temperature: scores are divided by it.
        tanh_constant: scores are squashed into ± this; None leaves them.

    Source: Pham et al., "ENAS", arXiv:1802.03268, sections 2.1 and 2.2; its constants.
    """

    def __init__(
        self,
        specs: Sequence[ParameterSpec],
        *,
        seed: int = 0,
        hidden: int = 64,
        temperature: float = 5.0,
        tanh_constant: float | None = 2.5,
    ) -> None:
        super().__init__()
        self.specs = tuple(specs)
        self.choices = [list(spec.choices()) for spec in self.specs]
        self.temperature = temperature
        self.tanh_constant = tanh_constant
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.start = nn.Parameter(torch.empty(1, hidden))
            self.cell = nn.LSTMCell(hidden, hidden)
            self.scores = nn.ModuleList(nn.Linear(hidden, len(c)) for c in self.choices)
            self.embed = nn.ModuleList(nn.Embedding(len(c), hidden) for c in self.choices)
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -0.1, 0.1)

    def run(self, take: Callable[[int, Tensor], int]) -> tuple[list[int], list[Tensor]]:
        """Decide all labels.

        Args:
            take: from the position of a label and the log-probabilities of its choices to the
                index of the one that is taken.

        Returns:
            The indices, and the log-probabilities, of each label.
        """
        x, state = self.start, None
        taken: list[int] = []
        log_probabilities: list[Tensor] = []
        for i, (head, embed) in enumerate(zip(self.scores, self.embed, strict=True)):
            state = self.cell(x, state)
            scores = head(state[0])[0] / self.temperature
            if self.tanh_constant is not None:
                scores = self.tanh_constant * scores.tanh()
            log_p = scores.log_softmax(0)
            taken.append(take(i, log_p))
            log_probabilities.append(log_p)
            x = embed(torch.tensor([taken[-1]], device=x.device))
        return taken, log_probabilities

    def sample(self, rng: random.Random) -> tuple[Path, Tensor, Tensor]:
        """Draw a path; return it, its log-probability and the entropy on its way."""

        def draw(_: int, log_p: Tensor) -> int:
            point, p = rng.random(), log_p.detach().double().exp().tolist()
            for index, share in enumerate(p):
                point -= share
                if point < 0:
                    return index
            return len(p) - 1

        taken, log_p = self.run(draw)
        chosen = torch.stack([each[i] for each, i in zip(log_p, taken, strict=True)]).sum()
        entropy = torch.stack([-(each.exp() * each).sum() for each in log_p]).sum()
        return self._path(taken), chosen, entropy

    def log_probability(self, path: Mapping[str, Choice]) -> Tensor:
        """Return the log-probability of drawing ``path``, which decides all labels."""
        labels = [spec.label for spec in self.specs]
        taken, log_p = self.run(lambda i, _: self.choices[i].index(path[labels[i]]))
        return torch.stack([each[i] for each, i in zip(log_p, taken, strict=True)]).sum()

    @torch.no_grad()
    def greedy(self) -> dict[str, Tensor]:
        """Return label -> probabilities of its choices, where each before took its best."""
        _, log_p = self.run(lambda _, each: int(each.argmax()))
        return {spec.label: each.exp() for spec, each in zip(self.specs, log_p, strict=True)}

    def _path(self, taken: Sequence[int]) -> Path:
        return {
            spec.label: choices[i]
            for spec, choices, i in zip(self.specs, self.choices, taken, strict=True)
        }


class ControlledDecision(UniformDecision):
    """Follow the controller; its probabilities are those after the best choices before it.

    Args:
        spec: what can be chosen.
        preferred: returns label -> probabilities of its choices, as the controller stands.
    """

    def __init__(self, spec: ParameterSpec, preferred: Callable[[], Mapping[str, Tensor]]) -> None:
        super().__init__(spec)
        self.preferred = preferred

    def probabilities(self) -> Tensor:
        known = self.preferred().get(self.spec.label)
        if known is None:
            return super().probabilities()
        takes = [
            [float(c in self.spec.members(choice)) for c in self.spec.candidates]
            for choice in self.spec.choices()
        ]
        return known @ known.new_tensor(takes)


class Enas(BaseOneShotLightningModule):
    """Train paths that a controller draws, and the controller by how good its paths are.

    For every training batch, first one step of the controller on a batch of ``arch_dataloader``
    (REINFORCE with a moving-average baseline), then the user's weight step on a path that the
    controller draws. The paper alternates whole epochs of both instead.

    Args:
        model: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        mutation_hooks: see there.
        arch_dataloader: batches for the controller's step; they should not train the weights.
        reward: ``(model, batch) -> number``, larger is better, such as the accuracy; run without
            gradients. None takes the negative training loss.
        n_samples: paths for each step of the controller.
        arc_learning_rate: of the controller's Adam.
        entropy_weight: how much undecidedness is rewarded.
        baseline_decay: of the moving average of rewards that is subtracted from them.
        hidden: size of the controller's state.
        temperature: scores are divided by it.
        tanh_constant: scores are squashed into ± this; None leaves them.
        warmup_epochs: so long only weights are trained.
        seed: see :class:`~oneshot_core.BaseOneShotLightningModule`.
        registry: see there.

    Raises:
        StrategyError: there is no ``arch_dataloader``, an option is out of range, or a label has
            too many choices.

    Source: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing",
    arXiv:1802.03268, section 2.2; Williams' REINFORCE for the gradient.

    Exact: probabilities of paths; the gradient is an estimate of that of the expected reward.
    """

    def __init__(
        self,
        model: LightningModule,
        mutation_hooks: Sequence[MutationHook] | None = None,
        *,
        arch_dataloader: Iterable[Any] | None = None,
        reward: Reward | None = None,
        n_samples: int = 1,
        arc_learning_rate: float = 3.5e-4,
        entropy_weight: float = 1e-4,
        baseline_decay: float = 0.99,
        hidden: int = 64,
        temperature: float = 5.0,
        tanh_constant: float | None = 2.5,
        warmup_epochs: int = 0,
        seed: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        super().__init__(
            model, mutation_hooks, arch_dataloader=arch_dataloader, seed=seed, registry=registry
        )
        if arch_dataloader is None:
            raise self.no_arch_dataloader()
        if n_samples < 1 or not 0 <= baseline_decay < 1 or temperature <= 0 or warmup_epochs < 0:
            raise StrategyError(
                f"n_samples={n_samples}, baseline_decay={baseline_decay}, "
                f"temperature={temperature}, warmup_epochs={warmup_epochs}",
                expected="at least 1, in [0, 1), greater than 0, and 0 or more",
                fix="correct them",
            )
        self.reward = reward
        self.n_samples = n_samples
        self.arc_learning_rate = arc_learning_rate
        self.entropy_weight = entropy_weight
        self.baseline_decay = baseline_decay
        self.controller_options: dict[str, Any] = {
            "hidden": hidden,
            "temperature": temperature,
            "tanh_constant": tanh_constant,
        }
        self.warmup_epochs = warmup_epochs
        self.baseline: float | None = None

    def make_decision(self, spec: ParameterSpec) -> Decision:
        if spec.size > MAX_LISTED:
            raise StrategyError(
                f"{spec.label!r} has {spec.size} choices, too many for a controller",
                expected=f"at most {MAX_LISTED} for each label",
                fix="use another strategy",
            )
        return ControlledDecision(spec, self.preferences)

    def mutate(self) -> None:
        super().mutate()
        specs = tuple(s for s in self.search_space_spec().values() if s.size > 1)
        if specs and (self.controller is None or self.controller.specs != specs):
            controller = Controller(specs, seed=self.seed, **self.controller_options)
            # Beside the decisions: architecture parameters, wherever those are meant.
            self.decisions.add_module("controller", controller.to(self.device))

    @property
    def controller(self) -> Controller | None:
        """What draws the paths; None where there is nothing to decide."""
        found = self.decisions._modules.get("controller")
        return found if isinstance(found, Controller) else None

    def preferences(self) -> dict[str, Tensor]:
        """Return label -> probabilities of its choices, where each before took its best."""
        return {} if self.controller is None else self.controller.greedy()

    def configure_architecture_optimizers(self) -> Any:
        if self.controller is None:
            return None
        return torch.optim.Adam(self.controller.parameters(), lr=self.arc_learning_rate)

    # --- one batch ----------------------------------------------------------------------------

    @property
    def search_phase(self) -> str:
        return "warm-up" if self.current_epoch < self.warmup_epochs else "search"

    def search_step(self, batch: Any, batch_idx: int) -> None:
        if self.current_epoch >= self.warmup_epochs:
            self.reseed("architecture", self.current_epoch, batch_idx)
            self.architecture_step()
        self.reseed("train", self.current_epoch, batch_idx)
        self.resample()
        self.advance_optimization()

    def prepare_evaluation(self, stage: str, batch_idx: int) -> None:
        self.reseed(stage, self.current_epoch, batch_idx)
        self.resample()

    @torch.no_grad()
    def resample(self, memo: Mapping[str, Choice] | None = None) -> dict[str, Choice]:
        """Let the controller draw a path for the next forward passes, and return it.

        Choices of ``memo`` stand in the place of what the controller drew.
        """
        if self.controller is None:
            return self.space.normalise(memo)
        path, _, _ = self.controller.sample(self.decisions.rng)
        if memo:
            given = self.space.normalise(memo)
            together = {**path, **given}
            begun = together if self.space.possible(together) else given
            path = self.space.complete(begun, self.decisions.rng)
        self._follow(path)
        return path

    def _follow(self, path: Path) -> None:
        for label, choice in path.items():
            self.decisions[label].adopt(choice)

    def architecture_gradient(
        self, batch: Any, batch_idx: int, parameters: Sequence[nn.Parameter], scale: float
    ) -> tuple[Tensor, Sequence[Tensor | None]] | None:
        """Return the policy gradient: of ``-(reward - baseline) log p(path)``, and the entropy."""
        assert self.controller is not None
        losses = []
        for _ in range(self.n_samples):
            path, log_probability, entropy = self.controller.sample(self.decisions.rng)
            self._follow(path)
            reward = self._reward(batch, batch_idx)
            if reward is None:
                return None
            decay = self.baseline_decay
            before = reward if self.baseline is None else self.baseline
            self.baseline = decay * before + (1 - decay) * reward
            losses.append(
                -(reward - self.baseline) * log_probability - self.entropy_weight * entropy
            )
        loss = torch.stack(losses).mean()
        return loss, torch.autograd.grad(loss * scale, parameters, allow_unused=True)

    @torch.no_grad()
    def _reward(self, batch: Any, batch_idx: int) -> float | None:
        with self.trainer.precision_plugin.train_step_context():
            if self.reward is None:
                loss = users_loss(self.model, batch, batch_idx)
                found = None if loss is None else -loss
            else:
                found = torch.as_tensor(self.reward(self.model, batch), device=self.device)
        if found is None:
            return None
        mean: Any = self.trainer.strategy.reduce(found.detach().double(), reduce_op="mean")
        return float(mean)

    # --- before training, and checkpoints -----------------------------------------------------

    def check_fit(self) -> None:
        super().check_fit()
        if self.space.constraints:
            raise StrategyError(
                "the controller chooses one label after another and knows no constraints, and the "
                f"model has {', '.join(map(repr, self.space.constraints))}",
                expected="choices that can be taken together in any way",
                fix="use another strategy, such as 'random' or 'gumbel'",
            )
        if self.reward is None and self.controller is not None:
            self.require_loss_of_training_step()

    def strategy_state(self) -> dict[str, Any]:
        controller = self.controller
        state = {} if controller is None else dict(controller.state_dict())
        return {"controller": state, "baseline": self.baseline}

    def load_strategy_state(self, state: Mapping[str, Any]) -> None:
        if self.controller is not None:
            self.controller.load_state_dict(state["controller"])
        self.baseline = state["baseline"]


__all__ = ["ControlledDecision", "Controller", "Enas"]
