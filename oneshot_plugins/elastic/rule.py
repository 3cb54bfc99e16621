"""How one class of layers is cut down to what an architecture takes.

A layer with choices stores its tensors once, as large as the largest architecture needs them. A
rule says which part of them a smaller layer uses, and how layers of different size are superposed.
Rules are plugin components of the kind ``elastic`` that name the classes they are for in
``handles``; without one a layer's choices must not change the shape of its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Tensors = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]


class LayerRule:
    """Take prefixes: the first channels, features or rows. The base of all rules.

    ``template`` is always a plain layer without data, built with the arguments of one
    architecture; it has the shapes and settings of the layer that is wanted.
    """

    def stored(self, templates: Sequence[nn.Module]) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of the tensors to keep, so that each template can be cut from them.

        The largest of each dimension, for all tensors that any template has.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for template in templates:
            for name, tensor in tensors_of(template).items():
                known = shapes.get(name, tuple(tensor.shape))
                shapes[name] = tuple(map(max, known, tensor.shape))
        return shapes

    def cut(self, source: Tensors, template: nn.Module) -> dict[str, Tensor]:
        """Return name -> tensor for every tensor of ``template``, cut from ``source``.

        Parts of the source are returned as views, so that gradients and running statistics reach
        it.
        """
        return {name: prefix(source[name], t.shape) for name, t in tensors_of(template).items()}

    def why_not_mixed(self, templates: Sequence[nn.Module]) -> str | None:
        """Say why layers like these cannot be superposed, None if they can.

        Asked before training, by strategies that weight candidates.
        """
        cls, base = type(self), LayerRule
        if (cls.narrow, cls.widen, cls.mixed) != (base.narrow, base.widen, base.mixed):
            return None
        shapes = [{n: t.shape for n, t in tensors_of(template).items()} for template in templates]
        if any(shape != shapes[0] for shape in shapes):
            return f"{cls.__name__} says how its tensors are cut, and not how outputs are added up"
        return None

    def narrow(
        self, template: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Cut inputs to what ``template`` takes; asked where layers are superposed.

        What comes in is then as large as the largest of them needs.
        """
        return args, dict(kwargs)

    def widen(self, output: Any, like: Sequence[Any]) -> Any:
        """Pad an output with zeros to the largest size among ``like``, outputs of all sizes."""
        return output

    def mixed(
        self,
        source: Tensors,
        parts: Sequence[tuple[nn.Module, Tensor]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Compute the weighted sum of layers in one pass; ``NotImplemented`` to add up outputs.

        Args:
            source: the stored tensors.
            parts: templates, each with its weight, a tensor of one number.
            args: inputs of the layer, as large as the largest part needs.
            kwargs: of the call.
        """
        return NotImplemented


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of ``module`` by name, shared ones under each name."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def prefix(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the first entries of every dimension; the tensor itself if that is all of it."""
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    return tensor[tuple(slice(size) for size in shape)]


def pad_to(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Return ``tensor`` with zeros behind, ``size`` long in ``dim``."""
    missing = size - tensor.shape[dim]
    if missing <= 0:
        return tensor
    behind = tensor.dim() - 1 - dim % tensor.dim()
    # Unlike joining with zeros, this keeps the memory format.
    return nn.functional.pad(tensor, [0, 0] * behind + [0, missing])
