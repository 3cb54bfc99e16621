"""Options to try the strategies with, for the conformance checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Options = list[Mapping[str, Any]]


def darts() -> Options:
    return [{}, {"order": 2}, {"order": 2, "hessian": "difference"}]
