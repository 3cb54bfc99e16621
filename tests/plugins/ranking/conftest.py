"""The small problem of the tests of searches, seeded as there."""

from __future__ import annotations

from ...lightning.conftest import _choices_are_optional, _seeded, make_loader, make_trainer

__all__ = ["_choices_are_optional", "_seeded", "make_loader", "make_trainer"]
