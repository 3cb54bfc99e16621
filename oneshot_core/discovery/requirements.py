"""Whether a version is one that a requirement asks for. ``packaging`` answers all but the plainest.

Importing ``packaging.requirements`` takes longer than reading the metadata of 200 distributions,
and nearly every requirement on this package is of the form ``oneshot-core>=0.1,<0.2``.
"""

from __future__ import annotations

import re

from .metadata import normalise

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*")
_RELEASE = r"[0-9]+(?:\.[0-9]+)*"
_CLAUSE = re.compile(rf"(>=|<)\s*({_RELEASE})\s*(?:,\s*|$)")


def unmet(requirement: str, name: str, version: str) -> str:
    """Return the versions that a requirement asks of ``name``, ``""`` if ``version`` is one.

    A requirement on something else, for another environment, of an extra, or malformed, asks
    nothing: pip refuses the last, and nothing follows from it here.

    Args:
        requirement: as in ``Requires-Dist``.
        name: a normalised name.
        version: what is there.
    """
    if required_name(requirement) != name:
        return ""
    asked = _NAME.sub("", requirement, count=1)
    if _CLAUSE.sub("", asked) or not re.fullmatch(_RELEASE, version):
        return _unmet(requirement, version)
    clauses = _CLAUSE.findall(asked)
    holds = all((_release(version) >= _release(than)) == (sign == ">=") for sign, than in clauses)
    return "" if holds else ",".join(sign + than for sign, than in clauses)


def required_name(requirement: str) -> str:
    """Return the normalised name of what a well-formed requirement is about."""
    start = _NAME.match(requirement)
    return normalise(start[1]) if start else ""


def _release(version: str) -> list[int]:
    return [int(number) for number in re.sub(r"(\.0+)+$", "", version).split(".")]  # 1.0 is 1


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
