"""Write a plugin package: what ``oneshot plugins new`` does. Imports no torch.

``project`` checks what was asked for, ``render`` turns the files in ``templates`` into a mapping
from path to text, and ``write`` puts that on disk, whole or not at all.
"""

from __future__ import annotations

from .project import KINDS, Project
from .render import render
from .write import write

__all__ = ["KINDS", "Project", "render", "write"]
