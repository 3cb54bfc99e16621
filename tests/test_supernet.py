"""What a supernet module answers for its decisions, and what it keeps out of the model."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from oneshot_core.decision import Active, Decision, DecisionTable
from oneshot_core.space import Choice, ParameterSpec
from oneshot_core.supernet import BaseSuperNetModule, supernet_modules
from oneshot_plugins.checks.decisions import Drawn


class Learned(Decision):
    """Has parameters, and draws uniformly."""

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__(spec)
        self.logits = nn.Parameter(torch.arange(len(spec.candidates), dtype=torch.float))
        self.drawn: Choice | None = None

    def mixture(self) -> list[Active]:
        return [Active(candidate) for candidate in self.spec.members(self.drawn or "a")]

    def probabilities(self) -> Tensor:
        return self.logits.softmax(0)

    def resample(self) -> Choice | None:
        self.drawn = self.draw_uniform()
        return self.drawn

    def adopt(self, choice: Choice) -> None:
        self.drawn = choice


class Silent(Learned):
    def resample(self) -> Choice | None:
        return None


class Block(BaseSuperNetModule):
    """A supernet module with weights and any number of decisions."""

    def __init__(self, *decisions: Decision) -> None:
        super().__init__(*decisions)
        self.layer = nn.Linear(2, 2)

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        return self.layer


@pytest.fixture
def table() -> DecisionTable:
    return DecisionTable(Learned)


def decide(table: DecisionTable, label: str) -> Decision:
    return table.decide(ParameterSpec(label, ("a", "b", "c")), path=label)


def test_architecture_parameters_are_no_part_of_the_module(table: DecisionTable) -> None:
    block = Block(decide(table, "x"), decide(table, "y"))
    assert [name for name, _ in block.named_parameters()] == ["layer.weight", "layer.bias"]
    assert list(block.state_dict()) == ["layer.weight", "layer.bias"]
    assert [name for name, _ in block.named_modules()] == ["", "layer"]


def test_decisions_are_those_of_the_table_in_order(table: DecisionTable) -> None:
    x, y = decide(table, "x"), decide(table, "y")
    block = Block(x, y)
    assert block.decisions[0] is x
    assert block.decisions[1] is y


def test_search_space_spec_is_by_label(table: DecisionTable) -> None:
    block = Block(decide(table, "x"), decide(table, "y"))
    specs = block.search_space_spec()
    assert list(specs) == ["x", "y"]
    assert specs["x"] == ParameterSpec("x", ("a", "b", "c"))


def test_resample_draws_for_every_label_and_says_what(table: DecisionTable) -> None:
    block = Block(decide(table, "x"), decide(table, "y"))
    drawn = block.resample({})
    assert drawn == {label: table[label].drawn for label in ("x", "y")}
    assert None not in drawn.values()


def test_resample_follows_the_memo_and_returns_only_what_is_new(table: DecisionTable) -> None:
    block = Block(decide(table, "x"), decide(table, "y"))
    memo = {"x": "c", "elsewhere": "a"}
    drawn = block.resample(memo)
    assert list(drawn) == ["y"]
    assert table["x"].drawn == "c"
    assert memo == {"x": "c", "elsewhere": "a"}, "the memo is the caller's"


def test_a_growing_memo_makes_equal_labels_draw_once(table: DecisionTable) -> None:
    blocks = [Block(decide(table, "x")), Block(decide(table, "y"), decide(table, "x"))]
    memo: dict[str, Choice] = {}
    for block in blocks:
        before = set(memo)
        drawn = block.resample(memo)
        assert not before & set(drawn)
        memo.update(drawn)
    assert memo == {label: table[label].drawn for label in ("x", "y")}


def test_a_strategy_that_draws_nothing_resamples_to_nothing() -> None:
    table = DecisionTable(Silent)
    assert Block(decide(table, "x")).resample({}) == {}


def test_none_is_drawn_and_followed_like_any_candidate() -> None:
    """It was taken for "nothing was drawn", so that equal labels drew apart."""
    table = DecisionTable(Drawn)
    spec = ParameterSpec("eps", (None, 1e-5))
    block = Block(table.decide(spec, path="here"))
    draws = [block.resample({}) for _ in range(20)]
    assert {"eps": None} in draws
    table["eps"].adopt(1e-5)
    assert block.resample({"eps": None}) == {}
    assert table["eps"].active() == [Active(None)]


def test_export_is_the_best_choice_for_what_the_memo_does_not_know(table: DecisionTable) -> None:
    block = Block(decide(table, "x"), decide(table, "y"))
    assert block.export({}) == {"x": "c", "y": "c"}
    assert block.export({"x": "a"}) == {"y": "c"}
    assert block.export({"x": "a", "y": "a"}) == {}
    block.resample({})
    assert block.export({}) == {"x": "c", "y": "c"}, "a draw is no answer"


def test_export_probs_are_plain_numbers_by_candidate(table: DecisionTable) -> None:
    block = Block(decide(table, "x"), decide(table, "y"))
    probs = block.export_probs({"y": {}})
    expected = torch.arange(3.0).softmax(0).tolist()
    assert list(probs) == ["x"]
    assert probs["x"] == pytest.approx(dict(zip("abc", expected, strict=True)))
    assert all(type(p) is float for p in probs["x"].values())


def test_branches_are_none_unless_told(table: DecisionTable) -> None:
    assert dict(Block(decide(table, "x")).branches()) == {}


def test_supernet_modules_are_found_once_and_parents_first(table: DecisionTable) -> None:
    shared, outer = Block(decide(table, "x")), Block(decide(table, "y"))
    outer.add_module("below", nn.Sequential(shared))
    root = nn.Sequential(nn.ReLU(), outer, shared)
    assert list(supernet_modules(root)) == [outer, shared]
    assert list(supernet_modules(shared)) == [shared]
