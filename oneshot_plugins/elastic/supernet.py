"""The supernet module of layers with choices: cut for one architecture, superposed for several.

Superposing layers of different size is defined as the weighted sum of their outputs, each padded
with zeros to the largest. Rules give shortcuts where the same sum takes one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from oneshot_core.decision import Decision, DecisionTable
from oneshot_core.errors import StrategyError
from oneshot_core.hooks import Memo, Options
from oneshot_core.space import Choice, running
from oneshot_core.supernet import BaseSuperNetModule
from oneshot_plugins.supernets.joint import joint
from oneshot_plugins.supernets.modules import weighted_sum

from .layer import MutableLayer
from .live import Live, refuse_parametrization


class ElasticLayer(Live, BaseSuperNetModule):
    """Run a layer with the arguments that its decisions take.

    Args:
        layer: what is replaced. Its tensors, submodules and hooks are shared under their names.
        decisions: one for each of the layer's labels.

    Source: Cai et al., "Once-for-All", arXiv:1908.09791, section 3, for a part of shared weights;
    Wan et al., "FBNetV2", arXiv:2004.05565, section 3.1, for weighted channels.
    """

    sealed = True

    def __init__(self, layer: MutableLayer, *decisions: Decision) -> None:
        BaseSuperNetModule.__init__(self, *decisions)
        # What the layer is to others, such as its momentum or number of channels, stays readable
        # and writable; tables of parameters and hooks are the layer's own, shared.
        self.__dict__.update(
            {k: v for k, v in layer.__dict__.items() if k not in ("training", "_plans")}
        )
        self.__dict__["layer"] = layer  # by plain reference: it is no longer in the tree
        self.training = layer.training

    @property
    def original(self) -> MutableLayer:
        """The layer that this module replaced."""
        return cast(MutableLayer, self.__dict__["layer"])

    def elastic(self) -> MutableLayer:
        return self.original

    def shown(self) -> nn.Module | None:
        if running:
            parts = self._parts()
            if len(parts) == 1 and parts[0][1] is None:
                self.original.prepare(parts[0][0], self)
                return parts[0][0]
        return None

    def whole(self, name: str, tensor: Tensor) -> Tensor:
        # Of a single part all is computed with only if it has no weight, and then it is shown.
        return tensor.as_subclass(_Weighted) if running else tensor

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self.__dict__ and name != "training" and "layer" in self.__dict__:
            self.original.__dict__[name] = value  # who puts the layer back finds it there

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_parametrization(cls, cls.__mro__[1])

    @classmethod
    def mutate(
        cls, module: nn.Module, name: str, memo: Memo, mutate_kwargs: Options
    ) -> ElasticLayer | None:
        """Replace a layer with choices; the mutation hook."""
        # Not isinstance: that asks twins in Python, for every module of every model.
        if MutableLayer not in type(module).__mro__:
            return None
        assert isinstance(module, MutableLayer)
        table = cast(DecisionTable, mutate_kwargs["decisions"])
        decisions = [table.decide(spec, path=name) for spec in module.specs_at(name)]
        if any(decision.superposes and decision.spec.size > 1 for decision in decisions):
            _require_mixable(module, name)
        return _class_for(module)(module, *decisions)

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        return self.original.selected(chosen, self)

    def impossible(self) -> Iterator[tuple[Mapping[str, Choice], str]]:
        return self.original.impossible_at("")

    def extra_repr(self) -> str:
        """Show the arguments, values among them."""
        return self.original.extra_repr()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the layer, or the weighted sum of layers, that the decisions take."""
        layer, parts = self.original, self._parts()
        for template, _ in parts:
            layer.prepare(template, self)
        if len(parts) == 1 and parts[0][1] is None:
            return layer.run(parts[0][0], args, kwargs)
        weighted = [(t, w) for t, w in parts if w is not None]
        rule = layer.rule
        if len(weighted) == len(parts):
            mixed = rule.mixed(layer.tensors(), weighted, args, kwargs)
            if mixed is not NotImplemented:
                return mixed
        outputs = []
        for template, weight in parts:
            some, named = rule.narrow(template, args, kwargs)
            outputs.append((layer.run(template, some, named), weight))
        like = [output for output, _ in outputs]
        return weighted_sum([(rule.widen(out, like), w) for out, w in outputs], "the values")

    def _parts(self) -> list[tuple[nn.Module, Tensor | None]]:
        """Return the different layers that take part, each with its weight."""
        found: dict[int, tuple[nn.Module, Tensor | None]] = {}
        for chosen, weight in joint(self.decisions):
            template = self.original.template(chosen)
            known = found.get(id(template))
            if known is not None and known[1] is not None and weight is not None:
                weight = known[1] + weight
            found[id(template)] = (template, weight)
        return list(found.values())


class _Weighted(Tensor):
    """All of a tensor whose parts are weighted: it can be looked at, and not computed with.

    There is no one tensor that a reader could take for the layer. torch's own layers do not take
    their shortcuts for such a tensor, but call the layer.
    """

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in ("__get__", "size", "dim", "numel", "is_floating_point", "__repr__"):
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **(kwargs or {}))
        raise StrategyError(
            f"{name} was computed with a tensor of a layer whose choices are weighted",
            expected="a call of the layer, which adds up what its choices give",
            fix="call the layer instead of reading its tensor, or use a strategy that samples, "
            "such as 'random'",
        )


def _require_mixable(layer: MutableLayer, name: str) -> None:
    for template in layer.templates():
        layer.prepare(template, layer)
    why = layer.rule.why_not_mixed(layer.templates())
    if layer.declared:
        why = "an argument is known for whole architectures only (a value with a declared domain)"
    elif any(spec.n_chosen != 1 for spec in layer.specs.values()):
        why = "an argument depends on a choice that takes several candidates at once"
    if why is not None:
        raise StrategyError(
            f"the {type(layer).__name__} at {name!r} cannot be superposed: {why}",
            expected="choices that a strategy can weight",
            fix="choose other arguments, put the layers into a LayerChoice, or use a strategy "
            "that samples, such as 'random'",
        )


_classes: dict[type[nn.Module], type[ElasticLayer]] = {}


def _class_for(layer: MutableLayer) -> type[ElasticLayer]:
    """Return a class of elastic layers that is also the plain layer's, for ``isinstance``.

    BatchNorm is looked for by its class when statistics are recalibrated, and by users who leave
    it out of weight decay.
    """
    plain = layer.layer_class
    if plain not in _classes:
        members = {"__reduce_ex__": _reduce, "plain": plain}
        _classes[plain] = type(f"Elastic{plain.__name__}", (ElasticLayer, plain), members)
    return _classes[plain]


def _reduce(self: ElasticLayer, protocol: Any) -> Any:
    return _rebuild, (self.original,), dict(self.__dict__)


def _rebuild(layer: MutableLayer) -> ElasticLayer:
    cls = _class_for(layer)
    return cls.__new__(cls)


__all__ = ["ElasticLayer"]
