"""The alarm for labels whose architecture gradient is about 0."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.lightning.kit import listed
from oneshot_plugins.strategies.collapse import CollapseAlarm, Gradients


class Chain(LightningModule):
    """Two choices among convolutions, each with what follows it."""

    def __init__(self, after: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv1d(1, 4, 3, padding=1)]
        for index in range(2):
            kernels = {f"conv{k}": nn.Conv1d(4, 4, k, padding=k // 2) for k in (1, 3, 5)}
            layers += [oneshot.LayerChoice(kernels, label=f"layer{index}"), after(), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def data() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (96,), generator=generator)
    wave = torch.linspace(0, 6, 16).sin()
    x = torch.randn(96, 1, 16, generator=generator) + y[:, None, None] * wave
    return DataLoader(TensorDataset(x, y), batch_size=8)


def normed() -> nn.Module:
    return nn.BatchNorm1d(4)


def alarms(strategy: str, after: Any, **options: Any) -> list[str]:
    alarm = CollapseAlarm(max_skip_share=1.0, until=0.0)
    search = oneshot.search(Chain(after), strategy, arch_dataloader=data(), seed=0, **options)
    Trainer(
        max_epochs=2, accelerator="cpu", callbacks=[alarm], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    ).fit(search, data())  # fmt: skip
    optimizers = listed(search.architecture_optimizers())
    assert not [o for o in optimizers if o._optimizer_step_pre_hooks]
    return alarm.alarms


def test_an_alarm_names_each_label_that_normalisation_keeps_from_learning() -> None:
    said = alarms("gdas", normed)
    assert [text.split(" learns")[0] for text in said] == [
        "epoch 0: 'layer0'", "epoch 0: 'layer1'",
    ]  # fmt: skip
    assert all("about 0 in" in text for text in said)


@pytest.mark.parametrize("strategy", ["drnas", "proxyless", "darts"])
def test_strategies_that_compare_candidates_learn_in_the_same_chain(strategy: str) -> None:
    assert alarms(strategy, normed) == []


def test_the_same_strategy_learns_where_nothing_normalises() -> None:
    assert alarms("gdas", nn.Identity, temperature=5.0) == []


def test_what_was_seen_of_the_gradients_goes_on_after_a_resume() -> None:
    alarm, again = CollapseAlarm(), CollapseAlarm()
    alarm._gradients["a"] = Gradients(3, 1)
    alarm._gradients["a"].add(torch.tensor(True))
    again.load_state_dict(alarm.state_dict())
    assert again.state_dict()["gradients"] == {"a": [4, 2, False]}
    again.load_state_dict({"alarms": []})  # of an earlier version
    assert again.state_dict() == {"alarms": [], "gradients": {}}
