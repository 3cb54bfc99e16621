"""The tracer on layers and small models of users: what is tied, split, merged or fixed."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oneshot_core.errors import OneShotError
from oneshot_plugins.pretrained.trace import Follow, Trace, TraceError, trace

from .proving import prove


def extents(found: Trace, tensor: str, dim: int, **names: str) -> str:
    """Return an extent as text, where sizes have shorter names."""
    text = repr(found.extents[tensor][dim])
    for short, name in sorted(names.items(), key=lambda item: -len(item[1])):
        text = text.replace(name, short)
    return text


def proved(model: nn.Module, *args: Any, **more: Any) -> Trace:
    found = trace(model, args, **more)
    assert prove(model, found, args) is found
    return found


class Net(nn.Module):
    """A module of which the forward pass is given as a function."""

    def __init__(self, forward: Any, **children: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, *args: Any) -> Any:
        return self.run(self, *args)


def test_encoders_count_their_width_in_heads() -> None:
    layer = nn.TransformerEncoderLayer(24, 4, 40, batch_first=True)
    model = nn.Sequential(nn.Embedding(9, 24), nn.TransformerEncoder(layer, 2), nn.Linear(24, 3))
    found = proved(model, torch.zeros(2, 5, dtype=torch.long))
    assert [s.full for s in found.sizes] == [4, 40, 40, 3]
    heads = found.sizes[0].name
    attention = "1.layers.0.self_attn."
    assert extents(found, f"{attention}in_proj_weight", 0, h=heads) == "3 * h * 6"
    assert extents(found, f"{attention}in_proj_bias", 0, h=heads) == "3 * h * 6"
    assert extents(found, f"{attention}in_proj_weight", 1, h=heads) == "h * 6"
    assert extents(found, "0.weight", 1, h=heads) == "h * 6"
    assert extents(found, "1.layers.1.norm2.weight", 0, h=heads) == "h * 6"


def test_transformers_of_torch_are_traced_whole() -> None:
    model = Net(
        lambda m, x, y: m.out(m.body(m.table(x), m.table(y))),
        table=nn.Embedding(9, 24),
        body=nn.Transformer(24, 4, 1, 1, 40, batch_first=True),
        out=nn.Linear(24, 9),
    )
    tokens = torch.zeros(2, 5, dtype=torch.long)
    fixed = {(f.tensor, f.dim): f for f in proved(model, tokens, tokens).fixed}
    assert "m.body(m.table(x)" in fixed["table.weight", 1].where
    follow = Follow("body.encoder.layers.0.linear1.weight", 1)
    found = proved(model, tokens, tokens, attributes={"body": {"d_model": follow}})
    assert sorted(s.full for s in found.sizes) == [4, 9, 40, 40]


def test_channels_in_front_of_a_linear_layer_bring_their_pixels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    found = proved(model, torch.zeros(2, 3, 6, 6))
    assert extents(found, "3.weight", 1, c="0.weight:0") == "c * 16"


def test_normalized_groups_of_channels_stay_as_many() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.GroupNorm(4, 16), nn.Conv2d(16, 5, 1))
    found = proved(model, torch.zeros(2, 3, 4, 4))
    assert extents(found, "1.weight", 0, c="0.weight:0") == "4 * c"
    assert [s.full for s in found.sizes] == [4, 5]


def test_nested_concatenations_keep_their_order() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        inner = torch.cat([m.b(x), m.a(x)], -1)
        out: Tensor = m.out(torch.cat([m.c(x), inner, m.a(x)], -1))
        return out

    model = Net(run, a=nn.Linear(4, 5), b=nn.Linear(4, 6), c=nn.Linear(4, 7), out=nn.Linear(23, 2))
    found = proved(model, torch.zeros(2, 4))
    names = {"a": "a.weight:0", "b": "b.weight:0", "c": "c.weight:0"}
    assert extents(found, "out.weight", 1, **names) == "c + b + a + a"


def test_concatenations_in_two_orders_are_no_size() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        one, other = m.a(x), m.b(x)
        out: Tensor = m.out(torch.cat([one, other], -1)) + m.out(torch.cat([other, one], -1))
        return out

    found = proved(Net(run, a=nn.Linear(4, 5), b=nn.Linear(4, 6), out=nn.Linear(11, 2)),
                   torch.zeros(2, 4))  # fmt: skip
    assert [s.full for s in found.sizes] == [2]
    reason = next(f for f in found.fixed if f.tensor == "a.weight" and f.dim == 0)
    assert "changes the order" in reason.reason
    assert "torch.cat([other, one], -1)" in reason.where


def test_gates_split_their_layer_in_halves() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        gate, up = m.packed(x).chunk(2, dim=-1)
        out: Tensor = m.down(gate.sigmoid() * up)
        return out

    model = Net(run, packed=nn.Linear(4, 12), down=nn.Linear(6, 3))
    found = proved(model, torch.zeros(2, 4))
    assert extents(found, "packed.weight", 0, f="down.weight:1") == "2 * f"


def test_tied_tables_stand_under_both_names() -> None:
    table, head = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
    head.weight = table.weight
    found = proved(nn.Sequential(table, head), torch.zeros(2, 5, dtype=torch.long))
    assert found.extents["0.weight"] == found.extents["1.weight"]
    assert [s.full for s in found.sizes] == [6]


def test_tables_that_indices_read_keep_their_rows() -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(7, 4))
            self.register_buffer("index", torch.zeros(3, 3, dtype=torch.long))
            self.layer = nn.Linear(4, 2)

        def forward(self) -> Tensor:
            out: Tensor = self.layer(self.table[self.index.view(-1)].view(3, 3, -1))
            return out

    found = proved(Biased())
    assert list(found.extents["table"]) == [1]


class Packed(nn.Module):
    """Attention that reads its number of heads from an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 3, 12
        self.qkv, self.out = nn.Linear(8, 36), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(2, 5, 3, self.heads, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(y.transpose(1, 2).reshape(2, 5, self.width))
        return out


def test_a_number_that_is_read_fixes_a_length_and_its_line_is_named() -> None:
    found = proved(Packed(), torch.zeros(2, 5, 8))
    fixed = {(f.tensor, f.dim): f for f in found.fixed}
    assert fixed["qkv.weight", 0].length == 36
    assert "q, k, v = self.qkv(x).reshape(" in fixed["qkv.weight", 0].where
    assert f"{__file__}:" in fixed["qkv.weight", 0].where


def test_a_number_that_follows_frees_it_and_is_restored() -> None:
    model = Packed()
    packed = Follow("qkv.weight", 0, over=12), Follow("qkv.weight", 0, over=3)
    at = {"": dict(zip(("heads", "width"), packed, strict=True))}
    found = proved(model, torch.zeros(2, 5, 8), attributes=at)
    (out, heads) = found.sizes
    assert (out.full, heads.full) == (8, 3)
    assert extents(found, "qkv.weight", 0, h=heads.name) == "3 * h * 4"
    assert found.attributes[""]["width"].at({heads: 2}) == 8
    assert (model.heads, model.width) == (3, 12)


@pytest.mark.parametrize(
    ("path", "attribute", "follow", "message"),
    [
        ("", "depth", Follow("out.weight", 0), "depth is no integer attribute"),
        ("", "heads", Follow("gone", 0), "follows gone:0, which the model does not have"),
        ("", "heads", Follow("qkv.weight", 0, over=5), "cannot be"),
        ("", "heads", Follow("qkv.weight", 0, over=3), "heads is 3, but"),
    ],
)
def test_attributes_that_cannot_follow_are_refused(
    path: str, attribute: str, follow: Follow, message: str
) -> None:
    with pytest.raises(OneShotError, match=message):
        trace(Packed(), (torch.zeros(2, 5, 8),), attributes={path: {attribute: follow}})


def test_a_forward_pass_that_looks_at_values_is_refused_with_its_line() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.a(x)
        return y if y.sum() > 0 else -y

    with pytest.raises(TraceError, match=r"test_trace_layers.py:\d+: return y if y.sum\(\) > 0"):
        trace(Net(run, a=nn.Linear(4, 5)), (torch.zeros(2, 4),))


def test_a_model_is_as_it_was_also_after_an_error() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        m.seen = 1
        raise RuntimeError("no")

    model = Net(run, a=nn.Conv2d(4, 4, 1, groups=4), b=nn.Dropout()).train()
    model.b.eval()
    before = copy.deepcopy(model.state_dict())
    states = torch.random.get_rng_state(), random.getstate()
    with pytest.raises(TraceError, match="no"):
        trace(model, (torch.zeros(2, 4, 1, 1),))
    assert not hasattr(model, "seen")
    assert model.training
    assert not model.b.training
    assert type(model.a.groups) is int
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert states[1] == random.getstate()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_equal_models_are_traced_once_and_have_sizes_of_their_own() -> None:
    def model(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))

    first, again = (trace(model(11), (torch.zeros(2, 4),)) for _ in range(2))
    other = trace(model(12), (torch.zeros(2, 4),))
    assert again.seconds < first.seconds / 3
    assert [s.name for s in first.sizes] == [s.name for s in again.sizes]
    assert not set(first.sizes) & set(again.sizes)
    assert other.sizes[0].full == 12


