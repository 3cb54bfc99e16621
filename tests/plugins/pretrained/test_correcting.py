"""Frozen networks get blocks that are numbered anew and a config of their own that says them."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.space import Patch
from oneshot_plugins.elastic.optional import make_optional
from oneshot_plugins.pretrained.adapter import Adapter, Blocks
from oneshot_plugins.pretrained.adapting import Adapters, Found
from oneshot_plugins.pretrained.correcting import attach, detach, quietly, unsaid
from oneshot_plugins.pretrained.per_block import Link, PerBlock


class Numbers:
    def __init__(self, width: int = 8, blocks: int = 3, kinds: list[str] | None = None) -> None:
        self.width, self.blocks, self.kinds = width, blocks, kinds or ["near", "far", "near"]

    def to_dict(self) -> dict[str, Any]:
        return {"width": self.width, "blocks": self.blocks, "kinds": list(self.kinds)}

    @classmethod
    def from_dict(cls, numbers: dict[str, Any]) -> Numbers:
        return cls(**numbers)


class Block(nn.Module):
    def __init__(self, config: Numbers, number: int) -> None:
        super().__init__()
        self.config, self.number = config, number
        self.up, self.down = nn.Linear(6, config.width), nn.Linear(config.width, 6)

    def forward(self, x: Tensor, kind: str) -> Tensor:
        out: Tensor = x + self.down(self.up(x)) * (2 if kind == "far" else 1)
        return out


class Net(nn.Module):
    """As Gemma does it: what kind the i-th block is of stands in the config."""

    def __init__(self, config: Numbers) -> None:
        super().__init__()
        self.config, self.count = config, config.blocks
        self.blocks = nn.ModuleList(Block(config, n) for n in range(config.blocks))

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            x = block(x, self.config.kinds[number])
        return x


ADAPTER = Adapter(
    ffn="blocks.*.up.weight:0",
    follows={"": {"count": "#blocks.*"}},
    depth=Blocks("blocks.*", index=("number",), lists=("kinds",)),
    config={"width": "ffn", "blocks": "#blocks.*"},
)
X = torch.linspace(-1, 1, 12).reshape(2, 6)


def elastic(config: Numbers | None = None, **options: Any) -> Net:
    torch.manual_seed(0)
    net = Net(config or Numbers())
    oneshot.elastic(net, X, adapter=ADAPTER, ratios=(0.5, 1.0), multiple_of=1, **options)
    return net


class Task(pl.LightningModule):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def equals_frozen_without(net: nn.Module, block: int) -> bool:
    """Compare a search that leaves out one block with the network that is frozen from it."""
    search = oneshot.search(Task(net), seed=0)
    architecture = {label: spec.default for label, spec in search.space.specs.items()}
    (label,) = (label for label in architecture if label.endswith(f"blocks.{block}"))
    architecture[label] = False
    with torch.no_grad(), search.at(architecture):
        return torch.equal(search(X), oneshot.freeze(search, architecture)(X))


def test_a_frozen_network_has_a_config_of_its_own_with_its_numbers() -> None:
    net = elastic(depth=True)
    config, before = net.config, net.config.to_dict()
    small = oneshot.freeze(net, {"ffn": 4, "depth": 2})
    assert net.config is config
    assert config.to_dict() == before
    assert (small.config.width, small.config.blocks, small.count) == (4, 2, 2)
    assert small.blocks[1].config is small.config  # one, which all submodules share
    assert [block.number for block in small.blocks] == [0, 1]
    assert unsaid(small) == []
    assert not any("_oneshot" in name for module in small.modules() for name in vars(module))


def test_lists_of_the_config_leave_out_the_items_of_blocks_that_are_gone() -> None:
    net = elastic(depth=True, per_layer=True)
    sizes = {f"blocks.{n}.ffn": 8 for n in (0, 2)}
    small = oneshot.freeze(net, {"blocks.1": False, "blocks.2": True, **sizes})
    assert small.config.kinds == ["near", "near"]
    assert type(small.config.kinds) is list
    assert [block.number for block in small.blocks] == [0, 1]


@pytest.mark.parametrize("left_out", [1, 2])
def test_the_list_is_that_of_the_present_blocks_while_a_search_computes(left_out: int) -> None:
    net = elastic(depth=True, per_layer=True)
    assert equals_frozen_without(net, left_out)
    assert list(net.config.kinds) == ["near", "far", "near"]


def test_lists_of_equal_items_become_shorter_too() -> None:
    net = elastic(Numbers(kinds=["near"] * 3), depth=True)
    assert type(net.config.kinds) is list
    assert oneshot.freeze(net, {"ffn": 8, "depth": 2}).config.kinds == ["near"] * 2


def test_sizes_that_the_config_cannot_say_are_told_once_for_each_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    net = elastic(per_layer=True)
    chosen = {"blocks.0.ffn": 4, "blocks.1.ffn": 8, "blocks.2.ffn": 8}
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        small = oneshot.freeze(net, chosen)
        oneshot.freeze(net, {**chosen, "blocks.2.ffn": 4})
    (record,) = caplog.records
    assert "a frozen Net has ffn sizes that differ, and the config has one width" in record.message
    assert "oneshot.save_network" in record.message
    assert small.config.width == 8  # as it was, so that loading it fails rather than misleads
    assert unsaid(small)[0].startswith("blocks.0.down.weight has the shape (6, 4), and (6, 8)")


def test_nothing_is_told_of_networks_that_are_only_tried(caplog: pytest.LogCaptureFixture) -> None:
    net = elastic(per_layer=True)
    caplog.clear()
    with quietly():
        oneshot.freeze(net, {"blocks.0.ffn": 4, "blocks.1.ffn": 8, "blocks.2.ffn": 8})
    assert not caplog.records


def test_a_copied_and_a_pickled_model_lead_to_blocks_of_their_own() -> None:
    net = elastic(depth=True, per_layer=True)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert isinstance(other.config.kinds, PerBlock)
        assert other.config.kinds.link.container is other.blocks
        assert equals_frozen_without(other, 1)


def test_a_copied_config_holds_no_weights_and_is_written_as_ever() -> None:
    config = elastic(depth=True).config
    assert isinstance(config.kinds, PerBlock)
    assert copy.deepcopy(config).kinds.link.container is None
    assert len(pickle.dumps(config)) < 500
    assert json.loads(json.dumps(config.kinds)) == ["near", "far", "near"]
    assert config.kinds == ["near", "far", "near"]


def test_what_was_attached_is_taken_back() -> None:
    net = Net(Numbers())
    before = [dict(vars(module)) for module in net.modules()]
    attach(net, Adapters((Found("", ADAPTER, "own"),)))
    assert isinstance(net.config.kinds, PerBlock)
    detach(net)
    assert type(net.config.kinds) is list
    assert [dict(vars(module)) for module in net.modules()] == before


def test_what_is_frozen_of_a_model_that_nobody_changed_is_the_model() -> None:
    net = Net(Numbers())
    attach(net, Adapters((Found("", ADAPTER, "own"),)))
    small = oneshot.freeze(net, {})
    assert small.config.to_dict() == Numbers().to_dict()
    assert torch.equal(small(X), net(X))


def test_a_network_that_cannot_be_built_from_a_config_says_so() -> None:
    assert unsaid(nn.Linear(2, 2)) == ["a Linear has no config"]
    net = Net(Numbers())
    net.config = Numbers(blocks=4)
    assert unsaid(net) == [
        f"blocks.3.{name} is only in a network built anew"
        for name in ("down.bias", "down.weight", "up.bias", "up.weight")
    ]
    net.config = Numbers(width="wide")  # type: ignore[arg-type]
    (reason,) = unsaid(net)
    assert reason.startswith("Net(config) raises ")


def test_a_list_without_blocks_is_like_any_list() -> None:
    items = PerBlock(["a", "b"], Link())
    assert (items[0], items[-1], len(items), list(items), items[:1]) == (
        "a", "b", 2, ["a", "b"], ["a"],
    )  # fmt: skip


# --- what finishes a frozen network ---------------------------------------------------------------


class Notes(Patch):
    def __init__(self, order: list[str], name: str) -> None:
        self.order, self.name = order, name

    def finish(self, network: nn.Module) -> None:
        self.order.append(self.name)
        network.__dict__["finished"] = [vars(m).get("finished") for m in network.children()]


def test_patches_finish_the_copies_of_inner_modules_before_those_that_hold_them() -> None:
    order: list[str] = []
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    make_optional(model[0], ["1"], names=["second"])
    for name, module in (("outer", model), ("inner", model[0][0])):
        module.__dict__["note"] = Notes(order, name)
    frozen = oneshot.freeze(model, {"second": False})
    assert order == ["inner", "outer"]
    assert vars(frozen)["finished"] == [None]
    assert vars(frozen[0][0])["finished"] == []
    assert not any("note" in vars(module) for module in frozen.modules())
    assert "finished" not in vars(model)
