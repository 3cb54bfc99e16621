"""What we leave on a user's module."""

from __future__ import annotations


class Patch:
    """Base of attributes of ours on a user's module; freezing takes them off the copy."""
