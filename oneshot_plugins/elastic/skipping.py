"""Blocks that can be left out: who says which are present, and what their classes do otherwise.

The list that holds the blocks is the choice, for in a frozen network blocks that are left out are
gone from it. While a network is computed, whoever goes over the list meets those that are present
only, so that everything that a parent does between blocks is what the frozen network does. A block
that is called all the same, as by ``children()``, gives its input back.
"""

from __future__ import annotations

import functools
import operator
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.decision import Decision
from oneshot_core.errors import StrategyError
from oneshot_core.space import Branches, Candidate, Choice, ParameterSpec, running
from oneshot_plugins.supernets.modules import weighted_sum

KEY = "_oneshot_layout"
"""Where a module keeps its layout; see :mod:`.layout`."""


def computing() -> bool:
    """Say whether a network is being computed at present."""
    # A compiler sees no frames; what it compiles is a computation.
    return torch.compiler.is_compiling() or bool(running)


@dataclass(frozen=True)
class Vote:
    """One choice about the blocks of a list.

    Args:
        label: of the choice; None for the path of the one block that it is about.
        keeps: candidate -> names in the list of the blocks that stay.
        about: names of all blocks that it decides about.
        default: the candidate that keeps all.
    """

    label: str | None
    keeps: Mapping[Candidate, frozenset[str]]
    about: tuple[str, ...]
    default: Candidate

    def spec_at(self, path: str) -> ParameterSpec:
        """Describe the choice, for a list at ``path``."""
        label = self.label
        if label is None:
            label = f"{path}.{self.about[0]}" if path else self.about[0]
        return ParameterSpec(label, tuple(self.keeps), default=self.default)


