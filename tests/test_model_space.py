"""Which architectures a model allows, against enumerating them the slow way."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from oneshot_core import nn as onn
from oneshot_core.decision import Active, Decision, DecisionTable
from oneshot_core.errors import ArchitectureError, LabelError
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import (
    Choice,
    InputChoice,
    LayerChoice,
    MutableModule,
    ParameterSpec,
    Repeat,
    Value,
    choice,
    constrain,
)
from oneshot_core.supernet import BaseSuperNetModule
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.supernets.modules import MixedInput, MixedLayer, MixedRepeat


class First(Decision):
    def mixture(self) -> list[Active]:
        return [Active(self.spec.candidates[0])]

    def probabilities(self) -> Tensor:
        return torch.ones(len(self.spec.candidates))


def mutate(root: nn.Module) -> None:
    hooks = [MixedLayer.mutate, MixedInput.mutate, MixedRepeat.mutate]
    traverse_and_mutate_submodules(root, hooks, {"decisions": DecisionTable(First)})


@st.composite
def models(draw: st.DrawFn) -> nn.Module:
    """Draw a tree of choices, with labels and modules that occur more than once."""
    built: list[nn.Module] = []

    def build(depth: int) -> nn.Module:
        kinds = ["leaf", "input", "again"] + ["layer", "repeat", "group"] * 2 * (depth > 0)
        kind = draw(st.sampled_from(kinds))
        labelled = draw(st.booleans())
        if kind == "again" and built:
            return draw(st.sampled_from(built))
        if kind == "layer":
            n = draw(st.integers(1, 3))
            layers = [build(depth - 1) for _ in range(n)]
            module: nn.Module = LayerChoice(layers, label=f"layer{n}" if labelled else None)
        elif kind == "repeat":
            depths = draw(st.sampled_from([[0, 1], [0, 2], [1, 2], [2]]))
            blocks = [build(depth - 1) for _ in range(max(depths))]
            module = Repeat(blocks, depths, label=f"repeat{depths}" if labelled else None)
        elif kind == "group":
            module = nn.Sequential(build(depth - 1), build(depth - 1))
        elif kind == "input":
            n_chosen = draw(st.sampled_from([1, 2, None]))
            module = InputChoice(2, n_chosen, label=f"input{n_chosen}" if labelled else None)
        else:
            module = nn.Identity()
        built.append(module)
        return module

    return nn.Sequential(*(build(2) for _ in range(draw(st.integers(1, 2)))))


def enumerate_slowly(root: nn.Module) -> Iterator[dict[str, Choice]]:
    """Take every combination of choices, and keep of each what really decides something."""
    paths = {module: path for path, module in root.named_modules()}
    specs: dict[str, ParameterSpec] = {}
    for module, path in paths.items():
        if isinstance(module, MutableModule):
            label = module.label or path
            specs[label] = module.specs_at(label)[0]

    def used(module: nn.Module, chosen: Mapping[str, Any]) -> Iterator[str]:
        if not isinstance(module, MutableModule):
            parts = list(module.children())
        else:
            label = module.label or paths[module]
            yield label
            if isinstance(module, LayerChoice):
                parts = [module.candidates[chosen[label]]]
            elif isinstance(module, Repeat):
                parts = list(module.blocks)[: chosen[label]]
            else:
                parts = []
        for part in parts:
            yield from used(part, chosen)

    for values in itertools.product(*(spec.choices() for spec in specs.values())):
        chosen = dict(zip(specs, values, strict=True))
        yield {label: chosen[label] for label in used(root, chosen)}


def distinct(architectures: Iterator[dict[str, Choice]]) -> set[frozenset[tuple[str, Choice]]]:
    return {frozenset(architecture.items()) for architecture in architectures}


def small(root: nn.Module, limit: int = 3000) -> bool:
    sizes = (m.specs_at("x")[0].size for m in root.modules() if isinstance(m, MutableModule))
    return math.prod(sizes) <= limit


@settings(max_examples=80, deadline=None)
@given(models().filter(small), st.integers(0, 9))
def test_size_enumeration_draws_and_default_agree_with_slow_enumeration(
    root: nn.Module, seed: int
) -> None:
    space = ModelSpace(root)
    expected = distinct(enumerate_slowly(root))

    listed = list(space.architectures())
    assert distinct(iter(listed)) == expected
    assert len(listed) == len(expected), "each once"
    assert space.size == len(space) == len(expected)
    assert frozenset(space.sample(random.Random(seed)).items()) in expected
    assert frozenset(space.default().items()) in expected
    for architecture in listed[:20]:
        assert space.validate(architecture) == architecture
        assert space.reduce(architecture) == architecture


@settings(max_examples=40, deadline=None)
@given(models().filter(small))
def test_a_space_is_the_same_before_and_after_mutation(root: nn.Module) -> None:
    before = ModelSpace(root)
    mutate(root)
    after = ModelSpace(root)
    assert after.fingerprint == before.fingerprint
    assert after.specs == before.specs
    assert list(after.architectures()) == list(before.architectures())
    assert after.default() == before.default()


def nested() -> nn.Module:
    inner = LayerChoice([nn.ReLU(), nn.Tanh()], label="inner")
    return nn.Sequential(
        LayerChoice({"deep": inner, "flat": nn.ReLU()}, label="outer"),
        Repeat(lambda i: LayerChoice([nn.ReLU(), nn.Tanh()]), (0, 2), label="depth"),
        InputChoice(3, 2, label="inputs"),
    )


def test_specs_come_in_walk_order_with_paths_where_there_is_no_label() -> None:
    space = ModelSpace(nested())
    assert list(space.specs) == ["outer", "inner", "depth", "1.blocks.0", "1.blocks.1", "inputs"]
    assert space.size == (2 + 1) * (1 + 2 + 4) * 3


def test_a_choice_at_the_root_is_read_too() -> None:
    assert ModelSpace(LayerChoice([nn.ReLU(), nn.Tanh()], label="x")).size == 2


def test_a_model_without_choices_is_one_architecture() -> None:
    space = ModelSpace(nn.Linear(1, 1))
    assert list(space.architectures()) == [{}]
    assert space.size == 1
    assert space.default() == space.sample(random.Random(0)) == space.validate({}) == {}


def test_a_choice_shared_by_two_branches_counts_once() -> None:
    shared = LayerChoice([nn.ReLU(), nn.Tanh()], label="shared")
    root = nn.Sequential(
        LayerChoice([shared, nn.ReLU()], label="a"), LayerChoice([shared, nn.ReLU()], label="b")
    )
    assert ModelSpace(root).size == 2 + 2 + 2 + 1


def test_spaces_of_any_size_are_counted_at_once() -> None:
    """Labels repeat within each stage, so that its blocks depend on each other."""

    def stage(i: int) -> nn.Module:
        block = nn.Sequential(
            *(LayerChoice([nn.ReLU()] * 5, label=f"stage{i}.op{j}") for j in range(3))
        )
        return Repeat(block, (0, 4), label=f"stage{i}.depth")

    space = ModelSpace(nn.Sequential(*(stage(i) for i in range(12))))
    assert space.size == (1 + 4 * 5**3) ** 12
    assert space.size > 2**63
    assert bool(space)
    with pytest.raises(OverflowError):
        len(space)


def test_subsets_of_many_inputs_are_counted_without_listing_them() -> None:
    space = ModelSpace(nn.Sequential(InputChoice(40, None), InputChoice(40, 20)))
    assert space.size == (2**40 - 1) * math.comb(40, 20)


def test_draws_depend_on_the_generator_alone() -> None:
    space = ModelSpace(nested())
    torch.manual_seed(0)
    drawn = [space.sample(random.Random(i)) for i in range(20)]
    torch.manual_seed(1)
    assert [space.sample(random.Random(i)) for i in range(20)] == drawn
    assert len(distinct(iter(drawn))) > 5


def test_every_active_choice_is_drawn_uniformly() -> None:
    space, rng = ModelSpace(nested()), random.Random(0)
    drawn = [space.sample(rng) for _ in range(1500)]
    for label, n in [("outer", 2), ("depth", 3), ("inputs", 3)]:
        counts = Counter(architecture[label] for architecture in drawn)
        assert len(counts) == n
        assert max(counts.values()) / 1500 == pytest.approx(1 / n, abs=0.05)


@pytest.mark.parametrize("n_chosen", [10, None])
def test_draws_of_many_inputs_vary_in_every_candidate(n_chosen: int | None) -> None:
    space = ModelSpace(nn.Sequential(InputChoice(20, n_chosen, label="x")))
    rng = random.Random(0)
    counts = Counter(c for _ in range(200) for c in space.sample(rng)["x"])  # type: ignore[union-attr]
    assert len(counts) == 20
    assert max(counts.values()) < 150


def test_the_default_is_what_the_model_runs() -> None:
    assert ModelSpace(nested()).default() == {
        "outer": "deep",
        "inner": "0",
        "depth": 2,
        "1.blocks.0": "0",
        "1.blocks.1": "0",
        "inputs": (0, 1),
    }


def test_validation_normalises_and_drops_what_decides_nothing() -> None:
    given_choices = {"outer": ["flat"], "inner": "1", "depth": 0, "inputs": [2, 0]}
    assert ModelSpace(nested()).validate(given_choices) == {
        "outer": "flat",
        "depth": 0,
        "inputs": (0, 2),
    }


def test_validation_lists_everything_that_is_wrong() -> None:
    with pytest.raises(ArchitectureError) as caught:
        ModelSpace(nested()).validate({"outer": "wide", "depth": True, "width": 3})
    message = str(caught.value)
    assert "'outer': 'wide' is none of ['deep', 'flat']" in message
    assert "'depth': True is none of [0, 1, 2]" in message
    assert "'width' is not a choice of this model" in message
    assert "'depth': True is none of [0, 1, 2] (at '1')" in message


def test_messages_name_the_modules_that_a_label_decides_about() -> None:
    shared = layers(3, "op")
    root = nn.Sequential(shared, nn.Sequential(layers(3, "op"), layers(2)), shared, layers(2, "3"))
    space = ModelSpace(root)
    assert space.paths == {"op": ("0", "1.0"), "x": ("1.1",), "3": ("3",)}
    with pytest.raises(ArchitectureError) as caught:
        space.validate({"op": "7", "x": "0", "3": "9", "ops": "1"})
    message = str(caught.value)
    assert "'op': '7' is none of ['0', '1', '2'] (at '0', '1.0')" in message
    assert "'3': '9' is none of ['0', '1']\n" in message, "it is named after its place"
    assert "'ops' is not a choice of this model; is 'op' meant?" in message
    with pytest.raises(ArchitectureError, match=r"'x' is not decided \(at '1\.1'\)"):
        space.validate({"op": "0", "3": "0"})


def test_many_places_of_a_label_are_not_all_listed() -> None:
    space = ModelSpace(nn.Sequential(*(layers(2) for _ in range(9))))
    with pytest.raises(ArchitectureError, match=r"\(at '0', '1', '2', '3', 5 more\)"):
        space.validate({})


def test_containing_is_validating_without_the_message() -> None:
    space = ModelSpace(nested())
    assert space.contains({"outer": ["flat"], "depth": 0, "inputs": [2, 0]})
    assert not space.contains({"outer": "flat", "depth": 0})
    assert not space.contains({})


def test_validation_lists_every_active_choice_that_is_missing() -> None:
    with pytest.raises(ArchitectureError) as caught:
        ModelSpace(nested()).validate({"outer": "deep", "depth": 1})
    message = str(caught.value)
    assert all(f"{x!r} is not decided" in message for x in ["inner", "1.blocks.0", "inputs"])
    assert "'1.blocks.1' is not decided" not in message


def test_unknown_values_of_choices_that_decide_nothing_are_refused_all_the_same() -> None:
    with pytest.raises(ArchitectureError, match="'inner': 'x'"):
        ModelSpace(nested()).validate({"outer": "flat", "inner": "x", "depth": 0, "inputs": [0, 1]})


def test_active_stops_at_what_is_not_decided() -> None:
    space = ModelSpace(nested())
    assert [s.label for s in space.active({})] == ["outer", "depth", "inputs"]
    active = space.active({"outer": "deep", "depth": 1})
    assert [s.label for s in active] == ["outer", "inner", "depth", "1.blocks.0", "inputs"]


def test_reducing_adds_nothing() -> None:
    assert ModelSpace(nested()).reduce({"outer": "flat", "inner": "0"}) == {"outer": "flat"}


def layers(n: int, label: str = "x") -> LayerChoice:
    return LayerChoice([nn.ReLU()] * n, label=label)


@pytest.mark.parametrize("mutated", [False, True])
def test_one_label_for_two_different_choices_is_refused_with_the_path(mutated: bool) -> None:
    first, second = nn.Sequential(layers(2)), nn.Sequential(layers(3))
    if mutated:
        mutate(first)
        mutate(second)
    with pytest.raises(LabelError, match=r"'x' names two different choices") as caught:
        ModelSpace(nn.Sequential(first, second))
    assert "'1.0'" in str(caught.value)


def test_equal_labels_decide_together() -> None:
    space = ModelSpace(nn.Sequential(layers(2), nn.Sequential(layers(2))))
    assert space.size == 2


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        pytest.param(lambda: nn.ModuleList([layers(2), layers(3, "y")]), True, id="container"),
        pytest.param(lambda: nn.Sequential(layers(3, "y"), layers(2)), True, id="order-of-labels"),
        pytest.param(lambda: nn.Sequential(layers(2), layers(3, "z")), False, id="label"),
        pytest.param(lambda: nn.Sequential(layers(2), layers(2, "y")), False, id="candidates"),
        pytest.param(lambda: nn.Sequential(layers(2)), False, id="missing"),
    ],
)
def test_fingerprints_tell_spaces_apart_by_what_can_be_chosen(other: Any, equal: bool) -> None:
    first = ModelSpace(nn.Sequential(layers(2), layers(3, "y"))).fingerprint
    assert (ModelSpace(other()).fingerprint == first) is equal
    assert len(first) == 16


def test_fingerprints_see_how_many_are_chosen() -> None:
    one, two = (ModelSpace(nn.Sequential(InputChoice(3, n, label="x"))) for n in (1, 2))
    assert one.fingerprint != two.fingerprint


def test_a_description_survives_json() -> None:
    description = ModelSpace(nested()).describe()
    assert json.loads(json.dumps(description)) == description
    assert description["inputs"] == {"candidates": [0, 1, 2], "n_chosen": 2}


class TwoChoices(BaseSuperNetModule):
    """A supernet module with two labels, a branch under one, and a part that always runs."""

    def __init__(self, table: DecisionTable, branch: nn.Module, always: nn.Module) -> None:
        specs = ParameterSpec("op", ("a", "b")), ParameterSpec("width", (8, 16))
        super().__init__(*(table.decide(spec, path="here") for spec in specs))
        self.branch, self.always = branch, always

    def branches(self) -> dict[str, dict[Any, list[nn.Module]]]:
        return {"op": {"a": [self.branch]}}

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        return nn.Identity()


def test_supernet_modules_of_several_labels_say_what_is_conditional() -> None:
    table = DecisionTable(First)
    root = nn.Sequential(TwoChoices(table, nn.Sequential(layers(3)), layers(5, "always")))
    space = ModelSpace(root)
    assert list(space.specs) == ["op", "width", "x", "always"]
    assert space.size == (3 + 1) * 2 * 5


def test_what_always_runs_decides_even_if_a_branch_shares_it() -> None:
    shared = layers(3)
    root = nn.Sequential(
        TwoChoices(DecisionTable(First), nn.Sequential(shared), nn.Sequential(shared))
    )
    assert ModelSpace(root).size == 2 * 2 * 3


class ManyInputs(MutableModule):
    """Thirty independent choices in one module, each with a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.ModuleList(layers(3, f"x{i}") for i in range(30))

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        return tuple(ParameterSpec(f"in{i}", (0, 1)) for i in range(30))

    def branches_at(self, path: str) -> dict[str, dict[Any, list[nn.Module]]]:
        return {f"in{i}": {1: [part]} for i, part in enumerate(self.branch)}

    def select_at(self, path: str, chosen: Mapping[str, Choice]) -> nn.Module:
        return nn.Identity()


