"""Supernet modules: what they compute, what they run, and what they give a gradient to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.decision import Active, Decision, DecisionTable
from oneshot_core.errors import LabelError, SpaceError, StrategyError
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import InputChoice, LayerChoice, Mutable, ParameterSpec, Repeat
from oneshot_core.supernet import BaseSuperNetModule
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.elastic.supernet import ElasticLayer
from oneshot_plugins.supernets.modules import (
    MixedChoice,
    MixedInput,
    MixedLayer,
    MixedRepeat,
    weighted_sum,
)


class Softmax(Decision):
    """All candidates, with softmax weights that sum to ``n_chosen``."""

    superposes = True

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__(spec)
        generator = torch.Generator().manual_seed(len(spec.candidates))
        self.logits = nn.Parameter(torch.randn(len(spec.candidates), generator=generator))

    def probabilities(self) -> Tensor:
        return self.logits.softmax(0) * (self.spec.n_chosen or 1)

    def mixture(self) -> list[Active]:
        return [
            Active(c, p) for c, p in zip(self.spec.candidates, self.probabilities(), strict=True)
        ]


class Fixed(Decision):
    """Exactly the candidates that it is told, without weights."""

    taken: Sequence[Any] = ()

    def probabilities(self) -> Tensor:
        return torch.ones(len(self.spec.candidates))

    def mixture(self) -> list[Active]:
        return [Active(candidate) for candidate in self.taken]


class Counting(nn.Linear):
    """Counts how often it runs."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


def mixed(choice: Mutable, decision: type[Decision] = Softmax) -> tuple[Any, Any]:
    """Mutate one choice; return its supernet module and its decision."""
    table = DecisionTable(decision)
    root = nn.Sequential(choice)
    hooks = [MixedLayer.mutate, MixedInput.mutate, MixedRepeat.mutate]
    traverse_and_mutate_submodules(root, hooks, {"decisions": table})
    return root[0], next(iter(table))


def softmax(logits: Tensor) -> list[float]:
    """Compute a softmax without torch's."""
    e = [2.718281828459045**x for x in logits.tolist()]
    return [x / sum(e) for x in e]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(3, 2, generator=generator) for _ in range(3)]


def test_a_superposed_layer_is_the_weighted_sum_of_its_candidates(x: Tensor) -> None:
    layers = [nn.Linear(2, 2), nn.Tanh(), nn.Identity()]
    module, decision = mixed(LayerChoice(layers))
    p = softmax(decision.logits)
    expected = p[0] * layers[0](x) + p[1] * x.tanh() + p[2] * x
    torch.testing.assert_close(module(x), expected)


def test_a_superposed_repeat_is_the_weighted_sum_of_what_stands_after_each_depth(x: Tensor) -> None:
    blocks = [nn.Linear(2, 2) for _ in range(3)]
    module, decision = mixed(Repeat(blocks, [0, 1, 3]))
    p = softmax(decision.logits)
    one = blocks[0](x)
    expected = p[0] * x + p[1] * one + p[2] * blocks[2](blocks[1](one))
    torch.testing.assert_close(module(x), expected)


def test_a_superposed_repeat_of_identities_is_the_identity(x: Tensor) -> None:
    module, _ = mixed(Repeat(nn.Identity(), (0, 2)))
    torch.testing.assert_close(module(x), x)


@pytest.mark.parametrize(
    ("n_chosen", "reduction", "scale"),
    [
        pytest.param(1, "sum", 1, id="one-sum"),
        pytest.param(1, "mean", 1, id="one-mean"),
        pytest.param(1, "concat", 1, id="one-concat"),
        pytest.param(2, "sum", 2, id="two-sum"),
        pytest.param(2, "mean", 1, id="two-mean"),
        pytest.param(None, "sum", 1, id="any-sum"),
        pytest.param(None, "mean", 1, id="any-mean"),
    ],
)
def test_a_superposed_input_has_the_scale_of_its_reduction(
    n_chosen: int | None, reduction: Any, scale: float, inputs: list[Tensor]
) -> None:
    module, decision = mixed(InputChoice(3, n_chosen, reduction=reduction))
    p = softmax(decision.logits)
    expected = scale * (p[0] * inputs[0] + p[1] * inputs[1] + p[2] * inputs[2])
    torch.testing.assert_close(module(inputs), expected)


