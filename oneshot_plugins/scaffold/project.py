"""What a new plugin package is called and holds: read and checked before anything is written."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oneshot_core import __version__
from oneshot_core.discovery import close_matches
from oneshot_core.errors import PluginError

PREFIX = "oneshot-plugin-"
MAX_LENGTH = 30
"""Of a name; generated lines of code hold it and stay below 100 characters."""

KINDS: Mapping[str, tuple[str, str]] = {
    "mutation_hook": ("a mutation hook", "makes residual blocks choices: keep or drop"),
    "supernet": ("a supernet module", "a convolution whose dilation is chosen, with one kernel"),
    "elastic": ("a rule for elastic layers", "a scale of channels, for widths to be chosen"),
    "adapter": ("an adapter", "a small transformer of one's own, elastic by a few lines"),
    "strategy": ("a strategy", "trains all candidates equally often"),
    "searcher": ("a searcher", "local search: from neighbour to neighbour"),
    "search_method": ("a method of a search", "evaluates as ours, and logs what it scored"),
    "check": ("a check", "checks that summaries of costs name a unit"),
    "cost": ("a cost", "counts the activations that a network computes"),
    "space": ("a model space", "a perceptron with depth and activations to choose"),
    "command": ("a command", "shows saved architectures side by side"),
}
"""Kind of component -> how it is called in a sentence, and what is written for it."""

_WORDS = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Project:
    """A package to be written.

    Args:
        name: of the plugin, without prefix, such as ``"drop-path"``.
        kinds: of its components, in the order of :data:`KINDS`.
        author: who holds the copyright.
    """

    name: str
    kinds: tuple[str, ...]
    author: str

    @classmethod
    def read(cls, name: str, kinds: Sequence[str], author: str | None = None) -> Project:
        """Return the project that a user's words describe.

        Args:
            name: with or without ``oneshot-plugin-``.
            kinds: in any order; repetitions do not count.
            author: None takes git's ``user.name``, and without that "The authors of ...".

        Raises:
            PluginError: the name is none, or a kind is unknown.
        """
        for kind in kinds:
            if kind not in KINDS:
                close = close_matches(kind, KINDS)
                raise PluginError(
                    f"there is no kind {kind!r}",
                    expected=f"one of {', '.join(KINDS)}",
                    fix=f"{f'did you mean {close}?' if close else 'name one of these'}",
                )
        short = _read_name(name)
        author = author or _git_user() or f"The authors of {PREFIX}{short}"
        return cls(short, tuple(kind for kind in KINDS if kind in kinds), author)

    @property
    def distribution(self) -> str:
        """The name to install it by."""
        return PREFIX + self.name

    @property
    def module(self) -> str:
        """The name to import it by."""
        return self.distribution.replace("-", "_")

    @property
    def description(self) -> str:
        """What the package is, without a full stop."""
        nouns = [KINDS[kind][0] for kind in self.kinds]
        listed = " and ".join(nouns) if len(nouns) < 3 else "components"
        return f"{listed[0].upper()}{listed[1:]} for oneshot-core"


def core_bounds(version: str = __version__) -> tuple[str, str]:
    """Return the lowest ``oneshot-core`` to require, and the first that may be incompatible.

    The lowest is ``version`` itself, for nobody tried the package with an older one. Before 1.0
    the next minor version may change the API, then the next major version.
    """
    from packaging.version import Version  # slow to import, and listing plugins imports this file

    this = Version(version)
    lowest = re.sub(r"\.0$", "", this.base_version) if not this.is_prerelease else this.public
    above = f"0.{this.minor + 1}" if this.major == 0 else f"{this.major + 1}"
    return lowest, above


def _read_name(name: str) -> str:
    short = name.removeprefix(PREFIX)
    if _WORDS.fullmatch(short) and len(short) <= MAX_LENGTH:
        return short
    near = "-".join(re.findall(r"[a-z0-9]+", short.lower()))[:MAX_LENGTH].strip("-")
    raise PluginError(
        f"a plugin cannot be named {name!r}",
        expected=f"small letters and digits, joined by single '-', at most {MAX_LENGTH}: "
        f"{PREFIX}NAME is what pip installs",
        fix=f"{f'call it {near}' if near else 'choose a name such as drop-path'}",
    )


def _git_user() -> str:
    """Return git's ``user.name``; empty without git, or where it is not set."""
    try:
        done = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return " ".join(done.stdout.decode("utf-8", "replace").split())
