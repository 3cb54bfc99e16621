"""What is run as a program of its own holds no tests."""

from __future__ import annotations

collect_ignore = ["search_activations.py"]
