"""The comparison of all strategies: its page, its baseline and its results."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

import oneshot_core as oneshot
from benchmarks.mnist1d.__main__ import main
from benchmarks.mnist1d.configurations import CONFIGURATIONS
from benchmarks.mnist1d.networks import BATCH, SEEDS, Network, Setting, operations
from benchmarks.mnist1d.page import PAGE, RESULTS, expected_best, page
from benchmarks.mnist1d.results import Results
from benchmarks.mnist1d.searches import Run, run
from oneshot_plugins.costs.counts import parameters
from oneshot_plugins.demo.training import one_thread, quiet
from oneshot_plugins.spaces.chain import Chain1d
from oneshot_plugins.strategies.plugin import oneshot_components


@pytest.fixture(autouse=True)
def as_the_benchmark_runs() -> Iterator[None]:
    with quiet(), one_thread():
        yield


def network(validation: float, test: float, seed: int = 0, name: str = "skip") -> Network:
    return Network(seed, name, 10, 100, validation, test, 1.0)


def test_the_page_is_what_the_results_render_to() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, Results(RESULTS)) == text, "run: python -m benchmarks.mnist1d.page"


def test_every_strategy_of_ours_is_a_row() -> None:
    ours = {component.name for component in oneshot_components() if component.kind == "strategy"}
    ours.remove("chain")  # it trains the sizes that the user names, and searches for none
    assert ours == {configuration.strategy for configuration in CONFIGURATIONS.values()}


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_expected_best_is_the_mean_over_all_subsets(n: int) -> None:
    pairs = [(0.7, 0.9), (0.9, 0.8), (0.8, 0.95), (0.9, 0.6), (0.5, 0.7)]
    networks = [network(*pair) for pair in pairs]
    each = [
        max(subset, key=lambda one: one.validation).test for subset in combinations(networks, n)
    ]
    assert expected_best(networks, n) == pytest.approx(statistics.fmean(each))


def test_a_part_of_a_network_is_interpolated() -> None:
    networks = [network(0.7, 0.9), network(0.9, 0.8), network(0.8, 0.95)]
    one, two = expected_best(networks, 1), expected_best(networks, 2)
    assert expected_best(networks, 1.25) == pytest.approx(0.75 * one + 0.25 * two)
    with pytest.raises(ValueError, match=r"best of 3\.5, out of 3"):
        expected_best(networks, 3.5)


def test_results_come_back_from_the_file(tmp_path: Path) -> None:
    results = Results(tmp_path / "new" / "mnist1d.json")
    one, two = network(0.5, 0.25), Run("darts", 3, "skip", 12.0, 1.5, [-1.0, 0.5])
    results.add(one)
    results.add(two)
    again = Results(results.path)
    assert again.networks == {(0, "skip"): one}
    assert again.runs == {("darts", 3): two}
    assert [path.name for path in results.path.parent.iterdir()] == ["mnist1d.json"]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mnist1d.json"
    path.write_text(json.dumps({"schema": "other/1"}))
    with pytest.raises(ValueError, match=r"expected: 'oneshot.benchmarks.mnist1d/1'"):
        Results(path)


def test_what_is_finished_is_not_computed_again(tmp_path: Path) -> None:
    kept = tmp_path / "mnist1d.json"
    kept.write_text(RESULTS.read_text())
    name, seed = next(iter(Results(kept).runs))
    before = kept.stat().st_mtime_ns
    main(["--out", str(tmp_path), "--strategies", name, "--seeds", str(seed)])
    assert kept.stat().st_mtime_ns == before


def test_the_largest_network_has_the_most_parameters() -> None:
    setting, model = Setting(), Chain1d()
    sizes = {a: parameters(oneshot.freeze(model, a)) for a in setting.architectures[::24]}
    largest = setting.largest()
    assert parameters(oneshot.freeze(model, largest)) >= max(sizes.values())


def test_the_pools_of_seeds_are_different_networks_drawn_from_the_seed_alone() -> None:
    one, two = Setting(), Setting()
    pools = [one.pool(seed) for seed in SEEDS]
    assert pools == [two.pool(seed) for seed in SEEDS]
    assert all(len(set(pool)) == len(pool) for pool in pools)
    assert pools[0] != pools[1]


def test_a_search_counts_its_passes_and_scores_the_pools() -> None:
    setting = Setting()
    found = run(setting, CONFIGURATIONS["darts"], 0, epochs=1)
    # 12 whole batches of one half, twice, five candidates, forward and backward.
    assert found.passes == 12 * BATCH * 2 * 5 * 3
    # Scores are logarithms of probabilities: nothing is more probable than what was found.
    assert found.chosen.architecture == found.search.export()
    best = math.prod(max(each.values()) for each in found.search.export_probs().values())
    assert len(found.chosen.scores) == len(setting.pools())
    assert max(found.chosen.scores) <= math.log(best) + 1e-9


@pytest.mark.slow
def test_the_same_seed_trains_the_same_network_bit_for_bit() -> None:
    setting = Setting()
    architecture = setting.pool(0)[0]
    one, two = (setting.train(architecture, 0, epochs=2) for _ in range(2))
    assert (one.validation, one.test) == (two.validation, two.test)
    assert one.operations == operations(architecture)


@pytest.mark.parametrize(
    "name",
    [
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("sandwich", "darts-order-2", "fbnet", "enas", "darts-pt")
        ),
        pytest.param("few-shot", marks=pytest.mark.nightly),  # trains five supernets more
    ],
)
def test_rows_with_options_of_their_own_find_a_network_of_the_space(name: str) -> None:
    setting, configuration = Setting(), CONFIGURATIONS[name]
    found = run(setting, configuration, 0, epochs=1)
    assert found.chosen.architecture in setting.architectures
    assert len(found.chosen.scores) == (0 if name == "darts-pt" else len(setting.pools()))
    assert found.passes > configuration.passes * 12 * BATCH - 1
