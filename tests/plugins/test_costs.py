"""Costs, against numbers worked out by hand."""

from __future__ import annotations

import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_plugins.costs.counts import macs, parameters
from oneshot_plugins.spaces.chain import OPERATIONS, Chain1d


def test_parameters_counts_shared_ones_once_and_frozen_ones_not_at_all() -> None:
    layer = nn.Linear(3, 2)
    frozen = nn.Linear(5, 5).requires_grad_(False)
    assert parameters(nn.Sequential(layer, layer, frozen)) == 3 * 2 + 2


def test_macs_of_convolutions_and_linear_layers_are_their_products() -> None:
    net = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 10, 2))
    assert macs(net, torch.zeros(1, 1, 10)) == 10 * 4 * 1 * 3 + 40 * 2


def test_grouped_convolutions_cost_what_they_compute() -> None:
    net = nn.Conv1d(8, 8, 5, padding=2, groups=8)
    assert macs(net, torch.zeros(1, 8, 6)) == 6 * 8 * 5


def test_counting_leaves_the_network_as_it_was() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Dropout())
    net[2].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    macs(net, torch.zeros(2, 1, 5))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [m.training for m in net] == [True, True, False]


def test_the_chain_holds_625_networks_that_all_compute_logits() -> None:
    model = Chain1d()
    space = oneshot.ModelSpace(model)
    assert space.size == len(OPERATIONS) ** 4 == 625
    x = torch.randn(2, 40)
    for name in OPERATIONS:
        net = oneshot.freeze(model, dict.fromkeys(space.specs, name))
        assert net(x).shape == (2, 10)


def test_the_costs_are_found_through_the_registry() -> None:
    assert oneshot.registry.load("cost", "macs") is macs
    assert oneshot.registry.load("cost", "parameters") is parameters