def test_parts_of_a_model_that_do_not_run_are_fixed() -> None:
    model = Net(lambda m, x: m.a(x), a=nn.Linear(4, 5), unused=nn.Linear(6, 7))
    found = proved(model, torch.zeros(2, 4))
    reasons = {(f.tensor, f.dim): f.reason for f in found.fixed}
    assert reasons["unused.weight", 0] == "the forward pass never uses this tensor"
    assert [s.name for s in found.sizes] == ["a.weight:0"]


def test_a_size_that_fails_elsewhere_is_fixed_by_the_proof() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        if y.shape[-1] < 8:
            raise RuntimeError("too narrow")
        out: Tensor = m.b(y)
        return out

    model = Net(run, a=nn.Linear(4, 16), b=nn.Linear(16, 3))
    found = trace(model, (torch.zeros(2, 4),))
    kept = prove(model, found, (torch.zeros(2, 4),))
    assert [s.name for s in found.sizes] == ["a.weight:0", "b.weight:0"]
    assert [s.name for s in kept.sizes] == ["b.weight:0"]
    fixed = {(f.tensor, f.dim): f for f in kept.fixed}
    assert "too narrow" in fixed["b.weight", 1].reason
    assert 'raise RuntimeError("too narrow")' in fixed["b.weight", 1].where
