"""Architectures as values and files, and the plain networks they stand for."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from oneshot_core.architecture import SCHEMA, Architecture, freeze
from oneshot_core.decision import Active, Decision, DecisionTable
from oneshot_core.errors import ArchitectureError, FreezeError
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import (
    Choice,
    GraphWhenFrozen,
    InputChoice,
    LayerChoice,
    Mutable,
    Patch,
    Repeat,
)
from oneshot_core.supernet import BaseSuperNetModule
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.supernets.modules import MixedInput, MixedLayer, MixedRepeat

CHOICES = {"stem": "conv3", "depth": 2, "skip": ("a", "b")}


class First(Decision):
    def mixture(self) -> list[Active]:
        return [Active(self.spec.candidates[0])]

    def probabilities(self) -> Tensor:
        return torch.ones(len(self.spec.candidates))


class Branching(nn.Module):
    """Gives several views of its input to a choice of inputs."""

    def __init__(self, branches: list[nn.Module], choice: InputChoice) -> None:
        super().__init__()
        self.branches, self.choice = nn.ModuleList(branches), choice

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.choice([branch(x) for branch in self.branches])
        return torch.stack(chosen).prod(0) if isinstance(chosen, list) else chosen


class Untouchable(nn.Module):
    """Fails when it is copied."""

    def __deepcopy__(self, memo: object) -> Untouchable:
        raise AssertionError("an unchosen candidate was copied")


def mutated(root: nn.Module) -> tuple[nn.Module, DecisionTable]:
    table = DecisionTable(First)
    root = copy.deepcopy(root)
    hooks = [MixedLayer.mutate, MixedInput.mutate, MixedRepeat.mutate]
    traverse_and_mutate_submodules(root, hooks, {"decisions": table})
    return root, table


def pin(table: DecisionTable, architecture: Mapping[str, Choice]) -> None:
    for label, choice in architecture.items():
        table[label].pin(choice)


def tensors(root: nn.Module) -> Iterator[Tensor]:
    yield from root.parameters()
    yield from root.buffers()


def assert_plain(root: nn.Module) -> None:
    """Nothing of ours is left: no module, and no attribute of one."""
    for module in root.modules():
        assert not type(module).__module__.startswith("oneshot"), type(module)
        for value in vars(module).values():
            assert not type(value).__module__.startswith("oneshot"), type(value)


def assert_nothing_shared(one: nn.Module, other: nn.Module) -> None:
    storages = [{t.untyped_storage().data_ptr() for t in tensors(m)} for m in (one, other)]
    assert not storages[0] & storages[1]
    assert not set(one.modules()) & set(other.modules())


def small_space() -> ModelSpace:
    return ModelSpace(
        nn.Sequential(
            LayerChoice({"a": nn.ReLU(), "b": nn.Tanh()}, label="op"),
            InputChoice(3, 2, label="inputs"),
        )
    )


def test_it_is_a_mapping_in_the_given_order() -> None:
    a = Architecture(CHOICES)
    assert dict(a) == CHOICES
    assert list(a) == ["stem", "depth", "skip"]
    assert len(a) == 3
    assert a["depth"] == 2
    assert repr(a) == f"Architecture({CHOICES!r})"
    assert str(a) == "stem=conv3, depth=2, skip=a+b"


def test_equality_and_hash_look_at_the_choices_only() -> None:
    a, b = Architecture(CHOICES), Architecture(dict(reversed(CHOICES.items())))
    assert a == b == CHOICES
    assert hash(a) == hash(b)
    assert len({a, b}) == 1
    assert a != Architecture({**CHOICES, "depth": 3})
    assert a != 3
    inside = Architecture({"op": "a", "inputs": (0, 1)}, small_space())
    assert inside == Architecture({"op": "a", "inputs": (0, 1)})


def test_it_cannot_be_changed() -> None:
    given_choices = dict(CHOICES)
    a = Architecture(given_choices)
    given_choices["depth"] = 5
    assert a["depth"] == 2
    with pytest.raises(TypeError):
        a["depth"] = 3  # type: ignore[index]
    with pytest.raises(AttributeError):
        a.depth = 3  # type: ignore[attr-defined]


def test_lists_become_tuples() -> None:
    assert Architecture({"skip": ["a", "b"]})["skip"] == ("a", "b")


@pytest.mark.parametrize(
    "value", [float("nan"), {"a": 1}, ["a", {1}], [["a", b"b"]], b"a"], ids=repr
)
def test_what_is_no_choice_is_refused_by_label(value: Any) -> None:
    with pytest.raises(ArchitectureError, match=r"'depth': .* is not a choice"):
        Architecture({"depth": value})


def test_labels_are_strings() -> None:
    with pytest.raises(ArchitectureError, match="3: 'a' is not a choice"):
        Architecture({3: "a"})  # type: ignore[dict-item]


def test_difference_names_both_sides_and_none_for_missing() -> None:
    a = Architecture({"x": 1, "y": 2, "z": 3})
    assert a.difference({"x": 1, "y": 5, "w": 4}) == {"y": (2, 5), "z": (3, None), "w": (None, 4)}
    assert a.difference(a) == {}


def test_contains_looks_into_what_a_label_takes() -> None:
    a = Architecture(CHOICES)
    assert a.contains("skip", "a")
    assert a.contains("skip", ("a", "b"))
    assert a.contains("depth", 2)
    assert not a.contains("depth", 1)
    assert not a.contains("skip", "c")
    assert not a.contains("unknown", "a")


def test_with_a_space_choices_are_validated_and_normalised() -> None:
    a = Architecture({"op": ["a"], "inputs": [2, 0]}, small_space())
    assert a == {"op": "a", "inputs": (0, 2)}
    with pytest.raises(ArchitectureError, match="'op' is not decided"):
        Architecture({"inputs": [0, 1]}, small_space())


@pytest.mark.parametrize(
    "clone",
    [copy.copy, copy.deepcopy, "pickle", "file"],
    ids=["copy", "deepcopy", "pickle", "file"],
)
@pytest.mark.parametrize("space", [None, small_space()], ids=["alone", "of-a-space"])
def test_copies_pickles_and_files_are_equal_and_remember_the_space(
    clone: Any, space: ModelSpace | None, tmp_path: Path
) -> None:
    a = Architecture({"op": "a", "inputs": (0, 2)}, space)
    if clone == "pickle":
        b = pickle.loads(pickle.dumps(a))
    elif clone == "file":
        path = a.save(tmp_path / "a.json")
        b = Architecture.load(str(path))
    else:
        b = clone(a)
    assert type(b) is Architecture
    assert b == a
    assert {type(choice) for choice in b.values()} == {str, tuple}
    another = ModelSpace(nn.Sequential(LayerChoice([nn.ReLU()], label="op")))
    with pytest.raises(ArchitectureError, match="another" if space else "does not fit"):
        b.validate(another)
    assert b.validate(small_space()) == a


SCALARS = st.one_of(
    st.text(max_size=5),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


@settings(max_examples=150, deadline=None)
@given(choices=st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=5))
def test_every_kind_of_choice_survives_json_with_its_type(
    choices: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Names, whole and other numbers, truth values, None, and tuples of them."""

    def typed(value: Any) -> Any:
        return tuple(map(typed, value)) if isinstance(value, tuple) else (type(value), value)

    architecture = Architecture(choices)
    again = Architecture.load(architecture.save(tmp_path_factory.mktemp("a") / "a.json"))
    assert {k: typed(v) for k, v in again.items()} == {k: typed(v) for k, v in choices.items()}
    assert list(again) == list(choices)
    assert hash(again) == hash(architecture)


