"""Measured time: what can be said about a number that is never the same."""

from __future__ import annotations

import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_plugins.costs.latency import latency, measure


def test_the_median_of_at_least_the_asked_time_is_given_in_microseconds() -> None:
    found = measure(nn.Linear(4, 4), torch.zeros(1, 4), min_run_time=0.05)
    assert found.blocks >= 1
    assert 0.1 < found.median < 1e6
    assert found.iqr >= 0


def test_far_more_work_takes_longer() -> None:
    x = torch.zeros(64, 512)
    small, large = nn.Linear(512, 1), nn.Sequential(*(nn.Linear(512, 512) for _ in range(20)))
    times = [latency(net, x, min_run_time=0.05) for net in (small, large)]
    assert times[1] > 3 * times[0]


def test_the_network_is_timed_in_evaluation_mode_and_left_as_it_was() -> None:
    seen = []

    class Watch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((self.training, torch.is_grad_enabled(), x.device.type))
            return x

    net = Watch()
    latency(net, torch.zeros(1), min_run_time=0.001)
    assert set(seen) == {(False, False, "cpu")}
    assert net.training


def test_on_another_device_a_copy_is_timed() -> None:
    net = nn.Linear(2, 2)
    latency(net, torch.zeros(1, 2), min_run_time=0.001, device="meta")
    assert net.weight.device.type == "cpu"


def test_it_is_found_through_the_registry() -> None:
    assert oneshot.registry.load("cost", "latency") is latency
