"""Arbitrary input: what is read is either understood or refused with an error of ours.

Files that another person may have sent, what users return, what other packages have installed,
and trees and hooks of any kind. Nothing else may ever be raised.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

import oneshot_core as oneshot
from oneshot_core import Architecture, LayerChoice, ModelSpace, Registry, Repeat, merge_optimizers
from oneshot_core.errors import (
    ArchitectureError,
    CheckpointError,
    HookReturnError,
    InspectionError,
    OneShotError,
    OptimizerConfigError,
)
from oneshot_core.importers import from_nni
from oneshot_core.lightning.checkpoint import load_search_state, search_state
from oneshot_core.supernet import BaseSuperNetModule
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.costs.build import cost_table
from oneshot_plugins.costs.table import CostError, CostTable

some = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
LABELS = st.sampled_from(["x", "depth", "y", ""]) | st.text(max_size=3)
JSON = st.recursive(
    SCALARS | st.sampled_from(["a", "b", 0, 1, 2, 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(LABELS, inner, max_size=4),
    max_leaves=12,
)
DEEP = st.sampled_from(["[" * 3000, '{"choices":' * 3000, "[" * 900 + "]" * 900])


def model() -> nn.Module:
    return nn.Sequential(
        LayerChoice({"a": nn.Linear(2, 2), "b": nn.Tanh()}, label="x"),
        Repeat(lambda index: nn.Linear(2, 2), (0, 2), label="depth"),
    )


MODEL = model()
SPACE = ModelSpace(MODEL)


def damaged(valid: str) -> st.SearchStrategy[str]:
    """Return texts that are nearly ``valid``: one part of it is another, or is gone."""
    data = json.loads(valid)
    places = list(_places(data))

    def damage(place: tuple[Any, ...], value: Any, gone: bool) -> str:
        copied = json.loads(valid)
        *way, last = place
        inside = copied
        for step in way:
            inside = inside[step]
        if gone:
            del inside[last]
        else:
            inside[last] = value
        return json.dumps(copied)

    return st.builds(damage, st.sampled_from(places), JSON, st.booleans())


def _places(data: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in pairs:
        yield (*way, key)
        if isinstance(value, (dict, list)):
            yield from _places(value, (*way, key))


def text_of(thing: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return thing.save(Path(folder, "file")).read_text()


ARCHITECTURE = text_of(Architecture({"x": "b", "depth": 1}, SPACE))
TABLE = text_of(cost_table(MODEL, "parameters", inputs=[torch.zeros(1, 2)]))
INSPECTION = oneshot.inspect(model(), torch.zeros(1, 2), strategies=["random"]).to_json()


def contents(valid: str) -> st.SearchStrategy[bytes]:
    """Return what a file may hold: anything, JSON, cut off, damaged in one place."""
    cut = st.integers(0, len(valid)).map(lambda n: valid[:n].encode())
    schema = json.loads(valid)["schema"]
    wearing = JSON.map(lambda data: json.dumps({"schema": schema, "choices": data}).encode())
    texts = JSON.map(json.dumps) | DEEP | damaged(valid)
    return st.binary(max_size=60) | cut | wearing | texts.map(str.encode)


@some
@given(content=contents(ARCHITECTURE))
def test_any_file_is_an_architecture_or_an_architecture_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        path.write_bytes(content)
        try:
            read = Architecture.load(path)
        except ArchitectureError:
            return
        again = Architecture.load(read.save(path))
    assert again == read
    try:
        frozen = oneshot.freeze(MODEL, read)
    except ArchitectureError:
        return
    assert ModelSpace(frozen).size == 1


@some
@given(content=contents(TABLE))
def test_any_file_is_a_table_of_costs_or_a_cost_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        path.write_bytes(content)
        try:
            table = CostTable.load(path)
        except CostError:
            return
    assert str(table)


@some
@given(text=damaged(INSPECTION) | JSON.map(json.dumps) | DEEP | st.text(max_size=20))
def test_any_text_is_an_inspection_or_an_inspection_error(text: str) -> None:
    try:
        read = oneshot.Inspection.from_json(text)
    except InspectionError:
        return
    assert read.to_json()


@some
@given(
    exported=st.dictionaries(st.sampled_from(["x", "model/x", "depth"]) | st.text(), JSON),
    labels=st.dictionaries(st.text(max_size=3), LABELS, max_size=2),
)
def test_what_nni_exported_is_an_architecture_or_an_architecture_error(
    exported: Any, labels: Any
) -> None:
    try:
        read = from_nni(exported, SPACE, labels=labels)
    except ArchitectureError:
        return
    assert SPACE.contains(read)


class Trained(oneshot.lightning.module.LightningModule):
    """A module with the two choices."""

    def __init__(self) -> None:
        super().__init__()
        self.net = model()


def search_of(strategy: str) -> Any:
    options: dict[str, Any] = {} if strategy == "random" else {"arch_dataloader": [0]}
    return oneshot.search(Trained(), strategy, seed=0, **options)


@some
@given(strategy=st.sampled_from(["random", "darts", "enas"]), data=st.data())
@pytest.mark.filterwarnings("ignore:the checkpoint was written with other plugins")
def test_any_state_in_a_checkpoint_is_taken_back_or_refused(strategy: str, data: Any) -> None:
    search = search_of(strategy)
    state = search_state(search)
    place = data.draw(st.sampled_from([(), *_places(state)]))
    value = data.draw(JSON | st.just(torch.zeros(3)))
    if place:
        *way, last = place
        inside: Any = state
        for step in way:
            inside[step] = copy.copy(inside[step])
            inside = inside[step]
        inside[last] = value
    else:
        state = value
    try:
        load_search_state(search, state)
    except OneShotError:
        return  # anything else is the failure


def test_a_state_that_is_damaged_is_a_checkpoint_error() -> None:
    """Control: the test above gets that far."""
    search = search_of("darts")
    state = search_state(search)
    state["decisions"] = {"x": 3}
    with pytest.raises(CheckpointError, match="damaged"):
        load_search_state(search, state)


# --- what users return --------------------------------------------------------------------------


def optimizer_parts() -> st.SearchStrategy[Any]:
    optimizers = [SGD([nn.Parameter(torch.zeros(1))], lr=0.1) for _ in range(2)]
    schedulers = [StepLR(optimizers[0], 1), ReduceLROnPlateau(optimizers[1])]
    leaves = st.sampled_from([*optimizers, *optimizers, *schedulers]) | SCALARS
    keys = st.sampled_from(["optimizer", "lr_scheduler", "scheduler", "monitor", "interval", "?"])
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(keys, inner, max_size=3)
            | st.fixed_dictionaries({"optimizer": st.sampled_from(optimizers)})
        ),
        max_leaves=6,
    )


@some
@given(user=optimizer_parts(), architecture=st.sampled_from(["one", "scheduled", "none"]))
def test_any_configuration_of_optimizers_is_merged_or_refused(user: Any, architecture: str) -> None:
    own = SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    config: Any = {"one": own, "scheduled": ([own], [StepLR(own, 1)]), "none": None}[architecture]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # keys that Lightning ignores
        try:
            merged = merge_optimizers(user, config)
        except OptimizerConfigError:
            return
    if architecture == "none":
        assert merged is user
        return
    optimizers, schedulers = merged if isinstance(merged, tuple) else (merged, [])
    assert optimizers[-1] is own
    assert all(s["scheduler"].optimizer in optimizers for s in schedulers)


# --- trees and hooks ----------------------------------------------------------------------------


class Super(BaseSuperNetModule):
    """Stands for a supernet module; decides nothing."""

    def __init__(self, inside: nn.Module | None = None) -> None:
        super().__init__()
        self.inside = inside

    def select(self, chosen: Any) -> nn.Module:
        raise NotImplementedError


@st.composite
def trees(draw: Any) -> nn.Module:
    """Draw a tree with shared parts and cycles."""
    parts: list[nn.Module] = [nn.Linear(1, 1), nn.Tanh(), nn.Module(), Super()]
    for _ in range(draw(st.integers(1, 6))):
        parent = nn.Module()
        for index, child in enumerate(draw(st.lists(st.sampled_from(parts), max_size=4))):
            parent.add_module(f"n{index}", child)
        parts.append(parent)
    if draw(st.booleans()):
        parts[4].add_module("back", parts[-1])
    root = nn.Module()
    for index, child in enumerate(parts[4:]):
        root.add_module(f"r{index}", child)
    return root


def picture(module: nn.Module) -> list[tuple[int, str, int]]:
    seen: dict[nn.Module, None] = {module: None}
    edges = []
    todo = [module]
    while todo:
        parent = todo.pop()
        for name, child in parent._modules.items():
            edges.append((id(parent), name, id(child)))
            if child is not None and child not in seen:
                seen[child] = None
                todo.append(child)
    return edges


class Refused(Exception):
    """Raised by a hook."""


@some
@given(root=trees(), topdown=st.booleans(), data=st.data())
def test_any_tree_and_any_hooks_end_in_a_whole_tree_or_in_the_one_before(
    root: nn.Module, topdown: bool, data: Any
) -> None:
    made: list[nn.Module] = []

    def hook(module: nn.Module, name: str, memo: Any, options: Any) -> Any:
        answer = data.draw(
            st.sampled_from(
                [None, None, True, False, "super", "wrap", "plain", "and on", 3, "raise", (1, 2)]
            )
        )
        if answer == "raise":
            raise Refused(name)
        if not isinstance(answer, str):
            return answer
        if len(made) > 30:  # else the walk would not end
            return None
        new = nn.Tanh() if answer == "plain" else Super(module if answer == "wrap" else None)
        made.append(new)
        return (new, False) if answer == "and on" else new

    before = picture(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # replacements that are plain
        try:
            found = traverse_and_mutate_submodules(root, [hook, hook], topdown=topdown)
        except (Refused, HookReturnError):
            assert picture(root) == before
            return
    inside = set(root.modules())
    assert len(set(found)) == len(found)
    assert set(found) <= inside


# --- what is installed --------------------------------------------------------------------------

NAMES = st.text("abcXYZ-_.: =[]\n\t;#ü\x00", max_size=12)
LINES = st.builds(lambda name, value: f"{name} = {value}", NAMES, NAMES | st.just("os:path"))
ENTRY_POINTS = st.lists(LINES | NAMES, max_size=5).map("\n".join)


@some
@given(
    entry_points=ENTRY_POINTS.map(lambda t: f"[oneshot_core]\n{t}\n".encode()) | st.binary(),
    metadata=NAMES.map(lambda t: f"Name: {t}\nVersion: {t}\nRequires-Dist: {t}\n".encode())
    | st.binary(max_size=40),
)
def test_any_metadata_of_a_distribution_hurts_none_but_itself(
    entry_points: bytes, metadata: bytes
) -> None:
    """Manifests are those of ours and modules without components; nothing raises."""
    with tempfile.TemporaryDirectory() as folder:
        info = Path(folder, "strange-1.0.dist-info")
        info.mkdir()
        (info / "METADATA").write_bytes(metadata)
        (info / "entry_points.txt").write_bytes(entry_points)
        sys.path.insert(0, folder)
        try:
            registry = Registry()
            found = {str(record.id): record.provider for record in registry.find()}
            problems = [str(problem) for problem in registry.problems()]
        finally:
            sys.path.remove(folder)
    assert found["strategy:darts"] == "oneshot-core"
    assert all(isinstance(problem, str) for problem in problems)
