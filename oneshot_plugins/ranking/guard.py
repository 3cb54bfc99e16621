"""Compare a supernet that is pinned to an architecture with the frozen network, on one batch.

What a supernet scores is worth nothing if the network that comes out of it is another one: because
a parent reads what it should call, a custom layer keeps state of its own, or a plugin has a fault.
So each ranking runs its first two architectures on one batch, as supernet and as frozen network.

Both are run as they are evaluated. Nothing is hooked to their modules, for torch's fused paths are
not taken by modules with hooks; torch's global hooks record what every module returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from oneshot_core.architecture import Architecture, freeze
from oneshot_core.errors import RankingError
from oneshot_core.lightning.kit import (
    InnerHook,
    isolated_attributes,
    isolated_buffers,
    isolated_metrics,
    isolated_rng,
)
from oneshot_core.space import MutableModule, running
from oneshot_core.supernet import BaseSuperNetModule
from oneshot_plugins.costs.nests import leaves

if TYPE_CHECKING:
    from oneshot_core.lightning import BaseOneShotLightningModule

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.complex64: 1e-4}
"""How far outputs may be apart, relative to the largest number in them; :data:`COARSE` for others.

On a CPU the two agree bit for bit. Kernels of other devices choose the order of their sums by the
place of tensors in memory, or by chance, and compiled code fuses operations; the error of that is
some units in the last place, times the depth. Another function is wrong by far more.
"""
COARSE = 0.02
COMPARED = 2
"""Architectures of a ranking that are compared: the first may be the one that uses everything."""
KEPT = 4096
"""Numbers that are kept of each output, evenly spread over it."""


@dataclass(frozen=True)
class Difference:
    """What a supernet and its frozen network do not have in common.

    Args:
        at: path of the first module whose outputs differ; None where only what the whole returns
            or logs differs.
        kind: class of that module.
        uncalled: paths of the choices at and below it that did not run.
    """

    at: str | None
    kind: str
    uncalled: tuple[str, ...]

    def __str__(self) -> str:
        if self.at is None:
            where = "the first to differ is what the whole returns or logs"
        else:
            where = f"the first to differ is the output of {self.at or 'the model'!r} ({self.kind})"
        if self.uncalled:
            where += f"; choices in it that were never called: {', '.join(self.uncalled)}"
        return where


@dataclass
class _Trace:
    """What a run has computed: outputs of modules in the order in which they were ready."""

    outputs: list[tuple[nn.Module, list[Tensor]]]
    result: list[Tensor] | None
    """None of a run that failed."""


def difference(
    supernet: nn.Module, freeze: Callable[[], nn.Module], run: Callable[[nn.Module], Any]
) -> Difference | None:
    """Return where two networks differ that should compute the same; None if they do not.

    A network that does not repeat itself cannot be judged, so it does not differ either. Of a
    frozen network that ``run`` fails for, what it computed until then is compared: a step may look
    at modules that are there during a search only.

    Args:
        supernet: pinned to an architecture.
        freeze: returns the network of that architecture.
        run: calls one of them, always on the same inputs, and returns what counts.
    """
    found = _alone(supernet, run)
    frozen = freeze()  # now, for a choice may have to see how it is called
    first = _first(supernet, found, frozen, _alone(frozen, run, may_fail=True))
    return None if first is None or not _repeats(supernet, run) else first


def _repeats(network: nn.Module, run: Callable[[nn.Module], Any]) -> bool:
    one, other = (_alone(network, run) for _ in range(2))
    return _first(network, one, network, other) is None


def _alone(
    network: nn.Module,
    run: Callable[[nn.Module], Any],
    *,
    seed: int | None = 0,
    may_fail: bool = False,
) -> _Trace:
    """Run a network without leaving a trace on it."""
    with ExitStack() as stack:
        stack.enter_context(isolated_rng(network, seed))
        stack.enter_context(isolated_buffers(network))
        stack.enter_context(isolated_metrics(network))
        stack.enter_context(isolated_attributes(network))
        return _recorded(network, run, may_fail=may_fail)


def _recorded(
    network: nn.Module, run: Callable[[nn.Module], Any], *, may_fail: bool = False
) -> _Trace:
    inside = set(network.modules())
    outputs: list[tuple[nn.Module, list[Tensor]]] = []

    def record(module: nn.Module, args: Any, output: Any) -> None:
        if module in inside:
            outputs.append((module, _sampled(output)))

    # A hook would have to be compiled, too; what such a network returns says enough.
    compiled = any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in inside)
    handle = None if compiled else register_module_forward_hook(record)
    try:
        return _Trace(outputs, _sampled(run(network)))
    except Exception:
        if not may_fail:
            raise
        return _Trace(outputs, None)
    finally:
        if handle is not None:
            handle.remove()


def _sampled(output: Any) -> list[Tensor]:
    """Return numbers of each tensor in ``output``, copied: what comes next may write into it."""
    samples = []
    for leaf in leaves(output):
        if isinstance(leaf, (bool, int, float)):
            leaf = torch.tensor(leaf)
        if isinstance(leaf, Tensor):
            leaf = leaf.detach()
            if leaf.layout != torch.strided:
                leaf = (
                    torch.cat([t.flatten() for t in leaf.unbind()])
                    if leaf.is_nested
                    else (leaf.to_dense())
                )
            shape = torch.tensor(leaf.shape)
            every = max(1, leaf.numel() // KEPT)
            samples += [shape, leaf.reshape(-1)[::every].clone()]
    return samples


def _first(one: nn.Module, found: _Trace, other: nn.Module, wanted: _Trace) -> Difference | None:
    """Return where the traces of two networks part.

    Only modules at the same path are compared: those inside a choice have another one where the
    choice is gone, and those behind a block that is left out move up. A module may have several
    paths, and be called several times.
    """
    here, there = _by_path(one, found), _by_path(other, wanted)
    paths = {module: path for path, module in reversed(list(one.named_modules()))}
    called = {module for module, _ in found.outputs}
    moved = dict(_moved(one, other, called))
    compared = _Compared()
    for module, _ in found.outputs:
        path = paths[module]
        ours, theirs = here[path], there.get(moved.get(path, ""))
        if theirs is None:
            continue
        if wanted.result is None:
            ours = ours[: len(theirs)]
        if not compared.agree(ours, theirs):
            return Difference(path, type(module).__name__, tuple(_uncalled(module, path, called)))
    if found.result is None or wanted.result is None:
        return None
    if compared.agree(found.result, wanted.result):
        return None
    return Difference(None, type(one).__name__, tuple(_uncalled(one, "", called)))


def _moved(
    one: nn.Module, other: nn.Module | None, called: set[nn.Module], here: str = "", there: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield each path of a supernet, and the path of the same module in the frozen network.

    In a list that decides which of its modules run, the frozen network holds those that ran.
    """
    yield here, there
    names = [name for name, child in one._modules.items() if child is not None]
    kept = dict(zip(names, names, strict=True))
    if isinstance(one, BaseSuperNetModule) and other is not None:
        ran = [name for name in names if called.intersection(one._modules[name].modules())]  # type: ignore[union-attr]
        if len(other._modules) == len(ran) < len(names):
            kept = dict(zip(ran, other._modules, strict=True))
    for name, theirs in kept.items():
        child, twin = one._modules[name], None if other is None else other._modules.get(theirs)
        assert child is not None
        yield from _moved(
            child, twin, called, f"{here}.{name}".lstrip("."), f"{there}.{theirs}".lstrip(".")
        )


