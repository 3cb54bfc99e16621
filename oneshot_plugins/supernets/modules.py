"""Supernet modules that run whatever their decision says is active.

One class for each choice, for every strategy: a sampled path is one active candidate
without a weight, a superposition is all of them with weights. Each keeps the choice it
replaces and shares its submodules, so names in the state dict stay those of the bare model.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from inspect import ismethod
from typing import Any, ClassVar, Generic, TypeVar, cast

from torch import Tensor, nn

from oneshot_core.decision import Decision, DecisionTable
from oneshot_core.errors import SpaceError, StrategyError
from oneshot_core.hooks import Memo, Options
from oneshot_core.space import (
    Branches,
    Choice,
    Gates,
    LayerChoice,
    MutableModule,
    Patch,
    attribute_of,
    running,
)
from oneshot_core.supernet import BaseSuperNetModule

from .input_choice import InputChoice, reduce_inputs
from .joint import joint
from .repeat import Chain, Repeat

P = TypeVar("P", bound=MutableModule)


class MixedChoice(BaseSuperNetModule, Generic[P]):
    """A supernet module in the place of one choice.

    Args:
        choice: what is replaced; its submodules are shared, not copied.
        *decisions: what decides, one for each label of the choice.
        path: of the choice in the model.
    """

    replaces: ClassVar[type[MutableModule]]
    path: str

    def __init__(self, choice: P, *decisions: Decision, path: str = "") -> None:
        super().__init__(*decisions)
        # By plain reference: as a submodule it would appear in the tree as a choice again.
        # Past setattr, which is slow: a model may hold thousands of choices.
        self.__dict__.update(choice=choice, path=path, training=choice.training)
        for name, module in choice.named_children():
            self.add_module(name, module)
        for name, value in choice.__dict__.items():
            # What was registered on the choice goes on (handles remove it), constraints too.
            if "hooks" in name or isinstance(value, Patch):
                self.__dict__[name] = value

    @property
    def decision(self) -> Decision:
        """What decides here, of a choice with one label."""
        return self.decisions[0]

    @property
    def original(self) -> P:
        """The choice that this module replaced."""
        return cast(P, self.__dict__["choice"])

    @classmethod
    def mutate(
        cls, module: nn.Module, name: str, memo: Memo, mutate_kwargs: Options
    ) -> MixedChoice[P] | None:
        """Replace the choice that this class is for; the mutation hook."""
        if type(module) is not cls.replaces:  # a subclass may mean something else
            return None
        table = cast(DecisionTable, mutate_kwargs["decisions"])
        decisions = [table.decide(spec, path=name) for spec in module.specs_at(name)]
        return cls(cast(P, module), *decisions, path=name)

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        self.original.training = self.training
        return self.original.select_at(self.path, chosen)

    def branches(self) -> Branches:
        return self.original.branches_at(self.path)

    def gates(self) -> Gates:
        return self.original.gates_at(self.path)


class MixedLayer(MixedChoice[LayerChoice]):
    """Run the active candidates of a :class:`LayerChoice` and add them up.

    Source: Liu et al., "DARTS", arXiv:1806.09055, eq. 2, for weighted candidates; Guo et al.,
    "Single Path One-Shot", arXiv:1904.00420, section 3.2, for a single one.
    """

    replaces = LayerChoice
    candidates: nn.ModuleDict

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            candidates = self.__dict__.get("_modules", {}).get("candidates")
            if candidates is None or name.startswith("_"):
                raise
        active = self.decision.active() if running else []
        names = [str(a.candidate) for a in active] or [str(self.decision.spec.default)]
        if len(names) > 1:
            names = [str(self.decision.spec.default)]
            if ismethod(getattr(candidates[names[0]], name, None)):
                raise StrategyError(
                    f"the method {name!r} of the choice {self.decision.spec.label!r} was used "
                    "while its candidates are weighted",
                    expected="a call of the choice, which adds up what its candidates give",
                    fix="call it, or use a strategy that samples, such as 'random'",
                )
        return attribute_of(self, candidates[names[0]], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the active candidates to the same inputs.

        Returns:
            The one output as it is, or the weighted sum. Outputs that are tuples, lists or
            dicts are summed item by item; their tensors must agree in shape.
        """
        return weighted_sum(
            [
                (self.candidates[str(active.candidate)](*args, **kwargs), active.weight)
                for active in self.decision.active()
            ],
            self.decision.spec.label,
        )