class Depth:
    """Which blocks of a list are present.

    Args:
        container: the list.
        votes: the choices, each about other blocks.
        give: what a block that is left out gives back, from what it is called with; None for its
            first argument.
    """

    def __init__(
        self, container: nn.Module, votes: Sequence[Vote], give: Callable[..., Any] | None
    ) -> None:
        self.container = container
        self.votes = tuple(votes)
        self.give = give
        self.gave_input = False
        """Whether a block that was left out gave its first argument back."""
        self.waiting: list[tuple[dict[str, Any], str]] = []
        """Attributes of networks that are being frozen, to be set when it is known what stays."""
        self.frozen: frozenset[str] = frozenset()
        """What the last network that was frozen leaves out."""

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        """Describe the choices, for a list at ``path``."""
        return tuple(vote.spec_at(path) for vote in self.votes)

    def decisions(self) -> tuple[Decision, ...]:
        """Return the decisions of a search, in the order of the votes; none before a search."""
        own: tuple[Decision, ...] = self.container.__dict__.get("_decisions", ())
        return own[len(own) - len(self.votes) :]

    def left_out(self) -> frozenset[str]:
        """Return the names of the blocks that are not computed at present."""
        out: set[str] = set()
        for vote, decision in zip(self.votes, self.decisions(), strict=False):
            kept = [vote.keeps[active.candidate] for active in decision.active()]
            out.update(name for name in vote.about if not any(name in each for each in kept))
        return frozenset(out)

    def left_out_by(self, choices: Sequence[Choice]) -> frozenset[str]:
        """Return the names of the blocks that an architecture leaves out.

        Args:
            choices: one for each vote.
        """
        return frozenset(
            name
            for vote, choice in zip(self.votes, choices, strict=True)
            for name in vote.about
            if name not in vote.keeps[choice]
        )

    def shares(self, name: str) -> list[tuple[bool, Tensor | None]]:
        """Return whether a block runs at present; if that is weighted, both with their weights."""
        for vote, decision in zip(self.votes, self.decisions(), strict=False):
            if name in vote.about:
                found: dict[bool, Tensor | None] = {}
                for active in decision.active():
                    runs = name in vote.keeps[active.candidate]
                    known = found.get(runs)
                    weight = active.weight
                    found[runs] = weight if known is None or weight is None else known + weight
                return list(found.items())
        return [(True, None)]

    def before(self, name: str | None, out: Collection[str]) -> int:
        """Count the blocks of ``out`` that stand before ``name``; all of them for None."""
        names = list(self.container._modules)
        end = len(names) if name is None else names.index(name)
        return sum(each in out for each in names[:end])

    def branches(self, labels: Sequence[str]) -> Branches:
        """Return, by label and candidate, the blocks that run only if it is taken."""
        blocks = {n: m for n, m in self.container._modules.items() if m is not None}
        return {
            label: {
                candidate: tuple(
                    m for n in vote.about if n in kept and (m := blocks[n]) is not None
                )
                for candidate, kept in vote.keeps.items()
            }
            for label, vote in zip(labels, self.votes, strict=True)
        }

    def skipped(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a block gives back that is left out, and called all the same.

        Raises:
            StrategyError: nothing was given to it.
        """
        if self.give is not None:
            return self.give(*args, **kwargs)
        if not (args or kwargs):
            raise StrategyError(
                f"a {type(block).__name__} that is left out was called without arguments",
                expected="something that it can give back",
                fix="make_optional(..., give=lambda: ...)",
            )
        self.gave_input = True
        return args[0] if args else next(iter(kwargs.values()))

    def returned(self, block: nn.Module, output: Any) -> None:
        """Note what a block returned that was not left out.

        Raises:
            StrategyError: no tensor, and others that were left out gave their input back.
        """
        if self.give is None and self.gave_input and not isinstance(output, Tensor):
            raise StrategyError(
                f"a {type(block)._oneshot_plain.__name__} returned no tensor, and another one that "  # type: ignore[attr-defined]
                "was left out was called all the same, and gave its first argument back",
                expected="a function that says what is given back",
                fix="make_optional(..., give=lambda hidden, *args, **kwargs: (hidden, None))",
            )


@dataclass
class Counted:
    """An attribute that counts blocks: how many there are, or how many stand before one of them.

    Args:
        depth: of the list.
        name: of the block in the list; None for all.
    """

    depth: Depth
    name: str | None

    def now(self, full: int) -> int:
        """Return it as it is at present."""
        return full - self.depth.before(self.name, self.depth.left_out())

    def of_frozen(self, full: int) -> int:
        """Return it as it is in the network that is being frozen.

        All of them for a module that holds the list: it is frozen first, and then waits.
        """
        return full if self.name is None else full - self.depth.before(self.name, self.depth.frozen)


def _depth(module: nn.Module, kind: str) -> Any:
    return module.__dict__[KEY].more[kind]


def _block_members(plain: type[nn.Module], run: Callable[..., Any]) -> dict[str, Any]:
    @functools.wraps(run)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if KEY not in self.__dict__:
            return run(self, *args, **kwargs)
        depth, name = _depth(self, "block")
        shares = depth.shares(name)
        outputs = []
        for runs, weight in shares:
            output = run(self, *args, **kwargs) if runs else depth.skipped(self, args, kwargs)
            if runs and not torch.compiler.is_compiling():
                depth.returned(self, output)
            outputs.append((output, weight))
        return weighted_sum(outputs, f"whether {name} runs")

    return {"forward": forward}


def _present(self: nn.Module, kind: str) -> dict[str, nn.Module] | None:
    """Return the blocks that are present, by name; None where all are."""
    if KEY not in self.__dict__ or "_decisions" not in self.__dict__ or not computing():
        return None
    out = _depth(self, kind).left_out()
    if not out:
        return None
    return {n: m for n, m in self._modules.items() if n not in out and m is not None}


def _list_members(plain: Any, run: Callable[..., Any]) -> dict[str, Any]:
    is_sequential = issubclass(plain, nn.Sequential)

    def length(self: Any) -> int:
        blocks = _present(self, "list")
        return int(plain.__len__(self)) if blocks is None else len(blocks)

    def iterate(self: Any) -> Iterator[nn.Module]:
        blocks = _present(self, "list")
        found: Iterator[nn.Module] = (
            plain.__iter__(self) if blocks is None else iter(blocks.values())
        )
        return found

    def item(self: Any, index: Any) -> Any:
        blocks = _present(self, "list")
        if blocks is None:
            return plain.__getitem__(self, index)
        if isinstance(index, slice):
            taken = OrderedDict(list(blocks.items())[index])
            return nn.Sequential(taken) if is_sequential else nn.ModuleList(taken.values())
        return list(blocks.values())[operator.index(index)]

    return {"__len__": length, "__iter__": iterate, "__getitem__": item}


def _dict_members(plain: Any, run: Callable[..., Any]) -> dict[str, Any]:
    def all_or(self: Any) -> dict[str, nn.Module]:
        blocks = _present(self, "dict")
        return dict(self._modules) if blocks is None else blocks

    return {
        "__len__": lambda self: len(all_or(self)),
        "__iter__": lambda self: iter(all_or(self)),
        "__contains__": lambda self, key: key in all_or(self),
        "__getitem__": lambda self, key: all_or(self)[key],
        "keys": lambda self: all_or(self).keys(),
        "items": lambda self: all_or(self).items(),
        "values": lambda self: all_or(self).values(),
    }


MEMBERS: dict[str, Callable[[type[nn.Module], Callable[..., Any]], dict[str, Any]]] = {
    "block": _block_members,
    "list": _list_members,
    "dict": _dict_members,
}
"""What else a module is -> what its class has for that, given the plain class and its forward."""


def keep_present(plain: nn.Module, depth: Depth, choices: Sequence[Choice]) -> None:
    """Take the blocks out of a plain list that an architecture leaves out, and number the rest.

    Args:
        plain: the list of a frozen network, which still has all of them.
        depth: of the elastic list.
        choices: one for each vote.
    """
    depth.frozen = depth.left_out_by(choices)
    for own, name in depth.waiting:
        own[name] -= len(depth.frozen)
    depth.waiting.clear()
    kept = [(n, m) for n, m in plain._modules.items() if n not in depth.frozen]
    if all(name.isdecimal() for name in plain._modules) and not isinstance(plain, nn.ModuleDict):
        kept = [(str(index), module) for index, (_, module) in enumerate(kept)]
    plain._modules.clear()
    plain._modules.update(kept)


__all__ = ["KEY", "MEMBERS", "Counted", "Depth", "Vote", "computing", "keep_present"]
