"""Measure the parts of a model space, once each, and make a table of them.

Data flow: a private copy of the model is mutated, with decisions that only follow what is pinned.
For each choice and each combination of its candidates (and of the candidates that it is nested in)
one forward pass records what the choice is called with; the part that it becomes is frozen and
measured with that. What is nested in a part is measured as a part of its own and taken off, so
every cost is counted in one row.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

import oneshot_core
from oneshot_core import (
    BaseOneShotLightningModule,
    BaseSuperNetModule,
    ParameterSpec,
    Registry,
    freeze,
    registry,
)
from oneshot_core.space import Candidate, Choice, Taken, constrain
from oneshot_core.supernet import supernet_modules

from .identity import identity
from .measured import batch_of
from .placing import moved, placed, without_data
from .running import in_use
from .shared import labels_of_shared_tensors
from .supernet import Supernet, cannot_run, shape_of, where
from .table import TOLERANCE, CostError, CostTable, Deviation, Row
from .told import name_of, shape_text

Cost: TypeAlias = Callable[..., float]
Progress: TypeAlias = Callable[[int, int], object]
"""Called with how many parts are measured, and of how many."""

MAX_JOINT = 4096
"""Combinations of one layer's choices that are measured; where there are more, one by one."""
MAX_SHARED = 1024
"""Combinations of choices around one shared tensor that are compared with frozen networks."""


def cost_table(
    source: nn.Module,
    cost: str | Cost = "macs",
    *,
    inputs: Sequence[Any] | None = None,
    device: str | torch.device | None = None,
    verify: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
    registry: Registry = registry,
    **options: Any,
) -> CostTable:
    """Measure what the choices of a model cost and return the table of it.

    Each part is measured with what it gets where every other choice has its default. So a table
    is exact if no other choice changes that: true for counts where each choice keeps shapes, or
    where layers name the choices that shape their inputs. It is compared with frozen networks;
    see :attr:`CostTable.exact <oneshot_plugins.costs.table.CostTable.exact>`.

    Labels that take several candidates count through what is nested in their candidates; labels
    that are intervals, and layers shaped by several candidates at once, have their default.

    Args:
        source: a search, a mutated model, or a model with choices; stays as it is.
        cost: name of an installed cost, or a function ``(network, *inputs, **options)``.
        inputs: what ``forward`` of the model is called with; None takes its
            ``example_input_array``. Costs are those of this many examples.
        device: where parts are measured. None takes the meta device for costs that are counted,
            if the model runs there, and the CPU otherwise.
        verify: so many architectures are compared with frozen networks; all, if there are no
            more than that. 0 for none.
        seed: of the architectures to compare.
        progress: told after each part.
        registry: where supernet modules and costs are looked up.
        **options: of the cost.

    Raises:
        CostError: there are no inputs or they do not fit the model, the device cannot be used, or
            a cost is no finite number.
    """
    function: Cost = registry.load("cost", cost) if isinstance(cost, str) else cost
    name = cost if isinstance(cost, str) else getattr(cost, "__name__", repr(cost))
    model = source.model if isinstance(source, BaseOneShotLightningModule) else source
    given = _inputs(model, inputs)
    real = Supernet(source, registry)
    copied, place, there = where(real.model, registry, function, given, device)
    builder = _Builder(copied, partial(function, **options), there, progress)
    truth = _Truth(real, builder, place, given)
    origin = {
        "model": type(model).__name__,
        "inputs": [shape_text(each) for each in given],
        "batch": batch_of(given) if getattr(function, "per_input", True) else None,
        "device": str(place),
        "built": datetime.now(timezone.utc).date().isoformat(),
        "torch": torch.__version__,
        "oneshot_core": oneshot_core.__version__,
        "function": name_of(function),
        "options": {key: str(value) for key, value in options.items()},
        "identity": identity(Supernet(real.model, registry, without_data).model),
    }

    def table_of(rows: Iterable[Row]) -> CostTable:
        specs, fingerprint = copied.space.specs, copied.space.fingerprint
        return CostTable(name, specs, rows, fingerprint=fingerprint, origin=origin)

    table = table_of(builder.rows())
    if getattr(function, "counts", None) is not False:  # what is measured depends on no sharing
        for labels in labels_of_shared_tensors(copied.model):
            table = table_of(_merged([*table.rows, *builder.corrections(table, labels, truth)]))
    table.deviation = _compare(table, real, truth, verify, seed)
    return table