def test_the_file_is_readable_json(tmp_path: Path) -> None:
    path = Architecture({"op": "a", "inputs": (0, 2)}, small_space()).save(tmp_path / "a.json")
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["schema"] == SCHEMA
    assert data["choices"] == {"op": "a", "inputs": [0, 2]}
    assert data["space"]["fingerprint"] == small_space().fingerprint
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b'{"schema": "oneshot.arch', "not JSON", id="cut-off"),
        pytest.param(b"\x80\x02}q\x00.", "not JSON", id="binary"),
        pytest.param(b"[]", "schema is None", id="list"),
        pytest.param(b"{}", "schema is None", id="no-schema"),
        pytest.param(b'{"schema": "oneshot.architecture/99"}', "architecture/99", id="newer"),
        pytest.param(b'{"schema": "other"}', "schema is 'other'", id="foreign"),
        pytest.param(b'{"schema": "%s"}' % SCHEMA.encode(), "no choices", id="no-choices"),
        pytest.param(
            b'{"schema": "%s", "choices": [1]}' % SCHEMA.encode(), "no choices", id="choices-list"
        ),
        pytest.param(
            b'{"schema": "%s", "choices": {"a": {"b": 1}}}' % SCHEMA.encode(), "'a': {", id="nested"
        ),
        pytest.param(
            b'{"schema": "%s", "choices": {}, "space": 3}' % SCHEMA.encode(), "space", id="space"
        ),
        pytest.param(
            b'{"schema": "%s", "choices": {}, "space": {}}' % SCHEMA.encode(),
            "space",
            id="no-print",
        ),
    ],
)
def test_files_that_are_no_architecture_are_refused(
    content: bytes, match: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ArchitectureError, match=match):
        Architecture.load(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Architecture.load(tmp_path / "nowhere.json")


def test_another_space_is_refused_with_the_differences() -> None:
    def space(*choices: Mutable) -> ModelSpace:
        return ModelSpace(nn.Sequential(*choices))

    a = Architecture(
        {"op": "0", "old": 1},
        space(LayerChoice([nn.ReLU()], label="op"), Repeat(nn.ReLU(), 1, label="old")),
    )
    there = space(LayerChoice([nn.ReLU()] * 2, label="op"), Repeat(nn.ReLU(), 1, label="new"))
    with pytest.raises(ArchitectureError) as caught:
        a.validate(there)
    message = str(caught.value)
    assert "'old' is not in this model" in message
    assert "'new' is only in this model" in message
    assert "'op' offered {'candidates': ['0']" in message
    assert there.fingerprint in message


def two_linears() -> dict[str, nn.Module]:
    return {"a": nn.Linear(2, 2), "b": nn.Sequential(nn.Linear(2, 2), nn.ReLU())}


def branching(n_chosen: int | None, reduction: Any) -> nn.Module:
    choice = InputChoice(3, n_chosen, reduction=reduction, label="x")
    return Branching([nn.Linear(2, 2), nn.Identity(), nn.Linear(2, 2)], choice)


def tied() -> nn.Module:
    shared = LayerChoice(two_linears(), label="x")
    return nn.Sequential(shared, nn.Tanh(), shared, nn.Sequential(shared))


MODELS = {
    "layer": lambda: LayerChoice(two_linears()),
    "input-one": lambda: branching(1, "sum"),
    "input-two-sum": lambda: branching(2, "sum"),
    "input-two-mean": lambda: branching(2, "mean"),
    "input-two-concat": lambda: nn.Sequential(branching(2, "concat"), nn.Linear(4, 2)),
    "input-two-none": lambda: branching(2, "none"),
    "input-any-mean": lambda: branching(None, "mean"),
    "repeat": lambda: Repeat(lambda i: nn.Linear(2, 2), (0, 3)),
    "repeat-listed": lambda: Repeat(nn.Linear(2, 2), [3, 1]),
    "nested": lambda: LayerChoice(
        {"deep": Repeat(lambda i: LayerChoice(two_linears()), (1, 2)), "flat": nn.Linear(2, 2)}
    ),
    "equal-labels": lambda: nn.Sequential(
        *(LayerChoice(two_linears(), label="x") for _ in range(2))
    ),
    "tied": tied,
    "batch-norm": lambda: LayerChoice([nn.BatchNorm1d(2), nn.Identity()]),
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MODELS.items()])
def test_the_pinned_supernet_the_frozen_supernet_and_the_frozen_model_are_one_function(
    make: Any,
) -> None:
    """For every architecture, in both modes, to the last bit."""
    torch.manual_seed(0)
    model = nn.Sequential(make())
    supernet, table = mutated(model)
    x = torch.randn(5, 2)
    for architecture in ModelSpace(model).architectures():
        assert_one_function(model, supernet, table, architecture, x)


