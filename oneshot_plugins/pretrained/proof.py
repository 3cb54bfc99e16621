"""Prove that a plan holds: networks of other sizes are built without data, and called.

A trace follows one forward pass. Code that runs only at other sizes, or that reads a number which
no trace can see, shows up when such a network is called: then the size that it depends on stays
fixed, and the plan names the line.
"""

from __future__ import annotations

import copy
import random
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from oneshot_core import freeze
from oneshot_core.errors import SpaceError
from oneshot_core.model_space import ModelSpace

from . import correcting
from .inputs import Call

__all__ = ["UNPROVED", "Failure", "failures"]

UNPROVED = ""
"""The label under which it stands why a model cannot be called without data."""


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

    Networks are frozen from a copy that holds no data: at first the smallest
    of all, and ``times`` random ones. Only where one of them fails is each label tried by itself.

    Args:
        model: an elastic model; it is not changed.
        call: what it is called with.
        candidates: label -> its candidates, ascending, the full value last.
        times: so many random networks are tried.

    Returns:
        one reason for each label; or a single one for ``UNPROVED`` if the model cannot be called
        without data even at full size, so that nothing is known.

    Raises:
        SpaceError: networks fail, and it is no single label that is to blame.
    """
    with _without_data(model) as (twin, place):
        given = Call(*pytree.tree_map(place, (call.args, call.kwargs)))
        whole = {label: values[-1] for label, values in candidates.items()}
        if (why := _why(twin, whole, given)) is not None:
            return {UNPROVED: why}
        smallest = {label: values[0] for label, values in candidates.items()}
        rng = random.Random(0)
        drawn = [{k: rng.choice(list(v)) for k, v in candidates.items()} for _ in range(times)]
        why = next((w for one in [smallest, *drawn] if (w := _why(twin, one, given))), None)
        if why is None:
            return {}
        found = {}
        for label, values in candidates.items():
            alone = [_why(twin, {**whole, label: value}, given) for value in values[:-1]]
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
def _without_data(model: nn.Module) -> Iterator[tuple[nn.Module, Any]]:
    """Yield a copy of ``model`` whose tensors have no data, and what does that to a value.

    Fake tensors, not those of the meta device: code that looks at the content of a mask asks
    whether it is being traced, and then does without.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad(), _quietly():

        def place(value: Any) -> Any:
            return mode.from_tensor(value.detach()) if isinstance(value, Tensor) else value

        memo: dict[int, Any] = {}
        for module in model.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if isinstance(tensor, nn.Parameter):
                    fake = nn.Parameter(place(tensor), requires_grad=tensor.requires_grad)
                    memo.setdefault(id(tensor), fake)
                elif tensor is not None:
                    memo.setdefault(id(tensor), place(tensor))
        yield _Holder(copy.deepcopy(model, memo).eval()), place


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep to ourselves what is said about copies that are only tried.

    torch warns where a fake tensor is copied, and corrections where a config cannot say sizes.
    """
    with correcting.quietly(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        yield


def _why(twin: nn.Module, wanted: Mapping[str, Any], call: Call) -> Failure | None:
    """Return why the network of ``wanted`` cannot be called; None if it can."""
    space = ModelSpace(twin)
    labels = {label: wanted.get(label, spec.default) for label, spec in space.specs.items()}
    try:
        network: Any = freeze(twin, labels)
        with torch.random.fork_rng(devices=[]):
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
