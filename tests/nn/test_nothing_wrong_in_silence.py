"""A supernet computes what the frozen network computes, however its layers are used."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oneshot_core as oneshot
from oneshot_core import DecisionTable, ModelSpace, freeze
from oneshot_core import nn as onn
from oneshot_core.errors import SpaceError, StrategyError
from oneshot_plugins.elastic.supernet import ElasticLayer
from oneshot_plugins.inspect.probe import AllAtOnce, AsDeclared

W = oneshot.choice([2, 4, 6], label="w")


def supernet(model: nn.Module, decision: type = AsDeclared) -> tuple[Any, DecisionTable]:
    table = DecisionTable(decision)
    oneshot.traverse_and_mutate_submodules(model, [ElasticLayer.mutate], {"decisions": table})
    return model, table


def pin(table: DecisionTable, chosen: Mapping[str, Any]) -> None:
    for decision in table:
        decision.pin(chosen[decision.spec.label])


def agree(model: nn.Module, table: DecisionTable, *inputs: Tensor) -> None:
    """Check every architecture, with gradients and without."""
    outputs = []
    for chosen in ModelSpace(model).architectures():
        pin(table, chosen)
        frozen = freeze(model, chosen)
        for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
            with context():
                found, wanted = model(*inputs), frozen(*inputs)
            assert torch.equal(found, wanted), (chosen, context)
        outputs.append(found)
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:])


# --- a parent that reads its child's tensors --------------------------------------------------


def encoder_layer(**options: Any) -> nn.TransformerEncoderLayer:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 64, dropout=0.0, batch_first=True, **options)
    w = oneshot.choice([4, 64], label="ff")
    layer.linear1, layer.linear2 = onn.Linear(16, w), onn.Linear(w, 16)
    return layer


class Reader(nn.Module):
    """Uses its layers by their tensors and sizes, in several ways."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c = onn.Conv1d(3, W, 3, padding=1)
        self.norm = onn.BatchNorm1d(W)
        self.linear = onn.Linear(W, 5)
        self.table = onn.Embedding(7, W)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv1d(x, self.c.weight, self.c.bias, padding=self.c.padding)
        assert x.shape[1] == self.c.out_channels == self.norm.num_features
        mean, var = self.norm.running_mean, self.norm.running_var
        x = F.batch_norm(x, mean, var, self.norm.weight, self.norm.bias, eps=self.norm.eps)
        x = F.linear(x.mean(-1), self.linear.weight, self.linear.bias)
        return x.sum() * self.table.weight[:2].sum() / self.linear.in_features


@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.Sequential(encoder_layer()),
        lambda: nn.TransformerEncoder(encoder_layer(), 2, enable_nested_tensor=False),
        lambda: nn.TransformerEncoder(
            encoder_layer(norm_first=True), 1, enable_nested_tensor=False
        ),
    ],
)
def test_a_fused_transformer_layer_takes_the_part_that_is_computed(
    model: Callable[[], nn.Module],
) -> None:
    agree(*supernet(model().eval()), torch.randn(2, 5, 16))


def test_an_elastic_attention_in_a_fused_transformer_layer_is_read_in_part() -> None:
    torch.manual_seed(0)
    width = oneshot.choice([8, 16], label="width")
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    layer.self_attn = onn.MultiheadAttention(width, 4, batch_first=True)
    layer.linear1, layer.linear2 = onn.Linear(width, 32), onn.Linear(32, width)
    layer.norm1, layer.norm2 = onn.LayerNorm(width), onn.LayerNorm(width)
    model, table = supernet(nn.Sequential(layer).eval())
    for chosen in ModelSpace(model).architectures():
        pin(table, chosen)
        x = torch.randn(2, 5, int(chosen["width"]))  # type: ignore[arg-type]
        with torch.no_grad():
            assert torch.equal(model(x), freeze(model, chosen)(x))


def test_reads_of_tensors_and_sizes_are_those_of_the_layer_that_is_computed() -> None:
    agree(*supernet(Reader().eval()), torch.randn(2, 3, 8))