def _inputs(model: nn.Module, inputs: Sequence[Any] | None) -> tuple[Any, ...]:
    """Return what the model is called with.

    Raises:
        CostError: nobody says.
    """
    if inputs is None:
        inputs = getattr(model, "example_input_array", None)
    if inputs is None:
        name = type(model).__name__
        raise CostError(
            f"it is not known what {name} is called with",
            expected="inputs to measure with, or an example_input_array of the model",
            fix="cost_table(model, ..., inputs=[torch.zeros(1, 3, 32, 32)]), or set "
            f"example_input_array in {name}",
        )
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


@dataclass
class _Part:
    """A supernet module, and when it runs."""

    module: BaseSuperNetModule
    below: list[dict[str, Candidate]]
    """Combinations of candidates around it under which it runs, each excluding the others."""
    inside: list[_Part] = field(default_factory=list)


class _Builder:
    """Measures part after part."""

    def __init__(
        self,
        supernet: Supernet,
        cost: Cost,
        inputs: tuple[Any, ...],
        progress: Progress | None,
    ) -> None:
        self.supernet = supernet
        self.cost = cost
        self.inputs = inputs
        self.progress = progress
        self.shared = {label: len(paths) > 1 for label, paths in supernet.space.paths.items()}
        self.calls: dict[object, dict[nn.Module, list[Any]]] = {}
        self.costs: dict[object, float] = {}

    def rows(self) -> list[Row]:
        space = self.supernet.space
        top = _parts([self.supernet.model], [{}], set())
        default = space.default()
        self.calls[frozenset(default.items())] = self.record(default)  # refuses wrong inputs
        always = self.measure(freeze(self.supernet.model, default), *self.inputs)
        always -= math.fsum(self.total(part, default) for part in top)
        rows: dict[tuple[tuple[str, Candidate], ...], float] = {(): always}
        tasks = [(part, t) for part in _all(top) for t in self.combinations(part)]
        for done, (part, (taken, baseline)) in enumerate(tasks, 1):
            cost = self.own(part, taken)
            if cost is not None and baseline is not None:
                reference = self.own(part, baseline)
                cost = None if reference is None else cost - reference
            if cost:
                key = tuple(taken.items())
                rows[key] = rows.get(key, 0.0) + cost
            if self.progress is not None:
                self.progress(done, len(tasks))
        return [Row(dict(taken), cost) for taken, cost in rows.items() if cost or not taken]

    def combinations(
        self, part: _Part
    ) -> Iterator[tuple[dict[str, Candidate], dict[str, Candidate] | None]]:
        """Yield what is taken in each row of a part, and what its cost is a difference to."""
        specs = [s for s in part.module.search_space_spec().values() if _is_listed(s)]
        for around in part.below:
            free = [spec for spec in specs if spec.label not in around]
            # A cell's slots are chosen one by one; what they run is nested in their candidates.
            apart = len(part.module.branches()) > 1
            if not apart and math.prod(spec.size for spec in free) <= MAX_JOINT:
                for candidates in product(*(spec.candidates for spec in free)):
                    labels = [spec.label for spec in free]
                    yield {**around, **dict(zip(labels, candidates, strict=True))}, None
                continue
            yield around, None
            for spec in free:
                for candidate in spec.candidates:
                    if candidate != spec.default:
                        yield {**around, spec.label: candidate}, around

    def corrections(
        self, table: CostTable, labels: Sequence[str], truth: Callable[..., float]
    ) -> Iterator[Row]:
        """Yield rows that make up for tensors which parts of these labels share.

        Where a table has no row for what the labels do together, all their combinations are
        compared with frozen networks, with every other choice at its default.
        """
        space = self.supernet.space
        listed = [label for label in labels if _is_listed(space.specs[label])]
        if len(listed) < len(labels):  # what depends on the others is left out
            always = {spec.label for spec in space.active({})}
            listed = [label for label in listed if label in always]
        if math.prod(space.specs[label].size for label in listed) > MAX_SHARED:
            return  # the comparison says by how much the table is off
        known: set[tuple[tuple[str, Choice], ...]] = set()
        for candidates in product(*(space.specs[label].candidates for label in listed)):
            chosen = self.supernet.nearest(dict(zip(listed, candidates, strict=True)))
            if chosen is None:
                continue
            taken = {label: chosen[label] for label in listed if label in chosen}
            key = tuple(taken.items())
            if key not in known:
                known.add(key)
                off = truth(chosen) - table.of(chosen)
                if abs(off) > TOLERANCE * abs(table.of(chosen)):
                    yield Row(taken, off)

    def own(self, part: _Part, taken: Mapping[str, Candidate]) -> float | None:
        """Return what a part costs without what is nested in it; None if it is forbidden."""
        specs = self.supernet.space.specs
        chosen = self.supernet.completed({k: _taking(specs[k], c) for k, c in taken.items()})
        if chosen is None:
            return None
        nested = math.fsum(
            self.total(inner, chosen) for inner in part.inside if _runs(inner, chosen, specs)
        )
        return self.total(part, chosen) - nested

    def total(self, part: _Part, chosen: Mapping[str, Choice]) -> float:
        """Return what a part costs under an architecture, with what is nested in it."""
        calls = self.called(chosen, part.module)
        alone = nn.Sequential(part.module)
        specs = {k: s for m in supernet_modules(alone) for k, s in m.search_space_spec().items()}
        inside = {label: choice for label, choice in chosen.items() if label in specs}
        self.constrain(alone, specs, inside)
        key = (part.module, frozenset(inside.items()), repr(tree_map_only(Tensor, shape_of, calls)))
        if key not in self.costs:
            network = _Replay(freeze(alone, inside)[0], calls)
            self.costs[key] = self.measure(network)
        return self.costs[key]

    def constrain(
        self,
        alone: nn.Module,
        specs: Mapping[str, ParameterSpec],
        inside: Mapping[str, Choice],
    ) -> None:
        """Exclude from a part alone what constraints of the whole model exclude."""
        known = self.supernet.space.constraints
        if known:
            constrain(alone, *(c for c in known if c.specs.keys() <= specs.keys()))
            constrain(alone, *(Taken(specs[k]) == choice for k, choice in inside.items()))

    def called(self, chosen: Mapping[str, Choice], module: BaseSuperNetModule) -> list[Any]:
        """Return the arguments with which a module is called under an architecture."""
        own = module.search_space_spec()
        around = self.supernet.space.default()
        # What only this module reads cannot change what it is called with.
        seen = {
            label: around[label]
            if label in own and not self.shared[label] and label in around
            else choice
            for label, choice in chosen.items()
        }
        completed = self.supernet.completed(seen)
        if completed is None or not own.keys() <= completed.keys():
            completed = dict(chosen)
        key = frozenset(completed.items())
        if key not in self.calls:
            self.calls[key] = self.record(completed)
        return self.calls[key].get(module, [])

    def record(self, chosen: Mapping[str, Choice]) -> dict[nn.Module, list[Any]]:
        found: dict[nn.Module, list[Any]] = {}

        def note(module: nn.Module, args: Any, kwargs: Any) -> None:
            found.setdefault(module, []).append((args, kwargs))

        handles = [
            module.register_forward_pre_hook(note, with_kwargs=True)
            for module in self.supernet.modules
        ]
        try:
            with in_use(self.supernet.model), self.supernet.at(chosen):
                self.supernet.model(*self.inputs)
        except Exception as error:
            raise cannot_run(self.supernet.model, self.inputs, chosen, error) from error
        finally:
            for handle in handles:
                handle.remove()
        return found

    def measure(self, network: nn.Module, *inputs: Any) -> float:
        value = float(self.cost(network, *inputs))
        if not math.isfinite(value):
            raise CostError(
                f"the cost of a {type(network).__name__} is {value}",
                expected="a finite number",
                fix="correct the cost, or its options",
            )
        return value


