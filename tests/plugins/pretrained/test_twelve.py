"""Twelve unmodified architectures become elastic in one line each; docs/elastic-table.md."""

from __future__ import annotations

import pytest

from tools.elastic_table import PAGE, Found, examine

from ...models import TWELVE, build

SMALL = ("bert", "llama", "qwen3", "gemma3", "gpt2", "t5", "vit", "dinov2")
LARGE = tuple(name for name in TWELVE if name not in SMALL)
ENCODER, GROUPED = {"hidden", "ffn", "heads"}, {"hidden", "ffn", "kv", "queries"}
ROLES = {
    **{name: ENCODER for name in ("bert", "gpt2", "t5", "vit", "dinov2")},
    **{name: GROUPED for name in ("llama", "qwen3", "gemma3")},
    "resnet50": {"channels"},
    "convnext_tiny": {"channels", "ffn"},
    "efficientnet_b0": {"channels"},
    "mobilenet_v3_small": {"channels", "ffn"},
}


def made(name: str, draws: int, *, export: bool = False) -> Found:
    built = build(name)
    return examine(built.model, built.args, built.kwargs, draws=draws, export=export, depth=True)


def require_all(name: str, found: Found) -> None:
    assert {one.role for one in found.plan.sizes.values()} == ROLES[name]
    assert found.plan.depth, "blocks can be skipped"
    assert found.full, "the full network computes the original's bits"
    assert found.equal == found.drawn, "each network computes the bits of its frozen one"
    assert found.costs == found.drawn, "costs are those of the frozen network"
    assert found.trained, "a step of sandwich changes weights"
    assert found.plain, "nothing of ours is left in frozen networks"
    assert found.exported is not False


@pytest.mark.parametrize("name", SMALL)
def test_a_transformer_is_elastic_in_one_line(name: str) -> None:
    require_all(name, made(name, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_twenty_networks_of_a_transformer_equal_their_frozen_ones(name: str) -> None:
    require_all(name, made(name, 20, export=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_convolutional_network_is_elastic_in_one_line(name: str) -> None:
    require_all(name, made(name, 3, export=True))


@pytest.mark.nightly
@pytest.mark.parametrize("name", LARGE)
def test_twenty_networks_of_a_convolutional_network_equal_their_frozen_ones(name: str) -> None:
    require_all(name, made(name, 20))


def test_the_page_has_a_row_for_each_and_all_are_right() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = {row.split(" | ")[0].strip("| "): row for row in rows[2:]}
    assert list(cells) == list(TWELVE)
    for row in cells.values():
        assert "20 of 20 | 20 of 20 | yes | yes" in row
