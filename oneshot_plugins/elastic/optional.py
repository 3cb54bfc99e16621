"""Make blocks of a model optional, in place: a search decides which of them are present."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from oneshot_core.errors import SpaceError
from oneshot_core.space import Candidate
from oneshot_core.supernet import BaseSuperNetModule

from .classes import adopt
from .layout import Layout, layout_of
from .module import require_adoptable
from .skipping import Counted, Depth, Vote

M = TypeVar("M", bound=nn.Module)


def make_optional(
    model: M,
    paths: Sequence[str],
    *,
    label: str | None = None,
    kept: Sequence[Sequence[int]] | Mapping[Any, Sequence[int]] | None = None,
    names: Sequence[str] | None = None,
    give: Callable[..., Any] | None = None,
    keep: Iterable[str] = (),
    index: str | Sequence[str] = (),
    count: str | Sequence[str] = (),
) -> M:
    """Let a search decide which blocks of ``model`` are present, in place, and return ``model``.

    Until then all of them are. A frozen network does not hold blocks that are left out; those
    behind move up.

    Args:
        model: any module; it may be elastic already. Nothing is changed if this raises.
        paths: dotted paths of the blocks, each in an ``nn.ModuleList``, ``nn.Sequential`` or
            ``nn.ModuleDict``. What a block returns must be of the form of its first argument, as in
            residual networks.
        label: of one choice about all blocks, with ``kept``. None lets each block be chosen by
            itself, yes or no.
        kept: the sets of blocks to choose from, as positions in ``paths``; one of them holds all
            blocks. A mapping names them: ``{4: (0, 1, 3, 5), 6: range(6)}``; the sets of a sequence
            are named by themselves, as tuples.
        names: labels of the yes-or-no choices, one for each path; None for the paths of the blocks
            in the model that is searched.
        give: what a block that is left out gives back where it is called all the same, as by
            ``children()``: a function of what it is called with. None for its first argument.
        keep: paths that always stay, such as the first block of T5.
        index: attributes below each block that count the blocks before it, such as
            ``"self_attn.layer_idx"``. They are counted anew.
        count: attributes that say how many blocks there are, of modules that hold them, such as
            ``"encoder.num_layers"``.

    Returns:
        ``model`` itself; :func:`oneshot_plugins.elastic.module.restore` puts its classes back.

    Raises:
        SpaceError: there is no such block, attribute or position, a block is in no list of modules,
            or is optional already.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    >>> net = make_optional(net, ["1", "2"], names=["second", "third"])
    >>> import oneshot_core as oneshot
    >>> len(oneshot.freeze(net, {"second": False, "third": True}))
    2
    """
    always = set(keep)
    taken = [path for path in paths if path not in always]
    groups, known = _groups(model, taken)
    votes = _votes(taken, label, kept, names)
    layouts: dict[nn.Module, Layout] = {}

    def layout_for(module: nn.Module, path: str) -> Layout:
        if module not in layouts:
            layouts[module] = _copied(module, path)
        return layouts[module]

    for path, container in groups.items():
        own = {position: known[position][2] for position in known if known[position][0] == path}
        depth = Depth(container, [v for vote in votes for v in _of_list(vote, own)], give)
        kind = "dict" if isinstance(container, nn.ModuleDict) else "list"
        _extend(layout_for(container, path), kind, depth, path)
        for name, block in container._modules.items():
            where = f"{path}.{name}".lstrip(".")
            # Those that always stay only tell what a block returns.
            if block is not None and (name in own.values() or give is None):
                _extend(layout_for(block, where), "block", (depth, name), where)
        for attribute in [index] if isinstance(index, str) else index:
            for name, block in container._modules.items():
                if block is not None:
                    where = f"{path}.{name}".lstrip(".")
                    _follow(block, where, attribute, Counted(depth, name), layout_for)
        for attribute in [count] if isinstance(count, str) else count:
            _require_holds(model, attribute, container)
            _follow(model, "", attribute, Counted(depth, None), layout_for)
    adopt(layouts)
    return model


def _groups(
    model: nn.Module, paths: Sequence[str]
) -> tuple[dict[str, nn.Module], dict[int, tuple[str, nn.Module, str]]]:
    """Return the lists by path, and for each position its list's path, its list, and its name."""
    groups: dict[str, nn.Module] = {}
    known: dict[int, tuple[str, nn.Module, str]] = {}
    if len(set(paths)) != len(paths) or not paths:
        raise SpaceError(
            f"the paths of optional blocks are {list(paths)}",
            expected="at least one path, each once",
            fix="correct paths=",
        )
    for position, path in enumerate(paths):
        parent, _, name = path.rpartition(".")
        container: Any = _find(model, parent, path)
        if name not in container._modules or container._modules[name] is None:
            raise _unknown(model, path)
        if not isinstance(container, (nn.ModuleList, nn.Sequential, nn.ModuleDict)):
            raise SpaceError(
                f"the block {path!r} is in a {type(container).__name__}",
                expected="an nn.ModuleList, nn.Sequential or nn.ModuleDict, which can go without",
                fix="name blocks of a list",
            )
        same = [path for path, other in groups.items() if other is container]
        groups.setdefault(same[0] if same else parent, container)
        known[position] = (same[0] if same else parent, container, name)
    return groups, known


