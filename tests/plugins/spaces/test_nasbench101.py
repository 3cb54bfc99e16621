"""NAS-Bench-101: which cells there are, how wide their vertices are, and what is refused."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import nn

import oneshot_core as oneshot
from oneshot_core.errors import ArchitectureError, SpaceError, StrategyError
from oneshot_plugins.checks.trial import Trial, fit, loader
from oneshot_plugins.costs.counts import parameters
from oneshot_plugins.spaces.nasbench101 import (
    NasBench101,
    NasBench101Cell,
    Wiring,
    read_module,
    write_module,
)

Edges = frozenset[tuple[int, int]]

INCEPTION = (
    [
        [0, 1, 1, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    [
        "input",
        "conv1x1-bn-relu",
        "conv3x3-bn-relu",
        "conv3x3-bn-relu",
        "conv3x3-bn-relu",
        "maxpool3x3",
        "output",
    ],
)
"""The cell that the README of the benchmark asks for."""


def graphs(vertices: int, limit: int) -> Iterator[Edges]:
    """Yield the graphs of the benchmark with so many vertices, by its definition."""
    possible = [(i, j) for j in range(vertices) for i in range(j)]
    for bits in itertools.product([0, 1], repeat=len(possible)):
        if sum(bits) > limit:
            continue
        edges = frozenset(edge for edge, bit in zip(possible, bits, strict=True) if bit)
        ahead = {0}
        behind = {vertices - 1}
        for _ in range(vertices):
            ahead |= {j for i, j in edges if i in ahead}
            behind |= {i for i, j in edges if j in behind}
        if len(ahead & behind) == vertices:
            yield edges


@pytest.mark.parametrize(("vertices", "limit"), [(3, 9), (4, 9), (4, 3), (5, 9), (5, 5)])
def test_the_space_holds_every_graph_with_every_labelling_once(vertices: int, limit: int) -> None:
    cell = NasBench101Cell(4, 8, vertices=vertices, edges=limit)
    wanted = {
        (edges, names)
        for n in range(2, vertices + 1)
        for edges in graphs(n, limit)
        for names in itertools.product(cell.factories, repeat=n - 2)
    }
    space = oneshot.ModelSpace(cell)
    assert space.size == len(wanted)
    found = []
    for architecture in space.architectures():
        matrix, names = write_module(architecture)
        edges = frozenset((i, j) for i, row in enumerate(matrix) for j, e in enumerate(row) if e)
        found.append((edges, tuple(names[1:-1])))
    assert len(found) == len(wanted)
    assert set(found) == wanted


@pytest.mark.slow
def test_up_to_isomorphism_it_is_the_benchmark() -> None:
    """1,293,208 cells, of which 423,624 are different once vertices lose their numbers.

    Labellings of a graph that are different up to its automorphisms are counted by Burnside's
    lemma.
    """
    cells = unique = 0
    for vertices in range(2, 8):
        inner = range(1, vertices - 1)
        numberings = [(0, *p, vertices - 1) for p in itertools.permutations(inner)]
        known = set(_all_graphs(vertices, 9))
        cells += len(known) * 3 ** len(inner)
        while known:
            graph = next(iter(known))
            turned = [frozenset((p[i], p[j]) for i, j in graph) for p in numberings]
            known.difference_update(turned)
            same = [p for p, other in zip(numberings, turned, strict=True) if other == graph]
            fixed = sum(3 ** _cycles(p, inner) for p in same)
            unique += fixed // len(same)
    assert cells == 1_293_208
    assert unique == 423_624
    with torch.device("meta"):
        assert oneshot.ModelSpace(NasBench101Cell(4, 8)).size == cells


def _all_graphs(vertices: int, limit: int) -> Iterator[Edges]:
    """Yield what :func:`graphs` yields, from the output backwards: fast enough for seven."""

    def add(vertex: int, edges: Edges) -> Iterator[Edges]:
        if vertex == 0:
            yield edges
        elif any(i == vertex for i, _ in edges):
            for n in range(1, vertex + 1):
                for sources in itertools.combinations(range(vertex), n):
                    more = edges | {(i, vertex) for i in sources}
                    if len(more) <= limit:
                        yield from add(vertex - 1, more)

    last = vertices - 1
    for n in range(1, last + 1):
        for sources in itertools.combinations(range(last), n):
            yield from add(last - 1, frozenset((i, last) for i in sources))


def _cycles(permutation: tuple[int, ...], inner: range) -> int:
    left, count = set(inner), 0
    while left:
        count += 1
        vertex = next(iter(left))
        while vertex in left:
            left.remove(vertex)
            vertex = permutation[vertex]
    return count


def test_the_two_ways_to_list_graphs_agree() -> None:
    assert set(_all_graphs(5, 6)) == set(graphs(5, 6))


def test_the_network_of_the_benchmark_has_its_parameters() -> None:
    with torch.device("meta"):
        model = NasBench101()
    assert parameters(oneshot.freeze(model, read_module(*INCEPTION))) == 2_694_282


@pytest.mark.parametrize(
    ("sources", "output", "widths"),
    [
        pytest.param(((0,), (1,)), (2,), (8, 8), id="a-chain-is-as-wide-as-the-output"),
        pytest.param(((0,), (0,), (0,)), (1, 2, 3), (3, 3, 2), id="the-first-take-what-is-left"),
        pytest.param(((0,), (1,), (0,)), (2, 3), (4, 4, 4), id="inner-ones-are-as-the-next"),
        pytest.param(((0,), (1,), (1,)), (0, 2, 3), (4, 4, 4), id="the-input-takes-no-share"),
        pytest.param(((0,), (1,), (1,), (0,)), (2, 3, 4), (3, 3, 3, 2), id="as-the-widest-next"),
    ],
)
def test_vertices_share_the_channels_of_the_output(
    sources: Any, output: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    assert Wiring(sources, output, ("x",) * len(sources)).channels(8) == widths


def test_a_frozen_cell_computes_the_graph() -> None:
    """Max-pooling over one pixel keeps values, so the graph can be followed by hand."""
    cell = NasBench101Cell(4, 4, {"keep": Keep}, Project, vertices=5)
    x = torch.randn(2, 4, 1, 1)
    chosen = {
        "cell/input1": (0,), "cell/input2": (0, 1), "cell/input3": (1,), "cell/output": (0, 2, 3),
    }  # fmt: skip
    chosen |= {f"cell/op{i}": "keep" for i in (1, 2, 3)}
    one = x[:, :2]
    two = x[:, :2] + one
    wanted = torch.cat([two, one], 1) + x
    torch.testing.assert_close(oneshot.freeze(cell, chosen)(x), wanted)


class Keep(nn.Identity):
    """An operation that does nothing, of any width."""


class Project(nn.Module):
    """Take the first channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : self.outputs]


