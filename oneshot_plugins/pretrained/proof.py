"""Prove that a plan holds: networks of other sizes are built, and called with the example.

A trace follows one forward pass. Code that runs only at other sizes, or that reads a number which
no trace can see, shows up when such a network is called: then the size that it depends on stays
fixed, and the plan names the line.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree

from oneshot_core import freeze
from oneshot_core.errors import SpaceError
from oneshot_core.model_space import ModelSpace

from .correcting import quietly
from .inputs import Call
from .symbols import line_of

__all__ = ["UNPROVED", "Failure", "Holder", "failures"]

UNPROVED = ""
"""The label under which it stands why the copy of a model cannot be called at all."""


_Run: TypeAlias = Callable[[nn.Module, Call], None]


class Failure(str):
    """Why a network of other sizes cannot be called: a clause, with the line of code."""


class Holder(nn.Module):
    """Holds a model whose root may itself be elastic."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


def failures(
    model: nn.Module, call: Call, candidates: Mapping[str, Sequence[Any]], *, times: int = 3
) -> dict[str, Failure]:
    """Return label -> why the model cannot be called with a small value of it; nothing if it can.

    Networks are frozen from a copy: at first the smallest of all, and ``times`` random ones. Only
    where one of them fails is each label tried by itself. The copy holds no data, unless the
    model's code looks at the content of tensors.

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
    with torch.random.fork_rng(devices=[]), torch.no_grad(), quietly():
        whole = {label: values[-1] for label, values in candidates.items()}
        twin: nn.Module = Holder(copy.deepcopy(model, _meta(model)).eval())
        run: _Run = _run_without_data
        if _why(twin, whole, call, run) is not None:
            twin, run = Holder(copy.deepcopy(model).eval()), _run
            if (why := _why(twin, whole, call, run)) is not None:
                return {UNPROVED: why}
        smallest = {label: values[0] for label, values in candidates.items()}
        rng = random.Random(0)
        drawn = [{k: rng.choice(list(v)) for k, v in candidates.items()} for _ in range(times)]
        why = next((w for one in [smallest, *drawn] if (w := _why(twin, one, call, run))), None)
        if why is None:
            return {}
        found = {}
        for label, values in candidates.items():
            alone = [_why(twin, {**whole, label: value}, call, run) for value in values[:-1]]
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


def _meta(model: nn.Module) -> dict[int, Any]:
    """Return the memo of a copy whose parameters and buffers are on the meta device."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if isinstance(tensor, nn.Parameter):
                meta = nn.Parameter(tensor.detach().to("meta"), requires_grad=tensor.requires_grad)
                memo.setdefault(id(tensor), meta)
            elif tensor is not None:
                memo.setdefault(id(tensor), tensor.to("meta"))
    return memo


def _run(network: nn.Module, call: Call) -> None:
    network(*call.args, **call.kwargs)


def _run_without_data(network: nn.Module, call: Call) -> None:
    """Call a network on the meta device with fake tensors, which claim to be on the CPU.

    Code that would look at the content of a mask asks whether it is being traced, and does without;
    it does not ask so on the meta device. Fake tensors are made for each call and never copied:
    copies of fake tensors have written over memory of others.
    """
    known: dict[int, FakeTensor] = {}
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def fake(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if id(value) not in known:
                meta = value.detach().to("meta") if value.device.type != "meta" else value.detach()
                known[id(value)] = FakeTensor(mode, meta, torch.device("cpu"))
            return known[id(value)]

        tensors = (
            *network.named_parameters(remove_duplicate=False),
            *network.named_buffers(remove_duplicate=False),
        )
        fakes = {name: fake(tensor) for name, tensor in tensors}
        args, kwargs = pytree.tree_map(fake, (call.args, call.kwargs))
        torch.func.functional_call(network, fakes, args, kwargs)


def _why(twin: nn.Module, wanted: Mapping[str, Any], call: Call, run: _Run) -> Failure | None:
    """Return why the network of ``wanted`` cannot be called; None if it can."""
    space = ModelSpace(twin)
    labels = {label: wanted.get(label, spec.default) for label, spec in space.specs.items()}
    try:
        network: Any = freeze(twin, labels)
        run(network.net, call)
    except Exception as error:
        changed = {k: v for k, v in labels.items() if v != space.specs[k].default}
        shown = ", ".join(f"{k}={v}" for k, v in list(changed.items())[:3]) or "all its sizes"
        message = str(error).strip().partition("\n")[0]
        line = line_of(error.__traceback__)
        return Failure(f"a network with {shown} fails at {line}: {message}")
    return None
