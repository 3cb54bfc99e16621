"""What an adapter promises: it knows the models that it is for, and the frozen ones load again."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from oneshot_core.architecture import freeze
from oneshot_core.decision import DecisionTable
from oneshot_core.lightning.kit import plugin_hooks
from oneshot_core.space import Choice
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.elastic.module import make_elastic
from oneshot_plugins.elastic.optional import make_optional
from oneshot_plugins.pretrained.adapter import Adapter
from oneshot_plugins.pretrained.adapting import Adapters, find_adapters, joined
from oneshot_plugins.pretrained.correcting import attach, quietly, unsaid
from oneshot_plugins.pretrained.expression import matching, tensors_of
from oneshot_plugins.pretrained.trace import Trace, TraceError, trace

from ..case import NothingToCheckError, Sample, Subject, checks, require, require_samples
from ..decisions import Drawn
from ..tensors import same
from .supernets import Holder

DRAWS = 5
"""So many architectures are compared for each sample, and the smallest."""


def is_an_adapter(subject: Subject) -> None:
    """It is an Adapter, and names the classes of modules that it is for."""
    adapter = subject.load()
    handles = subject.record.component.handles
    require(
        isinstance(adapter, Adapter) and bool(handles),
        f"{subject.record.id} is {adapter!r}, for {list(handles)}",
        "an oneshot_plugins.pretrained.adapter.Adapter, for classes of modules",
        "name one in the target, and the classes in handles=",
    )


def has_samples(subject: Subject) -> None:
    """There are models to try it with, in each of which it is found."""
    _require_packages(subject)
    samples = subject.samples()
    require_samples(samples, subject.record.id, "model")
    for sample in samples:
        model = sample.make()
        require(
            bool(_paths(subject, find_adapters(model, registry=subject.registry))),
            f"a sample is a {type(model).__name__}, in which it is not found",
            f"models that are, or hold, one of {list(subject.record.component.handles)}",
            "return such models from the function that oneshot_conformance names",
        )


def paths_are_there(subject: Subject) -> None:
    """Each path that it declares fits something in a sample; else it is misspelt."""
    adapter: Adapter = subject.load()
    missing = dict.fromkeys(adapter.paths())
    for sample in _samples(subject):
        model = sample.make()
        names = [*tensors_of(model), *dict(model.named_modules(remove_duplicate=False))]
        for root in _paths(subject, find_adapters(model, registry=subject.registry)):
            for argument, path in list(missing):
                if matching(names, joined(root, path)):
                    del missing[argument, path]
    require(
        not missing,
        "nothing fits " + ", ".join(f"{argument}={path!r}" for argument, path in missing),
        "a tensor or module in one of the samples for each path",
        "correct the path, or add a sample in which it is",
    )


def agrees_with_the_tracer(subject: Subject) -> None:
    """What the tracer finds without any adapter is found with it, too: no dimension is lost.

    Dimensions that belong together without it belong together with it, and the other way round.
    """
    compared = 0
    for sample in _samples(subject):
        model, inputs = sample.make().eval(), sample.inputs()
        try:
            alone = trace(model, inputs)
        except TraceError:
            continue  # why there must be an adapter
        compared += 1
        together = _traced(model, inputs, find_adapters(model, registry=subject.registry))
        there = {(name, dim): e for name, dims in together.items() for dim, e in dims.items()}
        groups: dict[Extent, Extent] = {}
        for name, dims in alone.extents.items():
            for dim, extent in dims.items():
                found = there.get((name, dim))
                require(
                    found is not None and groups.setdefault(extent, found) == found,
                    f"{name}:{dim} is {extent} without the adapter, and {found} with it",
                    "the dimensions that belong together without it, together",
                    "correct what follows=, or leave out what the tracer knows by itself",
                )
    if not compared:
        raise NothingToCheckError("no sample can be traced without it")


def largest_equals_the_original(subject: Subject) -> None:
    """The elastic model computes at full size what the model computes, bit for bit."""
    for sample in _samples(subject):
        model, inputs = sample.make().eval(), sample.inputs()
        with torch.no_grad():
            wanted = model(*inputs)
            made = _Made(subject, sample)
            found = made.model(*inputs)
        require(
            same(_plain(found), _plain(wanted)),
            f"the elastic {type(model).__name__} computes something else at full size",
            "equal outputs, bit for bit",
            "correct follows=: at full size each expression is the attribute as it is",
        )


def parts_equal_frozen(subject: Subject) -> None:
    """At any sizes and depth the elastic model computes what the frozen network computes."""
    for sample in _samples(subject):
        made, inputs = _Made(subject, sample), sample.inputs()
        for architecture in made.architectures():
            with torch.no_grad():
                found = made.at(architecture, *inputs)
                wanted = made.freeze(architecture)(*inputs)
            require(
                same(_plain(found), _plain(wanted)),
                f"at {architecture} the elastic {type(made.inner).__name__} and the frozen one "
                "differ",
                "equal outputs, bit for bit",
                "let attributes that forward reads follow, and blocks that others need stay",
            )


def config_says_the_sizes(subject: Subject) -> None:
    """A network with the same sizes in all layers can be built again from its config."""
    adapter: Adapter = subject.load()
    if not adapter.config:
        raise NothingToCheckError("it declares no config")
    for sample in _samples(subject):
        made, inputs = _Made(subject, sample), sample.inputs()
        before = copy.deepcopy(made.inner.config.to_dict())
        for architecture in made.uniform():
            network: Any = made.freeze(architecture)
            reasons = unsaid(network)
            require(
                not reasons,
                f"at {architecture} the config of the {type(network).__name__} does not say "
                f"{reasons[:3]}",
                "a config from which the frozen network can be built",
                "correct config=, or say with needs= which sizes the config cannot say",
            )
            again = type(network)(copy.deepcopy(network.config)).eval()
            again.load_state_dict(network.state_dict())
            with torch.no_grad():
                require(
                    same(_plain(again(*inputs)), _plain(network(*inputs))),
                    f"at {architecture} the network that is built from the config differs",
                    "equal outputs, bit for bit",
                    "let what the class computes from its config follow",
                )
        require(
            before == made.inner.config.to_dict(),
            "the config of the original has changed",
            "a frozen network with a config of its own",
            "change nothing of the model in the adapter",
        )


class _Made:
    """A sample as an elastic model, after the walk.

    Attributes:
        inner: the model itself.
        model: what holds it, since the walk replaces no root.
        decisions: about sizes and blocks.
    """

    def __init__(self, subject: Subject, sample: Sample) -> None:
        self.inner: Any = sample.make().eval()
        inputs = sample.inputs()
        adapters = find_adapters(self.inner, registry=subject.registry)
        extents, outputs = _traced_with_outputs(self.inner, inputs, adapters)
        self.roles = adapters.roles(self.inner, extents)
        fixed = {size for size in outputs if self.roles.get(size) != "hidden"}
        table = {
            name: {dim: e for dim, e in dims.items() if not fixed & {*e.sizes}}
            for name, dims in extents.items()
        }
        sizes = dict.fromkeys(s for dims in table.values() for e in dims.values() for s in e.sizes)
        self.values = {s: sorted({_part(s, 1, 2), _part(s, 3, 4), s.full}) for s in sizes}
        stacks = adapters.stacks(self.inner)
        attach(self.inner, adapters)
        follow = adapters.run_time_attributes(self.inner, table)
        make_elastic(self.inner, table, self.values, follow)
        for stack in stacks:
            keep = [path for path in stack.blocks if path not in stack.optional]
            make_optional(self.inner, stack.blocks, keep=keep, give=stack.give, index=stack.index)
        self.model = Holder(self.inner).eval()
        self.decisions = DecisionTable(Drawn)
        hooks = list(plugin_hooks(subject.registry))
        traverse_and_mutate_submodules(self.model, hooks, {"decisions": self.decisions})

    def architectures(self) -> Iterator[dict[str, Choice]]:
        """Yield the smallest with one block of each list, and some that are drawn."""
        generator = random.Random(0)
        specs = [decision.spec for decision in self.decisions]
        yield self._uniform(1, 2, {label: label.endswith(".0") for label in self._blocks()})
        for _ in range(DRAWS):
            drawn = {spec.label: generator.choice(spec.candidates) for spec in specs}
            # Without any block, what holds them may not run: torch's encoder asks the first one.
            yield drawn | {label: True for label in self._blocks() if label.endswith(".0")}

    def uniform(self) -> Iterator[dict[str, Choice]]:
        """Yield architectures with one value for each role, and one without a block."""
        blocks = self._blocks()
        for over, under in ((1, 2), (3, 4)):
            yield self._uniform(over, under, dict.fromkeys(blocks, True))
        for label in blocks[:1]:
            yield self._uniform(1, 1, {**dict.fromkeys(blocks, True), label: False})

    def _blocks(self) -> list[str]:
        sizes = {size.name for size in self.values}
        labels = [decision.spec.label for decision in self.decisions]
        return [label for label in labels if label not in sizes]

    def _uniform(self, over: int, under: int, blocks: Mapping[str, bool]) -> dict[str, Choice]:
        return {**{size.name: _part(size, over, under) for size in self.values}, **blocks}

    def at(self, architecture: Mapping[str, Choice], *inputs: Any) -> Any:
        for decision in self.decisions:
            decision.pin(architecture[decision.spec.label])
        return self.model(*inputs)

    def freeze(self, architecture: Mapping[str, Choice]) -> nn.Module:
        with quietly():
            return freeze(self.model, architecture).body


def _part(size: Size, over: int, under: int) -> int:
    """Return a part of a size, as a multiple of its unit, rounded up."""
    units = -(-size.full * over // (under * size.unit))
    return min(units * size.unit, size.full)


def _traced(model: nn.Module, inputs: tuple[Any, ...], adapters: Adapters) -> Any:
    return _traced_with_outputs(model, inputs, adapters)[0]


def _traced_with_outputs(
    model: nn.Module, inputs: tuple[Any, ...], adapters: Adapters
) -> tuple[dict[str, dict[int, Extent]], tuple[Size, ...]]:
    traced: Trace = trace(model, inputs, attributes=adapters.traced_attributes(model))
    return adapters.completed(model, traced.extents), traced.outputs


def _plain(output: Any) -> Any:
    """Return an output of transformers, which is a dict with attributes, as a dict."""
    return dict(output) if isinstance(output, Mapping) else output


def _paths(subject: Subject, adapters: Adapters) -> list[str]:
    return [found.path for found in adapters.found if found.name == subject.record.id]


def _samples(subject: Subject) -> list[Sample]:
    _require_packages(subject)
    samples = subject.samples()
    if not samples:
        raise NothingToCheckError("there is nothing to try it with; see adapter.has-samples")
    return samples


def _require_packages(subject: Subject) -> None:
    packages = dict.fromkeys(h.partition(".")[0] for h in subject.record.component.handles)
    missing = [package for package in packages if find_spec(package) is None]
    if missing and len(missing) == len(packages):
        raise NothingToCheckError(f"{' and '.join(missing)} is not installed")


CHECKS = checks(
    "adapter",
    is_an_adapter,
    has_samples,
    paths_are_there,
    agrees_with_the_tracer,
    largest_equals_the_original,
    parts_equal_frozen,
    config_says_the_sizes,
)
