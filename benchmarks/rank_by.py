"""Does a ranking by loss choose better networks than one by accuracy? On scikit-learn's digits.

    OMP_NUM_THREADS=1 python -m benchmarks.rank_by          measures, and writes results and page
    python -m benchmarks.rank_by --page                     writes the page from the results

Every network of a space of 48 is trained alone with several seeds; its mean test accuracy is what
it is worth. Supernets are trained with `random`, and every network is ranked by its validation loss
and by its validation accuracy with their weights. Compared is the percentile, among all networks,
of what each ranking puts first; of equals, the mean.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_plugins.ranking.agreement import kendall_tau

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "rank_by.json"
PAGE = HERE.parent / "docs" / "search.md"
MARKS = ("<!-- rank by: written by benchmarks/rank_by.py -->", "<!-- /rank by -->")
SEEDS = (0, 1, 2)
SUPERNETS = tuple(range(10))
EPOCHS_ALONE, EPOCHS_SUPERNET, BATCH = 30, 60, 50
SIZES = {"train": 300, "val": 500}


class Net(pl.LightningModule):
    """48 small networks for images of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()

        def layers() -> dict[str, nn.Module]:
            convs = {f"conv{k}": nn.Conv2d(8, 8, k, padding=k // 2) for k in (1, 3, 5)}
            return {**convs, "skip": nn.Identity()}

        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            oneshot.LayerChoice(layers(), label="first"),
            nn.ReLU(),
            oneshot.LayerChoice({"max": nn.MaxPool2d(2), "mean": nn.AvgPool2d(2),
                                 "global": nn.AdaptiveAvgPool2d(2)}, label="pool"),
            oneshot.LayerChoice(layers(), label="second"),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 10),
        )  # fmt: skip

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        scores = self.net(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(scores, batch[1]))
        self.log("val_acc", (scores.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def data() -> dict[str, TensorDataset]:
    """Return the digits in three parts, the same ones always."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, val = SIZES["train"], SIZES["train"] + SIZES["val"]
    parts = {"train": order[:train], "val": order[train:val], "test": order[val:]}
    return {name: TensorDataset(x[part], y[part]) for name, part in parts.items()}


def alone(architecture: Any, parts: dict[str, TensorDataset], seed: int) -> float:
    """Return the test accuracy of a network after training it alone."""
    torch.manual_seed(seed)
    net: Any = oneshot.freeze(Net(), architecture)
    optimizer = net.configure_optimizers()
    loader = DataLoader(parts["train"], BATCH, shuffle=True)
    for _ in range(EPOCHS_ALONE):
        for batch in loader:
            optimizer.zero_grad()
            net.training_step(batch, 0).backward()
            optimizer.step()
    x, y = parts["test"].tensors
    with torch.no_grad():
        return float((net.net(x).argmax(1) == y).float().mean())


def ranked(parts: dict[str, TensorDataset], seed: int) -> Any:
    """Return a ranking of all networks with the weights of one supernet."""
    torch.manual_seed(seed)
    search = oneshot.search(Net(), "random", seed=seed)
    pl.Trainer(
        max_epochs=EPOCHS_SUPERNET, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    ).fit(search, DataLoader(parts["train"], BATCH, shuffle=True))  # fmt: skip
    val = DataLoader(parts["val"], SIZES["val"])
    return search.rank("all", val, metric="val_loss", mode="min", baselines=False, progress=False)


def percentile(ranking: Any, metric: str, sign: float, truth: dict[Any, float]) -> float:
    """Return which part of the other networks the first of a ranking is better than, in per cent.

    Of networks that are worth the same, half counts; of several first ones, the mean.
    """
    best = max(sign * e.metrics[metric] for e in ranking)
    first = [e.architecture for e in ranking if sign * e.metrics[metric] == best]

    def place(architecture: Any) -> float:
        mine, others = truth[architecture], [v for a, v in truth.items() if a != architecture]
        return 100 * statistics.fmean((mine > v) + 0.5 * (mine == v) for v in others)

    return statistics.fmean(map(place, first))


def measure() -> dict[str, Any]:
    """Train all networks and supernets."""
    began = time.process_time()
    parts = data()
    space = list(oneshot.ModelSpace(Net()).architectures())
    truth = {
        oneshot.Architecture(a): statistics.fmean(alone(a, parts, seed) for seed in SEEDS)
        for a in space
    }
    runs = []
    for seed in SUPERNETS:
        ranking = ranked(parts, seed)
        run: dict[str, Any] = {"seed": seed}
        for metric, sign in (("val_loss", -1.0), ("val_acc", 1.0)):
            run[metric] = {
                "percentile": percentile(ranking, metric, sign, truth),
                "kendall_tau": kendall_tau(
                    [sign * e.metrics[metric] for e in ranking],
                    [truth[e.architecture] for e in ranking],
                ),
            }
        runs.append(run)
    return {
        "schema": "oneshot.rank_by/1",
        "networks": len(space),
        "seeds": list(SEEDS),
        "epochs": {"alone": EPOCHS_ALONE, "supernet": EPOCHS_SUPERNET},
        "samples": {name: len(part) for name, part in parts.items()},
        "truth": [min(truth.values()), max(truth.values())],
        "runs": runs,
        "processor_seconds": round(time.process_time() - began, 1),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "pytorch-lightning", "scikit-learn")},
        },
    }


def written(results: dict[str, Any]) -> str:
    """Return what the page says."""
    runs = results["runs"]

    def mean(metric: str, what: str) -> float:
        return statistics.fmean(run[metric][what] for run in runs)

    def gap(what: str) -> tuple[float, float]:
        gaps = [run["val_loss"][what] - run["val_acc"][what] for run in runs]
        return statistics.fmean(gaps), statistics.stdev(gaps) / len(gaps) ** 0.5

    (places, places_error), (taus, taus_error) = gap("percentile"), gap("kendall_tau")
    low, high = results["truth"]
    return (
        f"On scikit-learn's digits ({results['networks']} networks, each trained alone with "
        f"{len(results['seeds'])} seeds for {results['epochs']['alone']} epochs to {low:.1%} to "
        f"{high:.1%} test accuracy; {len(runs)} "
        "supernets):\n\n"
        "| ranked by | percentile of the first | Kendall's tau with accuracy alone |\n"
        "|---|---|---|\n"
        f"| `val_loss` | {mean('val_loss', 'percentile'):.1f} "
        f"| {mean('val_loss', 'kendall_tau'):.2f} |\n"
        f"| `val_acc` | {mean('val_acc', 'percentile'):.1f} "
        f"| {mean('val_acc', 'kendall_tau'):.2f} |\n\n"
        f"Loss minus accuracy: {places:+.1f} ± {places_error:.1f} for the percentile, "
        f"{taus:+.2f} ± {taus_error:.2f} for Kendall's tau (mean over supernets, standard error)."
    )


def page(results: dict[str, Any]) -> None:
    """Write the numbers into the page, between the marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    PAGE.write_text(f"{before}{MARKS[0]}\n{written(results)}\n{MARKS[1]}{after}", encoding="utf-8")


def main() -> None:
    """Measure unless only the page is asked for."""
    if "--page" not in sys.argv[1:]:
        torch.set_num_threads(1)
        RESULTS.write_text(json.dumps(measure(), indent=2) + "\n", encoding="utf-8")
    page(json.loads(RESULTS.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
