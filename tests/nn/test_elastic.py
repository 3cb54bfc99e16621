"""Layers with choices: an architecture is a plain layer, a superposition the weighted sum."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import Active, Decision, DecisionTable, ModelSpace, ParameterSpec, freeze
from oneshot_core import nn as onn
from oneshot_core.errors import SpaceError, StrategyError
from oneshot_core.space import Taken, apply, choice
from oneshot_plugins.elastic.supernet import ElasticLayer


class Weighted(Decision):
    """Superpose all candidates with weights that a test sets."""

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__(spec)
        generator = torch.Generator().manual_seed(len(spec.label))
        weights = torch.rand(len(spec.candidates), generator=generator, dtype=torch.float64) + 0.1
        self.weights = nn.Parameter(weights / weights.sum())

    @property
    def superposes(self) -> bool:
        return True

    def mixture(self) -> list[Active]:
        return [Active(c, w) for c, w in zip(self.spec.candidates, self.weights, strict=True)]

    def probabilities(self) -> Tensor:
        return self.weights


class Drawn(Weighted):
    """Take the default as it is."""

    @property
    def superposes(self) -> bool:
        return False

    def mixture(self) -> list[Active]:
        return [Active(c) for c in self.spec.members(self.spec.default)]


W = choice([2, 4, 6], label="w")
V = choice([4, 6], label="vv")
K = choice([1, 3, 5], label="kkk")
YES = choice([True, False], label="yes")


def x(*shape: int) -> Callable[[], tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return lambda: (made,)


def qkv(embed: int, key: int, value: int) -> Callable[[], tuple[Tensor, ...]]:
    g = torch.Generator().manual_seed(0)
    sizes = (embed, key, value)
    made = tuple(torch.randn(3, 2, n, generator=g, dtype=torch.float64) for n in sizes)
    return lambda: made


LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]] = {
    "linear-out": (lambda: onn.Linear(3, W), x(2, 3)),
    "linear-bias": (lambda: onn.Linear(3, W, bias=YES), x(2, 3)),
    "linear-expression": (lambda: onn.Linear(3, 2 * W - 1), x(2, 3)),
    "conv1d": (lambda: onn.Conv1d(3, W, K, padding=K // 2), x(2, 3, 8)),
    "conv2d": (lambda: onn.Conv2d(3, W, K, padding=K // 2, bias=False), x(2, 3, 6, 6)),
    "conv3d": (lambda: onn.Conv3d(2, W, K, padding=K // 2), x(1, 2, 5, 5, 5)),
    "conv2d-tuple-kernels": (
        lambda: (lambda k: onn.Conv2d(3, 4, k, padding=(k[0] // 2, k[1] // 2)))(
            choice([(1, 7), (7, 1), (3, 3)], label="kernel")
        ),
        x(2, 3, 8, 8),
    ),
    "conv2d-same": (lambda: onn.Conv2d(3, 4, K, padding="same"), x(2, 3, 8, 8)),
    "conv2d-circular": (
        lambda: onn.Conv2d(3, W, K, padding=K // 2, padding_mode="circular"),
        x(2, 3, 8, 8),
    ),
    "conv2d-even-kernels": (
        lambda: (lambda k: onn.Conv2d(3, 4, k, padding=k // 2 - 1))(choice([2, 4], label="even")),
        x(2, 3, 8, 8),
    ),
    "conv2d-dilation": (
        lambda: (lambda d: onn.Conv2d(3, W, 3, padding=d, dilation=d))(choice([1, 2], label="d")),
        x(2, 3, 8, 8),
    ),
    "conv2d-groups": (
        lambda: onn.Conv2d(8, 8, 3, padding=1, groups=choice([1, 2, 4], label="g")),
        x(2, 8, 5, 5),
    ),
    "conv2d-groups-and-width": (
        lambda: onn.Conv2d(8, 4 * W, 3, padding=1, groups=choice([2, 4], label="g")),
        x(2, 8, 5, 5),
    ),
    "conv2d-bias": (lambda: onn.Conv2d(3, W, 1, bias=YES), x(2, 3, 5, 5)),
    "conv-transpose1d": (lambda: onn.ConvTranspose1d(3, W, K, padding=K // 2), x(2, 3, 8)),
    "conv-transpose2d": (
        lambda: onn.ConvTranspose2d(8, 8, K, padding=K // 2, groups=choice([1, 2], label="g")),
        x(2, 8, 5, 5),
    ),
    "conv-transpose3d": (lambda: onn.ConvTranspose3d(2, W, 3), x(1, 2, 4, 4, 4)),
    "batch-norm-eps": (
        lambda: onn.BatchNorm2d(3, eps=choice([1e-5, 1e-1], label="eps")),
        x(4, 3, 5, 5),
    ),
    "batch-norm-affine": (lambda: onn.BatchNorm1d(3, affine=YES), x(6, 3)),
    "batch-norm-tracked": (lambda: onn.BatchNorm1d(3, track_running_stats=YES), x(6, 3)),
    "batch-norm3d": (lambda: onn.BatchNorm3d(2, affine=YES), x(2, 2, 3, 3, 3)),
    "instance-norm": (lambda: onn.InstanceNorm2d(3, affine=YES), x(2, 3, 4, 4)),
    "group-norm": (lambda: onn.GroupNorm(choice([1, 2, 4], label="n"), 4), x(3, 4, 5)),
    "layer-norm-eps": (
        lambda: onn.LayerNorm([2, 3], eps=choice([1e-5, 1e-1], label="eps")),
        x(4, 2, 3),
    ),
    "layer-norm-affine": (lambda: onn.LayerNorm(3, elementwise_affine=YES), x(4, 3)),
    "rms-norm": (lambda: onn.RMSNorm(3, eps=choice([1e-5, 1e-1], label="eps")), x(4, 3)),
    "embedding": (lambda: onn.Embedding(5, W), lambda: (torch.tensor([[0, 4], [2, 2]]),)),
    "prelu": (lambda: onn.PReLU(choice([1, 3], label="slopes")), x(2, 3, 4)),
    "attention-heads": (
        lambda: onn.MultiheadAttention(6, choice([1, 2, 3], label="heads")),
        qkv(6, 6, 6),
    ),
    "attention-bias": (
        lambda: onn.MultiheadAttention(6, 2, bias=YES, add_bias_kv=True),
        qkv(6, 6, 6),
    ),
    "activation": (lambda: onn.LeakyReLU(choice([0.1, 0.3], label="slope")), x(2, 3)),
    "pooling": (
        lambda: onn.MaxPool2d(choice([(1, 3), (3, 1)], label="p"), stride=1, padding=0),
        x(1, 1, 3, 3),
    ),
}
"""Name -> layer, and inputs of the size that every architecture takes."""

NARROWING: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], tuple[Tensor, ...]]]] = {
    "linear": (lambda: onn.Linear(W, V), lambda c: x(2, c["w"])()),
    "conv2d": (lambda: onn.Conv2d(W, V, K, padding=K // 2), lambda c: x(2, c["w"], 5, 5)()),
    "depthwise": (lambda: onn.Conv2d(W, W, 3, padding=1, groups=W), lambda c: x(2, c["w"], 5, 5)()),
    "conv-transpose2d": (lambda: onn.ConvTranspose2d(W, V, 3), lambda c: x(2, c["w"], 4, 4)()),
    "batch-norm": (lambda: onn.BatchNorm2d(W), lambda c: x(4, c["w"], 3, 3)()),
    "batch-norm-plain": (
        lambda: onn.BatchNorm1d(W, affine=False, track_running_stats=False),
        lambda c: x(4, c["w"])(),
    ),
    "group-norm": (lambda: onn.GroupNorm(2, W), lambda c: x(4, c["w"], 3)()),
    "layer-norm": (lambda: onn.LayerNorm(W), lambda c: x(4, c["w"])()),
    "layer-norm-two-dims": (lambda: onn.LayerNorm([3, W]), lambda c: x(4, 3, c["w"])()),
    "rms-norm": (lambda: onn.RMSNorm(W), lambda c: x(4, c["w"])()),
    "prelu": (lambda: onn.PReLU(W), lambda c: x(4, c["w"], 2)()),
    "attention": (lambda: onn.MultiheadAttention(W, 2), lambda c: qkv(*[c["w"]] * 3)()),
    "attention-kv": (
        lambda: onn.MultiheadAttention(W, 2, kdim=V, vdim=choice([3, 6], label="v2")),
        lambda c: qkv(c["w"], c["vv"], c["v2"])(),
    ),
}
"""Name -> layer that takes as much as an architecture says, and inputs for an architecture."""


def supernet(make: Callable[[], nn.Module], decision: type[Decision]) -> tuple[Any, DecisionTable]:
    torch.manual_seed(0)
    model = nn.Sequential(make()).double()
    table = DecisionTable(decision)
    oneshot.traverse_and_mutate_submodules(model, [ElasticLayer.mutate], {"decisions": table})
    assert isinstance(model[0], ElasticLayer)
    return model, table


def pinned(table: DecisionTable, chosen: Mapping[str, Any] | None) -> None:
    for decision in table:
        decision.pin(None if chosen is None else chosen[decision.spec.label])


def flat(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else [o for o in output if o is not None]


def padded_sum(outputs: list[tuple[float, Any]]) -> list[Tensor]:
    """Add outputs up by hand: in the corner of zeros that are as large as the largest."""
    total = []
    for items in zip(*(flat(output) for _, output in outputs), strict=True):
        shape = [max(sizes) for sizes in zip(*(item.shape for item in items), strict=True)]
        here = torch.zeros(shape, dtype=torch.float64)
        for (weight, _), item in zip(outputs, items, strict=True):
            here[tuple(slice(n) for n in item.shape)] += weight * item
        total.append(here)
    return total


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", [*LAYERS, *(f"in-{name}" for name in NARROWING)])
def test_every_architecture_is_the_frozen_layer_bit_for_bit(name: str, training: bool) -> None:
    """Output and gradients; statistics are those that the frozen layer would have."""
    make, inputs = _case(name)
    model, table = supernet(make, Drawn)
    model.train(training)
    for chosen in ModelSpace(model).architectures():
        frozen = freeze(model, chosen)
        plain = frozen[0]
        assert type(plain).__module__.startswith("torch.nn")
        pinned(table, chosen)
        ours = [
            part.detach().clone().requires_grad_(part.is_floating_point())
            for part in inputs(chosen)
        ]
        theirs = [part.detach().clone().requires_grad_(part.is_floating_point()) for part in ours]
        torch.manual_seed(1)
        found = flat(model[0](*ours))
        torch.manual_seed(1)
        wanted = flat(plain(*theirs))
        assert all(torch.equal(f, w) for f, w in zip(found, wanted, strict=True))
        if not any(f.requires_grad for f in found):
            continue
        sum(f.square().sum() for f in found if f.requires_grad).backward()  # type: ignore[union-attr]
        sum(w.square().sum() for w in wanted if w.requires_grad).backward()  # type: ignore[union-attr]
        for f, w in zip(ours, theirs, strict=True):
            assert f.grad is None if w.grad is None else torch.equal(f.grad, w.grad)  # type: ignore[arg-type]
        total = sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None)
        expected = sum(float(p.grad.abs().sum()) for p in plain.parameters() if p.grad is not None)
        assert total == pytest.approx(expected, rel=1e-10)
        model.zero_grad()


def _case(name: str) -> tuple[Callable[[], nn.Module], Callable[[Any], tuple[Tensor, ...]]]:
    if name.startswith("in-"):
        return NARROWING[name.removeprefix("in-")]
    make, inputs = LAYERS[name]
    return make, lambda chosen: inputs()


@pytest.mark.parametrize(
    "name", sorted(set(LAYERS) - {"pooling", "batch-norm-tracked"}) + [f"in-{n}" for n in NARROWING]
)
def test_a_superposition_is_the_weighted_sum_of_padded_outputs_and_so_are_its_gradients(
    name: str,
) -> None:
    make, inputs = _case(name)
    model, table = supernet(make, Weighted)
    labels = [decision.spec.label for decision in table]
    largest = {d.spec.label: d.spec.candidates[-1] for d in table}
    for label in ("w", "vv", "v2"):
        if label in table:
            largest[label] = max(table[label].spec.candidates)  # type: ignore[type-var]
    values = inputs(largest)
    model.eval() if "batch" not in name else model.train()
    twin = copy.deepcopy(model)
    outputs: list[tuple[Any, Any]] = []
    for chosen in ModelSpace(model).architectures():
        frozen = freeze(model, chosen)[0].train(model.training)
        weight: Any = 1.0
        for label in labels:
            decision = table[label]
            index = decision.spec.candidates.index(chosen[label])  # type: ignore[arg-type]
            weight = weight * decision.weights.detach()[index]  # type: ignore[union-attr]
        sizes = [part.shape for part in inputs(chosen)]
        some = [
            part[tuple(slice(n) for n in size)] for part, size in zip(values, sizes, strict=True)
        ]
        outputs.append((weight, frozen(*some)))
    wanted = padded_sum(outputs)
    found = flat(model[0](*values))
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-10, atol=1e-10)
    _compare_gradients(twin, table, values, inputs)


def _compare_gradients(model: Any, table: DecisionTable, values: Any, inputs: Any) -> None:
    """Take the gradient of the weights numerically: the sum is linear in each product of them."""
    loss = sum(f.square().sum() for f in flat(model[0](*values)))
    decisions = model[0].decisions
    gradients = torch.autograd.grad(loss, [d.weights for d in decisions])  # type: ignore[arg-type]
    for decision, gradient in zip(decisions, gradients, strict=True):
        numeric = torch.zeros_like(gradient)
        for index in range(len(gradient)):
            for sign in (1, -1):
                with torch.no_grad():
                    decision.weights[index] += sign * 1e-5
                    other = copy.deepcopy(model)
                    numeric[index] += sign * sum(f.square().sum() for f in flat(other[0](*values)))
                    decision.weights[index] -= sign * 1e-5
        torch.testing.assert_close(gradient, numeric / 2e-5, rtol=1e-5, atol=1e-6)


def test_none_is_an_argument_like_any_other() -> None:
    """Pinned, drawn and frozen; the plain layer then takes its own default."""

    def make() -> nn.Module:
        return onn.RMSNorm(3, eps=choice([1e-1, None], label="eps"))

    model, table = supernet(make, Drawn)
    values = x(4, 3)()[0]
    outputs = []
    for chosen in ModelSpace(model).architectures():
        pinned(table, chosen)
        outputs.append(model(values))
        assert torch.equal(outputs[-1], freeze(model, chosen)(values))
    assert not torch.equal(*outputs)


def test_what_gives_outputs_of_other_sizes_is_refused_before_training() -> None:
    for layer in (
        lambda: onn.Conv2d(3, 4, 3, stride=choice([1, 2], label="s")),
        lambda: onn.Conv2d(3, 4, K),
        lambda: onn.BatchNorm2d(3, momentum=choice([0.1, 0.2], label="m")),
        lambda: onn.BatchNorm2d(3, track_running_stats=YES),
        lambda: onn.Embedding(choice([4, 5], label="rows"), 3),
    ):
        with pytest.raises(StrategyError, match=r"at '0' cannot be superposed"):
            supernet(layer, Weighted)
        supernet(layer, Drawn)


def test_without_values_the_twin_is_the_plain_layer() -> None:
    layer = onn.Conv2d(3, 4, 3)
    assert type(layer) is nn.Conv2d
    assert isinstance(layer, onn.Conv2d)
    assert onn.Sequential is nn.Sequential
    assert onn.functional is nn.functional
    mutable = onn.Conv2d(3, W, 3)
    assert isinstance(mutable, nn.Conv2d)
    assert isinstance(mutable, onn.MutableLayer)
    assert not isinstance(layer, onn.MutableLayer)


def test_the_stored_tensors_have_the_plain_names_and_the_largest_shapes() -> None:
    layer = onn.Conv2d(3, W, choice([(1, 7), (7, 1)], label="k"))
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {
        "weight": (6, 3, 7, 7),
        "bias": (6,),
    }
    again = onn.Conv2d(3, W, choice([(1, 7), (7, 1)], label="k"))
    again.load_state_dict(layer.state_dict())


def test_kernels_are_the_middle_of_the_largest() -> None:
    layer = onn.Conv1d(1, 1, K, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(5.0).view(1, 1, 5))
    model = nn.Sequential(layer)
    assert freeze(model, {"kkk": 3})[0].weight.flatten().tolist() == [1, 2, 3]
    assert freeze(model, {"kkk": 1})[0].weight.flatten().tolist() == [2]


def test_a_smaller_group_takes_the_channels_of_its_own() -> None:
    layer = onn.Conv1d(4, 4, 1, groups=choice([1, 2, 4], label="g"), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(16.0).view(4, 4, 1))
    model = nn.Sequential(layer)
    assert freeze(model, {"g": 1})[0].weight.flatten().tolist() == list(range(16))
    assert freeze(model, {"g": 2})[0].weight.flatten().tolist() == [0, 1, 4, 5, 10, 11, 14, 15]
    assert freeze(model, {"g": 4})[0].weight.flatten().tolist() == [0, 5, 10, 15]


def test_query_key_and_value_are_cut_each_by_itself() -> None:
    layer = onn.MultiheadAttention(W, 1)
    frozen = freeze(nn.Sequential(layer), {"w": 2})[0]
    whole = layer.in_proj_weight
    wanted = torch.cat([whole[0:2, :2], whole[6:8, :2], whole[12:14, :2]])
    assert torch.equal(frozen.in_proj_weight, wanted)


@pytest.mark.parametrize("name", [*LAYERS, *(f"in-{name}" for name in NARROWING)])
def test_copies_and_pickles_compute_the_same(name: str) -> None:
    make, inputs = _case(name)
    model, _ = supernet(make, Drawn)
    bare = nn.Sequential(make()).double()
    default = ModelSpace(bare).default()
    for one in (model.eval(), bare.eval()):
        for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            for f, w in zip(
                flat(other[0](*inputs(default))), flat(one[0](*inputs(default))), strict=True
            ):
                assert torch.equal(f, w)


def test_running_statistics_of_the_channels_in_use_are_updated_once() -> None:
    model, table = supernet(lambda: onn.BatchNorm1d(W), Drawn)
    pinned(table, {"w": 2})
    frozen = freeze(model, {"w": 2})
    values = x(5, 2)()[0]
    model(values), frozen(values)
    assert torch.equal(model[0].running_mean[:2], frozen[0].running_mean)
    assert model[0].running_mean[2:].tolist() == [0.0] * 4
    assert int(model[0].num_batches_tracked) == 1
    weighted, _ = supernet(lambda: onn.BatchNorm1d(W), Weighted)
    weighted(x(5, 6)()[0])
    assert int(weighted[0].num_batches_tracked) == 1


def test_training_a_frozen_layer_changes_nothing_here() -> None:
    model, _ = supernet(lambda: onn.Linear(3, W), Drawn)
    before = copy.deepcopy(model.state_dict())
    for chosen in ModelSpace(model).architectures():
        frozen = freeze(model, chosen)
        with torch.no_grad():
            for parameter in frozen.parameters():
                parameter.add_(1)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_tied_weights_stay_tied_when_they_are_cut() -> None:
    model = nn.ModuleDict({"in": onn.Embedding(7, W), "out": onn.Linear(W, 7, bias=False)})
    model["out"].weight = model["in"].weight
    for width in (2, 4, 6):
        frozen = freeze(model, {"w": width})
        assert frozen["in"].weight is frozen["out"].weight
        assert frozen["in"].weight.shape == (7, width)
        assert frozen["in"].weight is not model["in"].weight


def test_combinations_that_the_plain_layer_refuses_must_be_ruled_out() -> None:
    def model() -> nn.Module:
        return nn.Sequential(onn.Conv2d(W, W, 1, groups=choice([1, 4], label="g")))

    with pytest.raises(
        SpaceError, match=r"the Conv2d at '0' cannot be built with .*'w': 2"
    ) as caught:
        ModelSpace(model())
    assert "oneshot.constrain" in str(caught.value)
    good = model()
    oneshot.constrain(good, W % choice([1, 4], label="g") == 0)
    assert ModelSpace(good).size == 4


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(lambda: onn.LSTM(3, W), "no installed plugin says how", id="no-rule"),
        pytest.param(lambda: onn.Linear(3, W, 5, 6, 7, 8), "too many", id="arguments"),
        pytest.param(
            lambda: onn.Linear(choice(["a", "b"], label="n"), 3), "refuses every", id="impossible"
        ),
        pytest.param(
            lambda: onn.TransformerEncoder(
                nn.TransformerEncoderLayer(4, 1), choice([1, 2], label="n")
            ),
            "beside the module encoder_layer",
            id="modules",
        ),
        pytest.param(lambda: onn.activation(["relu", "rellu"]), "rellu", id="activation"),
        pytest.param(lambda: onn.mutable(3), "mutable got 3", id="no-class"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_work_is_refused_where_it_is_written(make: Any, match: str) -> None:
    with pytest.raises((SpaceError, TypeError), match=match):
        make()


def test_layers_of_ones_own_have_twins_too() -> None:
    class Scaled(nn.Linear):
        def __init__(self, inputs: int, outputs: int, scale: float = 1.0) -> None:
            super().__init__(inputs, outputs)
            self.scale = scale

        def forward(self, input: Tensor) -> Tensor:
            return self.scale * super().forward(input)

    twin = onn.mutable(Scaled)
    assert twin is onn.mutable(Scaled)
    model = nn.Sequential(twin(3, W, scale=choice([1.0, 2.0], label="s")))
    frozen = freeze(model, {"w": 4, "s": 2.0})
    assert type(frozen[0]) is Scaled
    assert frozen(torch.ones(1, 3)).shape == (1, 4)
    with pytest.raises(SpaceError, match="subclass"):
        type("Mine", (onn.Linear,), {})


def test_an_activation_is_chosen_by_name() -> None:
    model = nn.Sequential(onn.activation(["ReLU", "gelu"], label="act"))
    assert type(freeze(model, {"act": "gelu"})[0]) is nn.GELU


def test_product_of_labels_decides_alike_everywhere() -> None:
    """Two layers with one label always agree, whatever else they depend on."""
    model = nn.Sequential(onn.Linear(3, W), onn.Linear(W, V), onn.Linear(V, 2))
    space = ModelSpace(model)
    assert space.size == 6
    for chosen in space.architectures():
        assert freeze(model, chosen)(torch.ones(1, 3)).shape == (1, 2)
    assert len({tuple(a.items()) for a in space.architectures()}) == len(
        list(itertools.product(W.spec.choices(), V.spec.choices()))
    )


def largest_of(n: int, domain: Any) -> Any:
    values = [choice(range(1, 5), label=f"m{i}") for i in range(n)]
    return apply(max, *values, domain=domain)


def test_a_declared_domain_is_all_that_a_layer_prepares_for() -> None:
    """4 ** 12 architectures, of which the layer sees three widths times two."""
    value = largest_of(12, range(1, 5))
    layer = onn.Linear(value * choice([2, 3], label="w"), 5)
    assert sorted(t.in_features for t in layer.templates()) == [2, 3, 4, 6, 8, 9, 12]
    model = nn.Sequential(layer).double()
    chosen = {**{f"m{i}": 1 + i % 3 for i in range(12)}, "w": 3}
    assert freeze(model, chosen)[0].in_features == 9
    table = DecisionTable(Drawn)
    oneshot.traverse_and_mutate_submodules(model, [ElasticLayer.mutate], {"decisions": table})
    pinned(table, chosen)
    (given,) = x(2, 9)()
    torch.testing.assert_close(model(given), freeze(model, chosen)(given), rtol=1e-12, atol=1e-12)


def test_every_value_of_a_declared_domain_must_give_a_layer() -> None:
    with pytest.raises(SpaceError, match=r"GroupNorm refuses .*, which a declared domain allows"):
        onn.GroupNorm(largest_of(2, range(1, 5)), 4)
    onn.GroupNorm(largest_of(2, [1, 2, 4]), 4)


def test_a_layer_may_depend_on_a_choice_of_several() -> None:
    spec = ParameterSpec("inputs", (0, 1, 2), None)
    model = nn.Sequential(onn.Linear(2 * apply(len, Taken(spec)), 3))
    table = DecisionTable(lambda spec: Subset(spec))
    frozen = freeze(model, {"inputs": (0, 2)})
    oneshot.traverse_and_mutate_submodules(model, [ElasticLayer.mutate], {"decisions": table})
    assert torch.equal(model(torch.ones(1, 4)), frozen(torch.ones(1, 4)))
    with pytest.raises(StrategyError, match="takes several candidates at once"):
        supernet(lambda: onn.Linear(2 * apply(len, Taken(spec)), 3), Weighted)


class Subset(Drawn):
    """Take the first and the last."""

    def mixture(self) -> list[Active]:
        return [Active(self.spec.candidates[0]), Active(self.spec.candidates[-1])]


def test_large_layers_in_float32_equal_their_frozen_layers_bit_for_bit() -> None:
    """Kernels round differently for weights that do not lie in one piece."""
    wide = choice([37, 96, 128], label="wide")
    for layer, inputs in (
        (onn.Linear(wide, wide), lambda n: torch.randn(64, n)),
        (onn.Conv2d(wide, wide, 3, padding=1), lambda n: torch.randn(4, n, 8, 8)),
        (onn.MultiheadAttention(2 * wide, 2), lambda n: torch.randn(9, 4, 2 * n)),
    ):
        model = nn.Sequential(layer)
        table = DecisionTable(Drawn)
        oneshot.traverse_and_mutate_submodules(model, [ElasticLayer.mutate], {"decisions": table})
        for n in (37, 96, 128):
            pinned(table, {"wide": n})
            values = inputs(n)
            args = (values,) * 3 if isinstance(layer, nn.MultiheadAttention) else (values,)
            frozen = freeze(model, {"wide": n})[0]
            for found, wanted in zip(flat(model[0](*args)), flat(frozen(*args)), strict=True):
                assert torch.equal(found, wanted)