def test_one_superposed_input_of_a_list_is_a_list_of_one(inputs: list[Tensor]) -> None:
    module, decision = mixed(InputChoice(3, reduction="none"))
    p = softmax(decision.logits)
    [result] = module(inputs)
    torch.testing.assert_close(result, p[0] * inputs[0] + p[1] * inputs[1] + p[2] * inputs[2])


@pytest.mark.parametrize("reduction", ["concat", "none"])
def test_inputs_that_stay_apart_cannot_be_superposed_and_the_walk_says_so(reduction: Any) -> None:
    with pytest.raises(
        StrategyError, match=f"at '0' cannot be superposed: reduction={reduction!r}"
    ):
        mixed(InputChoice(3, 2, reduction=reduction))
    mixed(InputChoice(3, 2, reduction=reduction), Fixed)


def choices() -> dict[str, Mutable]:
    torch.manual_seed(0)
    return {
        "layer": LayerChoice([nn.Linear(2, 2), nn.Tanh(), nn.Identity()]),
        "repeat": Repeat(lambda i: nn.Linear(2, 2), (0, 2)),
        "input-sum": InputChoice(3, 2),
        "input-mean": InputChoice(3, 2, reduction="mean"),
        "input-any": InputChoice(3, None, reduction="mean"),
    }


@pytest.mark.parametrize("name", choices())
def test_architecture_parameters_get_the_gradient_of_finite_differences(
    name: str, x: Tensor, inputs: list[Tensor]
) -> None:
    module, decision = mixed(choices()[name])
    module.double()
    decision.double()
    given = [i.double() for i in inputs] if name.startswith("input") else x.double()

    def output(logits: Tensor) -> Any:
        both = Run(decision, module)
        return torch.func.functional_call(both, {"decision.logits": logits}, (given,))

    assert torch.autograd.gradcheck(output, decision.logits.detach().clone().requires_grad_())


class Run(nn.Module):
    """Puts a decision and its module under one roof, to call them with other parameters."""

    def __init__(self, decision: Decision, module: nn.Module) -> None:
        super().__init__()
        self.decision, self.module = decision, module

    def forward(self, given: Any) -> Tensor:
        return self.module(given)


def test_weights_and_architecture_get_their_gradients_in_one_pass(x: Tensor) -> None:
    module, decision = mixed(LayerChoice([nn.Linear(2, 2), nn.Linear(2, 2)]))
    module(x).pow(2).sum().backward()
    assert decision.logits.grad is not None
    assert decision.logits.grad.abs().sum() > 0
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("taken", [("1",), ("0", "2"), ("2",)], ids=str)
def test_only_active_layers_run(taken: tuple[str, ...], pinned: bool, x: Tensor) -> None:
    layers = [Counting() for _ in range(3)]
    module, decision = mixed(LayerChoice(layers), Fixed)
    if pinned:
        decision.taken = ("0", "1", "2")
        decision.pin(taken[0])
        taken = taken[:1]
    else:
        decision.taken = taken
    module(x)
    assert [layer.calls for layer in layers] == [int(name in taken) for name in "012"]


@pytest.mark.parametrize(("taken", "run"), [((0,), 0), ((2,), 2), ((0, 1), 1), ((3, 1), 3)])
def test_blocks_run_once_up_to_the_largest_active_depth(
    taken: tuple[int, ...], run: int, x: Tensor
) -> None:
    blocks = [Counting() for _ in range(3)]
    module, decision = mixed(Repeat(blocks, (0, 3)), Fixed)
    decision.taken = taken
    module(x)
    assert [block.calls for block in blocks] == [1] * run + [0] * (3 - run)


def test_a_sampled_layer_is_returned_as_it_is(x: Tensor) -> None:
    """No multiplication: the very object that the candidate returned."""

    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return result

    result = object()
    module, decision = mixed(LayerChoice([Odd()]), Fixed)
    decision.taken = ("0",)
    assert module(x) is result


def test_inputs_that_are_not_active_are_not_touched(inputs: list[Tensor]) -> None:
    module, decision = mixed(InputChoice(3), Fixed)
    decision.taken = (1,)
    assert module([object(), inputs[1], None]) is inputs[1]


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        pytest.param("sum", lambda x: x[0] + x[2], id="sum"),
        pytest.param("mean", lambda x: (x[0] + x[2]) / 2, id="mean"),
        pytest.param("concat", lambda x: torch.cat([x[0], x[2]], 1), id="concat"),
        pytest.param("none", lambda x: [x[0], x[2]], id="none"),
    ],
)
def test_sampled_inputs_are_reduced(reduction: Any, expected: Any, inputs: list[Tensor]) -> None:
    module, decision = mixed(InputChoice(3, 2, reduction=reduction), Fixed)
    decision.taken = (0, 2)
    torch.testing.assert_close(module(inputs), expected(inputs))


