"""What make_elastic refuses, and that it then has changed nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.errors import SpaceError
from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.elastic.module import make_elastic

from .nets import elastic_mlp, mlp, of, prefix, searched

SIZE, OTHER = Size("size", 8, unit=2), Size("other", 6)
CHOICES: dict[Size, tuple[int, ...]] = {SIZE: (2, 8), OTHER: (3, 6)}


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 6))


def refused(
    model: nn.Module, match: str, table: Any, choices: Any = CHOICES, attributes: Any = None
) -> None:
    classes = [type(module) for module in model.modules()]
    contents = [dict(vars(module)) for module in model.modules()]
    with pytest.raises(SpaceError, match=match) as caught:
        make_elastic(model, table, choices, attributes)
    assert re.search("expected: .+\n  fix: .+", str(caught.value))
    assert [type(module) for module in model.modules()] == classes
    assert [dict(vars(module)) for module in model.modules()] == contents


@pytest.mark.parametrize(
    ("match", "table"),
    [
        ("no module '5' in the Sequential", {"5.weight": {0: of(SIZE)}}),
        ("no parameter or buffer '0.wait'", {"0.wait": {0: of(SIZE)}}),
        ("no parameter or buffer '0.in_features'", {"0.in_features": {0: of(SIZE)}}),
        ("dimension 0 of '1.weight' is 6 long, and size is 8", {"1.weight": {0: of(SIZE)}}),
        ("dimension 2 of '0.weight'", {"0.weight": {2: of(SIZE)}}),
        ("dimension -1 of '0.weight'", {"0.weight": {-1: of(SIZE)}}),
        ("said to be Size", {"0.weight": {0: SIZE}}),
        ("no choices are given for", {"0.weight": {0: of(Size("unknown", 8))}}),
    ],
)
def test_a_table_that_does_not_fit_is_refused(match: str, table: Any) -> None:
    # What is right comes first, so that something could have been changed.
    refused(net(), match, {"0.bias": {0: of(SIZE)}, **table})


@pytest.mark.parametrize(
    "candidates", [[], [8, 2], [2, 2, 8], [2, 4], [2, 8, 10], [3, 8], [0, 8], [True, 8], [2.0, 8]]
)
def test_candidates_are_ascending_multiples_that_end_with_all(candidates: Any) -> None:
    refused(net(), "size 'size' has the candidates", {"0.bias": {0: of(SIZE)}}, {SIZE: candidates})


def test_two_sizes_of_one_name_with_other_candidates_are_refused() -> None:
    twin = Size("size", 8)
    table = {"0.bias": {0: of(SIZE)}, "1.weight": {1: of(twin)}}
    refused(net(), "two sizes are called 'size'", table, {SIZE: [2, 8], twin: [4, 8]})


def test_tied_tensors_must_have_the_same_extents_under_all_names() -> None:
    model = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11, bias=False))
    model[1].weight = model[0].weight
    one = {"0.weight": {1: of(SIZE)}}
    refused(model, "'0.weight' and '1.weight' are one tensor", one)
    refused(model, "are one tensor", {**one, "1.weight": {1: of(SIZE, 1)}})


def test_recurrent_layers_that_share_tensors_are_refused() -> None:
    model = nn.Sequential(nn.RNN(4, 8), nn.RNN(4, 8))
    model[1].bias_ih_l0 = model[0].bias_ih_l0
    refused(model, "of a RNN", {f"{i}.bias_ih_l0": {0: of(SIZE)} for i in (0, 1)})


def test_what_is_elastic_or_a_choice_already_is_refused() -> None:
    elastic = elastic_mlp()
    refused(elastic, "is elastic already", {"0.bias": {0: of(Size("s", 16))}}, {})
    mutated = searched(elastic_mlp()).model
    refused(mutated, "is elastic already", {"net.0.bias": {0: of(Size("s", 16))}}, {})
    layer = oneshot.nn.Linear(4, oneshot.choice([2, 8], label="w"))
    refused(nn.Sequential(layer), "is itself a choice", {"0.bias": {0: of(SIZE)}})


@pytest.mark.parametrize(
    ("match", "attributes"),
    [
        ("has no attribute 'wide' of its own", {"0": {"wide": of(SIZE)}}),
        ("has no attribute 'weight' of its own", {"0": {"weight": of(SIZE)}}),
        ("has in_features=4, and at full size", {"0": {"in_features": of(SIZE)}}),
        ("at full size: integer division", {"0": {"in_features": lambda v: 1 // 0}}),
        ("with size=2, too small", {"0": {"in_features": lambda v: four(v)}}),
        ("no module '7'", {"7": {"in_features": of(SIZE)}}),
        ("no choices are given for", {"0": {"out_features": of(Size("unknown", 8))}}),
    ],
)
def test_attributes_that_do_not_follow_are_refused(match: str, attributes: Any) -> None:
    refused(net(), match, {"0.bias": {0: of(SIZE)}}, attributes=attributes)


def four(values: Any) -> int:
    if values.get(SIZE, 8) < 8:
        raise ValueError("too small")
    return 4


def test_an_attribute_that_asks_for_more_below_full_size_is_refused() -> None:
    def function(values: Any) -> int:
        return 4 if values.get(SIZE, 8) == 8 else values.get(OTHER, 6)

    refused(
        net(), "depends on", {"0.bias": {0: of(SIZE)}}, attributes={"0": {"in_features": function}}
    )


def lazy() -> nn.Module:
    return nn.LazyLinear(8)


def sparse() -> nn.Module:
    module = nn.Linear(4, 8)
    module.weight = nn.Parameter(module.weight.detach().to_sparse())
    return module


def subclass() -> nn.Module:
    class Odd(Tensor):
        pass

    module = nn.Module()
    module.register_buffer("weight", torch.ones(8, 4).as_subclass(Odd))
    return module


def quantized() -> nn.Module:
    module = nn.Module()
    module.register_buffer(
        "weight", torch.quantize_per_tensor(torch.ones(8, 4), 0.1, 0, torch.qint8)
    )
    return module


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lazy, "has no shape before the first batch"),
        (sparse, "is sparse"),
        (quantized, "is quantized"),
        (subclass, "is a Odd, which cannot be cut"),
        (lambda: nn.Embedding(8, 4, sparse=True), "has sparse gradients"),
        (lambda: nn.utils.weight_norm(nn.Linear(4, 8)), "no parameter or buffer '0.weight'"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_cannot_be_cut_are_refused(build: Callable[[], nn.Module], match: str) -> None:
    model = nn.Sequential(build())
    with pytest.raises(SpaceError, match=match):
        make_elastic(model, {"0.weight": {0: of(SIZE)}}, CHOICES)


def test_names_that_choices_use_are_refused() -> None:
    class Gated(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 8)
            self.gates = nn.Linear(8, 8)

    refused(nn.Sequential(Gated()), "has gates, a name that", {"0.bias": {0: of(SIZE)}})


def test_scripted_modules_are_refused() -> None:
    with pytest.warns(DeprecationWarning, match=r"jit\.script"):
        model = nn.Sequential(torch.jit.script(nn.Linear(4, 8)))
    with pytest.raises(SpaceError, match="compiled by TorchScript"):
        make_elastic(model, {"0.bias": {0: of(SIZE)}}, CHOICES)


@pytest.mark.parametrize(
    ("layer", "table", "match"),
    [
        (nn.GroupNorm(4, 8), prefix(Size("c", 8), "weight", "bias"), "c=2, 2 is no multiple of 4"),
        (
            nn.Conv2d(8, 8, 3, groups=4),
            {"weight": {0: of(Size("c", 8)), 1: of(Size("in", 2))}},
            "does not say what becomes of its 4 groups",
        ),
        (
            nn.Conv2d(8, 16, 3, groups=2),
            {"weight": {0: of(Size("c", 16))}},
            "c=2, 2 is no multiple of 8",
        ),
        (
            nn.MultiheadAttention(8, 2),
            {"in_proj_weight": {0: of(3, Size("c", 8)), 1: of(8)}},
            "c=2, 2 is no multiple of 4",
        ),
        (
            nn.MultiheadAttention(8, 2),
            {"in_proj_weight": {0: of(Size("c", 24))}},
            "write Extent.of\\(3, heads",
        ),
    ],
)
def test_sizes_that_torchs_layers_cannot_have_are_refused(
    layer: nn.Module, table: dict[str, dict[int, Extent]], match: str
) -> None:
    sizes = {s for dims in table.values() for e in dims.values() for s in e.sizes}
    choices = {size: (1, size.full) if size.name == "in" else (2, size.full) for size in sizes}
    refused(layer, match, table, choices)


def test_a_size_with_one_candidate_is_no_choice() -> None:
    model, table, choices = mlp()
    make_elastic(model, table, {size: values[-1:] for size, values in choices.items()})
    assert {type(module) for module in model} == {nn.Linear, nn.GELU, nn.ReLU}