def test_a_narrow_vertex_uses_the_first_channels_of_the_widest() -> None:
    cell = NasBench101Cell(3, 4, vertices=4)
    chosen = read_module(
        [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0] * 4],
        ["", "conv3x3-bn-relu", "conv1x1-bn-relu", ""],
        vertices=4,
    )
    frozen = oneshot.freeze(cell, chosen).state_dict()
    whole = cell.state_dict()
    assert {name: tuple(t.shape) for name, t in frozen.items() if name.endswith("0.weight")} == {
        "projections.1.0.weight": (2, 3, 1, 1),
        "projections.2.0.weight": (2, 3, 1, 1),
        "operations.1.conv3x3-bn-relu.0.weight": (2, 2, 3, 3),
        "operations.2.conv1x1-bn-relu.0.weight": (2, 2, 1, 1),
    }
    for name, tensor in frozen.items():
        assert torch.equal(tensor, whole[name][tuple(slice(n) for n in tensor.shape)])


def test_the_default_is_a_chain_that_runs_before_any_search() -> None:
    cell = NasBench101Cell(3, 4, vertices=5).eval()
    assert write_module(oneshot.ModelSpace(cell).default())[0] == [
        [int(j == i + 1) for j in range(5)] for i in range(5)
    ]
    x = torch.randn(2, 3, 4, 4)
    frozen = oneshot.freeze(cell, oneshot.ModelSpace(cell).default())
    assert torch.equal(cell(x), frozen(x))
    assert torch.equal(pickle.loads(pickle.dumps(cell))(x), cell(x))
    assert torch.equal(copy.deepcopy(cell)(x), cell(x))