def test_another_number_of_inputs_is_refused_by_label(inputs: list[Tensor]) -> None:
    module, _ = mixed(InputChoice(3, label="skip"))
    with pytest.raises(ValueError, match="'skip' was called with 2 inputs"):
        module(inputs[:2])


class Pair(NamedTuple):
    left: Any
    right: Any


def test_keyword_arguments_pass_through(x: Tensor) -> None:
    class Scale(nn.Module):
        def forward(self, x: Tensor, *, by: float) -> Tensor:
            return x * by

    module, _ = mixed(LayerChoice([Scale(), Scale()]))
    torch.testing.assert_close(module(x, by=3.0), 3 * x)


HALF = torch.tensor(0.5)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param((2.0, 4.0), (4.0, 8.0), (3.0, 6.0), id="tuple"),
        pytest.param([2.0, [4.0]], [4.0, [8.0]], [3.0, [6.0]], id="nested-list"),
        pytest.param(
            {"a": 2.0, "b": (4.0,)},
            {"a": 4.0, "b": (8.0,)},
            {"a": 3.0, "b": (6.0,)},
            id="dict-of-tuple",
        ),
        pytest.param(
            Pair(2.0, {"k": 4.0}), Pair(4.0, {"k": 8.0}), Pair(3.0, {"k": 6.0}), id="named-tuple"
        ),
        pytest.param((2.0, None), (4.0, None), (3.0, None), id="none-inside"),
    ],
)
def test_nested_outputs_are_mixed_item_by_item(one: Any, other: Any, expected: Any) -> None:
    def tensors(value: Any) -> Any:
        if isinstance(value, float):
            return torch.tensor(value)
        if isinstance(value, dict):
            return {k: tensors(v) for k, v in value.items()}
        if isinstance(value, Pair):
            return Pair(*map(tensors, value))
        return value if value is None else type(value)(map(tensors, value))

    result = weighted_sum([(tensors(one), HALF), (tensors(other), HALF)])
    assert type(result) is type(expected)
    assert result == tensors(expected)


def test_a_missing_weight_counts_as_one() -> None:
    a, b = torch.tensor(2.0), torch.tensor(4.0)
    assert weighted_sum([(a, None), (b, HALF)]) == 4
    assert weighted_sum([(a, HALF)]) == 1


@pytest.mark.parametrize(
    "value", ["text", 3, object(), None], ids=["text", "number", "object", "None"]
)
def test_a_single_value_without_a_weight_may_be_anything(value: Any) -> None:
    assert weighted_sum([(value, None)]) is value


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", "b"], "str"),
        ([torch.zeros(2, 3), torch.zeros(1, 3)], r"shape \(2, 3\), shape \(1, 3\)"),
        ([(torch.zeros(2),), (torch.zeros(2), torch.zeros(2))], "1 items, 2 items"),
        ([{"a": torch.zeros(2)}, {"b": torch.zeros(2)}], r"a dict of \['a'\], a dict of \['b'\]"),
        ([torch.zeros(2), None], r"shape \(2,\), None"),
    ],
)
def test_what_cannot_be_added_is_refused_naming_the_choice(values: list[Any], words: str) -> None:
    with pytest.raises(SpaceError, match=rf"'stem' return what cannot be added: {words}"):
        weighted_sum([(value, HALF) for value in values], "stem")


def test_forward_hooks_registered_on_a_choice_go_on_after_mutation() -> None:
    choice = LayerChoice([nn.Linear(2, 2), nn.Identity()], label="a")
    seen: list[tuple[int, ...]] = []
    handle = choice.register_forward_hook(lambda m, args, out: seen.append(tuple(out.shape)))
    module, _ = mixed(choice)
    module(torch.randn(3, 2))
    handle.remove()
    module(torch.randn(3, 2))
    assert seen == [(3, 2)]


def test_constraints_attached_to_a_choice_hold_after_mutation() -> None:
    depth = oneshot.choice([1, 2], label="depth")
    width = oneshot.choice([1, 2], label="width")
    repeat = Repeat(lambda index: oneshot.nn.Linear(3, 3, bias=width > 1), depth)
    oneshot.constrain(repeat, depth == width)
    model = nn.Sequential(repeat)
    assert ModelSpace(model).size == 2
    table = DecisionTable(Fixed)
    traverse_and_mutate_submodules(
        model, [MixedRepeat.mutate, ElasticLayer.mutate], {"decisions": table}
    )
    assert ModelSpace(model).size == 2


