"""Choose which of several inputs go on."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal, get_args

import torch
from torch import Tensor, fx, nn

from oneshot_core.errors import SpaceError
from oneshot_core.space import Candidate, Choice, Mutable, ParameterSpec

Reduction = Literal["sum", "mean", "concat", "none"]


class InputChoice(Mutable):
    """Choose ``n_chosen`` of ``n_candidates`` inputs and reduce them to one.

    Called with a list or tuple of ``n_candidates`` tensors. Takes the first ``n_chosen``
    until a search replaces it.

    Args:
        n_candidates: how many inputs are offered, at least 1.
        n_chosen: how many are taken; None for any non-empty subset.
        reduction: ``"sum"``, ``"mean"`` over the chosen, ``"concat"`` along ``dim``, or
            ``"none"``, which returns the chosen as a list.
        dim: dimension of the concatenation.
        prior: how often each is drawn, as of :class:`LayerChoice`; only with ``n_chosen=1``.
        label: see :class:`Mutable`.

    Raises:
        SpaceError: a number is out of range, the reduction is unknown, ``"concat"`` is
            combined with a subset of unknown size, or the prior does not fit.

    Source: ``nni.nas.nn.pytorch.InputChoice``.
    """

    def __init__(
        self,
        n_candidates: int,
        n_chosen: int | None = 1,
        *,
        reduction: Reduction = "sum",
        dim: int = 1,
        prior: Sequence[float] | None = None,
        label: str | None = None,
    ) -> None:
        super().__init__(label)
        if reduction not in get_args(Reduction):
            raise SpaceError(
                f"InputChoice got reduction={reduction!r}",
                expected=f"one of {list(get_args(Reduction))}",
                fix="choose how the chosen inputs become one",
            )
        if reduction == "concat" and n_chosen is None:
            raise SpaceError(
                "InputChoice concatenates a number of inputs that is not fixed",
                expected="an n_chosen for reduction='concat'",
                fix="set n_chosen, or use 'sum', 'mean' or 'none'",
            )
        self.n_candidates = n_candidates
        self.n_chosen = n_chosen
        self.reduction: Reduction = reduction
        self.dim = dim
        self.prior = None if prior is None else tuple(prior)
        self.spec(label or "InputChoice")  # refuses wrong numbers now, not at the walk

    def spec(self, label: str) -> ParameterSpec:
        candidates = tuple(range(self.n_candidates))
        return ParameterSpec(label, candidates, self.n_chosen, prior=self.prior)

    def select(self, choice: Choice) -> nn.Module:
        return _selector(_indices(self.spec("input").members(choice)), self.reduction, self.dim)

    def check(self, inputs: Sequence[Any], where: str) -> None:
        """Refuse another number of inputs than was declared.

        Raises:
            ValueError: ``inputs`` has not ``n_candidates`` elements.
        """
        if len(inputs) != self.n_candidates:
            raise ValueError(
                f"InputChoice {where!r} was called with {len(inputs)} inputs.\n"
                f"  expected: a list of {self.n_candidates} tensors (n_candidates)\n"
                "  fix: pass all candidate inputs as one list"
            )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Reduce the default inputs.

        Args:
            inputs: ``n_candidates`` tensors; of equal shape unless concatenated along ``dim``.
        """
        self.check(inputs, self.label_at(""))
        spec = self.spec("input")
        taken = [inputs[index] for index in _indices(spec.members(spec.default))]
        return reduce_inputs(taken, [None] * len(taken), self.reduction, self.dim)


def reduce_inputs(
    values: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    reduction: Reduction,
    dim: int,
) -> Tensor | list[Tensor]:
    """Reduce chosen inputs, each times its weight (None counts as 1).

    ``"mean"`` divides by the total weight, so that equal weights give the plain mean.
    """
    weighted = [value if w is None else w * value for value, w in zip(values, weights, strict=True)]
    if reduction == "none":
        return weighted
    if reduction == "concat":
        return torch.cat(weighted, dim)
    total = reduce(operator.add, weighted)
    if reduction == "sum":
        return total
    return total / reduce(operator.add, [1 if w is None else w for w in weights])


def _indices(taken: Sequence[Candidate]) -> list[int]:
    return [index for index in taken if isinstance(index, int)]


def _selector(taken: Sequence[int], reduction: Reduction, dim: int) -> nn.Module:
    """Build the plain torch module that a frozen :class:`InputChoice` becomes.

    torch has no layer that picks from a list, so it is written as a ``torch.fx`` graph: it
    needs nothing of ours to be loaded, exported or compiled.
    """
    graph = fx.Graph()
    inputs = graph.placeholder("inputs")
    picked = [graph.call_function(operator.getitem, (inputs, index)) for index in taken]
    if reduction == "none":
        graph.output(picked)
    elif reduction == "concat":
        graph.output(graph.call_function(torch.cat, (picked, dim)))
    else:
        total = reduce(lambda a, b: graph.call_function(operator.add, (a, b)), picked)
        if reduction == "mean":
            total = graph.call_function(operator.truediv, (total, len(picked)))
        graph.output(total)
    return fx.GraphModule(nn.Module(), graph, class_name="SelectInputs")