def assert_one_function(
    model: nn.Module,
    supernet: nn.Module,
    table: DecisionTable,
    architecture: Mapping[str, Choice],
    x: Tensor,
) -> None:
    before = copy.deepcopy(model.state_dict())
    inherited, direct = freeze(supernet, architecture), freeze(model, architecture)
    pin(table, architecture)
    for network in (inherited, direct):
        assert type(network) is type(model)
        assert_plain(network)
        assert_nothing_shared(network, supernet)
        assert_nothing_shared(network, model)
    for mode in (False, True):
        for network in (supernet, inherited, direct):
            network.train(mode)
        y = supernet(x)
        assert torch.equal(inherited(x), y)
        assert torch.equal(direct(x), y)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert list(before) == list(after)


@st.composite
def computing_models(draw: st.DrawFn) -> nn.Module:
    """Draw a nest of choices that maps (N, 2) to (N, 2)."""
    built: list[nn.Module] = []

    def build(depth: int) -> nn.Module:
        kinds = ["linear", "tanh", "again"] + ["layer", "repeat", "input"] * 2 * (depth > 0)
        kind = draw(st.sampled_from(kinds))
        if kind == "again" and built:
            return draw(st.sampled_from(built))
        module: nn.Module
        if kind == "layer":
            n = draw(st.integers(1, 3))
            label = draw(st.sampled_from([None, f"layer{n}"]))
            module = LayerChoice([build(depth - 1) for _ in range(n)], label=label)
        elif kind == "repeat":
            label = draw(st.sampled_from([None, "repeat"]))
            module = Repeat([build(depth - 1) for _ in range(2)], (0, 2), label=label)
        elif kind == "input":
            n_chosen = draw(st.sampled_from([1, 2, None]))
            reduction = draw(st.sampled_from(["sum", "mean", "none"]))
            choice = InputChoice(3, n_chosen, reduction=reduction)
            module = Branching([build(depth - 1) for _ in range(3)], choice)
        else:
            module = nn.Linear(2, 2) if kind == "linear" else nn.Tanh()
        built.append(module)
        return module

    return nn.Sequential(build(3), nn.Linear(2, 2))


