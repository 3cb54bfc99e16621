"""NAS-Bench-201: the published networks, and how the benchmark writes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_core.errors import ArchitectureError, SpaceError
from oneshot_plugins.costs.counts import macs, parameters
from oneshot_plugins.spaces.nasbench201 import (
    NasBench201,
    NasBench201Cell,
    read_arch,
    write_arch,
)

NONE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
LARGEST = NONE.replace("none", "nor_conv_3x3")
BEST = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    "+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
)


@pytest.mark.parametrize(
    ("text", "size", "operations"),
    [
        # The benchmark's FLOPs, 7.78305 M and 220.11969 M, have 10 more: the classifier's bias.
        pytest.param(NONE, 73_306, 7_783_040, id="smallest"),
        pytest.param(LARGEST, 1_531_546, 220_119_680, id="largest"),
    ],
)
def test_the_extremes_of_the_benchmark_have_its_parameters_and_operations(
    text: str, size: int, operations: int
) -> None:
    with torch.device("meta"):
        model = NasBench201()
    network = oneshot.freeze(model, read_arch(text))
    assert parameters(network) == size
    assert macs(network, torch.empty(1, 3, 32, 32, device="meta")) == operations


def test_one_by_one_convolutions_count_as_such() -> None:
    """The best network on CIFAR-10 differs from convolutions everywhere in two edges."""
    with torch.device("meta"):
        model = NasBench201()
    widths = (16, 32, 64)
    skipped = sum(5 * (9 * w * w + 2 * w) for w in widths)
    smaller = sum(5 * 8 * w * w for w in widths)
    network = oneshot.freeze(model, read_arch(BEST))
    assert parameters(network) == 1_531_546 - skipped - smaller == 1_073_466


def test_the_cells_of_a_network_decide_alike() -> None:
    model = NasBench201(4, cells=2, stages=2)
    edges = ["0_1", "0_2", "1_2", "0_3", "1_3", "2_3"]
    assert list(oneshot.ModelSpace(model).specs) == [f"cell/{edge}" for edge in edges]
    cells = [module for module in model.modules() if isinstance(module, NasBench201Cell)]
    assert len(cells) == 4


def test_a_tensor_is_the_sum_of_an_operation_on_every_tensor_before() -> None:
    cell = NasBench201Cell(3, 3)
    x = torch.randn(2, 3, 4, 4)
    choices = read_arch(
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|"
    )
    # tensors: x, x, x + x, 0 + x + 2x
    assert torch.equal(oneshot.freeze(cell, choices)(x), 3 * x)
    assert torch.equal(oneshot.freeze(cell, read_arch(NONE))(x), torch.zeros_like(x))


def test_a_cell_may_change_the_number_of_channels() -> None:
    cell = NasBench201Cell(3, 5)
    for spec in oneshot.ModelSpace(cell).specs.values():
        for operation in spec.candidates:
            chosen = dict.fromkeys(read_arch(NONE), "nor_conv_1x1") | {spec.label: operation}
            assert oneshot.freeze(cell, chosen)(torch.randn(2, 3, 4, 4)).shape == (2, 5, 4, 4)


def test_operations_and_the_number_of_tensors_are_free() -> None:
    operations = {"a": lambda i, o: nn.Conv2d(i, o, 1), "b": lambda i, o: nn.Conv2d(i, o, 3, 1, 1)}
    cell = NasBench201Cell(2, 3, operations, tensors=3, label="mine")
    assert oneshot.ModelSpace(cell).size == 2**3
    with pytest.raises(SpaceError, match="tensors=1"):
        NasBench201Cell(2, 3, tensors=1)


def test_arch_strings_are_read_and_written() -> None:
    read = read_arch(BEST, label="c")
    assert read["c/0_3"] == "skip_connect"
    assert read["c/2_3"] == "nor_conv_1x1"
    assert write_arch(read, label="c") == BEST
    with pytest.raises(ArchitectureError, match="does not decide cell/0_1"):
        write_arch(read)


@pytest.mark.parametrize(
    "text", ["", "none", "|none~1|", "|none~0|+|none~0|", "|none~0|none~1|", "|none~0|+"]
)
def test_what_is_no_arch_string_is_refused(text: str) -> None:
    with pytest.raises(ArchitectureError, match="is no cell of NAS-Bench-201"):
        read_arch(text)
