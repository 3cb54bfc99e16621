"""The ratios: the page says what was measured, and both sides of a comparison do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import growth, memory, page, plain, steps
from benchmarks.timing import Ratio, compare_seconds


def test_the_page_is_what_the_results_say() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.page(text) == text


def test_a_ratio_is_the_median_over_pairs_whoever_goes_first() -> None:
    order: list[str] = []

    def clock(name: str, seconds: list[float]) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return seconds.pop(0)

        return run

    ours, theirs = clock("a", [9.0, 1.0, 3.0, 2.0]), clock("b", [9.0, 1.0, 1.0, 4.0])
    ratio = compare_seconds(ours, theirs, pairs=3)
    assert (ratio.median, ratio.ours, ratio.theirs) == (1.0, 2.0, 1.0)
    assert "".join(order) == "ab" + "ba" + "ab" + "ba"


def test_an_exponent_is_that_of_the_growth_it_was_fitted_to() -> None:
    points = [
        {"n": float(n), "m": float(m), "measured": 3 * n**1.5 * m**0.5}
        for n in (1, 2, 4)
        for m in (3, 9)
    ]
    assert growth._fit(points).exponents == pytest.approx({"n": 1.5, "m": 0.5})


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [steps.sampled_step, steps.darts_step, steps.recomputed_darts_step]
)
def test_both_sides_of_a_step_have_equal_losses(
    case: Callable[[], Ratio], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cases check it themselves, to the last bit."""
    monkeypatch.setattr(steps, "STEPS", 3)
    monkeypatch.setattr(steps, "images", lambda: plain.images(3))
    monkeypatch.setattr(steps, "compare_seconds", lambda a, b, pairs=1: compare_seconds(a, b, 2))
    assert case().ours > 0


@pytest.mark.slow
def test_a_peak_is_that_of_what_lives_at_once() -> None:
    import torch

    def one_after_the_other() -> None:
        for _ in range(3):
            torch.ones(250_000)

    def together() -> None:
        kept: list[Any] = [torch.ones(250_000) for _ in range(3)]
        kept.clear()

    assert memory.peak(together) == pytest.approx(3e6, rel=0.01)
    assert memory.peak(one_after_the_other) == pytest.approx(1e6, rel=0.01)