def test_choices_of_one_module_that_are_independent_are_counted_one_by_one() -> None:
    """Listing the 2^30 combinations would not end."""
    assert ModelSpace(nn.Sequential(ManyInputs(), ManyInputs())).size == (1 + 3) ** 30


def test_where_few_draws_keep_a_constraint_those_are_drawn_equally_often() -> None:
    """Five equal digits: 10 of 100,000, which draws that are thrown away would hardly find."""
    digits = [choice(range(10), label=f"digit{i}") for i in range(5)]
    model = nn.Sequential(*(onn.Linear(d + 1, 2) for d in digits))
    for one, other in pairwise(digits):
        constrain(model, one == other)
    space = ModelSpace(model)
    assert space.size == 10
    rng = random.Random(0)
    found = Counter(space.sample(rng)["digit0"] for _ in range(500))
    assert set(found) == set(range(10))
    assert sum((count - 50) ** 2 / 50 for count in found.values()) < 28  # 9 degrees of freedom
    assert space.complete({"digit3": 4}, rng) == {f"digit{i}": 4 for i in range(5)}
    with pytest.raises(ArchitectureError, match="keeps the constraints"):
        space.complete({"digit3": 4, "digit1": 5}, rng)


def test_tied_choices_and_others_count_together() -> None:
    """With what is chosen inside candidates, and constraints between those."""

    def width(name: str) -> Value:
        return choice([1, 2, 3], label=name)

    inner = nn.Sequential(onn.Linear(2, width("c")), onn.Linear(2, width("d")))
    model = nn.Sequential(
        onn.Linear(2, width("a")),
        onn.Linear(2, width("b")),
        onn.Linear(2, width("free")),
        LayerChoice({"deep": inner, "none": nn.Identity()}, label="kind"),
    )
    constrain(model, width("a") < width("b"), width("c") >= width("d"))
    space = ModelSpace(model)
    assert space.size == len(list(space.architectures())) == 3 * 3 * (6 + 1)


