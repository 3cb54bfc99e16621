"""Random nested model spaces, against what they mean, computed the slow way.

The spaces mix every choice: layers, inputs, depths, widths and kernels, in each other, under shared
labels and expressions, with modules in several places and with constraints. What they mean is
written down once more in this file: :func:`used` says which choices decide something,
:func:`compute` what comes out, for one architecture or for weighted candidates.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from oneshot_core import nn as onn
from oneshot_core.architecture import Architecture, freeze
from oneshot_core.decision import Active, Decision, DecisionTable
from oneshot_core.errors import ArchitectureError, SpaceError
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import (
    Choice,
    InputChoice,
    LayerChoice,
    MutableModule,
    ParameterSpec,
    Repeat,
    Value,
    choice,
    constrain,
    if_else,
    maximum,
    resolve,
)
from oneshot_core.supernet import supernet_modules
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.checks.decisions import Drawn
from oneshot_plugins.elastic.supernet import ElasticLayer
from oneshot_plugins.ranking.top_k import most_probable
from oneshot_plugins.search.evolution import evolution, mutate
from oneshot_plugins.supernets.modules import MixedInput, MixedLayer, MixedRepeat

WIDTH, BATCH, LIMIT = 4, 3, 400
"""Features of the input at most, rows of it, and combinations of a space at most."""

D = choice([2, WIDTH], label="d")
E, G = choice([1, 3], label="e"), choice([2, 4], label="g")
KERNEL = choice([1, 3], label="k")
ONE = 1
DEPTH = choice([0, 1, 2], label="depth")
HIDDEN: list[Any] = [3, E, G, E + G, 2 * E - 1, maximum(E, G), if_else(E > 1, G, 3), 1 + DEPTH]
CONDITIONS: list[Value] = [
    E <= G,
    E + G != 5,
    DEPTH >= 1,
    (DEPTH == 2) | (E == 1),
    if_else(DEPTH > 0, G > 2, True),
    (D > 2) & (KERNEL > 1),
    choice(["0", "1"], label="two") == "0",
    (choice(["0", "1"], label="two") == "1") | (E == 3),
    if_else(choice([0, 1, 2], label="inputs") == 1, DEPTH < 2, True),
]


class Branching(nn.Module):
    """Give several views of an input to a choice of inputs."""

    def __init__(self, branches: list[nn.Module], inputs: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.branches, self.inputs, self.head = nn.ModuleList(branches), inputs, head

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.inputs([branch(x) for branch in self.branches])
        return self.head(torch.stack(chosen).prod(0) if isinstance(chosen, list) else chosen)


class AsChannel(nn.Module):
    """Convolve over the features, of which each is a position."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.unsqueeze(1)).squeeze(1)


