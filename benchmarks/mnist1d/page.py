"""``python -m benchmarks.mnist1d.page``: write the tables of ``docs/benchmarks.md``.

A test fails where the page is not what the results say.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from oneshot_plugins.ranking.agreement import kendall_tau

from .configurations import CONFIGURATIONS
from .networks import COST, SEEDS, Network, Setting, operations
from .results import Results
from .searches import Run

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results" / "mnist1d.json"
BEGIN = "<!-- Written by python -m benchmarks.mnist1d.page; change that file instead. -->\n"
END = "<!-- End of what is written. -->\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), Results(RESULTS)), encoding="utf-8")


def page(text: str, results: Results) -> str:
    """Return ``text`` with what is between the markers written anew."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return before + BEGIN + "\n" + Report(results).text() + "\n" + END + after


def expected_best(networks: Sequence[Network], n: float) -> float:
    """Return the test accuracy that the best of ``n`` random networks on validation has.

    The mean over all subsets of ``n`` of the ``N`` networks: with ``t_1, t_2, ...`` the test
    accuracies from the best on validation to the worst, ``sum_i C(N - i, n - 1) / C(N, n) t_i``.
    Between whole numbers it is interpolated.

    Args:
        networks: drawn at random; of equals on validation the first counts as better.
        n: how many of them a search can afford, at least 1.

    Raises:
        ValueError: there are not as many.
    """
    if not 1 <= n <= len(networks):
        raise ValueError(f"the best of {n}, out of {len(networks)} networks")
    tests = [network.test for network in sorted(networks, key=lambda each: -each.validation)]
    low, high = math.floor(n), math.ceil(n)
    return _best_of(tests, low) + (n - low) * (_best_of(tests, high) - _best_of(tests, low))


def _best_of(tests: Sequence[float], n: int) -> float:
    total = len(tests)
    return sum(
        math.comb(total - i, n - 1) / math.comb(total, n) * test for i, test in enumerate(tests, 1)
    )


class Report:
    """What the results say.

    Args:
        results: of all runs. A seed counts once its random networks and the
            largest are trained.
    """

    def __init__(self, results: Results) -> None:
        setting = Setting()
        self.results = results
        networks, largest = results.networks, operations(setting.largest())
        drawn = {seed: [operations(a) for a in setting.pool(seed)] for seed in SEEDS}
        done = [
            seed
            for seed, names in drawn.items()
            if all((seed, name) in networks for name in [*names, largest])
        ]
        self.pools = {seed: [networks[seed, name] for name in drawn[seed]] for seed in done}
        self.largest = [networks[seed, largest] for seed in done]
        # One entry for each network of all pools; NaN, which tau leaves out, if not trained yet.
        self.truth = [
            networks[seed, name].test if seed in done else math.nan
            for seed, names in drawn.items()
            for name in names
        ]

    def text(self) -> str:
        """Return both tables and the verdict, in Markdown."""
        runs = {name: self._runs(name) for name in CONFIGURATIONS}
        rows = [self._row(name, found) for name, found in runs.items() if found]
        return "\n".join([*self._baselines(), "", *_HEAD, *rows, "", *self._verdict(runs)]) + "\n"

    def _runs(self, name: str) -> list[Run]:
        found = (self.results.runs.get((name, seed)) for seed in self.pools)
        return [run for run in found if run is not None]

    def _row(self, name: str, runs: Sequence[Run]) -> str:
        networks = [self.results.networks[run.seed, run.found] for run in runs]
        taus = [kendall_tau(run.scores, self.truth) for run in runs if run.scores]
        seeds = "" if len(runs) == len(SEEDS) else f" (seeds: {len(runs)})"
        cells = [
            f"{name}{seeds}",
            str(CONFIGURATIONS[name].epochs),
            f"{statistics.fmean(_networks(run) for run in runs):.1f}",
            _percent([network.test for network in networks]),
            _percent([self._random_search(run) for run in runs]),
            _percent(self._differences(runs), sign=True),
            f"{statistics.fmean(network.parameters for network in networks):,.0f}",
            f"{statistics.fmean(network.macs for network in networks) / 1000:,.0f}",
            f"{statistics.fmean(run.seconds for run in runs):.0f}",
            f"{statistics.fmean(taus):.2f}" if taus else "",
        ]
        return f"| {' | '.join(cells)} |"

    def _random_search(self, run: Run) -> float:
        return expected_best(self.pools[run.seed], max(1.0, _networks(run)))

    def _differences(self, runs: Sequence[Run]) -> list[float]:
        return [
            self.results.networks[run.seed, run.found].test - self._random_search(run)
            for run in runs
        ]

    def _baselines(self) -> list[str]:
        drawn = [network for pool in self.pools.values() for network in pool]
        best = [[expected_best(pool, n) for pool in self.pools.values()] for n in (1, 2, 4, 8)]
        rows = [
            "| without a search | test accuracy | parameters | 1000 MACs | processor s |",
            "|---|---|---|---|---|",
            _plain("one random network", best[0], drawn),
            *(
                f"| the best of {n} on validation | {_percent(tests)} | | | |"
                for n, tests in zip((2, 4, 8), best[1:], strict=True)
            ),
            _plain("the largest network", [each.test for each in self.largest], self.largest),
        ]
        by_size = kendall_tau([each.parameters for each in drawn], [each.test for each in drawn])
        by_macs = kendall_tau([each.macs for each in drawn], [each.test for each in drawn])
        tau = (
            f"Kendall's τ with the test accuracy over the {len(drawn)} random networks: "
            f"{by_size:.2f} for the number of parameters, {by_macs:.2f} for MACs."
        )
        return [*rows, "", tau]

    def _verdict(self, runs: dict[str, list[Run]]) -> list[str]:
        means = {name: self._differences(found) for name, found in runs.items() if found}
        order = sorted(means, key=lambda name: -statistics.fmean(means[name]))
        better = [name for name in order if statistics.fmean(means[name]) > 0]
        worse = [name for name in order if name not in better]
        clear = [name for name in order if _is_clear(means[name])]
        return [
            f"*Better than random search of equal cost in the mean:* {_list(better, means)}.",
            "",
            f"*Not better:* {_list(worse, means)}.",
            "",
            f"*More than two standard errors from it, either way:* {_list(clear, means)}.",
        ]


_HEAD = [
    "| strategy | epochs | networks | test accuracy | random search | difference | parameters "
    "| 1000 MACs | processor s | τ |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def _plain(name: str, tests: Sequence[float], networks: Sequence[Network]) -> str:
    means = [
        statistics.fmean(network.parameters for network in networks),
        statistics.fmean(network.macs for network in networks) / 1000,
        statistics.fmean(network.seconds for network in networks),
    ]
    numbers = " | ".join(f"{mean:,.0f}" for mean in means)
    return f"| {name} | {_percent(tests)} | {numbers} |"


def _networks(run: Run) -> float:
    return run.passes / COST


def _standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _is_clear(values: Sequence[float]) -> bool:
    return abs(statistics.fmean(values)) > 2 * _standard_error(values)


def _percent(values: Sequence[float], sign: bool = False) -> str:
    mean, error = 100 * statistics.fmean(values), 100 * _standard_error(values)
    shown = f"{mean:+.1f}" if sign else f"{mean:.1f}"
    return shown if math.isnan(error) else f"{shown} ± {error:.1f}"


def _list(names: Sequence[str], differences: Mapping[str, Sequence[float]]) -> str:
    shown = [f"{name} ({100 * statistics.fmean(differences[name]):+.2f})" for name in names]
    return "; ".join(shown) or "none"


if __name__ == "__main__":
    main()