def _by_path(network: nn.Module, trace: _Trace) -> dict[str, list[Tensor]]:
    outputs: dict[nn.Module, list[Tensor]] = {}
    for module, tensors in trace.outputs:
        outputs.setdefault(module, []).extend(tensors)
    named = network.named_modules(remove_duplicate=False)
    return {path: outputs[module] for path, module in named if module in outputs}


def _uncalled(module: nn.Module, path: str, called: set[nn.Module]) -> Iterator[str]:
    for name, part in module.named_modules(prefix=path):
        if isinstance(part, (BaseSuperNetModule, MutableModule)) and part not in called:
            yield repr(name)


class _Compared:
    """Compares tensors one after another; each may carry on the rounding of those before."""

    rounded = False
    tolerance = 0.0

    def agree(self, ours: list[Tensor], theirs: list[Tensor]) -> bool:
        return len(ours) == len(theirs) and all(map(self._equal, ours, theirs))

    def _equal(self, a: Tensor, b: Tensor) -> bool:
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        counts = not (a.is_floating_point() or a.is_complex())
        if not counts:
            self.tolerance = max(self.tolerance, TOLERANCES.get(a.dtype, COARSE))
        a, b = (torch.view_as_real(t).flatten() if t.is_complex() else t for t in (a, b))
        a, b = a.cpu().double(), b.cpu().double()
        if torch.equal(a.nan_to_num(), b.nan_to_num()) and torch.equal(a.isnan(), b.isnan()):
            return True
        if counts or a.numel() == 1:
            # The class of an example, and so what is counted, may turn over where numbers round.
            if self.rounded:
                return True
            if counts:
                return False
        if not torch.equal(a.isfinite(), b.isfinite()):
            return False
        apart = (a - b).nan_to_num().abs().max()
        self.rounded = True
        return bool(apart <= self.tolerance * b[b.isfinite()].abs().max())