@st.composite
def models(draw: st.DrawFn, *, weighted: bool = False, constrained: bool = True) -> nn.Module:
    """Draw a model of (N, d) -> (N, d), of at most ``LIMIT`` combinations.

    Args:
        draw: of hypothesis.
        weighted: whether every choice can be superposed.
        constrained: whether conditions may be attached.
    """
    d: Any = draw(st.sampled_from([WIDTH, D]))
    built: list[nn.Module] = []
    paid: set[nn.Module] = set()
    labels: set[str] = set()
    left = LIMIT

    def pay(module: nn.Module) -> nn.Module:
        """Return ``module``, or something without a choice if that would be too much."""
        nonlocal left
        new = [m for m in _mutables(module) if m not in paid]
        sizes = {s.label: s.size for m in new for s in m.specs_at(f"{len(paid)}/{id(m)}")}
        price = math.prod(size for label, size in sizes.items() if label not in labels)
        if price > left:
            return nn.Tanh()
        left //= price
        paid.update(new)
        labels.update(sizes)
        return module

    def leaf() -> nn.Module:
        e: Any = draw(st.sampled_from(HIDDEN))
        match draw(st.sampled_from(["tanh", "linear", "hidden", "hidden", "norm", "conv"])):
            case "linear":
                return onn.Linear(d, d, bias=draw(st.booleans()))
            case "hidden":
                return nn.Sequential(onn.Linear(d, e), nn.Tanh(), onn.Linear(e, d))
            case "norm":
                norm = draw(st.sampled_from([onn.LayerNorm, onn.BatchNorm1d]))
                return norm(d)
            case "conv":
                k = draw(st.sampled_from([1, KERNEL]))
                body = nn.Sequential(
                    onn.Conv1d(1, e, k, padding=k // 2), onn.Conv1d(e, 1, 3, padding=1)
                )
                return AsChannel(body)
        return nn.Tanh()

    def inputs(depth: int) -> nn.Module:
        n_chosen = draw(st.sampled_from([1, 1, 2, 3, None]))
        allowed = ["sum", "mean"]
        if not weighted or n_chosen == 1:
            allowed += ["none"] + ["concat"] * (n_chosen is not None)
        reduction: Any = draw(st.sampled_from(allowed))
        label = "inputs" if n_chosen == 1 and draw(st.booleans()) else None
        picked = InputChoice(3, n_chosen, reduction=reduction, label=label)
        head = nn.Identity()
        if reduction == "concat":
            head = onn.Linear((n_chosen or 1) * d, d)
        return Branching([build(depth - 1) for _ in range(3)], picked, head)

    def build(depth: int) -> nn.Module:
        kinds = ["leaf", "leaf", "again"]
        kinds += ["layer", "layer", "repeat", "inputs", "group"] * (depth > 0)
        match draw(st.sampled_from(kinds)):
            case "again" if built:
                return draw(st.sampled_from(built))
            case "layer":
                n = draw(st.integers(1, 3))
                label = "two" if n == 2 and draw(st.booleans()) else None
                module: nn.Module = LayerChoice([build(depth - 1) for _ in range(n)], label=label)
            case "repeat":
                depths: Any = draw(
                    st.sampled_from([(0, 2), [0, 2], [1, 2], ONE, DEPTH, DEPTH // 2])
                )
                longest = 1 if depths is ONE else 2
                if isinstance(depths, Value):
                    longest = max(depths.distribution())
                module = Repeat([build(depth - 1) for _ in range(longest)], depths)
            case "group":
                module = nn.Sequential(build(depth - 1), build(depth - 1))
            case "inputs":
                module = inputs(depth)
            case _:
                module = leaf()
        module = pay(module)
        built.append(module)
        return module

    root = nn.Sequential(*(build(n) for n in draw(st.sampled_from([[3], [3, 1], [2, 2], [2, 3]]))))
    if constrained and draw(st.integers(0, 3)):
        conditions = draw(st.lists(conditions_on(specs_of(root)), min_size=1, max_size=3))
        constrain(draw(st.sampled_from([root, root[0]])), *(c for c in conditions if c is not None))
    return root.double()


@st.composite
def conditions_on(draw: st.DrawFn, specs: Mapping[str, ParameterSpec]) -> Value | None:
    """Draw a condition between choices of a space; None if there is nothing to compare."""
    fitting = [c for c in CONDITIONS if c.specs.keys() <= specs.keys()]
    single = [spec for spec in specs.values() if spec.n_chosen == 1]
    if not single:
        return None
    if fitting and draw(st.booleans()):
        return draw(st.sampled_from(fitting))
    first, second = draw(st.sampled_from(single)), draw(st.sampled_from(single))
    one, other = (choice(spec.candidates, label=spec.label) for spec in (first, second))
    if draw(st.booleans()):
        return one != draw(st.sampled_from(first.candidates))
    taken, implied = (draw(st.sampled_from(spec.candidates)) for spec in (first, second))
    return (one != taken) | (other == implied)


def _mutables(module: nn.Module) -> list[MutableModule]:
    return [m for m in module.modules() if isinstance(m, MutableModule)]


def paths_of(root: nn.Module) -> dict[nn.Module, str]:
    return {module: path for path, module in root.named_modules()}


def specs_of(root: nn.Module) -> dict[str, ParameterSpec]:
    paths = paths_of(root)
    return {spec.label: spec for m in _mutables(root) for spec in m.specs_at(paths[m])}


def conditions_of(root: nn.Module) -> list[Value]:
    attached = [vars(module).get("_oneshot_constraints") for module in root.modules()]
    return [condition for one in attached if one is not None for condition in one.conditions]


def used(root: nn.Module, chosen: Mapping[str, Any]) -> Iterator[nn.Module]:
    """Yield the modules that run, choices among them, as often as they do."""
    paths = paths_of(root)

    def below(module: nn.Module) -> Iterator[nn.Module]:
        yield module
        parts = list(module.children())
        if isinstance(module, LayerChoice):
            parts = [module.candidates[chosen[module.label or paths[module]]]]
        elif isinstance(module, Repeat):
            parts = list(module.blocks)[: depth_of(module, paths[module], chosen)]
        for part in parts:
            yield from below(part)

    yield from below(root)


def depth_of(module: Repeat, path: str, chosen: Mapping[str, Any]) -> Any:
    return chosen[path] if module.depth is None else module.depth.evaluate(chosen)


def enumerate_slowly(root: nn.Module) -> Iterator[tuple[dict[str, Choice], bool]]:
    """Take every combination of choices; keep what decides something, and say if it is allowed."""
    specs, paths, conditions = specs_of(root), paths_of(root), conditions_of(root)
    for values in itertools.product(*(spec.choices() for spec in specs.values())):
        chosen = dict(zip(specs, values, strict=True))
        labels = {
            spec.label
            for module in used(root, chosen)
            if isinstance(module, MutableModule)
            for spec in module.specs_at(paths[module])
        }
        active = {label: chosen[label] for label in labels}
        asked = [c for c in conditions if c.specs.keys() <= labels]
        yield active, all(condition.evaluate(active) for condition in asked)


Key = frozenset[tuple[str, Choice]]


def key(architecture: Mapping[str, Choice]) -> Key:
    return frozenset(architecture.items())


def allowed(root: nn.Module) -> tuple[set[Key], set[Key]]:
    """Return the architectures that keep the constraints, and those that break one."""
    kept: set[Key] = set()
    broken: set[Key] = set()
    for architecture, keeps in enumerate_slowly(root):
        (kept if keeps else broken).add(key(architecture))
    return kept, broken


Take = Callable[[ParameterSpec], list[tuple[Any, Any]]]
"""Spec -> candidates that take part, each with its weight (1 for as it is)."""


def compute(root: nn.Module, x: Tensor, take: Take) -> Tensor:
    """Compute what a model with choices gives, from the definition of each choice."""
    paths = paths_of(root)

    def combined(specs: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        for parts in itertools.product(*(take(spec) for spec in specs)):
            chosen = {s.label: c for s, (c, _) in zip(specs, parts, strict=True)}
            yield chosen, math.prod(weight for _, weight in parts)

    def run(module: nn.Module, x: Any) -> Any:
        path = paths[module]
        if isinstance(module, LayerChoice):
            return total(
                [(run(module.candidates[c], x), w) for c, w in take(module.specs_at(path)[0])]
            )
        if isinstance(module, Repeat):
            standing = [x]
            weighted = list(combined(module.specs_at(path)))
            depths = [(depth_of(module, path, chosen), w) for chosen, w in weighted]
            for block in list(module.blocks)[: max(depth for depth, _ in depths)]:
                standing.append(run(block, standing[-1]))
            return total([(standing[depth], w) for depth, w in depths])
        if isinstance(module, InputChoice):
            return reduced(module, x, take(module.specs_at(path)[0]))
        if isinstance(module, onn.MutableLayer):
            return total(
                [(by_hand(module, x, chosen), w) for chosen, w in combined(module.specs_at(path))]
            )
        if isinstance(module, Branching):
            chosen = run(module.inputs, [run(branch, x) for branch in module.branches])
            return run(
                module.head, torch.stack(chosen).prod(0) if isinstance(chosen, list) else chosen
            )
        if isinstance(module, AsChannel):
            return run(module.body, x.unsqueeze(1)).squeeze(1)
        if isinstance(module, nn.Sequential):
            for part in module:
                x = run(part, x)
            return x
        return module(x)

    return run(root, x)


def total(outputs: list[tuple[Tensor, Any]]) -> Tensor:
    """Add up, each in the corner of zeros as large as the largest."""
    shape = [max(sizes) for sizes in zip(*(out.shape for out, _ in outputs), strict=True)]
    result = torch.zeros(shape, dtype=torch.float64)
    for out, weight in outputs:
        padding = [
            n for dim in reversed(range(out.dim())) for n in (0, shape[dim] - out.shape[dim])
        ]
        result = result + weight * F.pad(out, padding)
    return result


def reduced(module: InputChoice, x: list[Tensor], taken: list[tuple[Any, Any]]) -> Any:
    values = [x[index] for index, _ in taken]
    weights = [weight for _, weight in taken]
    if module.reduction in ("concat", "none") and module.n_chosen != 1:
        return torch.cat(values, 1) if module.reduction == "concat" else values
    mixed = total(list(zip(values, weights, strict=True)))
    if module.reduction == "mean":
        return mixed / sum(weights)
    return [mixed] if module.reduction == "none" else mixed


def by_hand(layer: Any, x: Tensor, chosen: Mapping[str, Any]) -> Tensor:
    a: Any = resolve(dict(layer.arguments), chosen)
    if isinstance(layer, nn.Linear):
        rows, columns = a["out_features"], a["in_features"]
        bias = None if layer.bias is None else layer.bias[:rows]
        return F.linear(x[:, :columns], layer.weight[:rows, :columns], bias)
    if isinstance(layer, nn.Conv1d):
        rows, columns, k = a["out_channels"], a["in_channels"], a["kernel_size"]
        start = (layer.weight.shape[2] - k) // 2
        weight = layer.weight[:rows, :columns, start : start + k]
        return F.conv1d(x[:, :columns], weight, layer.bias[:rows], padding=k // 2)
    if isinstance(layer, nn.LayerNorm):
        n = a["normalized_shape"]
        return F.layer_norm(x[:, :n], (n,), layer.weight[:n], layer.bias[:n])
    assert isinstance(layer, nn.BatchNorm1d)
    n = a["num_features"]
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean, var = layer.running_mean[:n].clone(), layer.running_var[:n].clone()
    return F.batch_norm(x[:, :n], mean, var, layer.weight[:n], layer.bias[:n], layer.training)


def numel_by_hand(module: nn.Module, chosen: Mapping[str, Any]) -> int:
    """Count the numbers of a module's own parameters under an architecture."""
    if not isinstance(module, onn.MutableLayer):
        own = 0 if isinstance(module, MutableModule) else 1
        return own * sum(p.numel() for p in module.parameters(recurse=False))
    a: Any = resolve(dict(module.arguments), chosen)
    if isinstance(module, nn.Linear):
        return a["out_features"] * (a["in_features"] + (module.bias is not None))
    if isinstance(module, nn.Conv1d):
        return a["out_channels"] * (a["in_channels"] * a["kernel_size"] + 1)
    return 2 * (a["normalized_shape"] if "normalized_shape" in a else a["num_features"])


class Weighted(Decision):
    """Superpose all candidates with weights that differ from label to label."""

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__(spec)
        generator = torch.Generator().manual_seed(len(spec.label))
        weights = torch.rand(len(spec.candidates), generator=generator, dtype=torch.float64) + 0.1
        self.weights = nn.Parameter((spec.n_chosen or 1) * weights / weights.sum())

    @property
    def superposes(self) -> bool:
        return True

    def mixture(self) -> list[Active]:
        return [Active(c, w) for c, w in zip(self.spec.candidates, self.weights, strict=True)]

    def probabilities(self) -> Tensor:
        return self.weights


def mutated(root: nn.Module, decision: type[Decision]) -> tuple[nn.Module, DecisionTable]:
    table, supernet = DecisionTable(decision), copy.deepcopy(root)
    hooks = [ElasticLayer.mutate, MixedLayer.mutate, MixedInput.mutate, MixedRepeat.mutate]
    traverse_and_mutate_submodules(supernet, hooks, {"decisions": table})
    return supernet, table


def pin(table: DecisionTable, architecture: Mapping[str, Choice]) -> None:
    for decision in table:
        decision.unpin()
    for label, taken in architecture.items():
        table[label].pin(taken)


def batch(width: Any = WIDTH) -> Tensor:
    x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x[:, :width]


def space_of(root: nn.Module) -> ModelSpace | None:
    """Return the space; None if its constraints leave nothing."""
    if any(keeps for _, keeps in enumerate_slowly(root)):
        return ModelSpace(root)
    with pytest.raises(SpaceError, match="nothing keeps the constraints"):
        ModelSpace(root)
    return None


def checked(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def check_counting(root: nn.Module, seed: int) -> None:
    kept, broken = allowed(root)
    space = space_of(root)
    if space is None:
        return
    listed = list(space.architectures())
    assert {key(a) for a in listed} == kept
    assert len(listed) == len(kept), "each once"
    assert space.size == len(space) == len(kept)
    assert ModelSpace(mutated(root, Drawn)[0]).size == len(kept)
    rng = random.Random(seed)
    assert all(key(space.sample(rng)) in kept for _ in range(5))
    defaults = space.reduce({label: spec.default for label, spec in space.specs.items()})
    assert space.default() == defaults if key(defaults) in kept else key(space.default()) in kept
    for architecture in listed[:10]:
        assert space.validate(architecture) == space.reduce(architecture) == architecture
        partial = {label: c for label, c in architecture.items() if rng.random() < 0.5}
        assert space.possible(architecture)
        assert space.possible(partial)
        completed = space.complete(partial, rng)
        assert key(completed) in kept
        assert all(partial.get(label, c) == c for label, c in completed.items())
    for key_ in itertools.islice(broken, 10):
        assert not space.possible(dict(key_))
        with pytest.raises(ArchitectureError, match="breaks the constraint"):
            space.validate(dict(key_))


def check_computing(root: nn.Module, at_most: int) -> None:
    space = space_of(root)
    if space is None:
        return
    supernet, table = mutated(root, Drawn)
    for architecture in itertools.islice(space.architectures(), at_most):
        frozen = freeze(supernet, architecture)
        direct = freeze(root, architecture)
        pin(table, architecture)

        def take(spec: ParameterSpec, chosen: Any = architecture) -> list[tuple[Any, Any]]:
            return [(candidate, 1) for candidate in spec.members(chosen[spec.label])]

        x = batch(architecture.get("d", WIDTH))
        for training in (False, True, False):  # the last with other statistics
            ours = [m.train(training) for m in (supernet, frozen, direct)]
            outputs = [m(x) for m in ours]
            assert torch.equal(outputs[0], outputs[1])
            assert torch.equal(outputs[0], outputs[2])
            by_definition = compute(frozen_back(root, supernet, training), x, take)
            torch.testing.assert_close(outputs[0], by_definition, rtol=1e-10, atol=1e-10)
        for part in frozen.modules():
            assert not type(part).__module__.startswith("oneshot")
        numels = {m: numel_by_hand(m, architecture) for m in set(used(root, architecture))}
        # What is shared is there once, what was not chosen is not there.
        assert sum(p.numel() for p in frozen.parameters()) == sum(numels.values())
        supernet.load_state_dict(root.state_dict())  # statistics as they were


def frozen_back(root: nn.Module, supernet: nn.Module, training: bool) -> nn.Module:
    """Return the model before mutation with the supernet's tensors of now."""
    twin = copy.deepcopy(root)
    twin.load_state_dict(supernet.state_dict())
    return twin.train(training)


def check_superposing(root: nn.Module, training: bool) -> None:
    supernet, table = mutated(root.train(training), Weighted)

    def take(spec: ParameterSpec) -> list[tuple[Any, Any]]:
        return list(zip(spec.candidates, table[spec.label].weights, strict=True))  # type: ignore[arg-type,call-overload]

    outputs, parameters = [], []
    for model in (supernet, root):
        x = batch().requires_grad_()
        out = supernet(x) if model is supernet else compute(root, x, take)
        outputs.append(out)
        parameters.append([x, *table.parameters(), *model.parameters()])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-10, atol=1e-10)
    if not outputs[0].requires_grad:
        return
    probe = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(1)).double()
    ours, theirs = (
        torch.autograd.grad((o * probe).sum(), p, allow_unused=True, materialize_grads=True)
        for o, p in zip(outputs, parameters, strict=True)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def check_drawing(root: nn.Module, seed: int) -> None:
    """What was drawn is what runs and what is exported, wherever a label is used."""
    space = ModelSpace(root)
    supernet, table = mutated(root.eval(), Drawn)
    table.reseed(seed)
    for _ in range(3):
        memo: dict[str, Choice] = {}
        for module in supernet_modules(supernet):
            memo |= module.resample(memo)
        assert memo.keys() == space.specs.keys()
        drawn = space.reduce(memo)
        x = batch(memo.get("d", WIDTH))
        pin(table, {})
        found = supernet(x)
        pin(table, drawn)
        assert torch.equal(supernet(x), found)
        assert torch.equal(freeze(supernet, drawn)(x), found)
        exported: dict[str, Choice] = {}
        for module in supernet_modules(supernet):
            exported |= module.export(exported)
        assert exported.keys() == space.specs.keys()
        assert space.validate(exported) == space.reduce(exported)


def check_training_what_is_frozen(root: nn.Module, seed: int) -> None:
    space = space_of(root)
    if space is None:
        return
    supernet, _ = mutated(root, Drawn)
    before = copy.deepcopy(supernet.state_dict())
    architecture = space.sample(random.Random(seed))
    frozen = freeze(supernet, architecture)
    loss = frozen(batch(architecture.get("d", WIDTH))).square().sum()
    if loss.requires_grad:
        loss.backward()
        torch.optim.SGD(frozen.parameters(), lr=1.0).step()
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(before[name], tensor), name
    assert all(p.grad is None for p in supernet.parameters())
    again = freeze(supernet, architecture)
    assert not {t.data_ptr() for t in again.parameters()} & {
        t.data_ptr() for t in (*frozen.parameters(), *supernet.parameters())
    }


def check_evolving(root: nn.Module, seed: int) -> None:
    space = space_of(root)
    if space is None:
        return
    kept, _ = allowed(root)
    rng = random.Random(seed)
    for _ in range(5):
        parent = space.sample(rng)
        child = mutate(space, parent, rng)
        assert key(child) in kept
    proposals = evolution(space, budget=min(60, 2 * len(kept)), seed=seed, population_size=4)
    found = [next(proposals)]
    try:
        while True:
            found.append(proposals.send(rng.random()))
    except StopIteration:
        pass
    assert len({key(a) for a in found}) == len(found) == min(60, len(kept))
    assert {key(a) for a in found} <= kept


def check_ranking_by_probability(root: nn.Module, k: int) -> None:
    space = space_of(root)
    if space is None:
        return
    table = DecisionTable(Weighted)
    for label, spec in space.specs.items():
        table.decide(spec, path=label)

    def score(architecture: Mapping[str, Choice]) -> float:
        result = 0.0
        for label, taken in architecture.items():
            spec, p = space.specs[label], table[label].probabilities().tolist()
            members = spec.members(taken)
            for candidate, one in zip(spec.candidates, p, strict=True):
                if candidate in members:
                    result += math.log(one)
                elif spec.n_chosen is None:
                    result += math.log1p(-one)
        return result

    kept, _ = allowed(root)
    wanted = sorted((score(dict(each)) for each in kept), reverse=True)[:k]
    found = most_probable(space, table, k)
    assert {key(a) for a in found} <= kept
    assert len({key(a) for a in found}) == len(found)
    assert [score(a) for a in found] == pytest.approx(wanted)


def check_files(root: nn.Module, seed: int, folder: Any) -> None:
    space = space_of(root)
    if space is None:
        return
    architecture = Architecture(space.sample(random.Random(seed)), space)
    again = Architecture.load(architecture.save(folder / "a.json"))
    assert again == architecture
    assert again.validate(space) == architecture


SEEDS = st.integers(0, 9)


@checked(60)
@given(models(), SEEDS)
def test_counting_listing_drawing_and_validating_agree_with_slow_enumeration(
    root: nn.Module, seed: int
) -> None:
    check_counting(root, seed)


@checked(25)
@given(models())
def test_the_pinned_supernet_the_frozen_network_and_the_definition_are_one_function(
    root: nn.Module,
) -> None:
    """The first two bit for bit, in both modes; by night every architecture."""
    check_computing(root, 6)


@checked(40)
@given(models(weighted=True, constrained=False), st.booleans())
def test_a_superposition_and_its_gradients_are_those_of_the_written_out_sum(
    root: nn.Module, training: bool
) -> None:
    check_superposing(root, training)


@checked(25)
@given(models(constrained=False), SEEDS)
def test_modules_with_one_label_always_agree(root: nn.Module, seed: int) -> None:
    check_drawing(root, seed)


@checked(25)
@given(models(), SEEDS)
def test_training_a_frozen_network_never_changes_the_supernet(root: nn.Module, seed: int) -> None:
    check_training_what_is_frozen(root, seed)


@checked(15)
@given(models(), SEEDS)
def test_evolution_keeps_the_constraints_and_proposes_all_there_is(
    root: nn.Module, seed: int
) -> None:
    check_evolving(root, seed)


@checked(25)
@given(models(), st.integers(1, 8))
def test_the_most_probable_architectures_are_those_of_a_full_sort(root: nn.Module, k: int) -> None:
    check_ranking_by_probability(root, k)


@checked(20)
@given(root=models(), seed=SEEDS)
def test_architectures_of_any_space_survive_files(
    root: nn.Module, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_files(root, seed, tmp_path_factory.mktemp("architecture"))


# The same checks as above, on more spaces, and in each all architectures instead of six.
@pytest.mark.nightly
@checked(60)
@given(models(), SEEDS, st.integers(1, 20))
def test_many_more_spaces(root: nn.Module, seed: int, k: int) -> None:
    check_counting(root, seed)
    check_computing(root, LIMIT)
    check_training_what_is_frozen(root, seed)
    check_evolving(root, seed)
    check_ranking_by_probability(root, k)


@pytest.mark.nightly
@checked(150)
@given(models(weighted=True, constrained=False), st.booleans(), SEEDS)
def test_many_more_superpositions(root: nn.Module, training: bool, seed: int) -> None:
    check_superposing(root, training)
    check_drawing(root, seed)
