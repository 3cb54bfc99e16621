"""What every plugin promises."""

from oneshot_core.testing.suite import *  # noqa: F403

conformance = "oneshot-plugin-example"
