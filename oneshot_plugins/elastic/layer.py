"""A layer whose arguments are to be chosen.

Data flow: the arguments hold values; for an architecture they are resolved to plain arguments, and
a *template*, the plain layer built with those on torch's meta device (without data), is kept for
each. A forward pass cuts the template's tensors from the stored ones (:mod:`.rule`) and calls the
template with them. A frozen network holds the very same template with those tensors copied, so
both compute the same function, bit for bit, whatever the layer is.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from oneshot_core.discovery import default_registry
from oneshot_core.errors import SpaceError
from oneshot_core.space import (
    Choice,
    MutableModule,
    ParameterSpec,
    combinations_of,
    resolve,
    specs_in,
    values_in,
    variables_in,
)

from .live import (
    Live,
    apply_modes,
    apply_settings,
    changed,
    refuse_parametrization,
    snapshot,
    varying,
)
from .rule import LayerRule, tensors_of

MAX_TEMPLATES = 4096
"""Different layers that one layer may stand for."""


class _Twin(ABCMeta):
    """Builds the plain layer where nothing is to be chosen."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if any(True for _ in values_in([list(args), kwargs])):
            return super().__call__(*args, **kwargs)
        return cls.layer_class(*args, **kwargs)  # type: ignore[attr-defined]

    def __instancecheck__(cls, instance: object) -> bool:
        # A plain layer is what its twin builds, so isinstance(m, nn.Conv2d) goes on to work.
        layer_class = cls.__dict__.get("layer_class")
        return super().__instancecheck__(instance) or (
            layer_class is not None and isinstance(instance, layer_class)
        )


