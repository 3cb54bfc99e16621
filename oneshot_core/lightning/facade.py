"""A LightningModule that looks like the one inside it.

Attributes, submodules, logged names, checkpoint keys, optimizers and exports are those of the
inner module, and so are its methods: an override of ``eval`` or ``to`` in the user's class runs
when Lightning calls it here. Hooks are passed on by :mod:`.forwarding`.

The facade shares the tables of submodules, parameters and buffers with the inner module, so that
torch, which reads them without asking, finds the user's under the user's names. What belongs to
the facade itself is kept apart, in a module of its own: it follows every move to a device or dtype,
and nobody who looks at, copies, averages or freezes the weights of the model meets it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from pytorch_lightning import LightningModule
from torch import nn

from ..space.running_network import running
from .forwarding import (
    FORWARDED_SLOTS,
    PASSED_ON,
    TREATMENT,
    ForwardedSlot,
    InnerHook,
    looks_like,
    new_hook,
)

_SHARED: Final = (
    "_modules",
    "_parameters",
    "_buffers",
    "_non_persistent_buffers_set",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
"""Tables of a module that torch reads without asking the module."""

_TABLES: Final = ("_modules", "_parameters", "_buffers")


class ModuleFacade(LightningModule):
    """Stands before ``model`` wherever Lightning or a callback looks at a module.

    Args:
        model: the user's module.
    """

    model: LightningModule

    def __init__(self, model: LightningModule) -> None:
        super().__init__()
        own = self.__dict__
        own["model"] = model
        own["_own"] = nn.Module()
        for table in _SHARED:
            own[table] = model.__dict__[table]

    def complete(self) -> None:
        """Say that construction is over: unknown attributes are from now on set on ``model``."""
        self.__dict__["_complete"] = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call ``model``."""
        with running:
            return self.model(*args, **kwargs)

    def call_users(self, name: str, *args: Any) -> Any:
        """Call a hook of ``model``, as Lightning does: one that is None is left out."""
        hook = getattr(self.model, name)
        return hook(*args) if callable(hook) else None

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the user's parameters, then those of the search, which optimizers may hold.

        :meth:`parameters` gives the user's alone: what is averaged, clipped or frozen.
        """
        yield from self.model.named_parameters(prefix, recurse, remove_duplicate)
        yield from self._own.named_parameters(prefix, remove_duplicate=remove_duplicate)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__.get("_own")
        if own is None or name.startswith("__"):
            return super().__getattr__(name)
        for table in _TABLES:
            if name in own.__dict__[table]:
                return own.__dict__[table][name]
        return getattr(self.__dict__["model"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SLOTS:  # written around every hook: go to the descriptor at once
            _SLOTS[name].__set__(self, value)
        elif not self._keeps(name):
            setattr(self.model, name, value)
        elif self._owns(name) or isinstance(value, (nn.Module, nn.Parameter)):
            setattr(self._own, name, value)
        else:
            # Not nn.Module's: it would register what it is given with the user's module.
            object.__setattr__(self, name, looks_like(self.__dict__.get(name), value))

    def __delattr__(self, name: str) -> None:
        if self._owns(name):
            delattr(self._own, name)
        elif name in self.__dict__:
            object.__delattr__(self, name)
        else:
            delattr(self.model, name)

    def _keeps(self, name: str) -> bool:
        """Say whether an attribute is set here, not on ``model``."""
        own = self.__dict__
        return not own.get("_complete") or (
            name in own or hasattr(type(self), name) or self._owns(name)
        )

    def _owns(self, name: str) -> bool:
        own = self.__dict__.get("_own")
        return own is not None and any(name in own.__dict__[table] for table in _TABLES)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *dir(self._own), *dir(self.model)})

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        # Decisions are equal on all ranks by construction; in a bucket they would be unused.
        users = getattr(self.model, "_ddp_params_and_buffers_to_ignore", [])
        return [*users, *(name for name, _ in self._own.named_parameters())]

    # torch.distributed.checkpoint follows names of parameters, attribute by attribute, and asks by
    # this method behind which attribute each begins: a user's submodule may be called "model".

    def _fqn_modifiers(self) -> dict[str, str]:
        names = chain.from_iterable(self.__dict__[table] for table in _TABLES)
        return dict.fromkeys(names, "_users_module")

    @property
    def _users_module(self) -> LightningModule:
        return self.model


class HookSlot:
    """A data descriptor for one hook: None on the facade where it is None on the user's module.

    The hook itself, an :class:`InnerHook` or what somebody set instead, is in the facade's
    ``__dict__``. Asked of a class, and by ``super()`` in a hook of a strategy, the answer is the
    user's hook where the strategy's stands in its place (``PASSED_ON``), and Lightning's own where
    both are called.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._users = _call(name, own=False) if name in PASSED_ON else None

    def __get__(self, facade: ModuleFacade | None, owner: type) -> Any:
        if facade is None:
            return self._users if self._users else getattr(super(ModuleFacade, owner), self.name)
        own = facade.__dict__
        if self.name in own and not isinstance(own[self.name], InnerHook):
            return own[self.name]  # None, too
        hook: InnerHook | None = own.get(self.name)
        if hook is None or hook.shared:
            if self.name in PASSED_ON and "model" in own:
                return getattr(own["model"], self.name)
            return getattr(super(ModuleFacade, facade), self.name)
        users = getattr(own["model"], self.name)
        return hook if callable(users) or hook.acts else users

    def __set__(self, facade: ModuleFacade, value: object) -> None:
        facade.__dict__[self.name] = value

    def __delete__(self, facade: Any) -> None:
        if isinstance(facade.__dict__[self.name], InnerHook):
            delattr(facade.model, self.name)
        else:
            facade.__dict__[self.name] = new_hook(facade, self.name)


def _call(name: str, *, own: bool) -> Callable[..., Any]:
    """Return a method that calls the user's of that name; then, if ``own``, moves what is ours."""

    @functools.wraps(getattr(LightningModule, name))
    def method(self: ModuleFacade, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.model, name)(*args, **kwargs)
        if own:
            getattr(self._own, name)(*args, **kwargs)
        return self if result is self.model else result

    return method


def _register(name: str) -> Callable[..., Any]:
    """Return a method that registers something where an attribute of that name would be set."""

    @functools.wraps(getattr(LightningModule, name))
    def method(self: ModuleFacade, key: str, *args: Any, **kwargs: Any) -> None:
        getattr(self._own if self._keeps(key) else self.model, name)(key, *args, **kwargs)

    return method


_SLOTS: dict[str, ForwardedSlot] = {name: ForwardedSlot(name) for name in FORWARDED_SLOTS}
_MAKE: Final[dict[str, Callable[[str], Any]]] = {
    "delegate": HookSlot,
    "call": functools.partial(_call, own=False),
    "move": functools.partial(_call, own=True),
    "register": _register,
}
for _name, (_kind, _) in TREATMENT.items():
    if hasattr(LightningModule, _name) and _kind in _MAKE:
        setattr(ModuleFacade, _name, _MAKE[_kind](_name))
    elif _kind == "forward":
        _SLOTS[_name] = ForwardedSlot(_name)
for _name, _slot in _SLOTS.items():
    setattr(ModuleFacade, _name, _slot)
