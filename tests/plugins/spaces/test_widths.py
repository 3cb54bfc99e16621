"""Numbers of channels: rounded as MobileNets round, and computed where they are values."""

from __future__ import annotations

import pytest

from oneshot_core.space import choice
from oneshot_plugins.spaces.widths import computed, rounded, scaled


@pytest.mark.parametrize(
    ("width", "wanted"),
    [(3, 8), (8, 8), (11.9, 16), (12, 16), (18, 24), (20, 24), (28, 32), (183.99, 184), (100, 104)],
)
def test_widths_are_multiples_of_eight_and_lose_a_tenth_at_most(width: float, wanted: int) -> None:
    """18 would be 16, which is 11% less; so it is 24."""
    assert rounded(width) == wanted


def test_a_function_of_values_is_a_value_and_of_numbers_a_number() -> None:
    assert computed(scaled, 24, 1.5) == 40
    value = computed(scaled, 24, choice([0.5, 1.0], label="width"))
    assert {width: len(chosen) for width, chosen in value.distribution().items()} == {16: 1, 24: 1}
