"""What a run has for an answer, which file it is in, and who gave it."""

from __future__ import annotations

from pathlib import Path

from oneshot_core import Architecture
from oneshot_core.errors import ArchitectureError

from .folder import RunFolder

SHOWN = 5
"""Margins that are printed, the smallest."""


def source_of(folder: RunFolder, file: Path | None = None) -> str:
    """Return who chose the architecture in a file, by default in ``architecture.json``."""
    if file is not None:
        return f"{file}, as you said"
    if not folder.has_moved():
        return f"{folder.architecture}, the best of the ranking"
    strategy = folder.read_record().get("strategy", {})
    name = strategy.get("name") or str(strategy.get("class", "the strategy")).rpartition(":")[2]
    return f"{folder.architecture}, what {name} itself prefers"


def margins_of(architecture: Architecture) -> list[str]:
    """Return lines about how far each choice is ahead; none where nobody has said so."""
    margins = architecture.margins
    if not margins:
        return []
    least = sorted(margins, key=lambda label: margins[label])
    shown = ", ".join(f"{label} {margins[label]:.3g}" for label in least[:SHOWN])
    more = f", and {len(least) - SHOWN} larger ones" if len(least) > SHOWN else ""
    lines = [f"  probability above that of the second best: {shown}{more}"]
    if architecture.undecided:
        lines.append(f"  warning: {architecture.undecided}")
    return lines


def other_of(folder: RunFolder, architecture: Architecture, command: str = "freeze") -> list[str]:
    """Return a line about the best of the ranking if that is another architecture.

    Args:
        folder: of the run.
        architecture: that was taken.
        command: of ``oneshot`` that can take the other one.
    """
    try:
        best = Architecture.load(folder.ranking)
    except (OSError, ArchitectureError):  # none, or of a version that did not name its best
        return []
    if best == architecture:
        return []
    take = f"oneshot {command} {folder} --architecture {folder.ranking}"
    return [f"  the best of the ranking is another one: {best}; to take it: {take}"]


def told(folder: RunFolder) -> str:
    """Return what is chosen, by whom, how clearly, and whether the ranking says otherwise."""
    chosen = Architecture.load(folder.architecture)
    lines = [f"chosen: {chosen}", f"  in {source_of(folder)}"]
    return "\n".join([*lines, *margins_of(chosen), *other_of(folder, chosen)])