class MixedInput(MixedChoice[InputChoice]):
    """Reduce the active inputs of an :class:`InputChoice`.

    Inputs that are not active are not touched. Weights count inputs: those of a decision that
    takes ``n`` sum to ``n``, so ``"sum"`` and ``"mean"`` have the scale of the frozen network.
    """

    replaces = InputChoice

    @classmethod
    def mutate(
        cls, module: nn.Module, name: str, memo: Memo, mutate_kwargs: Options
    ) -> MixedChoice[InputChoice] | None:
        if type(module) is not InputChoice:
            return None
        mixed = super().mutate(module, name, memo, mutate_kwargs)
        if mixed is not None and mixed.decision.superposes:
            reduction = mixed.original.reduction
            if reduction in ("concat", "none") and mixed.original.n_chosen != 1:
                raise StrategyError(
                    f"the InputChoice at {name!r} cannot be superposed: reduction={reduction!r} "
                    "keeps its inputs apart",
                    expected="reduction 'sum' or 'mean' for a strategy that weights candidates",
                    fix="change the reduction, or use a strategy that samples, such as 'random'",
                )
        return mixed

    def forward(self, inputs: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Reduce the active inputs.

        Args:
            inputs: ``n_candidates`` tensors; of equal shape unless concatenated.
        """
        choice = self.original
        choice.check(inputs, self.decision.spec.label)
        active = self.decision.active()
        values = [inputs[cast(int, a.candidate)] for a in active]
        weights = [a.weight for a in active]
        if choice.n_chosen == 1 and choice.reduction != "mean":
            # One input goes on, mixed if need be; concatenating or listing it comes after.
            mixed = reduce_inputs(values, weights, "sum", choice.dim)
            assert isinstance(mixed, Tensor)
            return [mixed] if choice.reduction == "none" else mixed
        return reduce_inputs(values, weights, choice.reduction, choice.dim)


class MixedRepeat(Chain, MixedChoice[Repeat]):
    """Run the blocks of a :class:`Repeat` up to the largest active depth.

    Several active depths give the weighted sum of what stands after each; depth 0 is the
    input itself. Whoever goes over the blocks gets those of the active depth.
    """

    replaces = Repeat
    blocks: nn.ModuleList

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the blocks; every block must keep what the next one accepts."""
        self.original.note_call(args, kwargs)
        weights = self._weights()
        outputs: list[tuple[Any, Tensor | None]] = []
        for depth in range(max(weights) + 1):
            if depth:
                x = self.blocks[depth - 1](x, *args, **kwargs)
            if depth in weights:
                outputs.append((x, weights[depth]))
        return weighted_sum(outputs, repr(self.original.depth_at(self.path)))

    def depth_in_use(self) -> int:
        weights = self._weights()
        if len(weights) > 1:
            raise StrategyError(
                f"the blocks of the Repeat at {self.path!r} were asked for one by one while its "
                "depth is weighted",
                expected="one depth, or a call of the Repeat, which adds up what stands after each",
                fix="call the Repeat, or use a strategy that samples, such as 'random'",
            )
        return next(iter(weights))

    def _weights(self) -> dict[int, Tensor | None]:
        """Return every active depth with its weight."""
        depth_of = self.original.depth_at(self.path)
        weights: dict[int, Tensor | None] = {}
        for chosen, weight in joint(self.decisions):
            depth = depth_of.evaluate(chosen)
            known = weights.get(depth)
            weights[depth] = weight if known is None or weight is None else known + weight
        return weights


def weighted_sum(outputs: Sequence[tuple[Any, Tensor | None]], label: str = "") -> Any:
    """Add up values, each times its weight (None counts as 1), item by item if nested.

    A single value without a weight is returned untouched, whatever it is. Items that are None
    in all values stay None.

    Args:
        outputs: values, each with its weight.
        label: of the choice they come from, for messages.

    Raises:
        SpaceError: values are no tensors or nests of tensors, or differ in structure or shape.
    """
    first, weight = outputs[0]
    if len(outputs) == 1 and weight is None:
        return first
    forms = list(dict.fromkeys(_form(value) for value, _ in outputs))
    if len(forms) > 1 or forms[0] is None:
        raise SpaceError(
            f"the candidates of {label!r} return what cannot be added: "
            f"{', '.join(form or type(first).__name__ for form in forms)}",
            expected="tensors of one shape, or tuples, lists and dicts of such tensors",
            fix="return the same from every candidate, or use a strategy that samples, such as "
            "'random'",
        )
    if isinstance(first, Mapping):
        return {key: weighted_sum([(v[key], w) for v, w in outputs], label) for key in first}
    if isinstance(first, (tuple, list)):
        items = [weighted_sum([(v[i], w) for v, w in outputs], label) for i in range(len(first))]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    if first is None:  # as the weights of nn.MultiheadAttention
        return None
    return reduce(operator.add, [v if w is None else w * v for v, w in outputs])


def _form(value: Any) -> str | None:
    """Say what values must have in common to be added; None for what cannot be added."""
    match value:
        case Tensor():
            return f"shape {tuple(value.shape)}"
        case Mapping():
            return f"a dict of {sorted(value)}"
        case tuple() | list():
            return f"{len(value)} items"
        case None:
            return "None"
    return None


__all__ = ["MixedChoice", "MixedInput", "MixedLayer", "MixedRepeat", "weighted_sum"]
