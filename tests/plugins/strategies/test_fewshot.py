"""Few-shot: parts of a supernet that train apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from oneshot_core.errors import StrategyError
from oneshot_plugins.strategies.fewshot import rank_parts, split
from oneshot_plugins.strategies.uniform import UniformSampling


def test_each_part_starts_with_the_weights_and_takes_its_choice_only(
    net: Any, loader: Any, fit: Any
) -> None:
    """Section 3: one sub-supernet for each operation of the edge that is split."""
    search = UniformSampling(net(), seed=0)
    fit(search)
    before = {k: v.clone() for k, v in search.model.state_dict().items()}

    parts = split(search, "first")

    assert list(parts) == ["a", "b", "skip"]
    for choice, part in parts.items():
        assert all(torch.equal(v, before[k]) for k, v in part.model.state_dict().items())
        ran: list[str] = []
        for name, module in part.model.first.candidates.items():
            module.register_forward_hook(lambda *_, at=name, ran=ran: ran.append(at))
        fit(part, max_epochs=2)
        assert set(ran) == {choice}
    assert all(torch.equal(v, before[k]) for k, v in search.model.state_dict().items())
    heads = [part.model.head.weight for part in parts.values()]
    assert not any(torch.equal(heads[i], heads[j]) for i, j in [(0, 1), (0, 2), (1, 2)])


def test_every_architecture_is_scored_by_its_own_part(net: Any, loader: Any, fit: Any) -> None:
    search = UniformSampling(net().float(), seed=0)
    fit(search, loader32(loader), precision="32-true", limit_val_batches=0)
    parts = split(search, "first")
    for part in parts.values():
        fit(part, loader32(loader), precision="32-true", limit_val_batches=0)
    val = loader32(loader, 9)
    everything = list(search.space.architectures())

    ranked = rank_parts(
        parts, "first", everything, val, metric="val_loss", mode="min", progress=False
    )

    assert len(ranked) == 9
    assert [e.score for e in ranked] == sorted(e.score for e in ranked)
    for entry in ranked:
        own = parts[entry.architecture["first"]].evaluate(entry.architecture, val)
        assert entry.score == pytest.approx(own["val_loss"], rel=1e-6)


def loader32(loader: Any, seed: int = 1) -> Any:
    x, y = loader(seed).dataset[:]
    return DataLoader(TensorDataset(x.float(), y), batch_size=8)


def test_an_unknown_label_is_refused(net: Any) -> None:
    with pytest.raises(StrategyError, match="cannot be split on 'third'"):
        split(UniformSampling(net()), "third")
