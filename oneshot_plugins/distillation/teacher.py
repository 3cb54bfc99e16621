"""A frozen network that others learn from, kept out of everything that trains or saves."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed
from torch import nn

from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import device_of, isolated_rng

from .recorder import Call, recorded

Output = Callable[[Any, Any], Any]
"""Returns an output of a model for a batch: ``(model, batch) -> output``."""


class Teacher:
    """A module in evaluation mode, without gradients.

    It is no submodule of anything: no optimizer, ``state_dict``, DDP bucket or callback meets it.
    It moves to the device of the student and takes the Trainer's precision when it is first
    called. A deep copy of a search shares it.

    Args:
        module: switched to evaluation, and its parameters to ``requires_grad=False``, in place.
        name: what messages call it.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module.eval().requires_grad_(False)
        self.name = name
        self._fingerprint: str | None = None
        self._converted_for: type | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        return self

    @property
    def fingerprint(self) -> str:
        """A hash of all weights and buffers as they were before any precision was applied."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint_of(self.module)
        return self._fingerprint

    def share(self, device: torch.device) -> None:
        """Give every process the weights that the first one has, as DDP does with the student's."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self.module.to(device)
            with torch.no_grad():
                for tensor in [*self.module.parameters(), *self.module.buffers()]:
                    torch.distributed.broadcast(tensor.data, src=0)
            self._fingerprint = None

    def place(self, device: torch.device, precision: Any) -> None:
        """Move to a device and apply the precision plugin of a Trainer; once for each."""
        if self._converted_for is not type(precision):
            self.fingerprint  # noqa: B018  # of the weights before that
            self.module = precision.convert_module(self.module)
            self._converted_for = type(precision)
        if device_of(self.module) != device:
            self.module.to(device)

    @torch.no_grad()
    def answer(self, call: Call, inside: Mapping[str, str]) -> Call:
        """Return the call of the teacher with the inputs of a student's call.

        No random number generator moves.

        Args:
            call: of the student.
            inside: name -> path of a module in the teacher, whose outputs are recorded, too.

        Raises:
            StrategyError: the teacher writes to its inputs.
        """
        parts = {name: self.module.get_submodule(path) for name, path in inside.items()}
        with isolated_rng(self.module), recorded(self.module, parts, self.name) as calls:
            self.module(*call.args, **call.kwargs)
        call.require_unchanged(self.name)
        return calls[0]

    @torch.no_grad()
    def answer_to(self, batch: Any, output: Output) -> Call:
        """Return what a function of the user's reads from the teacher for a batch."""
        with isolated_rng(self.module):
            return Call((batch,), {}, {"": [output(self.module, batch)]})


def fingerprint_of(module: nn.Module) -> str:
    """Return a hash of the names, types, shapes and bytes of a ``state_dict``.

    >>> fingerprint_of(nn.Identity())[:12]
    'e3b0c44298fc'
    """
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
            content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(content.numpy().tobytes())
    return digest.hexdigest()


def require_apart(teacher: nn.Module, student: nn.Module) -> None:
    """Refuse a teacher that is trained itself.

    Raises:
        StrategyError: it shares parameters with ``student``.
    """
    trained = {id(p) for p in student.parameters()}
    shared = [name for name, p in teacher.named_parameters() if id(p) in trained]
    if shared:
        raise StrategyError(
            f"the teacher shares {len(shared)} parameters with the model, such as {shared[0]!r}",
            expected="a network that the search does not train",
            fix="teacher='original' copies the model as it is before the search",
        )


def original_of(model: nn.Module, at: str) -> nn.Module:
    """Return a copy of the module at a path of a model that no search has changed yet.

    Raises:
        StrategyError: there is no such module, or it cannot be copied.
    """
    part = module_at(model, at, "distill_at")
    try:
        return copy.deepcopy(part)
    except (TypeError, RuntimeError, AttributeError) as error:
        raise StrategyError(
            f"the {type(part).__name__} at {at!r} cannot be copied: {error}",
            expected="a module that copy.deepcopy takes",
            fix="pass a second network with the same weights as teacher=",
        ) from error


def module_at(model: nn.Module, path: str, option: str) -> nn.Module:
    """Return the module at a path; ``""`` is the model itself.

    Raises:
        StrategyError: there is none.
    """
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        known = [name for name, _ in model.named_children()]
        raise StrategyError(
            f"{option} names {path!r}, and {type(model).__name__} has no such module",
            expected=f"the path of a module that is built with the model, below one of {known}",
            fix=f"correct {option}",
        ) from error


__all__ = ["Output", "Teacher", "fingerprint_of", "module_at", "original_of", "require_apart"]
