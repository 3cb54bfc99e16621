"""The sizes of a chain: which architectures are trained one after another, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor, nn

from oneshot_core import Architecture, BaseOneShotLightningModule, ParameterSpec
from oneshot_core.errors import StrategyError
from oneshot_core.space import Choice

from .order import Order, by_size

Sizes: TypeAlias = "int | Sequence[Mapping[str, Any]]"
Weights = dict[str, Tensor]
"""Parameters and buffers of the user's model by name, on the CPU."""


class Stage(NamedTuple):
    """One size of a chain.

    Attributes:
        architecture: that is trained.
        begins: after how many epochs, from 0.
        reached: whether any batch has trained it.
        kept: whether it has weights of its own; the stage in training has the model's.
    """

    architecture: Architecture
    begins: float
    reached: bool
    kept: bool


def sizes_of(
    search: BaseOneShotLightningModule, sizes: Sizes, order: Order | None
) -> list[Architecture]:
    """Return the architectures of a chain, largest first.

    Args:
        search: over whose model space.
        sizes: how many, in equal steps from the largest to the smallest choice of every label;
            or label, or a pattern such as ``"*.ffn"`` -> choice for each. What a size leaves out
            is as in the size before; in the first, the largest choice.
        order: label -> choices from the smallest to the largest; see :func:`~.order.by_size`.

    Raises:
        StrategyError: two sizes are equal, a number grows, or there are fewer than asked for.
        ArchitectureError: a size is no architecture of the model space.
    """
    ordered = by_size(search, order)
    space = search.space
    if isinstance(sizes, int):
        longest = max((len(choices) for choices in ordered.values()), default=1)
        if not 1 <= sizes <= longest:
            raise StrategyError(
                f"sizes={sizes}, and the label with most choices has {longest}",
                expected=f"a number from 1 to {longest}, so that each size differs from the next",
                fix="take fewer, or list the architectures: sizes=[{...}, {...}]",
            )
        given: Sequence[Mapping[str, Any]] = [
            _allowed(search, ordered, 0.0 if sizes == 1 else k / (sizes - 1)) for k in range(sizes)
        ]
    else:
        given = list(sizes)
    found: list[Architecture] = []
    chosen = _allowed(search, ordered, 0.0)
    for number, size in enumerate(given):
        before = dict(chosen)
        chosen |= _written_out(size, space.specs, number)
        _require_no_growth(before if number else None, chosen, number)
        found.append(Architecture(space.reduce(Architecture(chosen).validate(space)), space))
    repeated = [i for i, a in enumerate(found) if a in found[:i]]
    if not found or repeated:
        raise StrategyError(
            f"the chain has {len(found)} sizes, and those at {repeated} are there before",
            expected="at least one size, each another architecture",
            fix="correct sizes=",
        )
    return found


def _allowed(
    search: BaseOneShotLightningModule, ordered: Mapping[str, list[Choice]], share: float
) -> dict[str, Choice]:
    """Return the choices a share of the way down; with constraints, the nearest that keep them."""
    places = {label: round((len(cs) - 1) * (1 - share)) for label, cs in ordered.items()}
    if not search.space.constraints:
        return {label: choices[places[label]] for label, choices in ordered.items()}

    def nearest(spec: ParameterSpec) -> list[Choice]:
        choices, place = ordered[spec.label], places[spec.label]
        return sorted(choices, key=lambda choice: abs(choices.index(choice) - place))

    found = search.space.first(nearest)
    if found is None:
        raise StrategyError(
            f"no size of the given order keeps the constraints {search.space.constraints}",
            expected="an order with choices that can be taken together",
            fix="leave fewer choices out of order=, or list the sizes",
        )
    return {label: found.get(label, choices[places[label]]) for label, choices in ordered.items()}


def _written_out(
    size: Mapping[str, Any], specs: Mapping[str, Any], number: int
) -> dict[str, Choice]:
    found: dict[str, Choice] = {}
    for pattern, choice in size.items():
        labels = [pattern] if pattern in specs else [n for n in specs if fnmatchcase(n, pattern)]
        if not labels:
            raise StrategyError(
                f"size {number} of the chain names {pattern!r}, which this search does not choose",
                expected=f"labels or patterns of {sorted(specs)}",
                fix="correct sizes=",
            )
        found |= {label: specs[label].normalise(choice) for label in labels}
    return found


def _require_no_growth(
    before: Mapping[str, Choice] | None, chosen: Mapping[str, Choice], number: int
) -> None:
    for label, choice in chosen.items():
        old = None if before is None else before[label]
        numbers = isinstance(old, (int, float)) and isinstance(choice, (int, float))
        if numbers and choice > old:  # type: ignore[operator]
            raise StrategyError(
                f"size {number} of the chain has {label!r} at {choice}, the one before at {old}",
                expected="sizes that only shrink: what grows would begin with weights that the "
                "stage before has not trained",
                fix="sort sizes= from the largest to the smallest",
            )


def begins_of(
    epochs: float | Sequence[float] | None, n: int, max_epochs: int | None
) -> list[float]:
    """Return after how many epochs each of ``n`` stages begins.

    Args:
        epochs: of each stage, or one number for all; None shares ``max_epochs`` equally.
        n: number of stages.
        max_epochs: of the Trainer; None or -1 is no end.

    Raises:
        StrategyError: there is no end to share, or the last stage is not reached.
    """
    endless = max_epochs is None or max_epochs < 0
    if epochs is None:
        if endless and n > 1:
            raise StrategyError(
                "the chain shares the epochs of the Trainer, and max_epochs is not set",
                expected="an end, or the epochs of each stage",
                fix="Trainer(max_epochs=...), or epochs=[...]",
            )
        return [k * (max_epochs or 1) / n for k in range(n)]
    lengths = [float(epochs)] * n if isinstance(epochs, (int, float)) else list(epochs)
    if len(lengths) != n or not all(length > 0 for length in lengths):
        raise StrategyError(
            f"epochs={epochs} for {n} sizes",
            expected="a number greater than 0, or one for each size",
            fix="correct epochs=",
        )
    begins = [sum(lengths[:k]) for k in range(n)]
    if not endless and begins[-1] >= max_epochs:  # type: ignore[operator]
        raise StrategyError(
            f"the last of {n} sizes begins after {begins[-1]:g} of {max_epochs} epochs",
            expected="a training that reaches every size",
            fix="train longer, or give each size fewer epochs",
        )
    return begins


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return name -> parameter or buffer, the tensors themselves."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def copied(model: nn.Module) -> Weights:
    """Return copies of all parameters and buffers on the CPU."""
    return {n: t.detach().to("cpu", copy=True) for n, t in tensors_of(model).items()}


def sharing(weights: Weights, before: Weights) -> Weights:
    """Return ``weights`` with the very tensors of ``before`` where they are equal.

    A checkpoint then holds them once.
    """
    return {
        name: before[name] if name in before and value.equal(before[name]) else value
        for name, value in weights.items()
    }


__all__ = [
    "Sizes",
    "Stage",
    "Weights",
    "begins_of",
    "copied",
    "sharing",
    "sizes_of",
    "tensors_of",
]
