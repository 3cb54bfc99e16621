"""What is not chosen need not be valid; candidates may be nested tuples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import oneshot_core as oneshot
from oneshot_core import Architecture, LayerChoice, ModelSpace, freeze
from oneshot_core import nn as onn
from oneshot_core.errors import SpaceError

W = oneshot.choice([0, 3, 8], label="w")


def test_a_condition_computes_only_what_it_takes() -> None:
    share = oneshot.if_else(W > 0, 24 // W, 1)
    assert [share.evaluate({"w": w}) for w in (0, 3, 8)] == [1, 8, 3]
    divides = (W > 0) & (24 % W == 0)
    assert [bool(divides.evaluate({"w": w})) for w in (0, 3, 8)] == [False, True, True]
    either = (W == 0) | (24 // W > 3)
    assert [bool(either.evaluate({"w": w})) for w in (0, 3, 8)] == [True, True, False]
    assert repr(divides) == "((w > 0) and ((24 % w) == 0))"


def test_what_cannot_be_built_in_a_branch_must_be_excluded_for_that_branch_only() -> None:
    width = oneshot.choice([3, 4], label="width")

    def model(constrained: bool) -> nn.Module:
        branch = LayerChoice(
            {"plain": nn.Identity(), "grouped": onn.Conv2d(width, width, 1, groups=2)}, label="op"
        )
        made = nn.Sequential(onn.Conv2d(3, width, 1), branch)
        if constrained:
            op: Any = oneshot.space.Taken(branch.spec("op"))
            oneshot.constrain(made, (op == "plain") | (width % 2 == 0))
        return made

    space = ModelSpace(model(constrained=True))
    assert [tuple(a.values()) for a in space.architectures()] == [
        (3, "plain"),
        (4, "plain"),
        (4, "grouped"),
    ]
    with pytest.raises(SpaceError, match="cannot be built with"):
        ModelSpace(model(constrained=False))


NESTED = [((1, 3), (5, 5)), ((1, 3), 5), (((1,), 3), (5, None))]


def test_candidates_may_be_nested_tuples_and_come_back_from_json_as_they_were(
    tmp_path: Path,
) -> None:
    value = oneshot.choice([*NESTED[:2], [[[1], 3], [5, None]]], label="n")
    assert list(value.spec.candidates) == NESTED
    padding = oneshot.choice([((0, 1), 2), ((1, 0), 2)], label="p")
    model = nn.Sequential(onn.ConstantPad2d(1, value[0][0]), onn.ConstantPad1d(padding[0], 0.0))
    space = ModelSpace(model)
    assert space.size == 6
    json.dumps(space.describe())
    for chosen in space.architectures():
        architecture = Architecture(chosen, space)
        assert hash(architecture) == hash(Architecture(chosen))
        loaded = Architecture.load(architecture.save(tmp_path / "a.json"))
        assert loaded == architecture
        assert loaded.validate(space) == architecture
        assert loaded["n"] in NESTED
        assert type(freeze(model, loaded)[1]) is nn.ConstantPad1d
    assert ModelSpace(nn.Sequential(onn.ConstantPad1d(padding[0], 0.0))).fingerprint


@pytest.mark.parametrize("wrong", [(), ((),), (1, ()), (1, {2}), ((1, float("nan")),)])
def test_what_is_no_plain_data_is_refused_at_any_depth(wrong: Any) -> None:
    with pytest.raises(SpaceError, match=r"(?s)offers.*expected:.*fix:"):
        oneshot.choice([wrong, 1], label="n")
