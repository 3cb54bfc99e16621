"""``oneshot.elastic`` and ``oneshot.optional``: an unmodified model becomes a supernet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import nn

from oneshot_core.discovery import default_registry
from oneshot_core.errors import SpaceError
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import MutableModule, Patch, Value, choice, constrain
from oneshot_core.supernet import BaseSuperNetModule

from ..elastic.classes import Elastic, restore
from ..elastic.module import make_elastic
from .adapter import Adapter
from .adapting import Adapters, Stack, find_adapters
from .choosing import Request, Selection, choose, without
from .correcting import attach, detach
from .expression import matching
from .inputs import Call, call_of, is_by_hand
from .naming import Extents, replace_sizes, uses_of
from .plan import Chosen, Depth, Plan, plain_class
from .proof import UNPROVED, Holder, failures
from .sizes import Rules, Wanted, check_wanted
from .sorting import Sorted, sort_by_importance
from .stacks import apply_depth, plan_depth, stacks_of, stacks_of_paths
from .trace import Fixed, Trace, trace

__all__ = ["elastic", "optional"]

RATIOS = (0.25, 0.5, 0.75, 1.0)
ByHand = Mapping[str, Sequence[float]]


def elastic(
    model: nn.Module,
    example_inputs: Any = None,
    only: ByHand | None = None,
    *,
    ratios: Sequence[float] = RATIOS,
    depth: Wanted = None,
    per_layer: bool = False,
    multiple_of: int = 8,
    minimum: int | Mapping[str, int] | None = None,
    importance: str | None = None,
    batches: Iterable[Any] | None = None,
    adapter: Adapter | Literal["auto"] | None = "auto",
    by_config: bool | None = None,
    **sizes: Wanted,
) -> Plan:
    """Make a model elastic, in place: its sizes can be chosen by any search that draws.

    One forward pass without data finds which dimensions of which tensors are one size. The full
    model goes on to compute the same bits, its state dict has the same names, and networks that are
    frozen from a search consist of the model's own classes. The plan is proved by calling frozen
    networks of several sizes with the example.

    Parametrizations, such as ``weight_norm`` or LoRA, are added before; exports are made of frozen
    networks.

    Args:
        model: any module, with its weights.
        example_inputs: what the model is called with: a tensor, a tuple of positional or a dict of
            keyword arguments. None: models of transformers and timm describe it themselves.
            A dict from labels to values may stand here instead of ``only``.
        only: label, role or dimension of a tensor -> ratios or values. ``*`` stands for any text:
            ``{"encoder.layer.*.ffn": [512, 1024]}``, ``{"heads": [0.5, 1.0]}`` or
            ``{"layers.*.up.weight:0": [0.5]}``. All other sizes stay as they are.
        ratios: parts of the full value, above 0 and at most 1, from which candidates are made. The
            full value is always a candidate.
        depth: whether blocks can be skipped: True for ``ratios``, ratios, or numbers of blocks.
        per_layer: whether each layer has labels of its own. Else sizes of equal role and full value
            share one, and the frozen network is one that the model's configuration can describe.
        multiple_of: widths from ratios are multiples of it. Heads are counted one by one.
        minimum: the smallest width, or a dict from roles to the smallest value.
        importance: name of an installed component of the kind ``importance``, by which the items
            of each size are sorted once: ``"activation"`` where ``batches`` are given. The first
            items are then the most important ones, and the full model stays the same function, up
            to the rounding of sums.
        batches: each what the model is called with, for the importance of items and of blocks.
        adapter: what the model's code does not say. ``"auto"`` looks for an installed adapter of
            its class; None takes none.
        by_config: whether only networks can be chosen that the model's own configuration describes,
            so that ``save_pretrained`` writes what ``from_pretrained`` loads. BERT's, for example,
            demands that the hidden size is a number of heads times a constant. None for yes, unless
            ``per_layer``, or unless nothing of the two could be chosen then.
        **sizes: ``hidden``, ``ffn``, ``heads``, ``kv``, ``channels`` or ``other`` -> ratios
            (floats), values (ints), None for ``ratios``, or False if they are to stay. Heads are
            counted; where queries share keys, ``kv`` counts the groups and ``heads`` the queries of
            each.

    Returns:
        the plan: print it to see what can be chosen, and what is fixed by which line of code.

    Raises:
        SpaceError: an argument makes no sense for the model, or nothing can be chosen; the model is
            as it was.
        OneShotError: the forward pass cannot be traced, or an adapter does not fit.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
    >>> plan = elastic(net, torch.zeros(1, 4), ratios=(0.25, 0.5, 1.0))
    >>> plan.sizes["ffn"].values, plan.architectures
    ((16, 32, 64), 3)
    """
    if is_by_hand(example_inputs):
        example_inputs, only = None, example_inputs if only is None else only
    request = Request(Rules(ratios, multiple_of, minimum), sizes, only, per_layer)
    check_wanted("depth", depth)
    _require_plain(model)
    given = None if batches is None else list(batches)
    work = _Work(model, call_of(model, example_inputs), _adapters(model, adapter))
    work.by_config = not per_layer if by_config is None else by_config
    traced = work.trace()
    work.selection = choose(model, traced, work.uses(traced), request)
    if depth is not None and depth is not False:
        work.stacks = stacks_of(model, work.adapters, work.call)
        if not work.stacks:
            raise _no_blocks(model)
        work.depth = plan_depth(
            model, work.stacks, depth, ratios, per_layer=per_layer, batches=given
        )
    name = importance or ("activation" if given is not None and work.selection.chosen else None)
    if by_config:
        work.require_by_config(per_layer)
    with work.undone_on_error():
        work.prove()
        done = None if name is None else work.sort(name, given)
        work.keep_to_config()
        return work.plan(traced.seconds, done)


def optional(
    model: nn.Module,
    paths: str | Sequence[str],
    example_inputs: Any = None,
    *,
    values: Sequence[float] | None = None,
    per_layer: bool = False,
    label: str = "depth",
    batches: Iterable[Any] | None = None,
    adapter: Adapter | Literal["auto"] | None = "auto",
) -> Plan:
    """Let blocks of a model be skipped, in place: depth alone. A block gives back what it is given.

    Frozen networks do not hold the blocks that are skipped. The model may be elastic already.

    Args:
        model: any module, with its weights.
        paths: dotted paths of blocks in lists, in which ``*`` stands for a part of one name:
            ``"layers.*"``, ``"layer2.[1-3]"``.
        example_inputs: as for :func:`elastic`. With them, blocks that change the shape of their
            argument are refused here; without them, such a network fails when it is called.
        values: numbers of blocks that run (ints), or ratios (floats); None for quarters. All
            blocks are always a candidate.
        per_layer: whether each block has a choice of its own, yes or no, named by its path.
        label: of the choice.
        batches: each what the model is called with. Then the blocks that matter most for its
            results run; else those that are skipped lie evenly among the others.
        adapter: as for :func:`elastic`.

    Returns:
        the plan.

    Raises:
        SpaceError: no block has such a path, a block must stay or changes the shape of its
            argument; the model is as it was.

    >>> import torch
    >>> net = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(4)))
    >>> optional(net, "*", torch.zeros(1, 4)).depth[0].candidates
    {'depth': (1, 2, 3, 4)}
    """
    patterns = [paths] if isinstance(paths, str) else list(paths)
    names = [name for name, _ in model.named_modules() if name]
    found = []
    for pattern in patterns:
        matched = matching(names, pattern)
        if not matched:
            raise SpaceError(
                f"no module of {plain_class(model)} has the path {pattern!r}",
                expected="the paths of blocks in a list; * stands for one name",
                fix="write a path as of model.named_modules(), such as 'encoder.layer.*'",
            )
        found += matched
    known = _adapters(model, adapter)
    call = None if example_inputs is None else call_of(model, example_inputs)
    work = _Work(model, call or Call((), {}), known)
    work.stacks = stacks_of_paths(model, known, list(dict.fromkeys(found)), call)
    work.depth = plan_depth(
        model,
        work.stacks,
        True if values is None else values,
        RATIOS,
        per_layer=per_layer,
        label=label,
        batches=None if batches is None else list(batches),
    )
    if not work.depth:
        raise _no_blocks(model)
    if _is_elastic(model):  # what stands on it is not taken back if this fails
        apply_depth(model, work.stacks, work.depth)
        return work.plan(0.0, None)
    with work.undone_on_error():
        work.make()
        return work.plan(0.0, None)


@dataclass
class _Work:
    """A model on its way to being elastic.

    Args:
        model: which is changed in place.
        call: what it is called with.
        adapters: of the model.
    """

    model: nn.Module
    call: Call
    adapters: Adapters
    extents: Extents = field(default_factory=dict)
    selection: Selection = field(default_factory=lambda: Selection((), {}, ()))
    stacks: Sequence[Stack] = ()
    depth: tuple[Depth, ...] = ()
    by_config: bool = False
    notes: list[str] = field(default_factory=list)
    patches: dict[str, Patch] = field(init=False)
    """What stood on the model before, such as constraints of the user's."""

    def __post_init__(self) -> None:
        self.patches = {k: v for k, v in vars(self.model).items() if isinstance(v, Patch)}

    def trace(self) -> Trace:
        """Trace the model; what adapters add to the extents is in the result."""
        attributes = self.adapters.traced_attributes(self.model)
        traced = trace(self.model, self.call.args, self.call.kwargs, attributes=attributes)
        self.extents = self.adapters.completed(self.model, traced.extents)
        fixed = tuple(f for f in traced.fixed if f.dim not in self.extents.get(f.tensor, {}))
        return replace(traced, extents=self.extents, fixed=fixed)

    def uses(self, traced: Trace) -> Any:
        """Return what the sizes are for."""
        roles = self.adapters.roles(self.model, traced.extents)
        return uses_of(self.model, traced.extents, roles)

    @property
    def chosen_extents(self) -> dict[str, dict[int, Any]]:
        """The extents in the sizes that can be chosen."""
        return replace_sizes(self.extents, self.selection.new)

    def make(self) -> None:
        """Make the model elastic."""
        chosen = self.selection.chosen
        attach(self.model, self.adapters)
        if chosen:
            extents = self.chosen_extents
            attributes = self.adapters.run_time_attributes(self.model, extents)
            choices = {one.size: one.values for one in chosen}
            make_elastic(self.model, extents, choices, attributes)
        apply_depth(self.model, self.stacks, self.depth)

    def unmake(self) -> None:
        """Make the model plain again."""
        restore(self.model)
        detach(self.model)
        for name in [n for n, value in vars(self.model).items() if isinstance(value, Patch)]:
            if name not in self.patches:
                del vars(self.model)[name]
        vars(self.model).update(self.patches)

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Leave the model plain if the block raises."""
        try:
            yield
        except BaseException:
            self.unmake()
            raise

    def prove(self) -> None:
        """Make the model elastic, without sizes at which it cannot be called.

        Raises:
            SpaceError: nothing can be chosen.
        """
        while True:
            if not self.selection.chosen and not self.depth:
                raise _nothing(self.model, self.selection.fixed)
            self.make()
            candidates: dict[str, Sequence[Any]] = {}
            for chosen in self.selection.chosen:
                candidates[chosen.label] = chosen.values
            for depth in self.depth:
                candidates |= depth.candidates
            wrong = failures(self.model, self.call, candidates)
            if UNPROVED in wrong:
                self.notes.append(
                    f"The plan is not proved, for a copy of the model cannot be called: "
                    f"{wrong[UNPROVED]}."
                )
            if UNPROVED in wrong or not wrong:
                return
            self.unmake()
            self.selection = without(self.selection, self.extents, wrong)
            self.depth = tuple(d for d in self.depth if not wrong.keys() & {*d.labels})

    def sort(self, name: str, batches: Sequence[Any] | None) -> Sorted:
        """Sort the items of the sizes by their importance; each layer's for itself."""
        self.unmake()
        score = default_registry().load(f"importance:{name}")
        scores = score(self.model, self.extents, batches)
        wanted = {size: scores[size] for size in self.selection.new if size in scores}
        done = sort_by_importance(self.model, self.extents, wanted, batches=batches, strict=False)
        self.make()
        return done

    def plan(self, seconds: float, done: Sorted | None) -> Plan:
        """Return the plan of the model as it is now."""
        sizes: dict[str, Chosen] = {one.label: one for one in self.selection.chosen}
        notes = [*self.notes]
        if done is not None:
            notes.append(f"The items of the sizes are {done}.")
        return Plan(
            self.model,
            sizes,
            self.depth,
            self.chosen_extents,
            self.selection.fixed,
            seconds,
            ModelSpace(Holder(self.model)).size,
            self.unmake,
            done,
            tuple(notes),
        )

    def demands(self) -> Iterator[tuple[str, Value | None]]:
        """Yield what configurations demand of the sizes that can be chosen, such as BERT's.

        A sentence, and the condition under which a network is one that the configuration can
        describe; None where that would leave nothing to choose, or cannot be said of labels.
        """
        by_role: dict[str, list[Chosen]] = {}
        for one in self.selection.chosen:
            by_role.setdefault(one.role, []).append(one)
        for found in self.adapters.found:
            for left, right in found.adapter.needs:
                roles = re.findall(r"[a-z]+", left)
                if not by_role.keys() & set(roles):
                    continue
                name = plain_class(self.model.get_submodule(found.path))
                said = f"The configuration of {name} says only sizes for which {left} is {right}."
                both = [one for role in roles for one in by_role.get(role, [])]
                condition = None
                if re.fullmatch(r"[a-z]+ / [a-z]+", left) and len(both) == len(roles) == 2:
                    condition = _in_proportion(*both)
                yield said, condition

    def require_by_config(self, per_layer: bool) -> None:
        """Refuse networks of which a configuration cannot be asked.

        Raises:
            SpaceError: with ``per_layer``, or one of two sizes is fixed that go together.
        """
        wrong = [said for said, condition in self.demands() if condition is None]
        if per_layer or wrong:
            raise SpaceError(
                "by_config=True was asked for, and "
                + (wrong[0] if wrong else "per_layer=True, which no configuration can say"),
                expected="sizes that the model's configuration can describe together",
                fix="give both sizes the same ratios, or leave by_config= out and save networks "
                "with oneshot.save_network",
            )

    def keep_to_config(self) -> None:
        """Rule out networks that the model's configuration cannot describe, where that is asked."""
        for said, condition in self.demands():
            if self.by_config and condition is not None:
                constrain(self.model, condition)
                self.notes.append(
                    f"{said} Only such networks can be chosen; by_config=False allows all, which "
                    "oneshot.save_network saves."
                )
            else:
                self.notes.append(f"{said} oneshot.save_network saves networks of all sizes.")


