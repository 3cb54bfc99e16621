"""Mutation hooks that keep their promises leave every supernet module and space working."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import BaseSuperNetModule, LayerChoice, ModelSpace, Mutable, Registry
from oneshot_core import nn as onn
from oneshot_core.decision import DecisionTable
from oneshot_core.errors import UnsupportedModuleError
from oneshot_core.hookspecs import Conformance
from oneshot_core.testing import Sample, cases
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.checks.decisions import Drawn
from oneshot_plugins.spaces.nasbench101 import NasBench101Cell

CHECK = "cross-hook.what-is-chosen-survives-hook"


def kernels_as_choice(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> Any:
    """Let 3x3 convolutions be 3x3 or 1x1: a hook that keeps its promises."""
    if isinstance(module, oneshot.MutableModule) or type(module) is not nn.Conv2d:
        return None
    if module.kernel_size != (3, 3) or memo.get(id(module)):
        return None
    small = nn.Conv2d(
        module.in_channels, module.out_channels, 1, module.stride, groups=module.groups
    )
    memo[id(module)] = True
    return LayerChoice({"3": module, "1": small}, label=f"{name}-kernel"), False


def another_linear(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> Any:
    """Let linear layers be followed by a tanh, or not."""
    if type(module) is not nn.Linear or memo.get(id(module)):
        return None
    memo[id(module)] = True
    return LayerChoice({"plain": module, "tanh": nn.Sequential(module, nn.Tanh())}), False


def outcomes(*names: str, hook: Any, registry: Registry | None = None, **declared: Any) -> Any:
    registry = registry or Registry()
    registry.register("mutation_hook", "test.hook", hook, summary="for a test")
    found = [
        case
        for case in cases(*names, registry=registry, declared=Conformance(**declared))
        if case.check.id == CHECK and case.subject.record.id in names
    ]
    assert found
    return {case.subject.record.id: case.run() for case in found}


SPACES = [record.id for record in Registry().ordered("space")]
SUPERNETS = [record.id for record in Registry().ordered("supernet")]


def kernels_and_linears(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> Any:
    """Do what both of the hooks above do."""
    answer = kernels_as_choice(module, name, memo, mutate_kwargs)
    return another_linear(module, name, memo, mutate_kwargs) if answer is None else answer


QUICK = ("space:nas-bench-101", "space:nas-bench-201", "space:mnist1d-chain", *SUPERNETS)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in [*SPACES, *SUPERNETS]],
)
def test_a_conforming_hook_leaves_our_own_spaces_and_supernets_working(name: str) -> None:
    (result,) = outcomes(name, hook=kernels_and_linears).values()
    assert result.outcome == "passed", str(result)


def test_a_search_with_the_hook_draws_cells_of_nas_bench_101() -> None:
    registry = Registry()
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), NasBench101Cell(4, 4, vertices=4, edges=4, label="cell")
    )
    before = ModelSpace(model)
    hooks = [kernels_as_choice, *(registry.load(id).mutate for id in SUPERNETS)]
    decisions = DecisionTable(Drawn)
    traverse_and_mutate_submodules(model, hooks, {"decisions": decisions})
    labels = set(ModelSpace(model).specs)
    assert labels - set(before.specs) == {"0-kernel"}  # a user's layer: offered


@pytest.mark.parametrize("topdown", [True, False])
def test_what_is_inside_a_sealed_module_is_offered_to_no_hook(topdown: bool) -> None:
    seen: list[str] = []

    def note(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> None:
        seen.append(name)

    cell = NasBench101Cell(2, 2, vertices=3, edges=2)
    attention = onn.MultiheadAttention(oneshot.choice([4, 8], label="width"), 2)
    layer = LayerChoice({"a": nn.Sequential(nn.Linear(2, 2)), "b": nn.Tanh()}, label="open")
    model = nn.Sequential(cell, attention, layer)
    hooks = [note, *(Registry().load(id).mutate for id in SUPERNETS)]
    traverse_and_mutate_submodules(model, hooks, {"decisions": DecisionTable(Drawn)}, topdown)
    assert set(seen) == {"0", "1", "2", "2.candidates", "2.candidates.a", "2.candidates.a.0"} | {
        "2.candidates.b"
    }


class Halves(Mutable):
    """Take the first half of a layer's outputs, or all: works on weights of its submodule."""

    def __init__(self, layer: nn.Module, label: str) -> None:
        super().__init__(label)
        self.layer = layer

    def spec(self, label: str) -> oneshot.ParameterSpec:
        return oneshot.ParameterSpec(label, (4, 2))

    def select(self, choice: Any) -> nn.Module:
        return Part(self.layer, int(choice))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.select(4)(x))


class Part(nn.Module):
    """Compute the first outputs, with zeros behind."""

    def __init__(self, layer: nn.Module, n: int) -> None:
        super().__init__()
        self.layer, self.n = layer, n

    def forward(self, x: Tensor) -> Tensor:
        weight = cast(Tensor, self.layer.weight)
        return nn.functional.pad(x @ weight[: self.n].T, (0, 4 - self.n))


class MixedHalves(BaseSuperNetModule):
    """A supernet module that is not sealed, though it reads the weights of its submodule."""

    def __init__(self, choice: Halves, decision: oneshot.Decision) -> None:
        super().__init__(decision)
        self.layer = choice.layer

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> Any:
        if not isinstance(module, Halves):
            return None
        spec = module.spec(module.label_at(name))
        return cls(module, mutate_kwargs["decisions"].decide(spec, path=name))

    def select(self, chosen: Any) -> nn.Module:
        return Part(self.layer, int(chosen[self.decisions[0].spec.label]))

    def forward(self, x: Tensor) -> Tensor:
        (active,) = self.decisions[0].active()
        return cast(Tensor, self.select({self.decisions[0].spec.label: active.candidate})(x))


class SealedHalves(Halves):
    """The same, sealed."""

    sealed = True


class MixedSealedHalves(MixedHalves):
    """The same, sealed."""

    sealed = True


def halves() -> list[Sample]:
    return [Sample(lambda: KIND(nn.Linear(4, 4, bias=False), "half"), lambda: (torch.ones(2, 4),))]


KIND: type[Halves] = Halves


@pytest.mark.parametrize(
    ("kind", "mixed", "outcome"),
    [(Halves, MixedHalves, "advice"), (SealedHalves, MixedSealedHalves, "passed")],
)
def test_a_supernet_that_reads_its_submodules_is_told_to_be_sealed(
    kind: type[Halves], mixed: type, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "KIND", kind)
    registry = Registry()
    registry.register("supernet", "halves", mixed, summary="x", handles=(f"{__name__}:Halves",))
    (result,) = outcomes(
        "supernet:halves",
        hook=another_linear,
        registry=registry,
        samples={"supernet:halves": f"{__name__}:halves"},
    ).values()
    assert result.outcome == outcome, str(result)
    if outcome == "advice":
        assert "\n  expected: " in result.message


def test_a_choice_inside_a_sealed_module_is_refused_by_the_walk() -> None:
    inner = LayerChoice([nn.Linear(4, 4), nn.Identity()], label="inner")
    model = nn.Sequential(SealedHalves(nn.Sequential(inner), "half"))
    with pytest.raises(UnsupportedModuleError, match="sealed") as caught:
        traverse_and_mutate_submodules(model, [], {})
    assert "holds a LayerChoice at 'layer.0'" in str(caught.value)
    assert "\n  fix: " in str(caught.value)
