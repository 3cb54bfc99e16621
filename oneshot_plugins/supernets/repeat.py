"""Choose how often a block is repeated."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from torch import fx, nn

from oneshot_core.errors import SpaceError
from oneshot_core.space import (
    Branches,
    Choice,
    Gates,
    MutableModule,
    ParameterSpec,
    Value,
    ValueChoice,
    check_label,
    running,
)

BlockFactory: TypeAlias = Callable[[int], nn.Module]


class Chain(nn.Module):
    """Blocks in a row that can be asked for one by one, as those of an ``nn.ModuleList``.

    While a network is computed they are those of the depth in use; at other times all of them.
    """

    blocks: nn.ModuleList

    def depth_in_use(self) -> int:
        """Return how many blocks are computed with at present."""
        raise NotImplementedError

    def _present(self) -> list[nn.Module]:
        blocks = list(self.blocks)
        return blocks[: self.depth_in_use()] if running else blocks

    def __len__(self) -> int:
        return len(self._present())

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self._present())

    def __getitem__(self, index: int | slice) -> nn.Module:
        blocks = self._present()
        return nn.ModuleList(blocks[index]) if isinstance(index, slice) else blocks[index]


class Repeat(Chain, MutableModule):
    """Run a chain of blocks whose length is to be chosen.

    Depth ``d`` runs the first ``d`` blocks; depth 0 returns the input. Runs the largest depth
    until a search replaces it, or what the defaults of a value give.

    Called, it chains its first argument and gives all others to every block. Instead of calling
    it, a model may go over its blocks, ``for layer in self.layers``, index and slice them.

    Args:
        blocks: a module (copied for every place), a factory ``index -> module``, or as many
            modules as the largest depth.
        depth: a fixed number, ``(min, max)`` with both ends included, a list of depths, or a
            value (:func:`oneshot_core.choice`, or computed from choices), which has its own label.
        label: see :class:`Mutable`; not with a value.

    Raises:
        SpaceError: the depths are not whole numbers from 0 on, do not fit the blocks, or a value
            is given beside a label.

    Source: ``nni.nas.nn.pytorch.Repeat``.
    """

    def __init__(
        self,
        blocks: nn.Module | BlockFactory | Sequence[nn.Module],
        depth: int | tuple[int, int] | list[int] | Value,
        *,
        label: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(depth, Value):
            if label is not None:
                raise SpaceError(
                    f"Repeat got label={label!r} beside depth={depth!r}",
                    expected="one of them; a value has its own label",
                    fix="leave the label out",
                )
            self.depths = _read_depths(list(depth.distribution()))
        else:
            check_label(label, self)
            self.depths = _read_depths(depth)
        self.label = label
        self.depth = depth if isinstance(depth, Value) else None
        self.blocks = nn.ModuleList(_build_blocks(blocks, max(self.depths)))

    def depth_at(self, path: str) -> Value:
        """Return the depth as a value of what decides it at ``path``."""
        if self.depth is not None:
            return self.depth
        return ValueChoice(self.depths, label=path if self.label is None else self.label)

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        return tuple(self.depth_at(path).specs.values())

    def select_at(self, path: str, chosen: Mapping[str, Choice]) -> nn.Module:
        selected = nn.Sequential(*self.blocks[: self.depth_at(path).evaluate(chosen)])
        selected.training = self.training
        parameters = _parameters(list(self.blocks), *self.__dict__.get("_called_with", (0, ())))
        if len(parameters) > 1:
            # nn.Sequential takes one argument; this graph, which it calls, takes all of them.
            selected.__dict__["forward"] = _graph(selected, parameters)
        return selected

    def note_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Remember what blocks are given beside their input, for the frozen network."""
        if args or kwargs:
            self.__dict__["_called_with"] = (len(args), tuple(kwargs))

    def branches_at(self, path: str) -> Branches:
        depth = self.depth_at(path)
        if len(depth.specs) != 1:
            return {}  # see gates_at
        ((label, spec),) = depth.specs.items()
        return {
            label: {
                candidate: tuple(self.blocks[: depth.evaluate({label: candidate})])
                for candidate in spec.candidates
            }
        }

    def gates_at(self, path: str) -> Gates:
        depth = self.depth_at(path)
        if len(depth.specs) == 1:
            return ()
        return tuple((depth > index, (block,)) for index, block in enumerate(self.blocks))

    def depth_in_use(self) -> int:
        if self.depth is None:
            return max(self.depths)
        depth: int = self.depth.evaluate({k: s.default for k, s in self.depth.specs.items()})
        return depth

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the blocks, one after another."""
        self.note_call(args, kwargs)
        for block in self.blocks[: self.depth_in_use()]:
            x = block(x, *args, **kwargs)
        return x


_REQUIRED = inspect.Parameter.empty


def _parameters(
    blocks: Sequence[nn.Module], n_args: int, names: Sequence[str]
) -> dict[str, tuple[object, bool]]:
    """Return name -> (default, whether it is given by name) of what a chain of blocks takes.

    What the first block names, if its defaults can be written down; and what it was called with.
    """
    first = blocks[0] if blocks else nn.Identity()
    while isinstance(candidates := first._modules.get("candidates"), nn.ModuleDict):
        first = next(iter(candidates.values()))  # a choice passes on everything
    named: dict[str, tuple[object, bool]] = {}
    for parameter in inspect.signature(first.forward).parameters.values():
        default = parameter.default
        plain = default is None or default is _REQUIRED or type(default) in (bool, int, float, str)
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and plain:
            named[parameter.name] = (default, bool(named))
        elif parameter.kind is parameter.KEYWORD_ONLY and plain:
            named[parameter.name] = (None if default is _REQUIRED else default, True)
    for index in range(len(named), n_args + 1):
        named[f"argument_{index}"] = (None if named else _REQUIRED, False)
    return named | {name: (None, True) for name in names if name not in named}


def _graph(chain: nn.Sequential, parameters: Mapping[str, tuple[object, bool]]) -> fx.GraphModule:
    """Return a graph that chains the first of some parameters and gives the others to all blocks.

    It is a class of torch, so that a frozen network needs nothing else.
    """
    graph = fx.Graph()
    nodes = {
        name: graph.placeholder(name, default_value=default)
        for name, (default, _) in parameters.items()
    }
    x, *others = (nodes[name] for name in parameters)
    by_name = [by for _, by in parameters.values()][1:]
    args = [node for node, by in zip(others, by_name, strict=True) if not by]
    kwargs: dict[str, Any] = {
        name: nodes[name] for name, (_, by) in list(parameters.items())[1:] if by
    }
    for name in chain._modules:
        x = graph.call_module(name, (x, *args), kwargs)
    graph.output(x)
    return fx.GraphModule(dict(chain._modules), graph, class_name="Chain")


def _read_depths(depth: object) -> tuple[int, ...]:
    """Return the depths to choose from, without repetition, in declaration order."""
    match depth:
        case int():
            depths: tuple[object, ...] = (depth,)
        case (int(low), int(high)) if isinstance(depth, tuple) and low <= high:
            depths = tuple(range(low, high + 1))
        case list():
            depths = tuple(dict.fromkeys(depth))
        case _:
            depths = ()
    numbers = tuple(d for d in depths if isinstance(d, int) and not isinstance(d, bool) and d >= 0)
    if not numbers or len(numbers) != len(depths):
        raise SpaceError(
            f"Repeat got depth={depth!r}",
            expected="a number, (min, max) with 0 <= min <= max, or a list of numbers",
            fix="write depth=(1, 3), or depth=[1, 2, 4]",
        )
    return numbers


def _build_blocks(
    blocks: nn.Module | BlockFactory | Sequence[nn.Module], depth: int
) -> list[nn.Module]:
    if isinstance(blocks, nn.Module) and not isinstance(blocks, nn.ModuleList):
        # The first place keeps the user's own module; a depth of 0 keeps none.
        return [blocks if index == 0 else copy.deepcopy(blocks) for index in range(depth)]
    if callable(blocks) and not isinstance(blocks, nn.ModuleList):
        built = [blocks(index) for index in range(depth)]
    else:
        built = list(blocks)
    if len(built) != depth or not all(isinstance(block, nn.Module) for block in built):
        raise SpaceError(
            f"Repeat got {len(built)} blocks for a largest depth of {depth}: {built!r}",
            expected="one module for every place",
            fix="give as many modules as the largest depth, or a factory index -> module",
        )
    return built
