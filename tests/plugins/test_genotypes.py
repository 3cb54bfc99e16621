"""Genotypes: read from what DARTS and others print, and written back."""

from __future__ import annotations

import random
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import oneshot_core as oneshot
from oneshot_core import Architecture, DecisionTable, ModelSpace
from oneshot_core.errors import ArchitectureError
from oneshot_plugins.cells.supernet import MixedCell
from oneshot_plugins.checks.decisions import Drawn
from oneshot_plugins.spaces import published
from oneshot_plugins.spaces.cell_network import CellNetwork
from oneshot_plugins.spaces.cell_spaces import AmoebaNet, Darts, Enas, NasNet, Pnas
from oneshot_plugins.spaces.genotypes import LABELS, Genotype, from_genotype, to_genotype

ONE_CELL = {"normal": "cell", "reduce": "cell"}
V2 = published.DARTS_V2
TEXT = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)
Other = namedtuple("Other", "normal normal_concat reduce reduce_concat")


@pytest.fixture(scope="module")
def darts() -> nn.Module:
    return Darts(2, 3)


def test_a_genotype_becomes_inputs_and_operations(darts: nn.Module) -> None:
    architecture = from_genotype(V2, darts)
    assert {k: v for k, v in architecture.items() if k.startswith("normal/")} == {
        "normal/input_2": (0, 1), "normal/op_2_0": "sep_conv_3x3", "normal/op_2_1": "sep_conv_3x3",
        "normal/input_3": (0, 1), "normal/op_3_0": "sep_conv_3x3", "normal/op_3_1": "sep_conv_3x3",
        "normal/input_4": (0, 1), "normal/op_4_1": "sep_conv_3x3", "normal/op_4_0": "skip_connect",
        "normal/input_5": (0, 2), "normal/op_5_0": "skip_connect", "normal/op_5_2": "dil_conv_3x3",
    }  # fmt: skip
    assert architecture["reduce/input_3"] == (1, 2)
    assert architecture.validate(ModelSpace(darts)) == architecture


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(Other(*V2), id="named-tuple-of-another-class"),
        pytest.param(tuple(V2), id="tuple"),
        pytest.param(V2._asdict(), id="dict"),
        pytest.param({k: list(map(list, v)) if "c" not in k[-6:] else list(v)
                      for k, v in V2._asdict().items()}, id="dict-of-lists"),
        pytest.param(TEXT, id="text"),
        pytest.param(f"DARTS_V2 = {TEXT}\n", id="assignment"),
        pytest.param(TEXT.replace("range(2, 6)", "list(range(2, 6))"), id="list-of-range"),
        pytest.param(repr(V2), id="repr"),
        pytest.param(repr(V2._asdict()), id="repr-of-dict"),
        pytest.param(
            TEXT.replace("normal=", "").replace("normal_concat=", "").replace("reduce=", ""),
            id="positional",
        ),
    ],
)  # fmt: skip
def test_every_form_of_a_genotype_is_read(given: Any, darts: nn.Module) -> None:
    assert from_genotype(given, darts) == from_genotype(V2, darts)


@pytest.mark.parametrize(
    ("space", "genotype", "labels"),
    [
        pytest.param(Enas, published.ENAS_MICRO, LABELS, id="enas"),
        pytest.param(NasNet, published.NASNET_A, LABELS, id="nasnet"),
        pytest.param(AmoebaNet, published.AMOEBANET_A, LABELS, id="amoebanet"),
        pytest.param(Pnas, published.PNASNET_5, ONE_CELL, id="pnas"),
        pytest.param(Darts, published.DARTS_V1, LABELS, id="darts-v1"),
        pytest.param(Darts, published.DARTS_V2, LABELS, id="darts-v2"),
        pytest.param(Darts, published.PC_DARTS, LABELS, id="pc-darts"),
        pytest.param(Darts, published.P_DARTS, LABELS, id="p-darts"),
    ],
)
def test_published_genotypes_are_written_as_they_were_read(
    space: type[CellNetwork], genotype: Genotype, labels: dict[str, str]
) -> None:
    model = space(2, 3, operations=sorted({o for o, _ in [*genotype.normal, *genotype.reduce]}))
    architecture = from_genotype(genotype, model, labels)
    written = to_genotype(architecture, model, labels)
    assert from_genotype(written, model, labels) == architecture
    assert from_genotype(repr(written), model, labels) == architecture
    if space is not Darts:  # where the order of two operations counts
        assert written == genotype
    else:  # states in order
        assert sorted(written.normal) == sorted(genotype.normal)