class _Replay(nn.Module):
    """Calls a part as often as the model does, with what the model calls it with."""

    def __init__(self, part: nn.Module, calls: list[Any]) -> None:
        super().__init__()
        self.part = part
        self.calls = calls

    def forward(self) -> None:
        for args, kwargs in self.calls:
            self.part(*args, **kwargs)


def _parts(
    modules: Iterable[nn.Module], below: list[dict[str, Candidate]], seen: set[nn.Module]
) -> list[_Part]:
    """Return the nearest supernet modules at or below ``modules``, each with what it holds."""
    found: list[_Part] = []
    for module in modules:
        if module in seen:
            continue
        seen.add(module)
        if not isinstance(module, BaseSuperNetModule):
            found += _parts(module.children(), below, seen)
            continue
        part = _Part(module, below)
        runs_if: dict[nn.Module, list[dict[str, Candidate]]] = {}
        for label, by_candidate in module.branches().items():
            for candidate, children in by_candidate.items():
                for child in children:
                    runs_if.setdefault(child, []).append({label: candidate})
        for condition, children in module.gates():
            open_at = _open_at(condition.specs, condition.evaluate)
            for child in children:
                runs_if.setdefault(child, []).extend(open_at)
        for child, conditions in runs_if.items():
            part.inside += _parts([child], _both(below, conditions), seen)
        part.inside += _parts(module.children(), below, seen)
        found.append(part)
    return found


