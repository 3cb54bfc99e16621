"""One architecture: what was chosen, how it is kept, and the plain network it stands for."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import (
    Any,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    cast,
    get_args,
    overload,
    runtime_checkable,
)

from torch import nn

from .errors import ArchitectureError
from .files import write_text
from .freezing import plain_copy
from .model_space import ModelSpace
from .space.computed import without_lists
from .space.spec import Choice
from .supernet import BaseSuperNetModule
from .tables import Table

SCHEMA = "oneshot.architecture/1"
SHOWN = 5
"""How many differences between two model spaces a message lists."""
CLEAR = 0.1
"""A choice whose lead is a smaller part of its probability than this is hardly ahead.

Optimizers such as Adam move by about the learning rate, however small the gradient. So where
candidates are equally good, the difference of two architecture parameters walks at random, to
about ``learning_rate * sqrt(2 * steps)``: to 0.1 in 50,000 steps with 3e-4. A difference of 0.1
of the parameters is a lead of a tenth.
"""
Weights = Literal["inherit", "fresh"]
M = TypeVar("M", bound=nn.Module)


class Lead(NamedTuple):
    """How far a choice is ahead of the others under its label.

    See :meth:`oneshot_core.decision.Decision.lead`.
    """

    probability: float
    next: float

    @property
    def margin(self) -> float:
        """By how much it is ahead; negative where another one is, which a constraint forbids."""
        return self.probability - self.next

    @property
    def is_clear(self) -> bool:
        """Whether that is more than chance alone would give; see ``CLEAR``."""
        return self.margin >= CLEAR * self.probability


class Architecture(Mapping[str, Choice]):
    """An immutable mapping from label to choice.

    Equality and hash look at the choices only. An architecture may remember the model space
    it came from; it then refuses to be used with another one, listing the differences.

    Args:
        choices: label -> choice. Lists become tuples.
        space: the space it belongs to, if known. The choices are then validated and reduced
            to those that decide something.
        leads: label -> how far its choice is ahead, if a strategy that prefers it has said so.

    Raises:
        ArchitectureError: ``choices`` do not fit ``space``.
    """

    __slots__ = ("_choices", "_leads", "_space")

    def __init__(
        self,
        choices: Mapping[str, object],
        space: ModelSpace | None = None,
        *,
        leads: Mapping[str, Lead] | None = None,
    ) -> None:
        self._space = None if space is None else SpaceRecord.of(space)
        self._choices: dict[str, Choice] = (
            {label: _read_choice(label, value) for label, value in choices.items()}
            if space is None
            else space.validate(choices)
        )
        self._leads = None if leads is None else {k: leads[k] for k in self._choices if k in leads}

    def __getitem__(self, label: str) -> Choice:
        return self._choices[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    def __hash__(self) -> int:
        return hash(frozenset(self._choices.items()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mapping):
            return self._choices == dict(other)
        return NotImplemented

    def __repr__(self) -> str:
        return f"Architecture({self._choices!r})"

    def __str__(self) -> str:
        return ", ".join(f"{label}={_show(choice)}" for label, choice in self._choices.items())

    def _repr_html_(self) -> str:
        rows = [[label, _show(choice)] for label, choice in self._choices.items()]
        return Table(["label", "choice"], rows).html()

    @property
    def margins(self) -> dict[str, float] | None:
        """Label -> probability of its choice minus that of the second best.

        None where no strategy has said what it prefers, as for what a ranking found. Negative
        where a constraint forbids what its label prefers. Of several choices under one label it
        is about the one that is least certain.
        """
        return None if self._leads is None else {k: v.margin for k, v in self._leads.items()}

    @property
    def undecided(self) -> str:
        """What is hardly ahead, in words, least certain first; empty if nothing is.

        A choice is hardly ahead if its margin is less than a tenth of its probability.
        """
        close = {k: lead for k, lead in (self._leads or {}).items() if not lead.is_clear}
        if not close:
            return ""
        nearest = sorted(close, key=lambda label: close[label].margin)
        shown = [
            f"{label}={_show(self[label])} ({close[label].probability:.3g}, the next "
            f"{close[label].next:.3g})"
            for label in nearest[:SHOWN]
        ]
        more = [f"and {len(close) - SHOWN} more"] if len(close) > SHOWN else []
        of = f"{len(close)} of {len(self)} choices {'is' if len(close) == 1 else 'are'}"
        return f"{of} hardly ahead of the second best: {', '.join([*shown, *more])}"

    def difference(self, other: Mapping[str, object]) -> dict[str, tuple[object, object]]:
        """Return label -> (choice here, choice there) where they differ; None for missing."""
        labels = dict.fromkeys([*self, *other])
        pairs = {label: (self.get(label), other.get(label)) for label in labels}
        return {label: (a, b) for label, (a, b) in pairs.items() if a != b}

    def validate(self, space: ModelSpace) -> Architecture:
        """Return this architecture as one of ``space``.

        Raises:
            ArchitectureError: it came from another space, or does not fit; all differences
                are listed.
        """
        if self._space is not None:
            self._space.require(space)
        return Architecture(self._choices, space, leads=self._leads)

    def contains(self, label: str, choice: object) -> bool:
        """Say whether ``choice`` is among what ``label`` takes here."""
        taken = self.get(label)
        return choice == taken or (isinstance(taken, tuple) and choice in taken)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write JSON to ``path``, whole or not at all; return the path.

        Raises:
            OutputError: the file cannot be written; the old one is left.
        """
        return write_text(path, json.dumps(self.to_dict(), indent=2) + "\n")

    def to_dict(self) -> dict[str, object]:
        """Return what :meth:`save` writes, as plain data."""
        data: dict[str, object] = {"schema": SCHEMA, "choices": dict(self._choices)}
        if self._space is not None:
            data["space"] = self._space._asdict()
        if self._leads is not None:
            data["leads"] = {
                label: [p if math.isfinite(p) else None for p in lead]
                for label, lead in self._leads.items()
            }
        return data

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Architecture:
        """Read what :meth:`save` wrote, or the best from the JSON of a ranking.

        Raises:
            ArchitectureError: the file cannot be read, is not JSON, not an architecture, or of a
                schema that this version does not know.
            FileNotFoundError: there is no such file.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise
        except OSError as error:  # a folder, no permission
            raise _unreadable(path, str(error.strerror)) from error
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
            raise _unreadable(path, f"it is not JSON ({error})") from error
        if isinstance(data, dict) and isinstance(data.get("best"), dict):
            data = data["best"]
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise _unreadable(path, f"its schema is {schema!r}")
        if not isinstance(data.get("choices"), dict):
            raise _unreadable(path, "it holds no choices")
        try:
            architecture = cls(data["choices"])
        except RecursionError as error:
            raise _unreadable(path, "its choices are nested too deeply") from error
        if "space" in data:
            try:
                architecture._space = SpaceRecord(
                    str(data["space"]["fingerprint"]), dict(data["space"]["parameters"])
                )
            except (KeyError, TypeError, ValueError) as error:
                raise _unreadable(path, "its description of the space is damaged") from error
        if "leads" in data:
            try:
                architecture._leads = {
                    label: Lead(
                        *(math.nan if p is None else float(p) for p in data["leads"][label])
                    )
                    for label in architecture
                }
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise _unreadable(path, "its leads are damaged") from error
        return architecture

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (dict(self._choices), self._space, self._leads)


class SpaceRecord(NamedTuple):
    """What an architecture remembers of its space."""

    fingerprint: str
    parameters: dict[str, dict[str, object]]

    @classmethod
    def of(cls, space: ModelSpace) -> SpaceRecord:
        return cls(space.fingerprint, space.describe())

    def require(self, space: ModelSpace, *, what: str = "the architecture") -> None:
        """Refuse another space, listing what differs.

        Raises:
            ArchitectureError: ``what`` comes from another space than ``space``.
        """
        if self.fingerprint == space.fingerprint:
            return
        here = space.describe()
        lines = [f"{label!r} is not in this model" for label in self.parameters.keys() - here]
        lines += [f"{label!r} is only in this model" for label in here.keys() - self.parameters]
        lines += [
            f"{label!r} offered {self.parameters[label]}, now {here[label]}"
            for label in here.keys() & self.parameters
            if here[label] != self.parameters[label]
        ]
        lines.sort()
        if len(lines) > SHOWN:
            lines[SHOWN:] = [f"and {len(lines) - SHOWN} more"]
        raise ArchitectureError(
            "\n    ".join([f"{what} comes from another model space:", *lines]),
            expected=f"the space {space.fingerprint}, got {self.fingerprint}",
            fix="use the model it was searched with",
        )


def _rebuild(
    choices: dict[str, object], space: SpaceRecord | None, leads: dict[str, Lead] | None = None
) -> Architecture:
    architecture = Architecture(choices, leads=leads)
    architecture._space = space
    return architecture


def _read_choice(label: object, value: object) -> Choice:
    if not isinstance(label, str) or not _is_plain(value):
        raise ArchitectureError(
            f"{label!r}: {value!r} is not a choice",
            expected="a label with a name, a number, True, False, None, or a list of those",
            fix="write for example {'stem': 'conv3', 'depth': 2}",
        )
    return cast(Choice, without_lists(value))


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, int))


def _show(choice: Choice) -> str:
    return "+".join(map(str, choice)) if isinstance(choice, tuple) else str(choice)


def _unreadable(path: Any, why: str) -> ArchitectureError:
    return ArchitectureError(
        f"{os.fspath(path)!r} cannot be read as an architecture: {why}",
        expected=f"JSON of schema {SCHEMA!r}",
        fix="name a file that Architecture.save wrote, such as architecture.json of a run folder",
    )


@runtime_checkable
class Search(Protocol):
    """A search, seen from here: something that holds a mutated model."""

    model: nn.Module
    nas_modules: list[BaseSuperNetModule]


@overload
def freeze(
    source: Search, architecture: Mapping[str, object], weights: Weights = ...
) -> nn.Module: ...


@overload
def freeze(source: M, architecture: Mapping[str, object], weights: Weights = ...) -> M: ...


def freeze(
    source: nn.Module | Search, architecture: Mapping[str, object], weights: Weights = "inherit"
) -> nn.Module:
    """Return a plain copy of the model in which ``architecture`` is chosen.

    The result is the user's own class around plain ``torch.nn``: nothing of this project is in
    it. ``source`` stays as it is and shares no tensor with the result. Only what was chosen is
    copied, each module once, so modules and weights that are shared stay shared.

    Args:
        source: a search, a mutated model, or a model with choices that was never searched.
        architecture: label -> choice; choices that decide nothing may be left out.
        weights: ``"inherit"`` copies the weights; ``"fresh"`` initialises them anew through
            each module's ``reset_parameters``, drawing from torch's global generator.

    Raises:
        ArchitectureError: ``architecture`` does not fit the model.
        FreezeError: fresh weights are asked for and a module with parameters has no
            ``reset_parameters``; or a module cannot be copied.
        ValueError: ``weights`` is neither word.
    """
    if weights not in get_args(Weights):
        raise ValueError(f"weights={weights!r}: expected 'inherit' or 'fresh'")
    root = source.model if isinstance(source, Search) else source
    known = architecture if isinstance(architecture, Architecture) else Architecture(architecture)
    # A strategy may keep separate weights for some architectures; inside they are in place.
    own = nullcontext if root is source else getattr(source, "weights_of", nullcontext)
    with own(known):
        return plain_copy(root, known.validate(ModelSpace(root)), fresh=weights == "fresh")