@pytest.mark.parametrize("space", [Darts, AmoebaNet])
def test_any_architecture_is_read_back(space: type[CellNetwork]) -> None:
    model = space(2, 3, operations=["skip_connect", "max_pool_3x3"])
    for seed in range(20):
        drawn = Architecture(ModelSpace(model).sample(random.Random(seed)))
        assert from_genotype(to_genotype(drawn, model), model) == drawn


def test_a_mutated_model_reads_genotypes_too() -> None:
    model = Darts(2, 3)
    before = from_genotype(V2, model)
    oneshot.traverse_and_mutate_submodules(
        model, [MixedCell.mutate], {"decisions": DecisionTable(Drawn)}
    )
    assert from_genotype(V2, model) == before
    assert to_genotype(before, model).normal_concat == [2, 3, 4, 5]


def changed(field: str, index: int, pair: Any) -> Genotype:
    pairs = list(getattr(V2, field))
    pairs[index] = pair
    return V2._replace(**{field: pairs})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(changed("normal", 0, ("sep_conv_9x9", 0)),
                     r"normal of the genotype has the operation 'sep_conv_9x9', which "
                     r"'normal/op_2_0' does not offer.\n  expected: one of \['max_pool_3x3'",
                     id="operation"),
        pytest.param(changed("reduce", 7, ("skip_connect", 5)),
                     r"reduce .* lets node 5 take the states \[2, 5\]", id="state"),
        pytest.param(changed("normal", 1, ("skip_connect", 0)),
                     r"normal .* lets node 2 take the states \[0, 0\]", id="twice"),
        pytest.param(changed("normal", 1, "skip_connect"), "pairs of operation and state",
                     id="pair"),
        pytest.param(V2._replace(normal=V2.normal[:6]), "has 6 pairs", id="too-short"),
        pytest.param(V2._replace(reduce_concat=[3, 4, 5]),
                     r"reduce_concat of the genotype is \[3, 4, 5\]", id="concat"),
        pytest.param({"normal": V2.normal}, "has no 'normal_concat'", id="field"),
        pytest.param("Genotype(normal=", "cannot be parsed", id="syntax"),
        pytest.param("a = 1; b = 2", "cannot be parsed", id="two-statements"),
        pytest.param("3", r"it is no Genotype\(...\) and no dict", id="number"),
        pytest.param("import os", r"it is no Genotype", id="statement"),
        pytest.param(5, "it is no named tuple, dict or text", id="object"),
    ],
)  # fmt: skip
def test_what_is_no_genotype_of_the_model_is_refused(
    given: Any, words: str, darts: nn.Module
) -> None:
    with pytest.raises(ArchitectureError, match=words):
        from_genotype(given, darts)


@pytest.mark.parametrize(
    "inside",
    ["open('{}', 'w')", "__import__('pathlib').Path('{}').touch()", "range(*[1, 2])", "x"],
)
def test_text_is_never_run(inside: str, darts: nn.Module, tmp_path: Any) -> None:
    target = tmp_path / "made"
    code = inside.format(target)
    for text in (f"Genotype(normal={code})", f"{{'normal': {code}}}", f"Genotype({code})", code):
        with pytest.raises(ArchitectureError):
            from_genotype(text, darts)
    assert not target.exists()


def test_a_model_without_such_cells_is_refused(darts: nn.Module) -> None:
    with pytest.raises(ArchitectureError, match="no Cell with the label 'normal'"):
        from_genotype(V2, nn.Linear(1, 1))
    with pytest.raises(ArchitectureError, match="no Cell with the label 'middle'"):
        from_genotype(V2, darts, {"normal": "middle"})


def test_two_fields_for_one_label_must_agree() -> None:
    model = Pnas(2, 3, operations=["skip_connect", "max_pool_3x3"])
    make: Callable[[int], list[tuple[str, int]]] = lambda n: [("skip_connect", n)] * 10  # noqa: E731
    alike = Genotype(make(0), range(2, 7), make(0), range(2, 7))
    assert len(from_genotype(alike, model, ONE_CELL)) == 20
    different = Genotype(make(0), range(2, 7), make(1), range(2, 7))
    with pytest.raises(ArchitectureError, match="decides 'cell/input_2_0' twice: 0 and 1"):
        from_genotype(different, model, ONE_CELL)