def test_gradients_reach_what_is_kept_through_a_read() -> None:
    model, table = supernet(Reader())
    pin(table, {"w": 2})
    frozen = freeze(model, {"w": 2})
    x = torch.randn(2, 3, 8)
    model(x).backward()
    frozen(x).backward()
    assert torch.equal(model.c.weight.grad[:2], frozen.c.weight.grad)
    assert not model.c.weight.grad[2:].any()


def test_outside_of_a_pass_a_read_gives_all_that_is_kept() -> None:
    model, table = supernet(Reader())
    pin(table, {"w": 2})
    assert model.c.weight is model.c._parameters["weight"]
    assert (model.c.out_channels, model.linear.in_features) == (6, 6)
    nn.init.zeros_(model.linear.weight)
    assert not model.linear._parameters["weight"].any()


def test_weighted_layers_are_called_where_torch_would_fuse_and_refused_where_they_are_read() -> (
    None
):
    x = torch.randn(2, 5, 16)
    model, _ = supernet(nn.Sequential(encoder_layer()).eval(), AllAtOnce)
    with torch.no_grad():
        fused = model(x)
    torch.testing.assert_close(fused, model(x).detach())  # two kernels of torch, which round apart
    reader, _ = supernet(Reader(), AllAtOnce)
    with pytest.raises(StrategyError, match=r"(?s)conv1d was computed.*weighted.*fix: call the"):
        reader(torch.randn(2, 3, 8))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_read_in_part_too(copied: Callable[[Any], Any]) -> None:
    model, _ = supernet(Reader().eval())
    again = copied(model)
    for decision in again.c.decisions:
        decision.pin(2)
    for part in (again.norm, again.linear, again.table):
        part.decisions[0].pin(2)
    x = torch.randn(2, 3, 8)
    assert torch.equal(again(x), freeze(again, {"w": 2})(x))


# --- rounding ---------------------------------------------------------------------------------


def test_narrow_columns_of_a_3d_input_round_as_in_the_frozen_layer() -> None:
    """A matrix product folds its input by whether the weight asks for a gradient."""
    torch.manual_seed(0)
    width = oneshot.choice([24, 37, 64], label="w")
    model, table = supernet(nn.Sequential(onn.Linear(64, width), onn.Linear(width, 33)))
    x = torch.randn(7, 64, 11).transpose(1, 2)
    agree(model, table, x)


# --- settings that are changed later ----------------------------------------------------------


def _set(**settings: Any) -> Callable[[nn.Module], None]:
    def change(layer: nn.Module) -> None:
        for name, value in settings.items():
            setattr(layer, name, value)

    return change


