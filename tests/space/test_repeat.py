"""A choice of depth, before any search."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oneshot_core.errors import SpaceError
from oneshot_core.space import ParameterSpec, Repeat


class Add(nn.Module):
    """Adds a number, so that the output tells which blocks ran."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x + self.number


def power(index: int) -> Add:
    return Add(10**index)


@pytest.mark.parametrize(
    ("depth", "depths"),
    [
        pytest.param(3, (3,), id="fixed"),
        pytest.param(0, (0,), id="fixed-zero"),
        pytest.param((1, 3), (1, 2, 3), id="range"),
        pytest.param((0, 2), (0, 1, 2), id="range-from-zero"),
        pytest.param((2, 2), (2,), id="range-of-one"),
        pytest.param([4, 1, 2], (4, 1, 2), id="list-in-its-order"),
        pytest.param([0], (0,), id="list-of-zero"),
        pytest.param([1, 1, 2], (1, 2), id="list-with-repetition"),
    ],
)
def test_depths(depth: Any, depths: tuple[int, ...]) -> None:
    choice = Repeat(power, depth)
    assert choice.specs_at("d") == (ParameterSpec("d", depths),)
    assert choice.specs_at("d")[0].default == max(depths)
    assert len(choice.blocks) == max(depths)


@pytest.mark.parametrize(
    "depth",
    [-1, 1.5, True, None, "2", [], [1, -1], [1, 2.0], [True], (3, 1), (-1, 2), (1, 2, 3), (1.0, 2)],
    ids=repr,
)
def test_depths_that_make_no_sense_are_refused(depth: Any) -> None:
    with pytest.raises(SpaceError, match="Repeat got depth="):
        Repeat(power, depth)


@pytest.mark.parametrize(
    ("blocks", "n"),
    [
        pytest.param([nn.ReLU()], 1, id="too-few"),
        pytest.param([nn.ReLU()] * 3, 3, id="too-many"),
        pytest.param(nn.ModuleList([nn.ReLU()]), 1, id="module-list-too-short"),
        pytest.param(lambda index: None, 2, id="factory-of-nothing"),
        pytest.param([nn.ReLU(), "relu"], 2, id="no-module"),
    ],
)
def test_blocks_that_do_not_fit_the_depth_are_refused(blocks: Any, n: int) -> None:
    with pytest.raises(SpaceError, match=f"got {n} blocks for a largest depth of 2"):
        Repeat(blocks, (1, 2))


def test_a_module_is_kept_in_the_first_place_and_copied_for_the_others() -> None:
    block = nn.Linear(2, 2)
    blocks = Repeat(block, 3).blocks
    assert blocks[0] is block
    assert len({id(b.weight) for b in blocks}) == 3
    assert all(torch.equal(b.weight, block.weight) for b in blocks)


def test_a_factory_is_called_with_the_place() -> None:
    assert [block.number for block in Repeat(power, (0, 3)).blocks] == [1, 10, 100]


@pytest.mark.parametrize("kind", [list, tuple, nn.ModuleList])
def test_modules_given_one_by_one_are_used_as_they_are(kind: Any) -> None:
    blocks = [power(0), power(1)]
    assert list(Repeat(kind(blocks), (0, 2)).blocks) == blocks


def test_it_runs_the_largest_depth() -> None:
    x = torch.zeros(1)
    assert Repeat(power, (0, 3))(x).item() == 111
    assert Repeat(power, [1, 2])(x).item() == 11
    assert Repeat(power, 0)(x) is x


@pytest.mark.parametrize(("depth", "expected"), [(0, 0), (1, 1), (2, 11), (3, 111)])
def test_a_selected_depth_runs_the_first_blocks(depth: int, expected: int) -> None:
    choice = Repeat(power, (0, 3))
    selected = choice.select_at("d", {"d": depth})
    assert selected(torch.zeros(1)).item() == expected
    assert list(selected) == list(choice.blocks)[:depth]
    assert type(selected) is nn.Sequential


def test_a_depth_needs_the_blocks_before_it() -> None:
    choice = Repeat(power, [0, 2])
    a, b = choice.blocks
    assert choice.branches_at("d") == {"d": {0: (), 2: (a, b)}}