@settings(max_examples=50, deadline=None)
@given(computing_models(), st.integers(0, 99))
def test_nested_choices_compute_the_same_pinned_and_frozen(model: nn.Module, seed: int) -> None:
    supernet, table = mutated(model)
    architecture = ModelSpace(model).sample(random.Random(seed))
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed))
    assert_one_function(model, supernet, table, architecture, x)


@pytest.mark.parametrize("searched", [False, True], ids=["model", "supernet"])
def test_unchosen_candidates_are_not_copied(searched: bool) -> None:
    model: nn.Module = nn.Sequential(LayerChoice({"a": nn.Linear(2, 2), "b": nn.ReLU()}, label="x"))
    if searched:
        model, _ = mutated(model)
    model[0].candidates["b"] = Untouchable()
    frozen = freeze(model, {"x": "a"})
    assert [type(m).__name__ for m in frozen.modules()] == ["Sequential", "Linear"]
    with pytest.raises(AssertionError, match="was copied"):
        freeze(model, {"x": "b"})


def test_unused_blocks_are_not_copied() -> None:
    model = nn.Sequential(Repeat([nn.Linear(2, 2), Untouchable()], (1, 2), label="d"))
    frozen = freeze(model, {"d": 1})
    assert [name for name, _ in frozen.named_parameters()] == ["0.0.weight", "0.0.bias"]


def test_shared_modules_and_weights_stay_shared() -> None:
    model = tied()
    outside = nn.Linear(2, 2)
    outside.weight = model[0].candidates["a"].weight
    model.append(outside)
    model.append(model[0].candidates["a"])
    supernet, _ = mutated(model)
    for source in (model, supernet):
        frozen = freeze(source, {"x": "a"})
        assert frozen[0] is frozen[2] is frozen[3][0] is frozen[5]
        assert frozen[4].weight is frozen[0].weight


