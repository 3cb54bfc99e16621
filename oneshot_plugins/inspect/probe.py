"""A supernet that is made to try architectures on: a mutated copy with decisions of its own.

Not one of a strategy: what it computes when pinned is what every strategy's supernet computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.decision import Active, Decision, DecisionTable
from oneshot_core.errors import OneShotError
from oneshot_core.hooks import HookReturn, Memo, MutationHook, Options, no_default_hook, run_hooks
from oneshot_core.space import Choice, MutableModule
from oneshot_core.supernet import BaseSuperNetModule
from oneshot_core.traversal import traverse_and_mutate_submodules

from .copies import META
from .feed import Feed, form_of, tensors_in


class AsDeclared(Decision):
    """Take the default, or what is pinned."""

    def mixture(self) -> list[Active]:
        return [Active(candidate) for candidate in self.spec.members(self.spec.default)]

    def probabilities(self) -> Tensor:
        n = len(self.spec.candidates)
        # On the CPU, whatever the default is: one number weights tensors of every device.
        return torch.full((n,), (self.spec.n_chosen or n / 2) / n, device="cpu")


class AllAtOnce(AsDeclared):
    """Weight all candidates equally."""

    @property
    def superposes(self) -> bool:
        return True

    def mixture(self) -> list[Active]:
        weights = self.probabilities().unbind()
        return [Active(c, w) for c, w in zip(self.spec.candidates, weights, strict=True)]


@dataclass(frozen=True)
class Refused:
    """A module that no hook could replace, and why."""

    path: str
    labels: tuple[str, ...]
    error: Exception


def mutate_what_can_be(
    root: nn.Module, hooks: Sequence[MutationHook], options: Mapping[str, object]
) -> list[Refused]:
    """Walk over ``root``, leave what a hook refuses as it is, and return all of that."""
    refused: list[Refused] = []

    def guarded(module: nn.Module, name: str, memo: Memo, options: Options) -> HookReturn:
        try:
            new = run_hooks(hooks, module, name, memo, options)
        except Exception as error:
            labels: tuple[str, ...] = ()
            if isinstance(module, MutableModule):
                labels = tuple(spec.label for spec in module.specs_at(name))
            refused.append(Refused(name, labels, error))
            return True
        return True if new is module else new

    traverse_and_mutate_submodules(root, [guarded], options)
    return refused


@dataclass(frozen=True)
class Call:
    """One call of a module during a forward pass."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    form: str


class Probe:
    """A supernet on ``root``, which is changed, and how to run it.

    Args:
        root: a copy of the model.
        feed: what it is called with, on its device.
        hooks: the installed mutation hooks.
        decision: how choices are made where nothing is pinned.

    Attributes:
        refused: choices that no hook replaced.
        modules: path -> supernet module.
        calls: supernet module -> its calls since the last :meth:`pin`.
    """

    def __init__(
        self,
        root: nn.Module,
        feed: Feed,
        hooks: Sequence[MutationHook],
        decision: Callable[..., Decision] = AsDeclared,
    ) -> None:
        self.root = root
        self.feed = feed
        self.refused = mutate_what_can_be(
            root, [*hooks, no_default_hook], {"decisions": DecisionTable(decision)}
        )
        self.modules = {p: m for p, m in root.named_modules() if isinstance(m, BaseSuperNetModule)}
        # Of the modules, not of the table: one that does not keep its original has older ones.
        every = (decision for module in self.modules.values() for decision in module.decisions)
        self.decisions = tuple(dict.fromkeys(every))
        self.calls: dict[nn.Module, list[Call]] = {}
        for module in self.modules.values():
            module.register_forward_hook(self._record, with_kwargs=True)

    def _record(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self.calls.setdefault(module, []).append(Call(args, kwargs, form_of(output)))

    def pin(self, architecture: Mapping[str, Choice]) -> None:
        """Compute ``architecture`` from now on."""
        self.calls = {}
        for decision in self.decisions:
            wanted = architecture.get(decision.spec.label)
            if decision.pinned != wanted:
                decision.pin(wanted)

    def run(self) -> Any:
        """Run the whole network."""
        return run(self.root, self.feed)

    def repeat(self, module: nn.Module, calls: Sequence[Call]) -> tuple[str, ...]:
        """Call ``module`` again as it was called, and return the forms of what it gives."""
        with on(self.feed), torch.no_grad():
            return tuple(form_of(module(*call.args, **call.kwargs)) for call in calls)


def run(root: nn.Module, feed: Feed) -> Any:
    """Call ``root``; what it makes without naming a device is on the feed's."""
    with on(feed):
        return feed.call(root)


@contextmanager
def on(feed: Feed) -> Iterator[None]:
    """Let tensors be made on the meta device if ``feed`` is there."""
    tensors = tensors_in([feed.args, feed.kwargs])
    meta = any(tensor.device == META for tensor in tensors)
    with META if meta else nullcontext():
        yield


def located(root: nn.Module, action: Callable[[], object]) -> tuple[str, Exception] | None:
    """Run ``action``; return the path of the innermost module that raised, and the error.

    None if nothing did.
    """
    stack: list[str] = []
    handles = []
    for path, module in root.named_modules():
        handles.append(module.register_forward_pre_hook(_pushing(stack, path)))
        handles.append(module.register_forward_hook(_popping(stack)))
    try:
        action()
    except Exception as error:
        return (stack[-1] if stack else ""), error
    finally:
        for handle in handles:
            handle.remove()
    return None


def _pushing(stack: list[str], path: str) -> Callable[..., None]:
    return lambda module, args: stack.append(path)


def _popping(stack: list[str]) -> Callable[..., None]:
    def pop(module: nn.Module, args: Any, output: Any) -> None:
        stack.pop()

    return pop


def condensed(error: BaseException) -> str:
    """Return an error as one short line."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0].rstrip(".") if lines else ""
    if len(first) > 240:
        first = first[:240].rstrip() + "…"
    if isinstance(error, OneShotError) and first:
        return first  # a sentence
    name = type(error).__name__
    return f"{name}: {first}" if first else name
