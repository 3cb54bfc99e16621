"""Prove that a plan holds: networks of other sizes are built, and called with the example.

A trace follows one forward pass. Code that runs only at other sizes, or that reads a number which
no trace can see, shows up when such a network is called: then the size that it depends on stays
fixed, and the plan names the line.
"""

from __future__ import annotations

import copy
import random
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from oneshot_core import freeze
from oneshot_core.errors import SpaceError
from oneshot_core.model_space import ModelSpace

from .correcting import quietly
from .inputs import Call

__all__ = ["UNPROVED", "Failure", "failures"]

UNPROVED = ""
"""The label under which it stands why the copy of a model cannot be called at all."""


class Failure(str):
    """Why a network of other sizes cannot be called: a clause, with the line of code."""


class _Holder(nn.Module):
    """Holds a model whose root may itself be elastic."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


def failures(
    model: nn.Module, call: Call, candidates: Mapping[str, Sequence[Any]], *, times: int = 3
) -> dict[str, Failure]:
    """Return label -> why the model cannot be called with a small value of it; nothing if it can.

    Networks are frozen from a copy: at first the smallest of all, and ``times`` random ones. Only
    where one of them fails is each label tried by itself.

    Args:
        model: an elastic model; it is not changed.
        call: what it is called with.
        candidates: label -> its candidates, ascending, the full value last.
        times: so many random networks are tried.

    Returns:
        one reason for each label; or a single one for ``UNPROVED`` if a copy of the model cannot be
        called even at full size, so that nothing is known.

    Raises:
        SpaceError: networks fail, and it is no single label that is to blame.
    """
    with _copied(model) as twin:
        whole = {label: values[-1] for label, values in candidates.items()}
        if (why := _why(twin, whole, call)) is not None:
            return {UNPROVED: why}
        smallest = {label: values[0] for label, values in candidates.items()}
        rng = random.Random(0)
        drawn = [{k: rng.choice(list(v)) for k, v in candidates.items()} for _ in range(times)]
        why = next((w for one in [smallest, *drawn] if (w := _why(twin, one, call))), None)
        if why is None:
            return {}
        found = {}
        for label, values in candidates.items():
            alone = [_why(twin, {**whole, label: value}, call) for value in values[:-1]]
            if reason := next(filter(None, alone), None):
                found[label] = reason
        if not found:
            raise SpaceError(
                f"networks of {len(candidates)} sizes cannot be called although each size alone "
                f"can: {why}",
                expected="sizes that can be chosen independently of each other",
                fix="leave one of them out, such as kv=False, or name what may be chosen by a dict",
            )
        return found


@contextmanager
def _copied(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of ``model`` in eval mode, so that nothing is noted in the model itself.

    It has its data: under torch's fake tensors, networks of Swin have written over memory of
    others, and tensors of the meta device have no content where code looks at that of a mask.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad(), quietly():
        yield _Holder(copy.deepcopy(model).eval())


def _why(twin: nn.Module, wanted: Mapping[str, Any], call: Call) -> Failure | None:
    """Return why the network of ``wanted`` cannot be called; None if it can."""
    space = ModelSpace(twin)
    labels = {label: wanted.get(label, spec.default) for label, spec in space.specs.items()}
    try:
        network: Any = freeze(twin, labels)
        network.net(*call.args, **call.kwargs)
    except Exception as error:
        changed = {k: v for k, v in labels.items() if v != space.specs[k].default}
        shown = ", ".join(f"{k}={v}" for k, v in list(changed.items())[:3]) or "all its sizes"
        line = str(error).strip().partition("\n")[0]
        return Failure(f"a network with {shown} fails{_line_of(error)}: {line}")
    return None


def _line_of(error: BaseException) -> str:
    """Return the innermost line that is not torch's own."""
    torch_folder = str(Path(torch.__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(torch_folder):
            return f" at {frame.filename}:{frame.lineno}: {frame.line}"
    return ""
