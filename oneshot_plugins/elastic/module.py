"""Make the modules of a model elastic, in place: all of them, or none where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from oneshot_core.errors import SpaceError
from oneshot_core.space import MutableModule
from oneshot_core.supernet import BaseSuperNetModule

from .attributes import known_attributes
from .classes import Elastic, ElasticModule, ElasticSuperNetModule, adopt, restore
from .cutting import is_sharded, may_copy
from .extent import Extent, Size, Values
from .layout import Asked, Extents, Follows, Layout, Plan, Tensors, held, layout_of
from .skipping import Counted

M = TypeVar("M", bound=nn.Module)
ExtentsTable: TypeAlias = "Mapping[str, Mapping[int, Extent]]"
"""Dotted name of a parameter or buffer -> dimension -> what it is."""
AttributesTable: TypeAlias = "Mapping[str, Mapping[str, Extent | Callable[[Values], Any]]]"
"""Dotted path of a module -> attribute -> what it follows."""
_RESERVED = {
    name
    for base in (Elastic, ElasticModule, ElasticSuperNetModule, MutableModule, BaseSuperNetModule)
    for name in vars(base)
    if not name.startswith("_")
} - {"extra_repr"}


def make_elastic(
    model: M,
    extents: ExtentsTable,
    choices: Mapping[Size, Sequence[int]],
    attributes: AttributesTable | None = None,
    *,
    linear: Iterable[str] = (),
) -> M:
    """Make modules of ``model`` elastic, in place, and return ``model``.

    Parameters and buffers stay whole and keep their names, and the model goes on to compute at full
    size, bit for bit, until a search decides sizes. Each size is decided under its name.

    Args:
        model: any module, parametrized already if it is to be. Nothing is changed if this raises.
        extents: dotted name of a parameter or buffer -> dimension -> what it is. A tied tensor
            stands under every name that it has. What a parametrization computes is named as the
            tensor that it stands for, such as ``"proj.weight"``.
        choices: size -> the values that can be chosen, ascending, the full one last.
        attributes: dotted path of a module -> attribute -> what it follows: an extent, or a
            function of ``{size: value}``, where a size that is missing has its full value. A
            buffer without dimensions may follow, too, and is given as a number. What
            follows in torch's own layers is known, such as ``in_features`` and ``groups``.
        linear: paths of modules whose output is linear in each of their own tensors by itself, so
            that strategies that weight candidates can be used. torch's linear layers are known.

    Returns:
        ``model`` itself, whose modules have other classes now; :func:`restore` puts them back.

    Raises:
        SpaceError: a name is not in the model, a dimension is not as long as its extent, a size has
            no or wrong candidates, tied tensors have different extents, an attribute does not exist
            or is something else at full size, or a module cannot be made elastic.

    >>> hidden = Size("hidden", 8)
    >>> table = {"0.weight": {0: Extent.of(hidden)}, "0.bias": {0: Extent.of(hidden)},
    ...          "2.weight": {1: Extent.of(hidden)}}
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> net = make_elastic(net, table, {hidden: [2, 4, 8]})
    >>> import oneshot_core as oneshot
    >>> oneshot.freeze(net, {"hidden": 2})
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
      (1): ReLU()
      (2): Linear(in_features=2, out_features=2, bias=True)
    )
    """
    candidates = _checked_choices(choices)
    tensors = _checked_tensors(model, extents)
    _require_ties(model, tensors)
    given = _by_module(model, attributes or {})
    is_linear = {_module(model, path, "linear") for path in linear}
    layouts: dict[nn.Module, Layout] = {}
    for module, path in {**{m: p for m, (p, _) in tensors.items()}, **given}.items():
        own = tensors.get(module, (path, {}))[1]
        wanted = (attributes or {}).get(given.get(module, ""), {}) if module in given else {}
        require_adoptable(module, path)
        layout = _layout_for(module, path, own, wanted, candidates)
        if layout is not None:
            layout.linear = module in is_linear
            layouts[module] = layout
    adopt(layouts)
    return model


def _checked_choices(choices: Mapping[Size, Sequence[int]]) -> dict[Size, tuple[int, ...]]:
    found: dict[Size, tuple[int, ...]] = {}
    by_name: dict[str, Size] = {}
    for size, given in choices.items():
        values = tuple(given)
        numbers = all(type(value) is int and value >= 1 for value in values)
        ascending = numbers and all(a < b for a, b in pairwise(values))
        units = ascending and all(v % size.unit == 0 or v == size.full for v in values)
        if not values or not units or values[-1] != size.full:
            raise SpaceError(
                f"the size {size.name!r} has the candidates {list(values)}",
                expected=f"whole numbers, ascending, multiples of {size.unit}, at last the full "
                f"{size.full}",
                fix="correct the candidates",
            )
        other = by_name.setdefault(size.name, size)
        if other is not size and found[other] != values:
            raise SpaceError(
                f"two sizes are called {size.name!r} and have the candidates {list(found[other])} "
                f"and {list(values)}",
                expected="one name for sizes that are decided together",
                fix="give the second one another name, or the same candidates",
            )
        found[size] = values
    return found


def _checked_tensors(
    model: nn.Module, extents: ExtentsTable
) -> dict[nn.Module, tuple[str, dict[str, Extents]]]:
    """Return module -> its path, and name -> extents of its own tensors."""
    found: dict[nn.Module, tuple[str, dict[str, Extents]]] = {}
    for dotted, dims in extents.items():
        path, _, name = dotted.rpartition(".")
        module = _module(model, path, dotted)
        full = _tensor(module, name, dotted)
        for dim, extent in dims.items():
            if not isinstance(extent, Extent) or type(dim) is not int or not 0 <= dim < full.dim():
                raise SpaceError(
                    f"dimension {dim!r} of {dotted!r} is said to be {extent!r}",
                    expected=f"a dimension from 0 to {full.dim() - 1}, and an Extent",
                    fix="correct the table of extents",
                )
            if extent.full != full.shape[dim]:
                raise SpaceError(
                    f"dimension {dim} of {dotted!r} is {full.shape[dim]} long, and {extent} is "
                    f"{extent.full}",
                    expected="an extent as long as the dimension",
                    fix="correct the extent, or the full value of its sizes",
                )
        own: Extents = tuple(dims.get(dim) for dim in range(full.dim()))
        tensors = found.setdefault(module, (path, {}))[1]
        if tensors.setdefault(name, own) != own:
            raise SpaceError(
                f"{dotted!r} is one tensor with two names in the table, and two extents: "
                f"{_shown(own)} and {_shown(tensors[name])}",
                expected="the same extents under every name of a module",
                fix="leave one of them out",
            )
    for _, tensors in found.values():
        for name in [n for n, own in tensors.items() if not any(e and e.sizes for e in own)]:
            del tensors[name]
    return {module: given for module, given in found.items() if given[1]}


def _module(model: nn.Module, path: str, dotted: str) -> nn.Module:
    try:
        module = model.get_submodule(path)
    except AttributeError as error:
        raise SpaceError(
            f"there is no module {path!r} in the {type(model).__name__}, which {dotted!r} names",
            expected="names as named_modules() and named_parameters() give them",
            fix="correct the table",
        ) from error
    if isinstance(module, torch.jit.ScriptModule):
        raise SpaceError(
            f"the module at {path!r} is compiled by TorchScript",
            expected="a module of Python",
            fix="make the model elastic before torch.jit.script",
        )
    return module


def _tensor(module: nn.Module, name: str, dotted: str) -> Tensor:
    full: Any = held(module, name)
    if full is None and is_parametrized(module, name):
        full = getattr(module, name)
    if not isinstance(full, Tensor):
        raise SpaceError(
            f"there is no parameter or buffer {dotted!r} in the model",
            expected=f"one of {sorted([*module._parameters, *module._buffers])} of the "
            f"{type(module).__name__}",
            fix="correct the name; with the older weight_norm of torch.nn.utils, use that of "
            "torch.nn.utils.parametrizations",
        )
    why = None
    if is_lazy(full):
        why = "has no shape before the first batch"
    elif full.layout is not torch.strided:
        why = f"is sparse ({full.layout})"
    elif full.is_quantized:
        why = "is quantized"
    elif getattr(module, "sparse", False) is True:
        why = "has sparse gradients"
    elif type(full) not in (Tensor, nn.Parameter, nn.Buffer) and not is_sharded(full):
        why = f"is a {type(full).__name__}, which cannot be cut in general"
    if why is not None:
        raise SpaceError(
            f"{dotted!r} {why}",
            expected="an ordinary dense tensor",
            fix="leave it out, or make the model elastic before it becomes that",
        )
    return full


def _require_ties(
    model: nn.Module, tensors: Mapping[nn.Module, tuple[str, dict[str, Extents]]]
) -> None:
    """Refuse tied tensors that are to be cut in different ways.

    Raises:
        SpaceError: there are such.
    """
    known: dict[int, tuple[str, Extents | None]] = {}
    elastic = {id(held(m, n)) for m, (_, own) in tensors.items() for n in own} - {id(None)}
    for path, module in model.named_modules():
        own = tensors.get(module, ("", {}))[1]
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None or id(tensor) not in elastic:
                continue
            dotted = f"{path}.{name}".lstrip(".")
            extents = own.get(name)
            first, other = known.setdefault(id(tensor), (dotted, extents))
            if extents != other:
                raise SpaceError(
                    f"{first!r} and {dotted!r} are one tensor and would be cut in different ways: "
                    f"{_shown(other)} and {_shown(extents)}",
                    expected="the same extents under every name of a tied tensor",
                    fix="correct the table, or untie the tensors",
                )
            if first != dotted and isinstance(module, nn.RNNBase):
                raise SpaceError(
                    f"{first!r} and {dotted!r} are one tensor, of a {type(module).__name__}",
                    expected="recurrent layers that share no tensors",
                    fix="leave their sizes out of the table",
                )


def _shown(extents: Extents | None) -> str:
    if extents is None:
        return "not at all"
    return str({dim: extent for dim, extent in enumerate(extents) if extent is not None})


def _by_module(model: nn.Module, attributes: AttributesTable) -> dict[nn.Module, str]:
    return {_module(model, path, f"attributes of {path}"): path for path in attributes}


def require_adoptable(module: nn.Module, path: str) -> None:
    """Refuse modules that cannot be made elastic.

    Raises:
        SpaceError: it is elastic, or a choice, already, or it uses names that choices use.
    """
    name = type(module).__name__
    layout = layout_of(module)
    if isinstance(module, ElasticModule) and layout is not None and not layout.specs:
        return  # it is optional, or holds optional blocks
    if isinstance(module, Elastic):
        raise SpaceError(
            f"the {name} at {path!r} is elastic already",
            expected="a plain module",
            fix="give all extents at once, or take restore(model) first",
        )
    if isinstance(module, (MutableModule, BaseSuperNetModule)):
        raise SpaceError(
            f"the {name} at {path!r} is itself a choice",
            expected="a plain module",
            fix="leave its tensors out of the table",
        )
    own = {n for cls in type(module).__mro__ for n in vars(cls) if cls.__module__ != "torch.nn"}
    for table in ("_parameters", "_buffers", "_modules"):
        own |= module.__dict__[table].keys()
    own |= module.__dict__.keys()
    if taken := sorted(own & _RESERVED):
        raise SpaceError(
            f"the {name} at {path!r} has {', '.join(taken)}, a name that choices use themselves",
            expected=f"none of {sorted(_RESERVED)}",
            fix="rename it, or leave the tensors of this module out of the table",
        )


def _layout_for(
    module: nn.Module,
    path: str,
    tensors: dict[str, Extents],
    wanted: Mapping[str, Extent | Callable[[Values], Any]],
    choices: Mapping[Size, tuple[int, ...]],
) -> Layout | None:
    """Return the layout of one module, every setting of one size of which has been tried.

    None if nothing can be chosen.

    Raises:
        SpaceError: an attribute is wrong, or a size has no candidates.
    """
    where = f"the {type(module).__name__} at {path!r}"
    try:
        functions = {**known_attributes(module, tensors), **wanted}
    except ValueError as error:
        raise _unfit(where, str(error)) from error
    sizes = {s: None for own in tensors.values() for e in own if e for s in e.sizes}
    attributes: dict[str, Follows | Tensors | Counted] = {}
    for name, function in functions.items():
        follows = _follows(module, where, name, function)
        if follows.sizes:
            attributes[name] = follows
            sizes |= dict.fromkeys(follows.sizes)
    if missing := [size for size in sizes if size not in choices]:
        raise SpaceError(
            f"{where} depends on {', '.join(map(repr, missing))}, which no choices are given for",
            expected="candidates for every size",
            fix="add them to choices; a size that stays what it is has its full value alone",
        )
    open_sizes = {size: choices[size] for size in sizes if len(choices[size]) > 1}
    if not open_sizes:
        return None
    if isinstance(module, nn.RNNBase) and tensors:
        attributes["_flat_weights"] = Tensors(tuple(module._flat_weights_names))
    old = layout_of(module) or Layout()
    more = dict(old.more)
    if any(name in module._buffers and may_copy(own) for name, own in tensors.items()):
        more["buffers"] = True
    layout = Layout(tensors, {**attributes, **old.attributes}, open_sizes, more=more)
    full: tuple[Any, ...] = tuple(spec.default for spec in layout.specs)
    for index, spec in enumerate(layout.specs):
        for value in spec.candidates:
            try:
                Plan(layout, (*full[:index], value, *full[index + 1 :]))  # type: ignore[arg-type]
            except Exception as error:
                raise _unfit(where, f"with {spec.label}={value}, {error}") from error
    return layout


def _unfit(where: str, why: str) -> SpaceError:
    return SpaceError(
        f"{where} cannot follow its sizes: {why}",
        expected="extents, candidates and attributes that fit together",
        fix="give candidates that can be computed with, an extent that says more, or the attribute "
        "in attributes=",
    )


def _follows(
    module: nn.Module, where: str, name: str, given: Extent | Callable[[Values], Any]
) -> Follows:
    """Return what an attribute follows, compared with what it is at full size.

    Raises:
        SpaceError: there is no such attribute, it cannot be set, or it is something else.
    """
    missing = object()
    kept = getattr(module, name, missing)
    declared = getattr(type(module), name, None)
    scalar = isinstance(kept, Tensor) and name in module._buffers and kept.dim() == 0
    in_table = name in _tables(module) and not scalar
    if kept is missing or hasattr(declared, "__set__") or in_table:
        raise SpaceError(
            f"{where} has no attribute {name!r} of its own that could follow a size",
            expected="a name of its __dict__, or of a buffer without dimensions",
            fix="correct attributes=",
        )
    function: Any = given.at if isinstance(given, Extent) else given
    asked = Asked({})
    try:
        value = function(asked)
    except Exception as error:
        raise _unfit(where, f"its attribute {name!r} at full size: {error}") from error
    wrapped = isinstance(kept, tuple) and len(kept) == 1 and type(value) is int
    if wrapped:
        value = (value,)
    plain = (int, float, str, bool, tuple, list)
    if isinstance(kept, Tensor) and scalar and kept.equal(kept.new_full((), value)):
        pass
    elif (
        isinstance(kept, plain) and (type(value) is bool) == (type(kept) is bool) and value == kept
    ):
        pass
    elif isinstance(kept, plain) or type(value) is not type(kept):
        raise SpaceError(
            f"{where} has {name}={kept!r}, and at full size it is said to be {value!r}",
            expected="what it is at present, at full size",
            fix="correct attributes=, or the extents",
        )
    return Follows(function, tuple(asked.sizes), wrapped)


def _tables(module: nn.Module) -> set[str]:
    tables = ("_parameters", "_buffers", "_modules")
    return {name for table in tables for name in module.__dict__[table]}


__all__ = ["make_elastic", "restore"]
