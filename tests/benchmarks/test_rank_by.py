"""The page about ranking by loss says what was measured."""

from __future__ import annotations

import json

import pytest

import oneshot_core as oneshot
from benchmarks import rank_by
from oneshot_plugins.ranking.evaluation import Ranked, Ranking


def test_the_page_has_the_numbers_of_the_results() -> None:
    results = json.loads(rank_by.RESULTS.read_text(encoding="utf-8"))
    assert f"{rank_by.MARKS[0]}\n{rank_by.written(results)}\n{rank_by.MARKS[1]}" in (
        rank_by.PAGE.read_text(encoding="utf-8")
    )


def test_of_equally_ranked_networks_the_mean_percentile_counts() -> None:
    made = [oneshot.Architecture({"a": n}) for n in range(5)]
    truth = dict(zip(made, (1.0, 2.0, 3.0, 3.0, 5.0), strict=True))
    entries = [Ranked(a, 0.0, {"m": m}) for a, m in zip(made, (9, 9, 1, 8, 0), strict=True)]
    ranking = Ranking(entries, metric="m", mode="max")
    assert rank_by.percentile(ranking, "m", 1.0, truth) == pytest.approx((0 + 25) / 2)
    assert rank_by.percentile(ranking, "m", -1.0, truth) == 100