def _open_at(
    specs: Mapping[str, ParameterSpec], holds: Callable[[Mapping[str, Choice]], Any]
) -> list[dict[str, Candidate]]:
    combinations = product(*(spec.candidates for spec in specs.values()))
    found = (dict(zip(specs, candidates, strict=True)) for candidates in combinations)
    return [chosen for chosen in found if holds(chosen)]


def _both(
    one: list[dict[str, Candidate]], other: list[dict[str, Candidate]]
) -> list[dict[str, Candidate]]:
    """Return the combinations in which one of each list holds; labels may be in both."""
    return [
        {**a, **b} for a, b in product(one, other) if all(a.get(k, v) == v for k, v in b.items())
    ]


def _all(parts: Iterable[_Part]) -> Iterator[_Part]:
    for part in parts:
        yield part
        yield from _all(part.inside)


def _runs(part: _Part, chosen: Mapping[str, Choice], specs: Mapping[str, ParameterSpec]) -> bool:
    return any(
        all(
            label in chosen and candidate in specs[label].members(chosen[label])
            for label, candidate in around.items()
        )
        for around in part.below
    )


def _merged(rows: Iterable[Row]) -> list[Row]:
    """Add up the rows about the same candidates; leave out those that come to nothing."""
    found: dict[tuple[tuple[str, Candidate], ...], Row] = {}
    for row in rows:
        key = tuple(sorted(row.taken.items()))
        known = found.get(key)
        found[key] = row if known is None else Row(known.taken, known.cost + row.cost)
    return [row for row in found.values() if row.cost or not row.taken]


def _is_listed(spec: ParameterSpec) -> bool:
    return spec.interval is None and spec.n_chosen == 1


def _taking(spec: ParameterSpec, candidate: Candidate) -> Choice:
    """Return a choice that takes ``candidate``, the default if that does."""
    if candidate in spec.members(spec.default):
        return spec.default
    if spec.n_chosen == 1:
        return candidate
    others = [c for c in spec.members(spec.default) if c != candidate]
    return spec.normalise([candidate, *others[: (spec.n_chosen or 1) - 1]])


class _Truth:
    """What frozen networks cost: frozen from a copy of the model with its data, each once.

    Where parts are measured without data, networks are stripped of theirs after they are frozen,
    so that tensors which are one in the network are one when it is measured. One network is
    measured as it is.
    """

    def __init__(
        self, real: Supernet, builder: _Builder, place: torch.device, inputs: tuple[Any, ...]
    ) -> None:
        self.real = real
        self.builder = builder
        self.place = place
        self.inputs = inputs
        self.known: dict[object, float] = {}

    def __call__(self, architecture: Mapping[str, Choice]) -> float:
        key = frozenset(architecture.items())
        if key not in self.known:
            network = placed(freeze(self.real.model, architecture), self.place)
            self.known[key] = self.builder.measure(network, *self.builder.inputs)
        return self.known[key]

    def with_data(self, architecture: Mapping[str, Choice]) -> float:
        """Measure with data, on the device of the model, where there are data."""
        given = [x for x in tree_leaves(self.inputs) if isinstance(x, Tensor)]
        tensors = [*self.real.model.parameters(), *self.real.model.buffers()]
        if self.place.type != "meta" or any(x.is_meta for x in [*given, *tensors]):
            return self(architecture)
        device = tensors[0].device if tensors else torch.device("cpu")
        network = freeze(self.real.model, architecture)
        try:
            return self.builder.measure(network, *moved(self.inputs, device))
        except CostError:
            raise
        except Exception as error:
            raise cannot_run(self.real.model, self.inputs, architecture, error) from error


def _compare(table: CostTable, supernet: Supernet, truth: _Truth, n: int, seed: int) -> Deviation:
    """Compare a table with frozen networks."""
    space = supernet.space
    everything = space.size <= n
    rng = random.Random(seed)
    drawn = list(space.architectures()) if everything else [space.sample(rng) for _ in range(n)]
    absolute = relative = 0.0
    for index, architecture in enumerate(drawn):
        real = truth(architecture) if index else truth.with_data(architecture)
        off = abs(table.of(architecture) - real)
        absolute = max(absolute, off)
        relative = max(relative, off / abs(real) if real else float(off > 0))
    return Deviation(len(drawn), absolute, relative, everything) if drawn else Deviation()


__all__ = ["Cost", "cost_table"]