def test_draws_depend_on_the_generator_alone_not_on_earlier_draws() -> None:
    digits = [choice(range(10), label=f"digit{i}") for i in range(4)]
    model = nn.Sequential(*(onn.Linear(d + 1, 2) for d in digits))
    constrain(model, digits[0] + digits[1] + digits[2] == digits[3])
    used = ModelSpace(model)
    for _ in range(10):
        used.sample(random.Random(5))
    assert used.sample(random.Random(7)) == ModelSpace(model).sample(random.Random(7))


class TestNearest:
    def test_it_changes_no_more_than_it_must(self) -> None:
        w1, w2 = (choice([1, 2, 3], label=label) for label in ("w1", "w2"))
        model = nn.Sequential(onn.Linear(2, w1), onn.Linear(w1, w2), Free("free"))
        constrain(model, w2 >= w1)
        space = ModelSpace(model)
        like = {"w1": 2, "w2": 2, "free": "b"}
        assert space.nearest({"w2": 3}, like) == {"w1": 2, "w2": 3, "free": "b"}
        assert space.nearest({"w2": 1}, like) == {"w1": 1, "w2": 1, "free": "b"}
        assert space.nearest({"w1": 3, "w2": 1}, like) is None
        assert space.nearest({}) == space.default() == {"w1": 3, "w2": 3, "free": "a"}

    @settings(max_examples=50, deadline=None)
    @given(models(), st.randoms(use_true_random=False))
    def test_it_is_an_architecture_with_what_was_asked_for(
        self, model: nn.Module, rng: random.Random
    ) -> None:
        space = ModelSpace(model)
        like, other = space.sample(rng), space.sample(rng)
        for label in like.keys() & other.keys():
            found = space.nearest({label: other[label]}, like)
            assert found is not None
            assert space.validate(found) == found
            assert found[label] == other[label]
        assert space.nearest({}, like) == like

    def test_a_chain_longer_than_python_recurses_has_a_default(self) -> None:
        model = nn.Sequential(*(Free(f"c{i}") for i in range(2000)))
        assert set(ModelSpace(model).default().values()) == {"a"}


class Free(LayerChoice):
    """One of two layers that nothing depends on."""

    def __init__(self, label: str) -> None:
        super().__init__({"a": nn.ReLU(), "b": nn.Tanh()}, label=label)