def _in_proportion(one: Chosen, other: Chosen) -> Value | None:
    """Return the condition that two sizes keep the proportion that they have at full size.

    None if it holds for their full values only.
    """
    first, second = one.size.full, other.size.full
    pairs = [(a, b) for a in one.values for b in other.values if a * second == b * first]
    if len(pairs) < 2:
        return None
    a, b = (choice(c.values, label=c.label, default=c.size.full) for c in (one, other))
    condition: Value = a * second == b * first
    return condition


def _adapters(model: nn.Module, adapter: Adapter | str | None) -> Adapters:
    if adapter is None:
        return Adapters(())
    if adapter == "auto":
        return find_adapters(model)
    if isinstance(adapter, Adapter):
        return find_adapters(model, adapter=adapter)
    raise SpaceError(
        f"adapter={adapter!r}",
        expected="'auto', None, or an oneshot_plugins.pretrained.adapter.Adapter",
        fix="correct adapter=",
    )


def _is_elastic(model: nn.Module) -> bool:
    return any(isinstance(module, Elastic) for module in model.modules())


def _require_plain(model: nn.Module) -> None:
    """Refuse a model that is elastic, or in a search, already."""
    for path, module in model.named_modules():
        if isinstance(module, BaseSuperNetModule):
            raise SpaceError(
                f"{plain_class(model)} is part of a search already, at {path!r}",
                expected="a model that no search has been made of",
                fix="call oneshot.elastic before oneshot.search",
            )
        if isinstance(module, Elastic | MutableModule):
            raise SpaceError(
                f"{plain_class(model)} holds choices already, at {path!r}",
                expected="a plain model",
                fix="call plan.restore() of its plan first, or make only a part elastic",
            )


def _no_blocks(model: nn.Module) -> SpaceError:
    return SpaceError(
        f"{plain_class(model)} has no blocks that can be skipped",
        expected="lists of blocks whose results have the shape of their first argument",
        fix="leave depth= out, or name the blocks: oneshot.optional(net, 'layers.*')",
    )


def _nothing(model: nn.Module, fixed: Sequence[Fixed]) -> SpaceError:
    # What a line of code has fixed tells more than what is never used.
    first = sorted(fixed, key=lambda one: (not one.where, "row" in one.reason))[:3]
    shown = "".join(f"\n  {one}" for one in first)
    more = f"\n  ... and {len(fixed) - len(first)} more dimensions" * (len(fixed) > len(first))
    return SpaceError(
        f"nothing of {plain_class(model)} can be chosen:{shown}{more}",
        expected="a model whose code computes sizes from the shapes of its tensors",
        fix="give an adapter= that says which attributes follow sizes, or larger ratios",
    )