class MutableLayer(Live, MutableModule, metaclass=_Twin):
    """A layer of ``torch.nn`` some of whose arguments are values, the base of all twins.

    It is an instance of the plain class, too. Its tensors have the names they have there and are
    as large as the largest architecture needs them. Until a search replaces it, it computes what
    the defaults of its choices say.

    Raises:
        SpaceError: the plain layer refuses every combination of values, the values change the
            shape of tensors and no installed rule says how to cut them, or they can be combined
            in too many ways.

    Source: ``nni.nas.nn.pytorch.layers``, ``nni.nas.oneshot.pytorch.supermodule.operation``.
    """

    sealed = True  # a template is called with parts of all tensors, of submodules too
    layer_class: ClassVar[type[nn.Module]]
    own_rule: ClassVar[LayerRule | None] = None
    """As given to :func:`mutable`; it goes before the installed ones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        arguments = inspect.signature(self.layer_class).bind(*args, **kwargs).arguments
        specs = specs_in(dict(arguments))
        _refuse_modules(self.layer_class, arguments)
        plans = _Plans(self.layer_class, arguments)
        rule = self.own_rule or _rule_for(self.layer_class)
        stored = _stored(self.layer_class, rule, plans)
        largest = max(plans.templates, key=lambda key: _extent(plans.templates[key]))
        self.layer_class.__init__(self, *plans.bound[largest].args, **plans.bound[largest].kwargs)
        self.__dict__.update(
            _arguments=arguments, _specs=specs, _rule=rule, _plans=plans, _largest=largest
        )
        _enlarge(self, stored)
        follows = varying(list(plans.templates.values()), self)
        for name in follows:
            del self.__dict__[name]
        self.__dict__.update(_built=snapshot(self), _varying=follows)

    def elastic(self) -> MutableLayer:
        return self

    @property
    def specs(self) -> dict[str, ParameterSpec]:
        """Label -> spec of the choices that the arguments depend on."""
        specs: dict[str, ParameterSpec] = self.__dict__["_specs"]
        return specs

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments as they were given, values among them."""
        arguments: Mapping[str, Any] = self.__dict__["_arguments"]
        return arguments

    @property
    def declared(self) -> bool:
        """Whether an argument depends on choices through a declared domain alone.

        Its value then follows from an architecture, and not from candidates one by one, so the
        layer cannot be superposed.
        """
        return not variables_in(dict(self.arguments)).keys() <= self.specs.keys()

    @property
    def rule(self) -> LayerRule:
        """How the tensors are cut."""
        rule: LayerRule = self.__dict__["_rule"]
        return rule

    def specs_at(self, path: str) -> tuple[ParameterSpec, ...]:
        return tuple(self.specs.values())

    def impossible_at(self, path: str) -> Iterator[tuple[Mapping[str, Choice], str]]:
        self._plans.all()
        yield from self._plans.refused

    @property
    def _plans(self) -> _Plans:
        plans: _Plans = self.__dict__["_plans"]
        return plans

    def template(self, chosen: Mapping[str, Choice]) -> nn.Module:
        """Return the plain layer, without data, that ``chosen`` asks for; kept and reused.

        Raises:
            SpaceError: the plain layer refuses these arguments.
        """
        return self._plans.template(chosen)

    def templates(self) -> list[nn.Module]:
        """Return every different plain layer that this one stands for."""
        return self._plans.all()

    def tensors(self) -> dict[str, Tensor]:
        """Return the stored parameters and buffers by name."""
        return tensors_of(self)

    def prepare(self, template: nn.Module, module: Live) -> None:
        """Set the mode of ``template``, and what else was set on ``module``, in whose name it runs.

        Args:
            template: one of :meth:`templates`.
            module: this layer, or the supernet module in its place.
        """
        apply_modes(module, template)
        apply_settings(_changed(module), template, keep=True)

    def part(self, template: nn.Module) -> dict[str, Tensor]:
        """Return name -> tensor of the part of the stored tensors that ``template`` takes.

        They are what the frozen layer holds, down to how kernels will treat them: its parameters
        lie in one piece, and ask for a gradient whether or not one is computed. Matrix products
        round differently for others. Running statistics stay views, for they are written to.
        """
        source = self.tensors()
        tensors = self.rule.cut(source, template)
        for name, _ in template.named_parameters(remove_duplicate=False):
            tensor, whole = tensors.get(name), source.get(name)
            if tensor is None or tensor is whole:
                continue
            tensor = tensor.contiguous()
            learns = tensor.is_floating_point() and (whole is None or whole.requires_grad)
            if learns and not tensor.requires_grad:
                tensor = tensor.detach().requires_grad_()
            tensors[name] = tensor
        return tensors

    def run(self, template: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Compute what ``template`` computes with the part of the stored tensors that it takes."""
        return functional_call(template, self.part(template), args, dict(kwargs))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute with the default of every choice."""
        chosen = {label: spec.default for label, spec in self.specs.items()}
        template = self.template(chosen)
        self.prepare(template, self)
        return self.run(template, args, kwargs)

    def select_at(self, path: str, chosen: Mapping[str, Choice]) -> nn.Module:
        return self.selected(chosen, self)

    def selected(self, chosen: Mapping[str, Choice], module: Live) -> nn.Module:
        """Return the plain layer that ``chosen`` asks for.

        Args:
            chosen: label -> choice.
            module: this layer, or the supernet module in its place, whose settings it gets.
        """
        layer = self._plans.build(chosen)
        apply_modes(module, layer)
        apply_settings(_changed(module), layer, keep=False)
        source = self.tensors()
        for name, tensor in self.rule.cut(source, layer).items():
            _place(layer, name, tensor, source.get(name))
        return layer

    def extra_repr(self) -> str:
        """Show the arguments as they were given."""
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _empty, (self.layer_class,), self.__getstate__()

    def __getstate__(self) -> Any:
        return {**self.__dict__, "_plans": self._plans.empty()}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "layer_class" not in cls.__dict__:
            refuse_parametrization(cls, cls.layer_class)
            raise SpaceError(
                f"{cls.__name__} is a subclass of a layer with choices",
                expected="a subclass of the plain layer",
                fix="subclass torch.nn's class, and use oneshot.nn.mutable(YourClass)",
            )


def _changed(module: Live) -> dict[tuple[str, str], Any]:
    return changed(module, module.__dict__["_built"], module.__dict__["_varying"])


def mutable(
    layer_class: type[nn.Module], *, rule: LayerRule | type[LayerRule] | None = None
) -> type[MutableLayer]:
    """Return the twin of a class of layers: called with values it makes a :class:`MutableLayer`.

    For layers of your own; those of ``torch.nn`` are in :mod:`oneshot_core.nn` already. Its
    arguments must be plain data, and the constructor must not do more than build the layer.

    Args:
        layer_class: the plain class.
        rule: how its tensors are cut. ``LayerRule()`` takes the first entries of every dimension,
            which is right for most layers. None looks for an installed rule for the class or its
            nearest base.

    Raises:
        SpaceError: ``layer_class`` is no class of modules, or ``rule`` is no rule.
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, nn.Module)):
        raise SpaceError(
            f"mutable got {layer_class!r}",
            expected="a class of modules",
            fix="pass the class, such as nn.Linear, and call what you get",
        )
    if rule is None:
        return _twin(layer_class)
    made = rule() if isinstance(rule, type) else rule
    if not isinstance(made, LayerRule):
        raise SpaceError(
            f"mutable({layer_class.__name__}) got rule={rule!r}",
            expected="a LayerRule",
            fix="rule=LayerRule() for prefixes, or an instance of a subclass of it",
        )
    return _made_twin(layer_class, made)


_twins: dict[type[nn.Module], type[MutableLayer]] = {}


def _twin(layer_class: type[nn.Module]) -> type[MutableLayer]:
    if layer_class in _twins:
        return _twins[layer_class]
    return _twins.setdefault(layer_class, _made_twin(layer_class, None))


def _made_twin(layer_class: type[nn.Module], rule: LayerRule | None) -> type[MutableLayer]:
    name = layer_class.__name__
    doc = f"``{layer_class.__module__}.{name}``, whose arguments may be values."
    inside = getattr(nn, name, None) is layer_class
    members = {
        "layer_class": layer_class,
        "own_rule": rule,
        "__module__": "oneshot_core.nn" if inside else __name__,
        "__qualname__": name,
        "__doc__": doc,
    }
    made: Any = _Twin(name, (MutableLayer, layer_class), members)
    return made  # type: ignore[no-any-return]


def _empty(layer_class: type[nn.Module]) -> MutableLayer:
    cls = _twin(layer_class)  # whose rule does not matter: each layer holds its own
    return cls.__new__(cls)


class _Plans:
    """The plain layers that one layer may become, without data, by their arguments."""

    def __init__(self, layer_class: type[nn.Module], arguments: Mapping[str, Any]) -> None:
        self.layer_class = layer_class
        self.arguments = arguments
        self.templates: dict[str, nn.Module] = {}
        self.bound: dict[str, inspect.BoundArguments] = {}
        self.refused: list[tuple[dict[str, Choice], str]] = []
        self.complete = False
        self.all()

    def all(self) -> list[nn.Module]:
        """Return every different layer.

        Raises:
            SpaceError: there is none, or too many, or one is refused beside a declared domain.
        """
        if self.complete:
            return list(self.templates.values())
        name = self.layer_class.__name__
        variables = variables_in(dict(self.arguments))
        for chosen in combinations_of(_listed(variables)):
            key, bound = self._resolve(chosen)
            if key in self.templates:
                continue
            try:
                self.templates[key] = _without_data(self.layer_class, bound)
            except Exception as error:
                self.refused.append((chosen, f"{type(error).__name__}: {error}"))
                continue
            self.bound[key] = bound
            if len(self.templates) > MAX_TEMPLATES:
                raise SpaceError(
                    f"a {name} stands for more than {MAX_TEMPLATES} layers",
                    expected=f"fewer combinations of {list(variables)}",
                    fix="let it depend on fewer choices, or give them fewer values",
                )
        if not self.templates:
            chosen, why = self.refused[0]
            raise SpaceError(
                f"{name} refuses every combination of {list(variables)}; for {chosen}: {why}",
                expected="at least one that can be built",
                fix="correct the arguments",
            )
        if self.refused and not variables.keys() <= specs_in(dict(self.arguments)).keys():
            arguments, why = resolve(dict(self.arguments), self.refused[0][0]), self.refused[0][1]
            raise SpaceError(
                f"{name} refuses {arguments}, which a declared domain allows: {why}",
                expected="a layer that can be built with each value of the domain",
                fix="declare in apply(..., domain=[...]) only what can be built",
            )
        self.complete = True
        return list(self.templates.values())

    def empty(self) -> _Plans:
        """Return the same without what was built, which is built anew when it is needed."""
        twin = object.__new__(_Plans)
        twin.__dict__.update(self.__dict__, templates={}, bound={}, refused=[], complete=False)
        return twin

    def _resolve(self, chosen: Mapping[str, Choice]) -> tuple[str, inspect.BoundArguments]:
        arguments = resolve(dict(self.arguments), chosen)
        signature = inspect.signature(self.layer_class)
        return repr(arguments), inspect.BoundArguments(signature, arguments)

    def build(self, chosen: Mapping[str, Choice]) -> nn.Module:
        _, bound = self._resolve(chosen)
        try:
            return _without_data(self.layer_class, bound)
        except Exception as error:
            raise SpaceError(
                f"{self.layer_class.__name__} refuses {dict(chosen)}: {error}",
                expected="arguments that fit together",
                fix="rule the combination out, as by oneshot.constrain(model, width % groups == 0)",
            ) from error

    def template(self, chosen: Mapping[str, Choice]) -> nn.Module:
        key, bound = self._resolve(chosen)
        if key not in self.templates:
            self.templates[key] = self.build(chosen)
            self.bound[key] = bound
        return self.templates[key]


def _listed(specs: Mapping[str, ParameterSpec]) -> dict[str, ParameterSpec]:
    """Return specs that can be listed; of an interval both ends and the default."""
    listed = {}
    for label, spec in specs.items():
        if spec.interval is not None:
            values = dict.fromkeys((spec.interval.low, spec.default, spec.interval.high))
            spec = ParameterSpec(label, tuple(values))
        listed[label] = spec
    return listed


def _without_data(layer_class: type[nn.Module], bound: inspect.BoundArguments) -> nn.Module:
    kwargs = {name: value for name, value in bound.kwargs.items() if name != "device"}
    with torch.device("meta"):  # neither memory nor random numbers
        return layer_class(*bound.args, **kwargs)


def _rule_for(layer_class: type[nn.Module]) -> LayerRule | None:
    """Return the installed rule for the nearest of a class's bases; None if there is none."""
    registry = default_registry()
    records = [r for r in registry.ordered("elastic") if r.handles(layer_class)]
    for base in layer_class.__mro__:  # the nearest base wins, whatever the priorities
        for record in records:
            if record.names(base):
                rule = registry.load(record.id)
                return rule() if isinstance(rule, type) else rule  # type: ignore[no-any-return]
    return None


def _stored(
    layer_class: type[nn.Module], rule: LayerRule | None, plans: _Plans
) -> dict[str, tuple[int, ...]]:
    templates = list(plans.templates.values())
    shapes = [{n: tuple(t.shape) for n, t in tensors_of(each).items()} for each in templates]
    if rule is None and any(shape != shapes[0] for shape in shapes):
        raise SpaceError(
            f"the choices {list(specs_in(dict(plans.arguments)))} change the shape of a "
            f"{layer_class.__name__}'s tensors, and no installed plugin says how to cut them",
            expected="a rule, or a component of the kind 'elastic' that handles the class",
            fix=f"mutable({layer_class.__name__}, rule=LayerRule()) if a smaller layer takes the "
            "first entries of each tensor; else a rule of your own, or LayerChoice between "
            f"several {layer_class.__name__}",
        )
    stored = (rule or LayerRule()).stored(templates)
    source = {name: torch.empty(shape, device="meta") for name, shape in stored.items()}
    for template, wanted in zip(templates, shapes, strict=True):
        cut = (rule or LayerRule()).cut(source, template)
        found = {name: tuple(tensor.shape) for name, tensor in cut.items()}
        if found != wanted:
            raise SpaceError(
                f"{type(rule).__name__} cuts a {layer_class.__name__} to {found}",
                expected=f"{wanted}",
                fix="correct stored or cut of the rule",
            )
    return stored


def _extent(module: nn.Module) -> tuple[int, int]:
    tensors = tensors_of(module).values()
    return len(tensors), sum(tensor.numel() for tensor in tensors)


def _enlarge(layer: MutableLayer, stored: Mapping[str, tuple[int, ...]]) -> None:
    """Give ``layer`` tensors of the stored shapes, initialised as the layer initialises its own."""
    if layer.rule is None:
        layer.__dict__["_rule"] = LayerRule()
    present = tensors_of(layer)
    if {name: tuple(tensor.shape) for name, tensor in present.items()} == dict(stored):
        return
    for name in present.keys() - stored.keys():
        _owner(layer, name)._parameters.pop(name.rpartition(".")[2], None)
    like = next(iter(present.values()))
    for name, shape in stored.items():
        known = present.get(name)
        if known is None or tuple(known.shape) != tuple(shape):
            new = torch.empty(shape, dtype=like.dtype, device=like.device)
            _place(layer, name, new, nn.Parameter(new) if known is None else known)
    reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
    if not callable(reset):
        raise SpaceError(
            f"{type(layer).__name__} cannot initialise tensors as large as its choices need",
            expected="a method reset_parameters()",
            fix="write one",
        )
    reset()


def _place(layer: nn.Module, name: str, tensor: Tensor, source: Tensor | None) -> None:
    """Put a tensor that was cut from ``source`` into ``layer``, as a parameter if that is one.

    All of a source is put there itself, so that tied tensors stay tied; a part as a copy.
    """
    owner, leaf = _owner(layer, name), name.rpartition(".")[2]
    if tensor is source:
        placed: Tensor = tensor
    elif leaf in owner._parameters or isinstance(source, nn.Parameter):
        grad = source.requires_grad if source is not None else True
        placed = nn.Parameter(tensor.detach().clone(), requires_grad=grad)
        if source is not None and tensor._base is source:
            geometry = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
            placed._oneshot_slice = (id(source), geometry)  # type: ignore[attr-defined]
    else:
        placed = tensor.detach().clone()
    if isinstance(placed, nn.Parameter):
        owner._parameters[leaf] = placed
    else:
        owner._buffers[leaf] = placed


def _owner(layer: nn.Module, name: str) -> nn.Module:
    return layer.get_submodule(name.rpartition(".")[0])


def _refuse_modules(layer_class: type[nn.Module], arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        if isinstance(value, nn.Module):
            raise SpaceError(
                f"{layer_class.__name__} got values beside the module "
                f"{name}={type(value).__name__}",
                expected="plain data and values",
                fix="use Repeat for a number of layers, or put the values into that module",
            )