SETTINGS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], None], tuple[int, ...]]] = {
    "batch-norm": (lambda: onn.BatchNorm2d(W), _set(eps=0.3, momentum=0.03), (3, 6, 4, 4)),
    "batch-norm-average": (lambda: onn.BatchNorm2d(W), _set(momentum=None), (3, 6, 4, 4)),
    "layer-norm": (lambda: onn.LayerNorm(W), _set(eps=0.5), (3, 6)),
    "group-norm": (lambda: onn.GroupNorm(2, W), _set(eps=0.5), (3, 6, 2)),
    "conv-padding": (lambda: onn.Conv2d(3, W, 3), _set(padding=(1, 1)), (1, 3, 5, 5)),
    "conv-stride": (lambda: onn.Conv2d(3, W, 3), _set(stride=2), (1, 3, 5, 5)),
    "dropout": (
        lambda: onn.Dropout(oneshot.choice([0.1, 0.5], label="w"), inplace=False),
        _set(inplace=True),
        (4, 6),
    ),
    "attention": (
        lambda: onn.MultiheadAttention(6, oneshot.choice([1, 2], label="w")),
        _set(dropout=0.9, batch_first=True),
        (2, 3, 6),
    ),
    "embedding": (lambda: onn.Embedding(5, W), _set(max_norm=0.1), (0,)),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_changed_later_takes_effect_everywhere(name: str, moment: str) -> None:
    make, change, shape = SETTINGS[name]
    torch.manual_seed(0)
    untouched, _ = supernet(nn.Sequential(make()))
    torch.manual_seed(0)
    model: Any = nn.Sequential(make())
    if moment == "before":
        change(model[0])
        default = ModelSpace(model).default()
        _same(model, freeze(model, default), shape, default)
    model, table = supernet(model)
    if moment == "after":
        change(model[0])
    for chosen in ModelSpace(model).architectures():
        pin(table, chosen)
        frozen = freeze(model, chosen)
        wanted = freeze(untouched, chosen)
        change(wanted[0])
        settings = {k for k in vars(wanted[0]) if k[0] != "_" and k != "training"}
        assert [getattr(frozen[0], k) for k in settings] == [
            getattr(wanted[0], k) for k in settings
        ]
        _same(copy.deepcopy(model), frozen, shape, chosen)
        _same(frozen, wanted, shape, chosen)


def _same(one: Any, other: Any, shape: tuple[int, ...], chosen: Mapping[str, Any]) -> None:
    def x() -> Any:
        if shape == (0,):
            return torch.tensor([[0, 4]])
        size = list(shape)
        if isinstance(chosen["w"], int) and size[1] == 6 and "Norm" in repr(one):
            size[1] = chosen["w"]
        return torch.randn(size, generator=torch.Generator().manual_seed(0))

    for training in (True, False):
        outputs = []
        for model in copy.deepcopy((one, other)):
            model.train(training)
            torch.manual_seed(1)
            values = x()
            out = model[0](values, values, values) if "Attention" in repr(model) else model(values)
            outputs.append(out[0] if isinstance(out, tuple) else out)
        assert torch.equal(*outputs)


def test_a_setting_that_is_set_back_is_forgotten() -> None:
    model, table = supernet(nn.Sequential(onn.LayerNorm(W)))
    pin(table, {"w": 4})
    x = torch.randn(3, 4)
    before = model(x)
    model[0].eps = 0.5
    assert not torch.equal(model(x), before)
    model[0].eps = 1e-5
    assert torch.equal(model(x), before)


def test_settings_and_modes_of_what_is_inside_a_layer_count_too() -> None:
    class Block(nn.Module):
        scale = 1.0

        def __init__(self, width: int) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.0)
            self.weight = nn.Parameter(torch.ones(width))

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(x[..., : len(self.weight)] * self.weight) * self.scale

    model, table = supernet(nn.Sequential(onn.mutable(Block, rule=onn.LayerRule())(W)))
    pin(table, {"w": 2})
    model[0].drop.p = 1.0
    x = torch.ones(2, 6)
    assert not model(x).any()
    assert freeze(model, {"w": 2})[0].drop.p == 1.0
    model[0].drop.eval()
    assert model(x).all()
    assert not freeze(model, {"w": 2})[0].drop.training
    model[0].scale = 3.0  # an attribute of the class until now
    assert model(x).eq(3).all()
    assert freeze(model, {"w": 2})(x).eq(3).all()


@pytest.mark.parametrize("replaced", [False, True], ids=["bare", "supernet"])
def test_what_choices_decide_cannot_be_set_beside_them(replaced: bool) -> None:
    kernel = oneshot.choice([1, 3], label="k")
    model: Any = nn.Sequential(onn.Conv2d(3, W, kernel, padding=kernel // 2))
    if replaced:
        supernet(model)
    for name, value in (("padding", 0), ("out_channels", 3)):
        with pytest.raises(SpaceError, match=rf"(?s){name}=.*choices decide.*expected:.*fix:"):
            setattr(model[0], name, value)
    for tensor in (None, nn.Parameter(torch.zeros(3))):
        with pytest.raises(SpaceError, match=r"(?s)its bias was exchanged.*expected:.*fix:"):
            model[0].bias = tensor


@pytest.mark.parametrize("replaced", [False, True], ids=["bare", "supernet"])
def test_weight_norm_and_its_like_say_where_they_may_be_applied(replaced: bool) -> None:
    from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

    def apply_old(layer: nn.Module) -> None:
        with pytest.warns(FutureWarning):
            weight_norm(layer)

    for apply in (
        apply_old,
        spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    ):
        model: Any = nn.Sequential(onn.Linear(3, W))
        if replaced:
            supernet(model)
        with pytest.raises(SpaceError, match=r"(?s)Linear with choices .*expected:.*fix:.*frozen"):
            apply(model[0])