def _find(model: nn.Module, path: str, dotted: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise _unknown(model, dotted) from error


def _unknown(model: nn.Module, path: str) -> SpaceError:
    return SpaceError(
        f"there is no module {path!r} in the {type(model).__name__}",
        expected="a path as named_modules() gives them",
        fix="correct the path",
    )


def _votes(
    paths: Sequence[str],
    label: str | None,
    kept: Sequence[Sequence[int]] | Mapping[Any, Sequence[int]] | None,
    names: Sequence[str] | None,
) -> list[tuple[str | None, dict[Candidate, frozenset[int]]]]:
    """Return label and candidate -> positions that stay, for each choice."""
    if label is None:
        if kept is not None or (names is not None and len(set(names)) != len(paths)):
            raise SpaceError(
                f"{len(paths)} optional blocks have names={names!r} and kept={kept!r}",
                expected="a name of its own for each path, or a label with the sets to choose from",
                fix="leave names out, or give one for each path; give label= beside kept=",
            )
        labels: Sequence[str | None] = names if names is not None else [None] * len(paths)
        return [
            (own, {True: frozenset([position]), False: frozenset()})
            for position, own in enumerate(labels)
        ]
    sets = kept if isinstance(kept, Mapping) else {tuple(each): each for each in kept or ()}
    found = {candidate: frozenset(each) for candidate, each in sets.items()}
    everything = frozenset(range(len(paths)))
    if (
        names is not None
        or everything not in found.values()
        or any(not each <= everything for each in found.values())
    ):
        raise SpaceError(
            f"the choice {label!r} about {len(paths)} blocks has kept={kept!r}, names={names!r}",
            expected=f"sets of positions from 0 to {len(paths) - 1}, one of them with all, and no "
            "names",
            fix="make_optional(..., label='depth', kept={4: (0, 1, 3, 5), 6: range(6)})",
        )
    return [(label, found)]


def _of_list(
    vote: tuple[str | None, dict[Candidate, frozenset[int]]], own: Mapping[int, str]
) -> list[Vote]:
    """Return a choice as far as it is about the blocks of one list; nothing if it is not."""
    label, sets = vote
    about = tuple(own[p] for p in own if any(p in each for each in sets.values()))
    if not about:
        return []
    keeps = {c: frozenset(own[p] for p in each if p in own) for c, each in sets.items()}
    default = max(sets, key=lambda candidate: len(sets[candidate]))
    return [Vote(label, keeps, about, default)]


def _copied(module: nn.Module, path: str) -> Layout:
    """Return a layout to be extended: that of an elastic module, or an empty one.

    Raises:
        SpaceError: the module belongs to a search, or cannot be made elastic.
    """
    layout = layout_of(module)
    if layout is None or isinstance(module, BaseSuperNetModule):
        require_adoptable(module, path)
        return Layout()
    return replace(
        layout,
        attributes=dict(layout.attributes),
        more=dict(layout.more),
        plans={},
    )


def _extend(layout: Layout, kind: str, more: Any, path: str) -> None:
    if kind in layout.more:
        raise SpaceError(
            f"the module at {path!r} is optional, or holds optional blocks, already",
            expected="one call for all blocks of a list",
            fix="give all paths at once, or take restore(model) first",
        )
    layout.more[kind] = more


def _require_holds(model: nn.Module, attribute: str, container: nn.Module) -> None:
    """Refuse an attribute that counts the blocks of a list which is elsewhere.

    Raises:
        SpaceError: the list is not in the module that has the attribute.
    """
    path = attribute.rpartition(".")[0]
    if container not in set(_find(model, path, path).modules()):
        raise SpaceError(
            f"the attribute {attribute!r} is said to count blocks that are not in its module",
            expected="an attribute of a module that holds the blocks",
            fix="correct count=, or make the blocks of each list optional by themselves",
        )


def _follow(
    root: nn.Module,
    path: str,
    attribute: str,
    counted: Counted,
    layout_for: Callable[[nn.Module, str], Layout],
) -> None:
    below, _, name = attribute.rpartition(".")
    where = f"{path}.{below}".strip(".")
    try:
        module = root.get_submodule(below)
        value = module.__dict__[name]
    except (AttributeError, KeyError) as error:
        raise SpaceError(
            f"there is no attribute {name!r} at {where!r}",
            expected="a number that counts blocks",
            fix="correct index= or count=",
        ) from error
    layout = layout_for(module, where)
    if type(value) is not int or name in layout.attributes:
        raise SpaceError(
            f"the attribute {name!r} at {where!r} is {value!r}"
            + (" and follows sizes already" if name in layout.attributes else ""),
            expected="a number that counts blocks",
            fix="correct index= or count=",
        )
    layout.attributes[name] = counted


__all__ = ["make_optional"]
