"""Members of elastic classes for blocks that can be left out, and for what holds them."""

from __future__ import annotations

from typing import Any

MEMBERS: dict[str, dict[str, Any]] = {"": {}}
MEMBERS_OF_PLAIN: dict[str, Any] = {"": lambda module, plain, choices: None}