def test_blocks_shared_by_two_repeats_stay_shared() -> None:
    blocks = [nn.Linear(2, 2), nn.Linear(2, 2)]
    model = nn.Sequential(Repeat(blocks, (0, 2), label="a"), Repeat(blocks, (0, 2), label="b"))
    frozen = freeze(model, {"a": 1, "b": 2})
    assert frozen[0][0] is frozen[1][0]


class Net(nn.Module):
    """A user's class with attributes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.note = {"made": "by a user"}
        self.stem = LayerChoice(two_linears(), label="stem")
        self.favourite = [self.stem]  # a second reference, unknown to torch

    def forward(self, x: Tensor) -> Tensor:
        return self.favourite[0](x)


def test_the_users_class_and_attributes_are_kept_and_references_follow() -> None:
    frozen = freeze(Net(), {"stem": "b"})
    assert type(frozen) is Net
    assert frozen.note == {"made": "by a user"}
    assert frozen.favourite[0] is frozen.stem
    assert type(frozen.stem) is nn.Sequential


def test_modes_and_frozen_parameters_are_inherited() -> None:
    model = nn.Sequential(LayerChoice(two_linears(), label="x"))
    model.eval()
    model[0].candidates["a"].bias.requires_grad_(False)
    frozen = freeze(mutated(model)[0], {"x": "a"})
    assert not any(module.training for module in frozen.modules())
    assert [p.requires_grad for p in frozen.parameters()] == [True, False]


def test_training_the_frozen_network_leaves_the_source_alone() -> None:
    supernet, _ = mutated(nn.Sequential(LayerChoice(two_linears(), label="x")))
    before = copy.deepcopy(supernet.state_dict())
    frozen = freeze(supernet, {"x": "a"})
    frozen(torch.ones(1, 2)).sum().backward()
    torch.optim.SGD(frozen.parameters(), lr=1.0).step()
    assert all(torch.equal(before[k], v) for k, v in supernet.state_dict().items())
    assert all(p.grad is None for p in supernet.parameters())


def test_the_frozen_network_can_be_pickled_without_us(tmp_path: Path) -> None:
    """Also after a choice of inputs, for which torch has no layer."""
    model = nn.Sequential(branching(2, "mean"), LayerChoice(two_linears(), label="y"))
    frozen = freeze(mutated(model)[0], {"x": (0, 2), "y": "b"})[0].choice
    data = pickle.dumps(frozen)
    assert b"oneshot" not in data


def test_a_frozen_network_has_nothing_left_to_choose() -> None:
    frozen = freeze(nn.Sequential(LayerChoice(two_linears(), label="x")), {"x": "a"})
    assert ModelSpace(frozen).size == 1
    again = freeze(frozen, {})
    assert_nothing_shared(again, frozen)


def test_choices_that_decide_nothing_may_be_given_or_left_out() -> None:
    model = nn.Sequential(MODELS["nested"]())
    frozen = freeze(model, {"0": "flat"})
    assert type(frozen[0]) is nn.Linear
    freeze(model, {"0": "flat", "0.candidates.deep": 1})


def test_a_choice_at_the_root_becomes_what_was_chosen() -> None:
    choice = LayerChoice(two_linears(), label="x")
    frozen = freeze(choice, {"x": "a"})
    assert type(frozen) is nn.Linear
    assert frozen is not choice["a"]


def test_a_search_is_frozen_by_its_model() -> None:
    class Search:
        def __init__(self, model: nn.Module) -> None:
            self.model = model
            self.nas_modules: list[BaseSuperNetModule] = []

    model, _ = mutated(nn.Sequential(LayerChoice(two_linears(), label="x")))
    frozen = freeze(Search(model), {"x": "a"})
    assert type(frozen) is nn.Sequential
    assert_plain(frozen)


def test_what_was_patched_onto_a_users_module_is_left_behind() -> None:
    class OurPatch(Patch):
        def __deepcopy__(self, memo: object) -> OurPatch:
            raise AssertionError("copied")

    model = nn.Sequential(nn.Linear(2, 2))
    patch = model[0].__dict__["forward"] = OurPatch()
    frozen = freeze(model, {})
    assert "forward" not in vars(frozen[0])
    assert vars(model[0])["forward"] is patch


@pytest.mark.parametrize(
    ("choices", "match"),
    [
        pytest.param({}, "'x' is not decided", id="missing"),
        pytest.param({"x": "c"}, "'c' is none of", id="unknown-candidate"),
        pytest.param({"x": "a", "y": 1}, "'y' is not a choice", id="unknown-label"),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(choices: Any, match: str) -> None:
    with pytest.raises(ArchitectureError, match=match):
        freeze(nn.Sequential(LayerChoice(two_linears(), label="x")), choices)


def test_an_architecture_of_another_space_is_refused_even_if_it_fits() -> None:
    other = ModelSpace(nn.Sequential(LayerChoice({"a": nn.ReLU()}, label="x")))
    model = nn.Sequential(LayerChoice(two_linears(), label="x"))
    with pytest.raises(ArchitectureError, match="another model space"):
        freeze(model, Architecture({"x": "a"}, other))
    freeze(model, {"x": "a"})


def test_fresh_weights_are_new_repeatable_and_of_the_same_shape() -> None:
    model = nn.Sequential(LayerChoice(two_linears(), label="x"), nn.BatchNorm1d(2))
    model[1].running_mean.fill_(3)
    inherited = freeze(model, {"x": "b"})
    torch.manual_seed(1)
    first = freeze(model, {"x": "b"}, weights="fresh")
    torch.manual_seed(1)
    second = freeze(model, {"x": "b"}, weights="fresh")
    assert not torch.equal(first[0][0].weight, inherited[0][0].weight)
    assert torch.equal(first[1].running_mean, torch.zeros(2))
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
        assert value.shape == inherited.state_dict()[key].shape
    assert torch.equal(model[1].running_mean, torch.full((2,), 3.0))


def test_fresh_weights_follow_the_order_of_constructors() -> None:
    """A parent may initialise its children its own way, as attention does with its bias."""
    frozen = freeze(nn.Sequential(nn.MultiheadAttention(4, 2)), {}, weights="fresh")
    assert torch.equal(frozen[0].out_proj.bias, torch.zeros(4))


def test_fresh_weights_need_a_way_to_make_them() -> None:
    model = nn.Sequential(nn.ReLU())
    model[0].scale = nn.Parameter(torch.ones(1))
    with pytest.raises(FreezeError, match="ReLU at '0' cannot be initialised anew"):
        freeze(model, {}, weights="fresh")
    freeze(model, {}, weights="inherit")


def test_other_words_for_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="weights='new'"):
        freeze(nn.Sequential(), {}, weights="new")  # type: ignore[arg-type]


def test_a_choice_that_hides_from_torch_is_refused_not_left_inside() -> None:
    class Hiding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [LayerChoice(two_linears(), label="x")]

        def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
            return nn.Sequential(copy.deepcopy(self.hidden[0], memo))

    with pytest.raises(FreezeError, match=r"LayerChoice is left at '0\.0'"):
        freeze(nn.Sequential(Hiding()), {})


class Inner(GraphWhenFrozen):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.layer(x)


class Outer(GraphWhenFrozen):
    """Holds one such module directly, and one inside a module that stays."""

    def __init__(self) -> None:
        super().__init__()
        self.direct = Inner()
        self.body = nn.Sequential(Inner(), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.direct(x))


@pytest.mark.parametrize("wrap", [lambda m: m, nn.Sequential], ids=["root", "below"])
def test_modules_that_become_graphs_do_so_wherever_they_are(wrap: Any) -> None:
    model = wrap(Outer())
    frozen = freeze(model, {})
    x = torch.randn(3, 2)
    assert torch.equal(frozen(x), model(x))
    assert list(frozen.state_dict()) == list(model.state_dict())
    ours = (Inner, Outer, GraphWhenFrozen)
    assert not any(isinstance(module, ours) for module in frozen.modules())
