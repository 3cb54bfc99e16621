"""Architectures that other systems exported, read as ours."""

from __future__ import annotations

from collections.abc import Mapping

from oneshot_core.architecture import Architecture
from oneshot_core.errors import ArchitectureError
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import ParameterSpec

SEPARATORS = ("/", "_", ".")


def from_nni(
    exported: Mapping[str, object], space: ModelSpace, *, labels: Mapping[str, str] | None = None
) -> Architecture:
    """Return the architecture of ``space`` that NNI's one-shot strategies exported.

    Reads what ``strategy.export_top_models()`` of NNI 2 and ``model.sample`` of NNI 3 hold:

    ============================  =============================================================
    reference                     value
    ============================  =============================================================
    ``LayerChoice`` of a dict     the candidate's name
    ``LayerChoice`` of a list     its position, as a number or as text
    ``InputChoice``               a position, or a list of positions
    ``Repeat``                    the depth
    ``ValueChoice``, ``Mutable*`` the value; a list for a tuple
    ============================  =============================================================

    Args:
        exported: label -> value, as it was or read from JSON.
        space: of the model here; what is exported may decide more than is active.
        labels: their label -> ours, for labels that differ. A key that ends in ``/``, ``_`` or
            ``.`` stands for all labels that begin with it and replaces the beginning: NNI puts
            ``model/`` or ``model_`` in front. The longest key that fits counts.

    Raises:
        ArchitectureError: a label or a value does not fit, or one is missing; all are listed.
        ArchitectureError: two of their labels become one of ours, with different values.
    """
    read: dict[str, object] = {}
    origin: dict[str, str] = {}
    for theirs, value in exported.items():
        label = _ours(theirs, labels or {})
        spec = space.specs.get(label)
        choice = value if spec is None else _read(value, spec)
        if label in read and read[label] != choice:
            raise ArchitectureError(
                f"{origin[label]!r} and {theirs!r} both stand for {label!r}, and differ: "
                f"{read[label]!r}, {choice!r}",
                expected="one value for each label",
                fix="correct labels={...}",
            )
        read[label] = choice
        origin.setdefault(label, theirs)
    unknown = [label for label in read if label not in space.specs]
    beginning = _common_beginning(unknown, space)
    if beginning is not None:
        raise ArchitectureError(
            f"{len(unknown)} labels are not in this model: {', '.join(map(repr, unknown))}",
            expected=f"labels among {sorted(space.specs)}",
            fix=f"they are, but for their beginning: labels={{{beginning!r}: ''}}",
        )
    return Architecture(read, space)


def _ours(label: str, labels: Mapping[str, str]) -> str:
    fitting = [
        key
        for key in labels
        if key == label or (key.endswith(SEPARATORS) and label.startswith(key))
    ]
    if not fitting:
        return label
    longest = max(fitting, key=len)
    return labels[longest] + label[len(longest) :]


def _read(value: object, spec: ParameterSpec) -> object:
    """Return a position in a list of layers as the name that it has here."""
    alone = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
    names = all(isinstance(candidate, str) for candidate in spec.candidates)
    if not names or not isinstance(alone, int) or isinstance(alone, bool) or spec.n_chosen != 1:
        return value
    if str(alone) in spec.candidates:
        return str(alone)
    return spec.candidates[alone] if 0 <= alone < len(spec.candidates) else value


def _common_beginning(unknown: list[str], space: ModelSpace) -> str | None:
    """Return what must be taken off all unknown labels to make them known."""
    if not unknown:
        return None
    first = unknown[0]
    for end in range(1, len(first)):
        beginning = first[:end]
        if beginning.endswith(SEPARATORS) and all(
            label.startswith(beginning) and label[end:] in space.specs for label in unknown
        ):
            return beginning
    return None
