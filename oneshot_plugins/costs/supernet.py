"""A copy of a model with decisions of its own, to measure networks of, and where it is put."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core import (
    Active,
    BaseOneShotLightningModule,
    Decision,
    DecisionTable,
    ModelSpace,
    Registry,
    no_default_hook,
    traverse_and_mutate_submodules,
)
from oneshot_core.errors import ArchitectureError
from oneshot_core.lightning.kit import plugin_hooks
from oneshot_core.space import Choice, constraints_of
from oneshot_core.supernet import supernet_modules

from .placing import moved, without_data
from .running import in_use
from .table import CostError


class Followed(Decision):
    """Takes what is pinned, and the default otherwise."""

    def mixture(self) -> list[Active]:
        return [Active(candidate) for candidate in self.spec.members(self.spec.default)]

    def probabilities(self) -> Tensor:
        n = len(self.spec.candidates)
        return torch.full((n,), (self.spec.n_chosen or n) / max(n, 1))


class Supernet:
    """A mutated copy of a model with decisions of its own.

    Args:
        source: stays as it is.
        registry: where supernet modules are looked up.
        enter: puts what becomes of tensors into the memo of the copy; None copies them.
    """

    def __init__(
        self,
        source: nn.Module,
        registry: Registry,
        enter: Callable[[nn.Module, dict[int, Any]], None] | None = None,
    ) -> None:
        model: nn.Module = (
            source.model if isinstance(source, BaseOneShotLightningModule) else source
        )
        self.decisions = DecisionTable(Followed)
        memo: dict[int, Any] = {}
        for module in supernet_modules(model):
            for decision in module.decisions:
                own = self.decisions.decide(decision.spec, path="")
                memo[id(decision)] = own
        mutated = bool(memo)
        if enter is not None:
            enter(model, memo)
        self.model = copy.deepcopy(model, memo)  # which fills the memo
        if not mutated:
            hooks = [*plugin_hooks(registry), no_default_hook]
            traverse_and_mutate_submodules(self.model, hooks, {"decisions": self.decisions})
        self.space = ModelSpace(self.model, constraints_of(model))
        self.modules = list(supernet_modules(self.model))

    @contextmanager
    def at(self, chosen: Mapping[str, Choice]) -> Iterator[None]:
        for decision in self.decisions:
            if decision.spec.label in chosen:
                decision.pin(chosen[decision.spec.label])
        try:
            yield
        finally:
            for decision in self.decisions:
                decision.unpin()

    def completed(self, partial: Mapping[str, Choice]) -> dict[str, Choice] | None:
        """Return an architecture with ``partial`` and defaults; None if constraints forbid it."""
        chosen = self.nearest(partial)
        return None if chosen is None or not partial.keys() <= chosen.keys() else chosen

    def nearest(self, wanted: Mapping[str, Choice]) -> dict[str, Choice] | None:
        """Return what of ``wanted`` decides something, with defaults; None if it is forbidden."""
        chosen = {**self.space.default(), **wanted}
        while missing := [s for s in self.space.active(chosen) if s.label not in chosen]:
            chosen.update({spec.label: spec.default for spec in missing})
        chosen = self.space.reduce(chosen)
        if not self.space.possible(chosen):
            try:
                return self.space.complete(wanted, random.Random(0))
            except ArchitectureError:
                return None
        return chosen


def where(
    source: nn.Module,
    registry: Registry,
    cost: Callable[..., float],
    inputs: tuple[Any, ...],
    device: str | torch.device | None,
) -> tuple[Supernet, torch.device, tuple[Any, ...]]:
    """Return a supernet to measure parts of, where it is, and the inputs there.

    Raises:
        CostError: there is no such device, or nothing can be put there.
    """
    meta = torch.device("meta")
    if device is None and getattr(cost, "counts", False):
        try:
            bare = Supernet(source, registry, without_data)
            given = moved(inputs, meta)
            with in_use(bare.model), bare.at(bare.space.default()):
                bare.model(*given)
            return bare, meta, given
        except Exception:  # it looks at its data; where its inputs are wrong, the CPU says so
            device = None
    try:
        place = torch.device("cpu" if device is None else device)
        if place.type == "meta":
            return Supernet(source, registry, without_data), place, moved(inputs, place)
        copied = Supernet(source, registry)
        copied.model.to(place)
        return copied, place, moved(inputs, place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # all of torch's
        raise CostError(
            f"nothing can be measured on the device {str(device)!r}: {error}",
            expected="a device of this machine that torch can use, such as cpu or cuda",
            fix="correct the device, or leave it out",
        ) from error


def cannot_run(
    model: nn.Module, inputs: Sequence[Any], chosen: Mapping[str, Choice], error: Exception
) -> CostError:
    return CostError(
        f"{type(model).__name__} cannot be run with inputs of the shapes "
        f"{[shape_of(each) for each in inputs]} under {dict(chosen)}: {type(error).__name__}: "
        f"{error}",
        expected="inputs that forward takes, whatever is chosen",
        fix="correct inputs=, or exclude the architecture by oneshot.constrain",
    )


def shape_of(given: Any) -> Any:
    return list(given.shape) if isinstance(given, Tensor) else type(given).__name__


__all__ = ["Followed", "Supernet", "cannot_run", "shape_of", "where"]
