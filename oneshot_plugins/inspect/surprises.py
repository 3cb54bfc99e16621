"""What is legal in a model space, but may surprise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Candidate
from oneshot_plugins.costs.sizes import specs_of

from .choices import Places, branches_of
from .report import Finding


def surprises(root: nn.Module, space: ModelSpace, places: Places) -> Iterator[Finding]:
    """Yield findings about a model, without running it."""
    yield from _single(space, places)
    yield from _names(space, places)
    yield from _without_parameters(places)
    yield from _default(space)
    norms = [path for path, module in root.named_modules() if _tracks(module)]
    if norms and space.size > 1:
        yield Finding(
            "batch-norm",
            f"running statistics of BatchNorm ({_some(norms)}) mix all networks of the supernet: "
            "search.rank and search.evaluate give each network its own, from training batches; a "
            "network that you evaluate yourself, or freeze, needs the same",
            path=norms[0],
        )


def _single(space: ModelSpace, places: Places) -> Iterator[Finding]:
    for label, spec in space.specs.items():
        if spec.size == 1:
            yield Finding(
                "single-candidate", f"{label!r} has nothing to choose: {spec.offer}", (label,),
                places.of(label)[0],
            )  # fmt: skip


def _names(space: ModelSpace, places: Places) -> Iterator[Finding]:
    named_by_path = []
    for label in space.specs:
        # A choice's own label, not that of a value: values are there to be used in several places.
        own = [
            path for path in places.of(label) if _names_itself(places.modules[path], path, label)
        ]
        if own == [label] and getattr(places.modules[label], "label", label) is None:
            named_by_path.append(label)
        if len(own) > 1:
            yield Finding(
                "shared-label",
                f"the choices at {', '.join(map(repr, own))} have the label {label!r} and so "
                "always decide alike",
                (label,),
                own[0],
            )
    if named_by_path:
        yield Finding(
            "label-is-path",
            f"{_some(named_by_path)}: without label, so named after the path in the model; an "
            "architecture that was saved no longer fits when the model is rearranged",
            tuple(named_by_path),
            named_by_path[0],
        )


def _names_itself(module: nn.Module, path: str, label: str) -> bool:
    own = getattr(module, "label", "")
    return own == label or (own is None and path == label)


def _without_parameters(places: Places) -> Iterator[Finding]:
    found: dict[tuple[Candidate, ...], list[tuple[str, str]]] = {}
    for path, module in places.modules.items():
        branches, _ = branches_of(module, path)
        for label, by_candidate in branches.items():
            spec = specs_of(module, path)[label]
            if spec.n_chosen != 1 or any(len(parts) != 1 for parts in by_candidate.values()):
                continue  # a number of blocks, not one of several layers
            empty = tuple(
                candidate
                for candidate, parts in by_candidate.items()
                if not any(True for part in parts for _ in part.parameters())
            )
            if empty and len(empty) < len(by_candidate):
                found.setdefault(empty, []).append((label, path))
    for empty, places_of_them in found.items():
        labels = tuple(dict.fromkeys(label for label, _ in places_of_them))
        yield Finding(
            "no-parameters",
            f"{', '.join(map(str, empty))} of {_some(list(labels))} have no parameters: they need "
            "no training, so strategies that compare candidates early tend to favour them",
            labels,
            places_of_them[0][1],
            empty[0],
        )


def _default(space: ModelSpace) -> Iterator[Finding]:
    if not space.constraints:
        return
    chosen = space.nearest({})
    assert chosen is not None  # the space could not have been read
    moved = [label for label, choice in chosen.items() if choice != space.specs[label].default]
    if moved:
        yield Finding(
            "default-forbidden",
            f"the bare model computes what the constraints forbid; the default architecture "
            f"differs from it in {_some(moved)}",
            tuple(moved),
        )


def _tracks(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.track_running_stats


def _some(names: list[str], limit: int = 3) -> str:
    shown = ", ".join(map(repr, islice(names, limit)))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
