"""What an inspection found: plain frozen data, for people and for tools.

JSON has the schema ``oneshot.inspection/1``, to which fields are only ever added.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from oneshot_core import __version__
from oneshot_core.errors import InspectionError
from oneshot_core.space import Candidate, Choice

SCHEMA = "oneshot.inspection/1"


@dataclass(frozen=True)
class ChoiceInfo:
    """One label: what it decides, where, and when.

    Args:
        label: name of the decision.
        kind: classes of the modules that carry it.
        paths: all of their paths in the model, every name of a shared module.
        candidates: what can be chosen; empty for an interval.
        interval: low, high, and whether draws are uniform in the logarithm; None for candidates.
        n_chosen: how many are taken at once; None for any non-empty subset.
        default: what the model runs before any search.
        when: conditions, one of which must hold for the label to decide anything; empty for
            always.
        constraints: conditions that every architecture keeps and that are about this label.
    """

    label: str
    kind: str
    paths: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    interval: tuple[float, float, bool] | None
    n_chosen: int | None
    default: Choice
    when: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """One frozen network and what it takes.

    Args:
        architecture: label -> choice.
        parameters: numbers in it that can be trained, or are frozen; shared ones once.
        weight_bytes: of parameters and buffers; None of a network that could not be frozen.
        costs: name of an installed cost -> what it gives.
    """

    architecture: dict[str, Choice]
    parameters: int
    weight_bytes: int | None
    costs: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sizes:
    """The smallest and the largest network by number of parameters, and the default.

    Args:
        smallest: of the networks looked at.
        default: what the model runs before any search.
        largest: of the networks looked at.
        method: ``"enumeration"`` of all, or ``"greedy"``: one choice changed at a time, from the
            default, for as long as that helps. Exact where the contributions of choices add up.
    """

    smallest: Network
    default: Network
    largest: Network
    method: str


@dataclass(frozen=True)
class Memory:
    """Bytes, by counting; what an optimizer keeps comes on top.

    Activations are what the modules of the network return in one forward pass with the sample
    batch, each tensor once. Not counted: what happens inside of a module's forward (attention
    matrices, sums of weighted candidates), workspaces, and what autograd frees early.

    Args:
        supernet_weights: parameters and buffers, all candidates.
        supernet_gradients: of parameters that are trained, all at once.
        largest_weights: of the largest network alone.
        default_activations: of the default network; None where it was not run.
        superposed_activations: with all candidates of all choices weighted at once; None where
            they were not.
        note: why something is None.
    """

    supernet_weights: int
    supernet_gradients: int
    largest_weights: int | None
    default_activations: int | None = None
    superposed_activations: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Refusal:
    """One reason why a strategy cannot handle a model.

    Args:
        reason: the error, condensed.
        path: of the choice; empty where it is not one choice's fault.
        labels: of the choice.
        at: path of the module that raised, in a forward pass.
    """

    reason: str
    path: str = ""
    labels: tuple[str, ...] = ()
    at: str = ""


@dataclass(frozen=True)
class Capability:
    """Whether a strategy can handle every choice, by trying.

    Args:
        strategy: its name.
        able: None if it could not be tried.
        superposes: whether it weights several candidates in one pass.
        ran: whether a forward pass was tried beside the mutation.
        refusals: why not; of a strategy that could not be tried, why that.
    """

    strategy: str
    able: bool | None
    superposes: bool = False
    ran: bool = False
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A problem, or what is legal but may surprise.

    Args:
        kind: what sort of finding, such as ``"candidate-fails"``.
        message: a sentence that names the modules.
        labels: which choices it is about.
        path: of the choice; empty where it is about no single one.
        choice: the choice that shows it.
        at: path of the module that raised.
        fix: what to do about it.
    """

    kind: str
    message: str
    labels: tuple[str, ...] = ()
    path: str = ""
    choice: Choice = None
    at: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Inspection:
    """What can be chosen in a model, how large it is, what does not fit; see :func:`.inspect`.

    Shown as tables by ``print`` and notebooks.

    Args:
        model: name of the model's class.
        choices: one for each label, in walk order.
        architectures: how many there are, exactly, with constraints; None for infinitely many.
        constraints: conditions that every architecture keeps.
        sizes: smallest, default and largest network.
        memory: bytes of weights, gradients and activations.
        fed: what the forward passes were called with; empty if there were none.
        device: where they ran: ``"meta"`` (shapes only) or a real device.
        capabilities: which strategies can handle the model.
        problems: what will fail. Empty if everything fits.
        warnings: what works but may surprise.
        batch: of how many examples costs and activations are: the first size of what forward was
            called with; None if nothing was run.
    """

    model: str
    choices: tuple[ChoiceInfo, ...]
    architectures: int | None
    constraints: tuple[str, ...]
    sizes: Sizes
    memory: Memory
    fed: str
    device: str
    capabilities: tuple[Capability, ...]
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    batch: int | None = None

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def raise_for_problems(self) -> None:
        """Do nothing if everything fits.

        Raises:
            InspectionError: listing all problems.
        """
        if self.problems:
            fixes = dict.fromkeys(problem.fix for problem in self.problems if problem.fix)
            raise InspectionError(
                f"{self.model} has {len(self.problems)} problem(s):\n"
                + "".join(f"    {problem.message}\n" for problem in self.problems)
                + "  expected: a model that can be searched\n"
                f"  fix: {'; '.join(fixes)}"
            )

    def to_json(self) -> str:
        """Return everything as JSON.

        The number of architectures is a string of digits, since it may have hundreds of them;
        null if there are infinitely many.
        """
        data = {"schema": SCHEMA, "core": __version__, "ok": self.ok, **asdict(self)}
        if self.architectures is not None:
            data["architectures"] = digits(self.architectures)
        return json.dumps(data, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Inspection:
        """Read what :meth:`to_json` wrote.

        Raises:
            InspectionError: it is something else.
        """
        try:
            data = json.loads(text)
            schema = data["schema"]
            if schema == SCHEMA:
                if data["architectures"] is not None:
                    data["architectures"] = number(data["architectures"])
                inspection: Inspection = _read(cls, data)
                return inspection
        except Exception as error:  # whatever the text holds in the place of what belongs there
            schema = f"unreadable ({type(error).__name__}: {error})"
        raise InspectionError(
            f"the text is no inspection: its schema is {schema}",
            expected=f"JSON of schema {SCHEMA!r}",
            fix="write it with Inspection.to_json",
        )

    def __str__(self) -> str:
        from .show import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from .show import as_html

        return as_html(self)


def digits(value: int) -> str:
    """Return all digits of a number; Python itself refuses to write more than 4300."""
    groups: list[str] = []
    while value >= 10**4000:
        value, rest = divmod(value, 10**4000)
        groups.insert(0, f"{rest:04000d}")
    return str(value) + "".join(groups)


def number(text: str) -> int:
    """Read what :func:`digits` wrote."""
    value = 0
    head = len(text) % 4000 or min(len(text), 4000)
    for start, end in [(0, head), *((i, i + 4000) for i in range(head, len(text), 4000))]:
        value = value * 10 ** (end - start) + int(text[start:end])
    return value


_PARTS: dict[str, type[Any]] = {
    "choices": ChoiceInfo,
    "sizes": Sizes,
    "smallest": Network,
    "default": Network,
    "largest": Network,
    "memory": Memory,
    "capabilities": Capability,
    "refusals": Refusal,
    "problems": Finding,
    "warnings": Finding,
}
"""Fields that hold one of these, or several."""


def _read(cls: type[Any], data: dict[str, Any]) -> Any:
    """Build a dataclass of this file from JSON."""
    values = {}
    for name in [f.name for f in dataclasses.fields(cls) if f.name in data]:
        part, value = _PARTS.get(name), data[name]
        if part is None or (part is Network and cls is not Sizes):  # a choice has a default, too
            values[name] = _plain(value)
        elif isinstance(value, list):
            values[name] = tuple(_read(part, item) for item in value)
        else:
            values[name] = _read(part, value)
    return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, list) else value