def test_candidates_with_tuple_outputs_can_be_superposed() -> None:
    """LSTM returns ``(output, (h, c))``."""
    x = torch.randn(3, 1, 2)
    layers = [nn.LSTM(2, 2), nn.LSTM(2, 2)]
    module, decision = mixed(LayerChoice(layers))
    p = softmax(decision.logits)
    (out, (h, c)), (o1, (h1, c1)), (o2, (h2, c2)) = module(x), layers[0](x), layers[1](x)
    for got, one, two in [(out, o1, o2), (h, h1, h2), (c, c1, c2)]:
        torch.testing.assert_close(got, p[0] * one + p[1] * two)


def test_equal_labels_share_one_decision_and_paths_are_the_other_labels() -> None:
    table = DecisionTable(Softmax)
    root = nn.Sequential(
        LayerChoice([nn.ReLU(), nn.Tanh()], label="x"),
        LayerChoice([nn.Tanh(), nn.GELU()], label="x"),
        nn.Sequential(LayerChoice([nn.ReLU()])),
    )
    found = traverse_and_mutate_submodules(root, [MixedLayer.mutate], {"decisions": table})
    assert table.labels == ("x", "2.0")
    assert root[0].decision is root[1].decision is table["x"]
    assert len(list(table.parameters())) == 2
    assert [list(module.search_space_spec()) for module in found] == [["x"], ["x"], ["2.0"]]


def test_equal_labels_of_different_choices_are_refused_by_the_walk() -> None:
    root = nn.Sequential(
        LayerChoice([nn.ReLU(), nn.Tanh()], label="x"), LayerChoice([nn.ReLU()], label="x")
    )
    with pytest.raises(LabelError, match="'1' offers"):
        traverse_and_mutate_submodules(
            root, [MixedLayer.mutate], {"decisions": DecisionTable(Softmax)}
        )
    assert type(root[0]) is LayerChoice


@pytest.mark.parametrize("make", [lambda: choices()["layer"], lambda: choices()["repeat"]])
def test_state_dict_names_and_values_stay_those_of_the_bare_model(make: Any) -> None:
    choice = make()
    before = OrderedDict(nn.Sequential(choice).state_dict())
    module, _ = mixed(choice)
    after = nn.Sequential(module).state_dict()
    assert list(after) == list(before)
    assert all(after[key].data_ptr() == before[key].data_ptr() for key in before)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_replaced_choice_is_kept(training: bool) -> None:
    module, _ = mixed(LayerChoice([nn.Linear(2, 2)]).train(training))
    assert [m.training for m in module.modules()] == [training] * 3


def test_a_subclass_of_a_choice_is_left_to_other_hooks() -> None:
    class Special(LayerChoice): ...

    root = nn.Sequential(Special([nn.ReLU()]))
    options = {"decisions": DecisionTable(Softmax)}
    assert traverse_and_mutate_submodules(root, [MixedLayer.mutate], options) == []
    assert type(root[0]) is Special


def test_other_modules_are_left_alone() -> None:
    for hook in (MixedLayer.mutate, MixedInput.mutate, MixedRepeat.mutate):
        assert hook(nn.Linear(1, 1), "x", {}, {}) is None


def test_nested_choices_become_nested_supernet_modules(x: Tensor) -> None:
    inner = LayerChoice([nn.Tanh(), nn.Identity()], label="inner")
    module, decision = mixed(LayerChoice([inner, nn.Identity()], label="outer"))
    assert decision.spec.label == "outer"
    p, q = softmax(decision.logits), softmax(module.candidates["0"].decision.logits)
    torch.testing.assert_close(module(x), p[0] * (q[0] * x.tanh() + q[1] * x) + p[1] * x)
    assert ModelSpace(nn.Sequential(module)).size == 3


def test_a_mixed_choice_is_a_supernet_module_that_remembers_its_original() -> None:
    choice = LayerChoice([nn.ReLU()])
    module, _ = mixed(choice)
    assert isinstance(module, MixedChoice)
    assert isinstance(module, BaseSuperNetModule)
    assert module.original is choice
    assert choice not in set(module.modules())
    assert module.candidates is choice.candidates
