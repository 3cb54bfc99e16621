"""Ratios and values become the candidates of a size."""

from __future__ import annotations

from typing import Any

import pytest

from oneshot_core.errors import SpaceError
from oneshot_plugins.elastic.extent import Size
from oneshot_plugins.pretrained.sizes import Rules, check_wanted


def of(full: int, role: str = "ffn", wanted: Any = None, unit: int = 1, **rules: Any) -> Any:
    return Rules(**rules).candidates(Size("it", full, unit), role, wanted, "it")


def test_widths_from_ratios_are_multiples_of_eight() -> None:
    assert of(100) == (24, 48, 72, 100)
    assert of(384) == (96, 192, 288, 384)


def test_multiple_of_counts_together_with_the_unit_of_the_size() -> None:
    assert of(144, unit=12, multiple_of=8) == (48, 72, 120, 144)
    assert of(10, multiple_of=1, ratios=(0.1, 1.0)) == (1, 10)


@pytest.mark.parametrize("role", ["heads", "kv", "queries"])
def test_heads_and_groups_are_counted_one_by_one(role: str) -> None:
    assert of(12, role) == (3, 6, 9, 12)
    assert of(2, role) == (1, 2)


def test_the_full_value_is_always_a_candidate() -> None:
    assert of(64, ratios=(0.5,)) == (32, 64)
    assert of(64, wanted=[16, 32]) == (16, 32, 64)


def test_a_width_below_the_multiple_stays_as_it_is() -> None:
    assert of(6) == (6,)


def test_ratios_of_one_size_replace_those_of_all() -> None:
    assert of(64, wanted=[0.5, 0.75]) == (32, 48, 64)
    assert of(64, wanted=(0.5, 1)) == (32, 64)


def test_false_leaves_a_size_as_it_is() -> None:
    assert of(64, wanted=False) == (64,)


def test_values_from_ratios_are_raised_to_the_minimum() -> None:
    assert of(128, minimum=64) == (64, 96, 128)
    assert of(12, "heads", minimum={"heads": 4}) == (4, 6, 9, 12)
    assert of(12, "heads", minimum=64) == (3, 6, 9, 12), "an int speaks of widths"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"wanted": [128]}, "128 for 'it' is larger than the model has"),
        ({"wanted": [30], "unit": 4}, "30 for 'it' is no multiple of 4"),
        ({"wanted": [8], "minimum": 16}, "8 for 'it' is below minimum="),
        ({"ratios": ()}, "ratios=() holds no value"),
        ({"ratios": (0.5, 1.5)}, "ratios holds the ratio 1.5"),
        ({"ratios": (0.0, 1.0)}, "ratios holds the ratio 0.0"),
        ({"ratios": (8, 16)}, "are no ratios"),
        ({"multiple_of": 0}, "multiple_of=0"),
        ({"minimum": {"ffm": 3}}, "the role 'ffm'"),
        ({"minimum": {"ffn": 0}}, "minimum=0 for ffn"),
        ({"minimum": "a"}, "minimum='a'"),
    ],
)
def test_what_makes_no_size_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SpaceError) as error:
        of(64, **arguments)
    assert said in str(error.value)
    assert error.value.expected
    assert error.value.fix


@pytest.mark.parametrize("wanted", ["abc", 3, [], [True], [0], [-1.0], [0.5, 2], [None]])
def test_what_is_neither_ratios_nor_values_is_refused(wanted: object) -> None:
    with pytest.raises(SpaceError, match="ffn"):
        check_wanted("ffn", wanted)
