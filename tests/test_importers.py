"""Architectures that the reference exported, read for the same model written here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from torch import nn

from oneshot_core import InputChoice, LayerChoice, ModelSpace, Repeat, choice, freeze
from oneshot_core import nn as onn
from oneshot_core.errors import ArchitectureError
from oneshot_core.importers import from_nni

KERNEL = choice([(1, 7), (7, 1), (3, 3)], label="kernel")


def model() -> nn.Module:
    inner = LayerChoice([nn.ReLU(), nn.Tanh(), nn.GELU()], label="act")
    return nn.ModuleList(
        [
            LayerChoice({"conv": nn.Identity(), "deep": nn.Sequential(inner)}, label="op"),
            InputChoice(4, 2, label="skip"),
            InputChoice(3, 1, label="from"),
            Repeat(lambda index: nn.Identity(), (0, 3), label="depth"),
            onn.Conv2d(
                3, choice([8, 16], label="width"), KERNEL, bias=choice([True, False], label="bias")
            ),
            onn.Dropout(choice([0.0, 0.5], label="rate")),
        ]
    )


SPACE = ModelSpace(model())
READ = {
    "op": "deep",
    "act": "2",
    "skip": (0, 3),
    "from": 1,
    "depth": 2,
    "width": 16,
    "kernel": (7, 1),
    "bias": False,
    "rate": 0.5,
}
V3: dict[str, Any] = {
    "op": "deep",
    "act": 2,  # NNI 3 keeps numbers for the keys of a list
    "skip": [0, 3],
    "from": [1],
    "depth": 2,
    "width": 16,
    "kernel": (7, 1),
    "bias": False,
    "rate": 0.5,
}
V2: dict[str, Any] = {**V3, "act": "2", "from": 1, "kernel": [7, 1]}


@pytest.mark.parametrize("exported", [V2, V3], ids=["v2", "v3"])
@pytest.mark.parametrize("from_json", [False, True], ids=["as-it-was", "from-json"])
def test_every_kind_of_value_is_read(exported: dict[str, Any], from_json: bool) -> None:
    given = json.loads(json.dumps(exported)) if from_json else exported
    architecture = from_nni(given, SPACE)
    assert architecture == READ
    assert {k: type(v) for k, v in architecture.items()} == {k: type(v) for k, v in READ.items()}
    assert type(freeze(model(), architecture)[0][0]) is nn.GELU


def test_it_belongs_to_the_space_and_holds_what_is_active_only() -> None:
    architecture = from_nni({**V3, "op": "conv"}, SPACE)
    assert "act" not in architecture
    assert architecture.validate(SPACE) == architecture
    with pytest.raises(ArchitectureError, match="another model space"):
        architecture.validate(ModelSpace(nn.Sequential()))


def test_a_position_stands_for_a_named_candidate_too() -> None:
    assert from_nni({**V3, "op": 1}, SPACE)["op"] == "deep"
    assert from_nni({**V3, "op": [0]}, SPACE)["op"] == "conv"
    for outside in (2, -1, True):
        with pytest.raises(ArchitectureError, match=rf"'op': {outside} is none of"):
            from_nni({**V3, "op": outside}, SPACE)


def test_a_candidate_named_as_a_number_is_found_by_its_name_not_its_position() -> None:
    space = ModelSpace(nn.Sequential(LayerChoice({"1": nn.ReLU(), "0": nn.Tanh()}, label="x")))
    assert from_nni({"x": 0}, space) == {"x": "0"}


@pytest.mark.parametrize(
    ("prefix", "labels"),
    [
        pytest.param("model/", {"model/": ""}, id="v3"),
        pytest.param("model_1_", {"model_1_": ""}, id="v2"),
        pytest.param("a/b/", {"a/": "wrong", "a/b/": ""}, id="longest"),
    ],
)
def test_labels_with_a_common_beginning_are_mapped_together(
    prefix: str, labels: dict[str, str]
) -> None:
    exported = {f"{prefix}{label}": value for label, value in V3.items()}
    assert from_nni(exported, SPACE, labels=labels) == READ
    with pytest.raises(ArchitectureError, match=r"labels=\{.*: ''\}"):
        from_nni(exported, SPACE)


def test_labels_are_mapped_one_by_one_and_a_name_is_no_beginning() -> None:
    """``model_1`` must not stand for ``model_10``."""
    numbered = {f"model_{i}": value for i, value in enumerate(V3.values(), start=1)}
    numbered["model_10"] = numbered.pop("model_2")
    labels = {f"model_{i}": label for i, label in enumerate(V3, start=1) if label != "act"}
    assert from_nni(numbered, SPACE, labels={**labels, "model_10": "act"}) == READ
    with pytest.raises(ArchitectureError, match="'model_10' is not a choice of this model"):
        from_nni(numbered, SPACE, labels=labels)


def test_everything_that_does_not_fit_is_listed_with_what_may_be_meant() -> None:
    exported = {**V3, "depths": 2, "width": 12}
    del exported["depth"]
    with pytest.raises(ArchitectureError) as caught:
        from_nni(exported, SPACE)
    message = str(caught.value)
    assert "'depths' is not a choice of this model; is 'depth' meant?" in message
    assert "'width': 12 is none of [8, 16] (at '4')" in message


def test_what_is_missing_is_named_with_its_place() -> None:
    with pytest.raises(ArchitectureError, match=r"'skip' is not decided \(at '1'\)"):
        from_nni({label: v for label, v in V3.items() if label != "skip"}, SPACE)


def test_two_labels_for_one_must_agree() -> None:
    labels = {"left": "op", "right": "op"}
    rest = {label: value for label, value in V3.items() if label != "op"}
    assert from_nni({"left": "deep", "right": 1, **rest}, SPACE, labels=labels) == READ
    with pytest.raises(ArchitectureError, match="'left' and 'right' both stand for 'op'"):
        from_nni({"left": "deep", "right": "conv", **rest}, SPACE, labels=labels)
