"""Walk a module tree and let mutation hooks replace its nodes.

Every module below the root is offered once, however many names it has. The walk goes over
``_modules`` (``named_children()`` hides a module's second name) and remembers modules by
identity: an offered module -> what stands in its place now. A replacement takes the place
of the original under every name that the tree had for it; what the hook itself put into the
replacement, such as the original in a wrapper, stays there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TypeAlias, cast

from torch import nn

from .errors import MutationError, UnsupportedModuleError
from .hooks import Memo, MutationHook, Options, run_hooks
from .space.constraint import pass_on_constraints
from .space.mutable import MutableModule
from .supernet import BaseSuperNetModule

MAX_GENERATIONS = 50
"""How deep replacements may nest that were made during the walk itself."""

OnReplace: TypeAlias = Callable[[str, nn.Module, nn.Module], object]


def traverse_and_mutate_submodules(
    root_module: nn.Module,
    hooks: Sequence[MutationHook],
    mutate_kwargs: Mapping[str, object] | None = None,
    topdown: bool = True,
    *,
    on_replace: OnReplace | None = None,
) -> list[BaseSuperNetModule]:
    """Offer every submodule of ``root_module`` to ``hooks``, replacing in place.

    A module reachable by several names (tied layers) is offered once, and all its names are
    pointed at the one replacement. The root is not offered, nor is what is inside a choice or
    supernet module that is ``sealed``. If anything raises, every replacement is taken back, and
    every class that a hook has exchanged in place, before the error goes on.

    Args:
        root_module: tree to change.
        hooks: asked in order for every module; see
            :meth:`HookResult.parse <oneshot_core.hooks.HookResult.parse>` for the answers.
        mutate_kwargs: passed to every hook, read-only.
        topdown: offer a module before its children (else after them).
        on_replace: called with path, original and replacement after each replacement.

    Returns:
        The supernet modules that are now in the tree, each once, in walk order.

    Raises:
        UnsupportedModuleError: the root is itself a choice, a hook refused a module, or a choice
            is inside what is sealed.
        HookReturnError: a hook's return value has no meaning.
        MutationError: replacements keep creating modules to replace.

    Warns:
        RuntimeWarning: once per walk, if replacements are not supernet modules.

    Source: ``nni.nas.oneshot.pytorch.base_lightning.traverse_and_mutate_submodules``.
    """
    if isinstance(root_module, MutableModule):
        raise UnsupportedModuleError(
            f"the root of the walk is itself a choice: {type(root_module).__name__}",
            expected="a module that holds its choices as submodules",
            fix="wrap it, for example in nn.Sequential",
        )
    walk = _Walk(hooks, MappingProxyType(dict(mutate_kwargs or {})), topdown, on_replace)
    try:
        walk.run(root_module)
        if walk.plain:
            warnings.warn(
                "replacements that are no supernet modules take no part in sampling and export: "
                + ", ".join(walk.plain),
                RuntimeWarning,
                stacklevel=2,
            )
    except BaseException:
        walk.undo()
        raise
    return walk.found


@dataclass
class _Walk:
    hooks: Sequence[MutationHook]
    options: Options
    topdown: bool
    on_replace: OnReplace | None
    memo: Memo = field(default_factory=dict)
    settled: dict[nn.Module, nn.Module] = field(default_factory=dict)
    """Offered module -> what stands in its place."""
    open: set[nn.Module] = field(default_factory=set)
    """Modules whose children are being walked before they are offered (bottom-up)."""
    entered: set[nn.Module] = field(default_factory=set)  # replacements that are being walked
    kept: set[nn.Module] = field(default_factory=set)
    """Originals found inside their replacement."""
    original: set[nn.Module] = field(default_factory=set)
    plain: list[str] = field(default_factory=list)
    found: list[BaseSuperNetModule] = field(default_factory=list)
    done: list[Callable[[], object]] = field(default_factory=list)  # each takes a change back
    late: list[tuple[nn.Module, str, nn.Module]] = field(default_factory=list)
    generation: int = 0

    def run(self, root: nn.Module) -> None:
        self.original.update(_modules_in(root))
        self.settled[root] = root
        try:
            self.visit(root, "")
        except RecursionError as error:
            raise _endless("the tree") from error
        for parent, name, child in self.late:
            if parent in self.original:
                self._bind(parent, name, child)
        if self.found:
            in_tree = _modules_in(root)
            self.found = [module for module in self.found if module in in_tree]

    def visit(self, parent: nn.Module, prefix: str) -> None:
        if _is_sealed(parent):
            _require_no_choice(parent, prefix)
            return
        # _modules, not named_children(): that one skips a module's second name. Each is looked
        # up when its turn comes, for a hook may have changed it.
        for name in list(parent._modules):
            child = parent._modules.get(name)
            if child is None:
                continue
            if child in self.open:  # a cycle, met before its start was offered
                self.late.append((parent, name, child))
                continue
            if child not in self.settled:
                self.settle(child, _join(prefix, name))
            if self.settled[child] in self.entered and parent not in self.original:
                self._keep(child, _join(prefix, name))
            else:
                self._bind(parent, name, child)

    def settle(self, child: nn.Module, path: str) -> None:
        if not self.topdown:
            self.open.add(child)
            self.visit(child, path)
            self.open.discard(child)
        new = self._offer(child, path)
        if new in self.settled:
            # A hook gave something the walk already knows, perhaps shared through the memo.
            self.settled[child] = self.settled[new]
            return
        self.settled[child] = new
        self.settled[new] = new
        # Not isinstance: an abstract class is asked in Python, here for every module.
        is_supernet = BaseSuperNetModule in type(new).__mro__
        if is_supernet:
            self.found.append(cast(BaseSuperNetModule, new))
        if new is not child:
            before = len(self.found)
            self._walk_replacement(child, new, path)
            if is_supernet and not self.topdown:  # children before parents
                self.found.append(self.found.pop(before - 1))
        elif self.topdown and child._modules:  # most modules are leaves
            self.visit(child, path)

    def _walk_replacement(self, child: nn.Module, new: nn.Module, path: str) -> None:
        created = child not in self.original
        self.generation += created
        if self.generation > MAX_GENERATIONS:
            # The beginning of a path is enough: what repeats below it says nothing.
            raise _endless(repr(path if len(path) <= 60 else path[:60].rstrip(".") + "…"))
        self.entered.add(new)
        self.visit(new, path)
        self.entered.discard(new)
        self.generation -= created

    def _keep(self, child: nn.Module, path: str) -> None:
        """Leave an original where its replacement holds it; walk what is below, once."""
        if self.settled[child] is not child and child not in self.kept:
            self.kept.add(child)
            self.visit(child, path)

    def _offer(self, child: nn.Module, path: str) -> nn.Module:
        cls = type(child)
        try:
            new = run_hooks(self.hooks, child, path, self.memo, self.options)
        except Exception as error:
            if hasattr(error, "add_note"):  # Python 3.11
                error.add_note(f"raised by a mutation hook at {path!r}")
            raise
        finally:
            if type(child) is not cls:  # a hook made a supernet module of it in place
                self.done.append(partial(vars(child).pop, "_decisions", None))
                self.done.append(partial(object.__setattr__, child, "__class__", cls))
        if new is not child:
            if isinstance(new, BaseSuperNetModule):
                pass_on_constraints(child, new)
            else:
                self.plain.append(f"{path!r} ({type(child).__name__} -> {type(new).__name__})")
            if self.on_replace is not None:
                self.on_replace(path, child, new)
        return new

    def _bind(self, parent: nn.Module, name: str, child: nn.Module) -> None:
        new = self.settled[child]
        if new is not child:
            self.done.append(partial(parent._modules.__setitem__, name, child))
            parent._modules[name] = new

    def undo(self) -> None:
        """Put every original back where it was, and as what it was."""
        for back in reversed(self.done):
            back()


def _is_sealed(module: nn.Module) -> bool:
    cls = type(module)
    # The classes last: most modules have no such attribute.
    return bool(getattr(cls, "sealed", False)) and (
        MutableModule in cls.__mro__ or BaseSuperNetModule in cls.__mro__
    )


def _require_no_choice(sealed: nn.Module, path: str) -> None:
    for inside, module in sealed.named_modules():
        if module is not sealed and isinstance(module, MutableModule):
            raise UnsupportedModuleError(
                f"the {type(sealed).__name__} at {path!r} holds a {type(module).__name__} at "
                f"{inside!r}, and is sealed: no hook is asked about it",
                expected="no choices inside a module whose submodules are its own",
                fix=f"leave `sealed` of {type(sealed).__name__} False, or offer what can be "
                "chosen in its own specs",
            )


def _modules_in(root: nn.Module) -> set[nn.Module]:
    """Return what ``root.modules()`` yields, several times as fast: without names and order."""
    found = {root}
    stack = [root]
    while stack:
        for child in stack.pop()._modules.values():
            if child is not None and child not in found:
                found.add(child)
                stack.append(child)
    return found


def _endless(where: str) -> MutationError:
    return MutationError(
        f"the walk does not end below {where}: replacements keep creating modules that are "
        "replaced again",
        expected=f"at most {MAX_GENERATIONS} replacements nested in replacements, and a tree that "
        "Python can recurse",
        fix="let the hook recognise what it created, for example by its type",
    )


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
