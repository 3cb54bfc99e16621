"""Selection by perturbation: what is removed, what is taken, and what is put back."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.darts import Darts
from oneshot_plugins.strategies.gumbel import GumbelDarts
from oneshot_plugins.strategies.selection import select_by_perturbation


def trained(net: Any, loader: Any, fit: Any) -> Darts:
    search = Darts(net(), arch_dataloader=loader(2), arc_learning_rate=0.1, seed=0)
    search.decisions.double()
    fit(search, max_epochs=4)
    return search


def loss_without(
    search: Any, batches: Any, removed: dict[str, str], fixed: dict[str, str]
) -> float:
    """The validation loss by hand: what is removed has the weight 0, the others keep theirs."""
    model, total, n = search.model.eval(), 0.0, 0
    for x, y in batches:
        out = x
        for decision, choice in zip(search.decisions, (model.first, model.second), strict=True):
            label = decision.spec.label
            p = decision.probabilities().detach()
            parts = [
                (1.0 if label in fixed else p[i]) * f(out)
                for i, (name, f) in enumerate(choice.candidates.items())
                if name != removed.get(label) and fixed.get(label, name) == name
            ]
            out = sum(parts)
        total += float(nn.functional.cross_entropy(model.head(out), y).detach()) * len(y)
        n += len(y)
    return total / n


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_candidate_that_is_missed_most_is_taken_label_by_label(
    seed: int, net: Any, loader: Any, fit: Any
) -> None:
    """Algorithm 1, in whichever order the labels come."""
    search = trained(net, loader, fit)
    expected = []
    for order in (("first", "second"), ("second", "first")):
        fixed: dict[str, str] = {}
        for label in order:
            losses = {
                c: loss_without(search, loader(9), {label: c}, fixed) for c in ("a", "b", "skip")
            }
            fixed[label] = max(losses, key=losses.__getitem__)
        expected.append(fixed)

    found = select_by_perturbation(
        search, loader(9), metric="val_loss", mode="min", seed=seed, trainer=trainer()
    )

    assert dict(found) in expected


def trainer() -> Any:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        precision="64-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_the_search_is_as_before_and_tuned_in_between(net: Any, loader: Any, fit: Any) -> None:
    search = trained(net, loader, fit)
    before = {k: v.clone() for k, v in search.model.state_dict().items()}
    select_by_perturbation(search, loader(9), metric="val_loss", mode="min", trainer=trainer())
    assert all(torch.equal(v, before[k]) for k, v in search.model.state_dict().items())
    assert all(d.pinned is None for d in search.decisions)
    assert len(search.decisions["first"].active()) == 3

    pins: list[int] = []

    def tune(search: Any) -> None:
        pins.append(sum(d.pinned is not None for d in search.decisions))
        fit(search)

    found = select_by_perturbation(
        search, loader(9), metric="val_loss", mode="min", tune=tune, trainer=trainer()
    )
    assert pins == [1, 2]
    assert found.keys() == {"first", "second"}


def test_what_is_no_softmax_is_refused(net: Any, loader: Any) -> None:
    search = GumbelDarts(net(), arch_dataloader=loader(), seed=0)
    with pytest.raises(StrategyError, match="GumbelDecision"):
        select_by_perturbation(search, loader(9), metric="val_loss")


def test_a_metric_that_is_not_logged_is_named(net: Any, loader: Any, fit: Any) -> None:
    search = trained(net, loader, fit)
    with pytest.raises(StrategyError, match="val_acc") as info:
        select_by_perturbation(search, loader(9), metric="val_acc", trainer=trainer())
    assert "val_loss" in str(info.value)
    assert len(search.decisions["first"].active()) == 3
