"""What the conformance checks try the costs with."""

from __future__ import annotations

from typing import Any


def latency() -> list[dict[str, Any]]:
    """Return options that measure for a short time."""
    return [{"min_run_time": 0.01}, {"min_run_time": 0.01, "device": "cpu"}]
