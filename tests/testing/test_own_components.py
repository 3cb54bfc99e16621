"""Our own components keep what their kinds promise, each and in every pair."""

from __future__ import annotations

from oneshot_core.testing.suite import *  # noqa: F403

conformance = "oneshot-core"