class ComparedStep(InnerHook):
    """``validation_step`` of a search, which compares at its first batch and then steps aside.

    Args:
        wrapper: the search, pinned to ``architecture``.
        architecture: what it computes.
    """

    def __init__(self, wrapper: BaseOneShotLightningModule, architecture: Architecture) -> None:
        super().__init__(wrapper, "validation_step")
        self.architecture = architecture
        self.inner = wrapper.__dict__[self.name]

    @classmethod
    def install(cls, search: BaseOneShotLightningModule, architecture: Architecture) -> None:
        """Compare at the next batch, unless the step is compiled or the strategy's own."""
        if isinstance(search.__dict__.get("validation_step"), InnerHook):
            search.__dict__["validation_step"] = cls(search, architecture)

    @staticmethod
    def remove(search: BaseOneShotLightningModule) -> None:
        """Put back what was there."""
        hook = search.__dict__.get("validation_step")
        if isinstance(hook, ComparedStep):
            search.__dict__["validation_step"] = hook.inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the user's step, as always, and beside it that of the frozen network.

        Raises:
            RankingError: they compute different things.
        """
        search: Any = self.wrapper
        self.remove(search)
        model = search.model
        frozen: Any = freeze(model, self.architecture)
        frozen.trainer = search.trainer
        given = apply_to_collection((args, kwargs), Tensor, Tensor.clone)
        outputs = []

        def quietly(network: Any) -> Any:
            own = apply_to_collection(given, Tensor, Tensor.clone)
            with _logged(network) as logged, running:
                return network.validation_step(*own[0], **own[1]), logged

        def really(network: Any) -> Any:
            with _logged(network, type(network).log) as logged:
                outputs.append(self.inner(*args, **kwargs))
            return outputs[0], logged

        # First the frozen network: both then start from the same state of the generators.
        wanted = _alone(frozen, quietly, seed=None, may_fail=True)
        found = _first(model, _recorded(model, really), frozen, wanted)
        if found is not None and _repeats(model, quietly):
            name = type(model).__name__
            raise RankingError(
                f"the supernet of {name} computes something else than the frozen network of "
                f"{self.architecture}: {found}",
                expected="the same outputs on one validation batch; scores of another network say "
                "nothing",
                fix="call layers with choices instead of using their tensors or attributes, keep "
                "no state beside parameters and buffers; oneshot.inspect(model, batch) finds it, "
                "too",
            )
        return outputs[0]


@contextmanager
def _logged(network: nn.Module, log: Callable[..., None] | None = None) -> Iterator[dict[str, Any]]:
    """Collect what ``network`` logs, and pass it on to ``log`` if there is one."""
    logged: dict[str, Any] = {}

    def collect(name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        logged[name] = value
        if log is not None:
            log(network, name, value, *args, **kwargs)

    before = {k: v for k, v in network.__dict__.items() if k == "log"}
    network.__dict__["log"] = collect
    try:
        yield logged
    finally:
        del network.__dict__["log"]
        network.__dict__.update(before)
