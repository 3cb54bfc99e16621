"""Elastic modules: each *is*, at every moment, the module of its present sizes.

The class of a module is swapped in place for a subclass whose tensors and attributes are read
through :mod:`.reading`. The module's own ``forward`` runs, and so does whatever its parents do with
its tensors. Parameters and buffers stay whole, under their names; identity, hooks and references
from outside are untouched. Bare elastic modules compute at full size; a search swaps the class once
more, for one that follows decisions; freezing gives plain modules of the user's class.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, TypeAlias, TypeVar, cast
from weakref import WeakValueDictionary

from torch import Tensor, nn

from oneshot_core.decision import DecisionTable
from oneshot_core.errors import SpaceError
from oneshot_core.hooks import Memo, Options
from oneshot_core.space import Branches, Choice, MutableModule, ParameterSpec
from oneshot_core.supernet import BaseSuperNetModule

from .cutting import check_length, compact, cut
from .forwards import buffer_members, forward_members
from .layout import Layout, Plan, Tensors, held, layout_of
from .mixture import require_mixable
from .reading import (
    attributes_at,
    computed_tensor,
    read_attribute,
    read_tensor,
)
from .skipping import KEY, MEMBERS, Counted, keep_present

M = TypeVar("M", bound=nn.Module)
Names: TypeAlias = tuple[str, ...]
Key: TypeAlias = "tuple[type[nn.Module], type[Elastic], Names, Names, Names]"
"""Plain class, elastic base, tensors, attributes, and what else it is."""


class Elastic(nn.Module):
    """What bare elastic modules and those of a search have in common."""

    _oneshot_plain: ClassVar[type[nn.Module]]
    """The class that the module had before, and that frozen modules have."""
    _oneshot_key: ClassVar[Key]
    """What the class was made of."""

    def extra_repr(self) -> str:
        """Show what the plain module shows, and the sizes."""
        shown = self._oneshot_plain.extra_repr(self)
        sizes = ", ".join(size.name for size in self.__dict__[KEY].sizes)
        return ", ".join(part for part in (shown, f"elastic={sizes}") if part)

    def __setattr__(self, name: str, value: Any) -> None:
        layout = layout_of(self)
        if layout is not None:
            if name in layout.attributes:
                _set_attribute(self, layout, name, value)
                return
            if name in layout.tensors:
                _require_whole(self, name, value)
        super().__setattr__(name, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__name__.startswith("Parametrized"):  # by torch.nn.utils.parametrize
            raise SpaceError(
                f"a {cls._oneshot_plain.__name__} with elastic tensors was parametrized, as "
                "weight_norm and spectral_norm of torch.nn.utils do",
                expected="parametrizations first, and then elastic sizes",
                fix="parametrize the plain model and make it elastic after that",
            )

    def __reduce_ex__(self, protocol: Any) -> Any:
        state: Any = getattr(self, "__getstate__", lambda: self.__dict__)()  # Python 3.11 has one
        return _rebuild, type(self)._oneshot_key, state


class ElasticModule(Elastic, MutableModule):
    """A module some of whose tensors are as large as sizes say, before a search.

    Made by :func:`oneshot_plugins.elastic.module.make_elastic`. It computes at full size.
    """

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        return _layout(self).specs_at(path)

    def select_at(self, path: str, chosen: Mapping[str, Choice]) -> nn.Module:
        return plain_module(self, [chosen[spec.label] for spec in self.specs_at(path)])

    def branches_at(self, path: str) -> Branches:
        return _branches(self, self.specs_at(path))


class ElasticSuperNetModule(Elastic, BaseSuperNetModule):
    """A module whose sizes are decided by a search.

    Source: Cai et al., "Once-for-All", arXiv:1908.09791, section 3, for a part of shared weights;
    Devvrit et al., "MatFormer", arXiv:2310.07707, section 3, for nested parts of transformers.
    """

    @classmethod
    def mutate(
        cls, module: nn.Module, name: str, memo: Memo, mutate_kwargs: Options
    ) -> nn.Module | None:
        """Let an elastic module follow decisions, in place; the mutation hook."""
        # Not isinstance: that asks an abstract class in Python, for every module of every model.
        if ElasticModule not in type(module).__mro__:
            return None
        assert isinstance(module, ElasticModule)
        table = cast(DecisionTable, mutate_kwargs["decisions"])
        decisions = tuple(table.decide(spec, path=name) for spec in module.specs_at(name))
        require_mixable(module, type(module)._oneshot_plain, decisions, name)
        made = class_for(type(module)._oneshot_plain, _layout(module), cls)
        module.__dict__["_decisions"] = decisions
        swap(module, made)
        return module

    @property
    def idles(self) -> bool:  # type: ignore[override]
        """Whether parameters may have no part in a pass: where blocks can be left out."""
        return _layout(self).depth is not None

    @property
    def original(self) -> MutableModule:
        """The elastic module as it was before the search, which shares everything with this one."""
        twin = _twins.get(id(self))
        if twin is None or twin.__dict__ is not self.__dict__:
            made = class_for(self._oneshot_plain, _layout(self), ElasticModule)
            twin = cast(ElasticModule, object.__new__(made))
            object.__setattr__(twin, "__dict__", self.__dict__)
            _twins[id(self)] = twin
        return twin

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        """Describe the choices, as before the search."""
        return _layout(self).specs_at(path)

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        return plain_module(self, [chosen[d.spec.label] for d in self.decisions])

    def branches(self) -> Branches:
        return _branches(self, [decision.spec for decision in self.decisions])


def _branches(module: nn.Module, specs: Sequence[ParameterSpec]) -> Branches:
    layout = _layout(module)
    if layout.depth is None:
        return {}
    return layout.depth.branches([spec.label for spec in specs[len(layout.specs) :]])


_classes: dict[Key, type[Elastic]] = {}
_MEMBERS = {**MEMBERS, "buffers": buffer_members}
_twins: WeakValueDictionary[int, ElasticModule] = WeakValueDictionary()


def class_for(plain: type[nn.Module], layout: Layout, base: type[Elastic]) -> type[Elastic]:
    """Return the subclass of ``plain`` and ``base`` with which a module of this layout is read."""
    return _class_of((plain, base, tuple(layout.tensors), tuple(layout.attributes), layout.kinds))


def _class_of(key: Key) -> type[Elastic]:
    if key not in _classes:
        plain, base, tensors, attributes, kinds = key

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            plain.__init__(self, *args, **kwargs)

        members: dict[str, Any] = {
            "_oneshot_plain": plain,
            "_oneshot_key": key,
            "__module__": __name__,
            "__new__": _new,
            "__init__": init,
            **{name: _property(read_tensor, name) for name in tensors},
            **{name: _property(read_attribute, name) for name in attributes},
        }
        if base is ElasticSuperNetModule:
            members |= forward_members(plain)
        for kind in kinds:  # blocks last: their forward surrounds what is here already
            members |= _MEMBERS[kind](plain, members.get("forward", plain.forward))
        own: Any = type(plain)
        meta: Any = _metaclass(own)
        _classes[key] = meta(f"Elastic{plain.__name__}", (base, plain), members)
    return _classes[key]


def _property(read: Callable[[nn.Module, str], Any], name: str) -> property:
    def get(self: nn.Module) -> Any:
        return read(self, name)

    return property(get)


def _new(cls: type[Elastic], *args: Any, **kwargs: Any) -> Any:
    # Who builds another one of a module's class, as slices of lists do, gets a plain one.
    return cls._oneshot_plain(*args, **kwargs) if args or kwargs else object.__new__(cls)


@cache
def _metaclass(own: type) -> type:
    if issubclass(own, ABCMeta):
        return own
    return ABCMeta if own is type else type(f"Elastic{own.__name__}", (own, ABCMeta), {})


def _rebuild(*key: Any) -> nn.Module:
    return object.__new__(_class_of(key))


def swap(module: nn.Module, cls: type[nn.Module]) -> None:
    """Make ``module`` one of the class ``cls``, in place.

    Raises:
        SpaceError: Python cannot do that, as with classes that have ``__slots__``.
    """
    try:
        # Not setattr: classes of users may have an opinion on names.
        object.__setattr__(module, "__class__", cls)
    except TypeError as error:
        raise SpaceError(
            f"a {type(module).__name__} cannot be made elastic in place: {error}",
            expected="a class of modules as Python makes them, without __slots__",
            fix="leave its tensors out, or take __slots__ out of the class",
        ) from error


def plain_class(module: nn.Module) -> type[nn.Module]:
    """Return the class of a module, or the one that it had before it was made elastic."""
    return type(module)._oneshot_plain if isinstance(module, Elastic) else type(module)


def adopt(layouts: Mapping[nn.Module, Layout]) -> None:
    """Give modules their layouts, and the classes that are read through them; all or none.

    Raises:
        SpaceError: a class cannot be swapped in place.
    """
    done: list[tuple[nn.Module, type[nn.Module], Layout | None]] = []
    try:
        for module, layout in layouts.items():
            before = type(module), layout_of(module)
            swap(module, class_for(plain_class(module), layout, ElasticModule))
            done.append((module, *before))
            module.__dict__[KEY] = layout
    except BaseException:
        for module, cls, old in done:
            swap(module, cls)
            module.__dict__.pop(KEY, None)
            if old is not None:
                module.__dict__[KEY] = old
        raise


def _layout(module: nn.Module) -> Layout:
    layout: Layout = module.__dict__[KEY]
    return layout


def plain_module(module: Elastic, choices: Sequence[Choice]) -> nn.Module:
    """Return the plain module of an architecture, sharing submodules and whole tensors.

    Args:
        module: elastic.
        choices: one for each of its specs.
    """
    layout = _layout(module)
    plan = layout.plan(tuple(choices[: len(layout.specs)]))  # type: ignore[arg-type]
    own = {k: v for k, v in module.__dict__.items() if k not in (KEY, "_decisions")}
    for table in ("_parameters", "_buffers", "_modules"):
        own[table] = own[table].copy()
    cls = type(module)._oneshot_plain
    computed = [name for name in layout.tensors if held(module, name) is None]
    if computed:  # what parametrizations give is kept, and they are not
        cls = cls.__bases__[0]
        given = own["_modules"].pop("parametrizations")
        computed = [*given]
    tensors: dict[str, Any] = {}
    for name in dict.fromkeys((*layout.tensors, *computed)):
        tensors[name] = _frozen(module, name, plan, is_computed=name in computed)
        table = "_parameters" if isinstance(tensors[name], nn.Parameter) else "_buffers"
        own[table][name] = tensors[name]
    for name, value in attributes_at(module, plan, tensors).items():
        (own["_buffers"] if name in own["_buffers"] else own)[name] = value
    plain = object.__new__(cls)
    object.__setattr__(plain, "__dict__", own)
    for name, follows in layout.attributes.items():
        if isinstance(follows, Counted) and follows.name is None:
            follows.depth.waiting.append((own, name))
    if layout.depth is not None:
        keep_present(plain, layout.depth, choices[len(layout.specs) :])
    return plain


def _frozen(module: Elastic, name: str, plan: Plan, *, is_computed: bool) -> Tensor:
    """Return what a frozen module holds for a tensor: all of it itself, a part as a copy."""
    layout = _layout(module)
    full = computed_tensor(module, name) if is_computed else held(module, name)
    assert full is not None
    extents = layout.tensors.get(name)
    if extents is None:
        part = full
    else:
        full = full.full_tensor() if hasattr(full, "full_tensor") else full
        check_length(full, extents, name)
        part = compact(cut(full, extents, plan.cuts[name], plan.values), full)
    if is_computed:
        return nn.Parameter(part.detach().clone(), full.requires_grad)
    if part is full:
        return full
    copied = part.detach().clone()
    if not isinstance(held(module, name), nn.Parameter):
        return copied
    placed = nn.Parameter(copied, full.requires_grad)
    placed.__dict__.update(vars(full))
    placed._oneshot_slice = (id(held(module, name)), tuple(part.shape))  # type: ignore[attr-defined]
    return placed


def restore(model: M) -> M:
    """Give every elastic module in ``model`` its plain class back, in place, and return ``model``.

    Tensors and outputs stay what they are.

    Raises:
        SpaceError: ``model`` belongs to a search.
    """
    modules = [module for module in model.modules() if isinstance(module, Elastic)]
    for module in modules:
        if isinstance(module, BaseSuperNetModule):
            raise SpaceError(
                f"the {type(module).__name__} follows the decisions of a search",
                expected="a model that no search has been made of",
                fix="take oneshot.freeze(search, architecture) for a plain network",
            )
    for module in modules:
        swap(module, type(module)._oneshot_plain)
        del module.__dict__[KEY]
    return model


def _set_attribute(module: nn.Module, layout: Layout, name: str, value: Any) -> None:
    """Set an attribute that follows sizes; only to what it is at full size.

    Raises:
        SpaceError: to anything else.
    """
    if isinstance(layout.attributes[name], Tensors):  # nn.LSTM sets its list anew when it moves
        module.__dict__[name] = value
        return
    kept = module.__dict__.get(name)
    if type(value) is type(kept) and value == kept:
        return
    raise SpaceError(
        f"{name}={value!r} was set on an elastic {type(module)._oneshot_plain.__name__}",  # type: ignore[attr-defined]
        expected="settings that do not follow sizes",
        fix=f"give {name} before the model is made elastic, or freeze the network first",
    )


def _require_whole(module: nn.Module, name: str, value: Any) -> None:
    """Refuse to exchange a tensor for one of another shape, or for no parameter.

    Raises:
        SpaceError: that is tried, as by pruning or the older weight_norm of torch.
    """
    extents = _layout(module).tensors[name]
    shape = getattr(value, "shape", None)
    fits = (
        shape is not None
        and len(shape) == len(extents)
        and all(e is None or e.full == length for e, length in zip(extents, shape, strict=True))
    )
    if fits and (isinstance(value, nn.Parameter) or held(module, name) is not None):
        return
    what = type(value).__name__ if shape is None else f"a tensor of the shape {tuple(shape)}"
    raise SpaceError(
        f"{name} of an elastic {type(module)._oneshot_plain.__name__} was exchanged for {what}",  # type: ignore[attr-defined]
        expected="a tensor of all that is stored",
        fix="apply pruning, weight_norm and the like before the model is made elastic, or to the "
        "frozen network",
    )
