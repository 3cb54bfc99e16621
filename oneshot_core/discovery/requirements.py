"""Whether a version is one that a requirement asks for. Imports ``packaging`` only if it has to.

Importing ``packaging.requirements`` takes longer than reading the metadata of 200 distributions,
and nearly every requirement on this package is a name with plain versions.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final

from .metadata import normalise

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*")
_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*([0-9]+(?:\.[0-9]+)*)\s*")
_PLAIN = re.compile(rf"\(?\s*(?:{_CLAUSE.pattern}(?:,\s*{_CLAUSE.pattern})*)?\)?\s*")
_RELEASE = re.compile(r"[0-9]+(?:\.[0-9]+)*")

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def unmet(requirement: str, name: str, version: str) -> str:
    """Return the versions that a requirement asks of ``name``, ``""`` if ``version`` is one.

    A requirement on something else, for another environment, of an extra, or malformed, asks
    nothing: pip refuses the last, and nothing follows from it here.

    Args:
        requirement: as in ``Requires-Dist``.
        name: a normalised name.
        version: what is there.
    """
    start = _NAME.match(requirement)
    if start is None or normalise(start[1]) != name:
        return ""
    asked = requirement[start.end() :]
    if not (_PLAIN.fullmatch(asked) and _RELEASE.fullmatch(version)):
        return _unmet(requirement, version)
    clauses = _CLAUSE.findall(asked)
    holds = all(_COMPARE[sign](_release(version), _release(than)) for sign, than in clauses)
    return "" if holds else ",".join(sign + than for sign, than in clauses)


def required_name(requirement: str) -> str:
    """Return the normalised name of what a well-formed requirement is about."""
    start = _NAME.match(requirement)
    return normalise(start[1]) if start else ""


def _release(version: str) -> list[int]:
    numbers = [int(number) for number in version.split(".")]
    while numbers and not numbers[-1]:  # 1.0 is 1
        numbers.pop()
    return numbers


def _unmet(line: str, version: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion

    try:
        requirement = Requirement(line)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not applies or requirement.specifier.contains(version, prereleases=True):
            return ""
    except InvalidVersion:  # what is installed has no version that can be compared
        pass
    except InvalidRequirement:
        return ""
    return str(requirement.specifier)