def test_every_draw_of_a_search_is_a_cell() -> None:
    search = oneshot.search(Trial(NasBench101Cell(2, 4, vertices=6), images), seed=0)
    sizes = set()
    for step in range(30):
        search.reseed("a test", step)
        drawn = search.resample()
        assert search.space.possible(drawn)
        sizes.add(len(write_module(drawn)[1]))
        search.model.body(*images())
    assert sizes == {5, 6}


def images() -> tuple[torch.Tensor]:
    return (torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)),)


def test_ranking_gives_each_cell_its_own_statistics() -> None:
    """BatchNorm of a cell is recalibrated although the modules that run hold no data."""
    search = oneshot.search(Trial(NasBench101Cell(2, 4, vertices=4), images), seed=0)
    fit(search)
    before = {name: value.clone() for name, value in search.model.state_dict().items()}
    ranking = search.rank(
        5, loader(2.0), metric="loss", mode="min", train_dataloader=loader(), progress=False
    )
    assert len({entry.score for entry in ranking}) == 5
    for name, value in search.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_superposing_is_refused_before_anything_is_changed() -> None:
    model = Trial(NasBench101Cell(2, 4, vertices=4), images)
    with pytest.raises(StrategyError, match="at 'body' cannot be superposed") as caught:
        oneshot.search(model, "darts", arch_dataloader=loader())
    assert "'random'" in str(caught.value)
    assert type(model.body) is NasBench101Cell


def test_modules_are_read_and_written() -> None:
    assert write_module(read_module(*INCEPTION)) == INCEPTION
    space = oneshot.ModelSpace(NasBench101Cell(4, 8, vertices=6))
    rng = random.Random(0)
    for _ in range(20):
        drawn = space.sample(rng)
        assert read_module(*write_module(drawn), vertices=6) == drawn


def test_vertices_on_no_path_are_dropped() -> None:
    matrix = [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0] * 4]
    read = read_module(matrix, ["", "maxpool3x3", "conv1x1-bn-relu", ""])
    assert write_module(read) == (
        [[0, 1, 1], [0, 0, 1], [0] * 3],
        ["input", "maxpool3x3", "output"],
    )


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param([[0, 1], [0]], id="not-square"),
        pytest.param([[0, 1], [1, 0]], id="an-edge-back"),
        pytest.param([[0, 0], [0, 0]], id="no-path"),
        pytest.param([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0] * 4], id="too-many"),
    ],
)
def test_what_is_no_module_is_refused(matrix: list[list[int]]) -> None:
    with pytest.raises(ArchitectureError, match="is no cell of NAS-Bench-101"):
        read_module(matrix, ["maxpool3x3"] * len(matrix), vertices=3)
    with pytest.raises(ArchitectureError, match="label of the cell"):
        write_module({"other": 1})


def test_an_architecture_that_is_no_cell_says_what_it_breaks() -> None:
    cell = NasBench101Cell(4, 8, vertices=4)
    chosen = dict(oneshot.ModelSpace(cell).default())
    for label, choice, why in [
        ("cell/input1", "unused", "used_before"),
        ("cell/output", (0,), "used_if_it_leads_on"),
    ]:
        with pytest.raises(ArchitectureError, match=why):
            oneshot.freeze(cell, {**chosen, label: choice})
    unused = {**chosen, "cell/input2": "unused", "cell/output": (1,), "cell/op2": "maxpool3x3"}
    with pytest.raises(ArchitectureError, match="first_if_unused"):
        oneshot.freeze(cell, unused)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        pytest.param({"vertices": 2}, "vertices=2", id="no-vertex"),
        pytest.param({"edges": 5}, "edges=5", id="no-chain"),
        pytest.param(
            {"operations": {"a": lambda n: oneshot.LayerChoice([nn.Identity()])}},
            "holds a LayerChoice",
            id="choices-inside",
        ),
        pytest.param(
            {"operations": {"a": lambda n: nn.Conv2d(n, n, 1, bias=n > 4)}},
            "has tensors",
            id="other-layers-for-other-widths",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused_where_it_is_written(
    options: Mapping[str, Any], match: str
) -> None:
    with pytest.raises(SpaceError, match=match):
        NasBench101Cell(4, 8, **options)
