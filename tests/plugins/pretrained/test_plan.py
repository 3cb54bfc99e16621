"""``oneshot.elastic`` and ``oneshot.optional``: what they offer, say, refuse and take back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import oneshot_core as oneshot
from oneshot_core.errors import ArchitectureError, OneShotError, SpaceError
from oneshot_plugins.pretrained.stacks import evenly

from ...models import build


class Block(nn.Module):
    """A residual block of a network without transformers."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).relu())


class Net(nn.Module):
    """A residual network that no adapter knows."""

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 32)
        self.layers = nn.ModuleList(Block(32, 64) for _ in range(blocks))
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Task(pl.LightningModule):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        return self(batch).square().mean()

    def validation_step(self, batch: Tensor, index: int) -> None:
        self.log("size", self(batch).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def classes(net: nn.Module) -> list[type]:
    return [type(module) for module in net.modules()]


# --- what can be chosen ---------------------------------------------------------------------------


def test_layers_of_equal_role_share_a_label_and_what_the_model_returns_stays() -> None:
    plan = oneshot.elastic(Net(), X)
    assert {label: one.values for label, one in plan.sizes.items()} == {
        "hidden": (8, 16, 24, 32),
        "ffn": (16, 32, 48, 64),
    }
    assert plan.architectures == 16
    reasons = {f"{fixed.tensor}:{fixed.dim}": fixed.reason for fixed in plan.fixed}
    assert reasons["head.weight:0"] == "it is a length of what the model returns"
    assert "stem.weight:1" in reasons


def test_each_layer_has_labels_of_its_own_where_that_is_asked_for() -> None:
    plan = oneshot.elastic(Net(2), X, per_layer=True, depth=True)
    assert list(plan.sizes) == ["hidden", "layers.0.ffn", "layers.1.ffn"]
    assert [depth.candidates for depth in plan.depth] == [{"layers.1": (False, True)}]
    assert plan.architectures == 4 * 4 * (4 + 1)  # a block that is skipped has no width


def test_values_and_ratios_can_be_given_for_each_kind_of_size() -> None:
    plan = oneshot.elastic(Net(), X, hidden=False, ffn=[10, 20], depth=[2, 3])
    assert {label: one.values for label, one in plan.sizes.items()} == {"ffn": (10, 20, 64)}
    assert plan.depth[0].candidates == {"depth": (2, 3, 4)}
    reasons = {fixed.reason for fixed in plan.fixed}
    assert "hidden=False was asked for" in reasons


@pytest.mark.parametrize(
    ("only", "labels"),
    [
        ({"ffn": [0.5]}, {"ffn": (32, 64)}),
        ({"layers.*.ffn": [16]}, {"ffn": (16, 64)}),
        ({"layers.0.ffn": [16], "hidden": [0.5]}, {"hidden": (16, 32), "ffn": (16, 64)}),
        (
            {"layers.0.ffn": [16], "layers.[1-3].ffn": [8, 32]},
            {"layers.0.ffn": (16, 64), "layers.*.ffn": (8, 32, 64)},
        ),
        ({"layers.*.up.weight:0": [48]}, {"ffn": (48, 64)}),
        ({"head.weight:0": [1, 2]}, {"head.size": (1, 2, 3)}),
    ],
)
def test_a_few_sizes_are_named_by_hand(only: Any, labels: dict[str, tuple[int, ...]]) -> None:
    plan = oneshot.elastic(Net(), X, only)
    assert {label: one.values for label, one in plan.sizes.items()} == labels
    assert oneshot.elastic(Net(), X, only=only).sizes.keys() == labels.keys()


def test_models_of_transformers_need_no_example_to_be_named_by_hand() -> None:
    net = build("bert").model
    plan = oneshot.elastic(net, {"encoder.layer.*.ffn": [40]})
    assert {label: one.values for label, one in plan.sizes.items()} == {"ffn": (40, 80)}


def test_heads_are_counted_and_groups_keep_their_queries() -> None:
    built = build("llama")
    plan = oneshot.elastic(built.model, built.kwargs, heads=[1, 3], hidden=False, ffn=False)
    assert {label: one.values for label, one in plan.sizes.items()} == {
        "queries": (1, 3),
        "kv": (1, 2),
    }
    extent = plan.extents["model.layers.0.self_attn.q_proj.weight"][0]
    assert repr(extent) == "kv * queries * 8"


# --- what it says ---------------------------------------------------------------------------------


def test_a_plan_prints_what_can_be_chosen_what_is_fixed_and_whose_line_fixed_it() -> None:
    class Fixing(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.stem(x).view(-1, 32)[:, :3]

    text = str(oneshot.elastic(Fixing(), X, depth=True))
    first, _, *rest = text.splitlines()
    assert first.startswith("Fixing: 1 size can be chosen, 4 blocks can be skipped, which makes 16")
    assert "  ffn    16, 32, 48, 64  width of a feed-forward network       4" in text
    assert "ffn is in layers.*.up.weight:0, layers.*.up.bias:0, layers.*.down.weight:1" in text
    assert "test_plan.py" in text
    assert ".view(-1, 32)" in text
    assert all(len(line) <= 100 or line.startswith("      at ") for line in rest)


def test_a_plan_is_text_in_a_notebook_and_short_in_a_list() -> None:
    plan = oneshot.elastic(Net(), X)
    assert repr(plan) == "Plan(Net: hidden, ffn)"
    shown: list[str] = []
    printer = type("Printer", (), {"text": lambda self, text: shown.append(text)})()
    plan._repr_pretty_(printer, False)
    assert shown == [str(plan)]


# --- from one end to the other --------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["random", "sandwich"])
def test_a_search_trains_ranks_and_freezes_an_elastic_model(strategy: str) -> None:
    net = Net()
    original = copy.deepcopy(net)
    plan = oneshot.elastic(net, X, depth=True)
    assert torch.equal(net(X), original(X))
    assert net.state_dict().keys() == original.state_dict().keys()
    search: Any = oneshot.search(Task(net), strategy, seed=0)
    data = DataLoader(X, 2)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(search, data, data)
    ranking = search.rank(3, data, metric="size", mode="min", progress=False, baselines=False)
    assert len(ranking) == 3
    for architecture in (ranking.best, {"hidden": 8, "ffn": 16, "depth": 1}):
        frozen = oneshot.freeze(search, architecture).eval()
        with torch.no_grad(), search.at(architecture):
            assert torch.equal(search.model.eval()(X), frozen(X))
        assert {type(module) for module in frozen.modules()} <= {
            Task, Net, Block, nn.Linear, nn.ModuleList,
        }  # fmt: skip
        assert len(frozen.net.layers) == architecture["depth"]
    assert plan.depth[0].runs({"depth": 1}) == {"layers.0"}


def test_blocks_that_are_skipped_lie_evenly_unless_batches_tell_which_matter() -> None:
    assert evenly(12, 4) == (0, 4, 7, 11)
    net = Net()
    with torch.no_grad():
        for number, layer in enumerate(net.layers):
            layer.down.weight.mul_(10.0 if number == 2 else 0.01)
            layer.down.bias.zero_()
    plan = oneshot.elastic(net, X, hidden=False, ffn=False, depth=[1], batches=[X])
    assert plan.depth[0].kept[1] == ("layers.2",)


def test_items_are_sorted_where_batches_are_given_and_the_model_stays_the_same_function() -> None:
    net = Net()
    with torch.no_grad():
        net.layers[0].down.weight[:, :8] = 0  # these say nothing
    before = net(X)
    plan = oneshot.elastic(net, X, batches=[X])
    assert torch.allclose(net(X), before, atol=1e-5)
    assert plan.importance is not None
    assert plan.importance.deviation is not None
    assert plan.importance.deviation < 1e-5
    assert net.layers[0].down.weight[:, :16].abs().amax(0).min() > 0
    assert "sorted by importance" in str(plan)


def test_a_plan_makes_the_model_plain_again() -> None:
    built = build("bert")
    net, given = built.model, built.kwargs
    before, types = net(**given).last_hidden_state, classes(net)
    plan = oneshot.elastic(net, given, depth=True)
    assert classes(net) != types
    assert plan.restore() is net
    assert classes(net) == types
    assert torch.equal(net(**given).last_hidden_state, before)
    assert oneshot.elastic(net, given).architectures == 16


# --- what a configuration can describe ---


def test_only_networks_that_the_configuration_describes_can_be_chosen() -> None:
    built = build("bert")
    plan = oneshot.elastic(built.model, built.kwargs, hidden=[24], heads=[2, 3], ffn=False)
    pairs = list(oneshot.ModelSpace(nn.Sequential(built.model)).architectures())
    assert {(a["hidden"], a["heads"]) for a in pairs} == {(24, 3), (48, 6)}
    assert plan.architectures == len(pairs)
    assert "hidden / heads" in str(plan)
    with pytest.raises(ArchitectureError, match="hidden"):
        oneshot.freeze(built.model, {**pairs[0], "hidden": 24, "heads": 2})
    plan.restore()
    free = oneshot.elastic(
        built.model, built.kwargs, hidden=[24], heads=[2, 3], ffn=False, by_config=False
    )
    assert free.architectures == 3 * plan.architectures


def test_what_no_configuration_describes_can_be_chosen_unless_it_is_ruled_out() -> None:
    built = build("bert")
    alone = oneshot.elastic(built.model, built.kwargs, hidden=False, ffn=False)
    assert alone.architectures == 4
    assert "oneshot.save_network" in str(alone)
    alone.restore()
    for wrong in ({"hidden": False}, {"hidden": [24], "heads": [2]}, {"per_layer": True}):
        with pytest.raises(SpaceError, match="by_config=True"):
            oneshot.elastic(built.model, built.kwargs, by_config=True, **wrong)  # type: ignore[arg-type]
        assert classes(built.model) == classes(build("bert").model)


# --- depth alone ----------------------------------------------------------------------------------


def test_depth_alone_is_one_line() -> None:
    net = Net(8)
    plan = oneshot.optional(net, "layers.*", X)
    assert plan.sizes == {}
    assert plan.depth[0].candidates == {"depth": (2, 4, 6, 8)}
    assert len(oneshot.freeze(Task(net), {"depth": 2}).net.layers) == 2  # type: ignore[union-attr]


def test_some_blocks_are_chosen_one_by_one() -> None:
    plan = oneshot.optional(Net(), ["layers.1", "layers.[2-3]"], per_layer=True)
    assert [depth.labels for depth in plan.depth] == [("layers.1", "layers.2", "layers.3")]
    assert "whether a block runs" in str(plan)


def test_an_elastic_model_can_have_optional_blocks_too() -> None:
    net = Net()
    oneshot.elastic(net, X, hidden=False)
    oneshot.optional(net, "layers.*", label="blocks")
    assert oneshot.ModelSpace(Task(net)).specs.keys() == {"ffn", "blocks"}


def test_a_block_that_changes_the_shape_cannot_be_skipped() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    with pytest.raises(SpaceError, match="given 4x6 float32, and returns 4x3 float32") as error:
        oneshot.optional(net, "*", X)
    assert "'2'" in str(error.value)
    assert classes(net) == [nn.Sequential, *[nn.Linear] * 3]
    assert oneshot.optional(net, "[0-1]", X).depth[0].candidates == {"depth": (1, 2, 3)}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ffn": [128]}, "128 for 'ffn' is larger than the model has"),
        ({"heads": [2]}, "heads= was given, but the trace of Net found no such size"),
        ({"ffm": [2]}, "unknown argument ffm="),
        ({"only": {"layers.*.fn": [2]}}, "'layers.*.fn' names no size of Net"),
        ({"only": {"stem.weight:1": [2]}}, "'stem.weight:1' names stem.weight:1 stays 6"),
        ({"only": {"ffn": [8], "layers.0.ffn": [8]}}, "both name layers.0.ffn"),
        ({"only": {"ffn": [8]}, "hidden": [8]}, "hidden= was given beside a dict"),
        ({"only": {}}, "the dict of labels and values is empty"),
        ({"depth": [9]}, "depth holds 9"),
        ({"hidden": False, "ffn": False}, "nothing of Net can be chosen"),
        ({"multiple_of": 64}, "nothing of Net can be chosen"),
        ({"adapter": "bert"}, "adapter='bert'"),
        ({"importance": "none-such"}, "none-such"),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_model_stays_plain(
    arguments: dict[str, Any], said: str
) -> None:
    net = Net()
    types = classes(net)
    with pytest.raises(OneShotError) as error:
        oneshot.elastic(net, X, **arguments)
    assert said in str(error.value)
    assert classes(net) == types


def test_a_model_without_an_adapter_whose_code_fixes_everything_is_refused_with_the_line() -> None:
    built = build("gpt2")
    with pytest.raises(SpaceError) as error:
        oneshot.elastic(built.model, built.kwargs, adapter=None)
    text = str(error.value)
    assert "nothing of GPT2LMHeadModel can be chosen" in text
    assert "transformer.wte.weight:1 stays 48" in text
    assert "modeling_gpt2.py:" in text


def test_example_inputs_are_what_the_model_is_called_with() -> None:
    with pytest.raises(SpaceError, match="does not say what it is called with"):
        oneshot.elastic(Net())
    with pytest.raises(SpaceError, match="example_inputs is a int"):
        oneshot.elastic(Net(), 3)
    assert oneshot.elastic(Net(), (X,)).architectures == 16
    assert oneshot.elastic(Net(), {"x": X}).architectures == 16


def test_an_elastic_model_is_not_made_elastic_again() -> None:
    net = Net()
    oneshot.elastic(net, X)
    with pytest.raises(SpaceError, match="holds choices already"):
        oneshot.elastic(net, X)
    oneshot.search(Task(net), "random")
    with pytest.raises(SpaceError, match="part of a search already"):
        oneshot.elastic(net, X)


def test_paths_of_blocks_that_do_not_exist_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"no module of Net has the path 'layer\.\*'"):
        oneshot.optional(Net(), "layer.*", X)
