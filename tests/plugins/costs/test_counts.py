"""Costs, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_plugins.costs.counts import macs, parameters, peak_memory
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


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_costs_its_projections_and_both_products(
    device: str, heads: int, masked: bool
) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(8, heads, batch_first=True, device=device)
            self.mask = torch.ones(16, 16, dtype=torch.bool, device=device).triu(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mask = self.mask if masked else None
            return self.inner(x, x, x, attn_mask=mask, need_weights=False)[0]

    # Projections of query, key, value and output; then queries with keys, and weights with values.
    expected = 4 * 16 * 8 * 8 + 2 * 16 * 16 * 8
    assert macs(Attention(), torch.zeros(1, 16, 8, device=device)) == expected
    assert torch.backends.mha.get_fastpath_enabled()


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


class Chain(nn.Module):
    """Makes three tensors of 10, 20 and 5 numbers; the first is needed until the end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = x + 1  # 10 numbers
        wide = torch.cat([kept, kept])  # 20 more
        narrow = wide[:5] * 2  # 5 more; the slice is a view
        del wide
        return narrow + kept[:5]  # 5 more, without the 20


def test_peak_memory_is_what_is_held_at_one_time_worked_out_by_hand() -> None:
    assert peak_memory(Chain(), torch.zeros(10)) == 4 * (10 + 20 + 5)


def test_peak_memory_counts_neither_weights_nor_inputs_nor_what_is_done_in_place() -> None:
    net = nn.Sequential(nn.Linear(100, 3), nn.ReLU(inplace=True), nn.Flatten())
    assert peak_memory(net, torch.zeros(2, 100)) == 4 * 2 * 3
    assert peak_memory(nn.Identity(), torch.zeros(7)) == 0


def test_peak_memory_of_a_chain_is_its_largest_pair_of_neighbours() -> None:
    net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 5), nn.Tanh())
    numbers = {"linear + relu": 8 + 8, "relu + linear": 8 + 5, "linear + tanh": 5 + 5}
    x = torch.zeros(3, 2, dtype=torch.float64)
    found = peak_memory(net.double(), x)
    assert found == 8 * 3 * max(numbers.values())
    assert found == peak_memory(net, x)
