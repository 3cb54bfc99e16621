"""What a rule for elastic layers promises: parts of shared weights are layers by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.architecture import freeze
from oneshot_core.decision import Decision, DecisionTable
from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import plugin_hooks
from oneshot_core.model_space import ModelSpace
from oneshot_core.nn import LayerRule, MutableLayer
from oneshot_core.space import ParameterSpec
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.costs.nests import leaves

from ..case import NothingToCheckError, Sample, Subject, checks, require, require_samples
from ..decisions import Drawn, Weighted
from ..tensors import close, mapped, same
from .supernets import Holder


def is_a_rule(subject: Subject) -> None:
    """It is a LayerRule, or a class of them, and names the layers that it is for."""
    rule = subject.load()
    cls = rule if isinstance(rule, type) else type(rule)
    require(
        issubclass(cls, LayerRule) and bool(subject.record.component.handles),
        f"{subject.record.id} is {rule!r}, for {list(subject.record.component.handles)}",
        "a subclass of oneshot_core.nn.LayerRule, for classes of layers",
        "name the class in the target, and the layers in handles=",
    )


def has_samples(subject: Subject) -> None:
    """There are layers with choices to try it with."""
    require_samples(subject.samples(), subject.record.id, "layer")
    for sample in subject.samples():
        layer = sample.make()
        require(
            isinstance(layer, MutableLayer) and _uses(subject, layer),
            f"a sample is a {type(layer).__name__}, which it is not used for",
            f"layers of oneshot_core.nn with values, of {list(subject.record.component.handles)}",
            "return such layers from the function that oneshot_conformance names",
        )


def parts_equal_frozen(subject: Subject) -> None:
    """At every architecture the shared weights compute what the frozen layer computes."""
    for sample in _samples(subject):
        model, decisions = _mutated(subject, sample, Drawn)
        for architecture in ModelSpace(model).architectures():
            for decision in decisions:
                decision.pin(architecture[decision.spec.label])
            torch.manual_seed(0)
            found = model(*sample.inputs())
            torch.manual_seed(0)
            wanted = freeze(model, architecture)(*sample.inputs())
            require(
                same(found, wanted),
                f"at {architecture} the shared weights and the frozen layer differ",
                "equal outputs, bit for bit",
                "return from cut exactly the tensors of the template, as views where possible",
            )


def superposition_is_the_padded_sum(subject: Subject) -> None:
    """Superposed, the output is the weighted sum of outputs in the corner of zeros, or refused."""
    tried = 0
    for sample in _samples(subject):
        try:
            model, decisions = _mutated(subject, sample, Weighted)
        except StrategyError:
            continue  # why_not_mixed said why
        tried += 1
        model.double()
        decisions.double()
        inputs = mapped(Tensor.double, sample.inputs())
        parts: list[tuple[float, Any]] = []
        with torch.no_grad():
            for architecture in ModelSpace(model).architectures():
                weight = 1.0
                for decision in decisions:
                    index = decision.spec.candidates.index(architecture[decision.spec.label])
                    weight *= float(decision.probabilities()[index])
                parts.append((weight, freeze(model, architecture)(*inputs)))
            found = model(*inputs)
        require(
            close(list(leaves(found)), _padded_sum([(w, list(leaves(p))) for w, p in parts])),
            "superposed it computes something else than the sum of its layers",
            "each layer's output times its weight, added up in the corner of zeros",
            "correct mixed, or leave it out; correct narrow and widen",
        )
    if not tried:
        raise NothingToCheckError("it refuses to superpose its samples")


def _padded_sum(parts: list[tuple[float, list[Any]]]) -> list[Any]:
    total: list[Any] = []
    for items in zip(*(outputs for _, outputs in parts), strict=True):
        if not isinstance(items[0], Tensor):
            total.append(items[0])
            continue
        shape = [max(sizes) for sizes in zip(*(item.shape for item in items), strict=True)]
        here = items[0].new_zeros(shape)
        for (weight, _), item in zip(parts, items, strict=True):
            here[tuple(slice(size) for size in item.shape)] += weight * item
        total.append(here)
    return total


def _samples(subject: Subject) -> list[Sample]:
    samples = subject.samples()
    if not samples:
        raise NothingToCheckError("there is nothing to try it with; see elastic.has-samples")
    return samples


def _uses(subject: Subject, layer: MutableLayer) -> bool:
    rule = subject.load()
    return type(layer.rule) is rule if isinstance(rule, type) else layer.rule is rule


def _mutated(
    subject: Subject, sample: Sample, make: Callable[[ParameterSpec], Decision]
) -> tuple[nn.Module, DecisionTable]:
    model = Holder(sample.make())
    decisions = DecisionTable(make)
    hooks = list(plugin_hooks(subject.registry))
    traverse_and_mutate_submodules(model, hooks, {"decisions": decisions})
    return model.eval(), decisions


CHECKS = checks(
    "elastic",
    is_a_rule,
    has_samples,
    parts_equal_frozen,
    superposition_is_the_padded_sum,
)
