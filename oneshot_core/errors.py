"""Every exception this project raises on purpose.

Each is also the builtin that a caller would expect. Each has three parts: what is wrong (in the
names that the user wrote), what was expected, and the fix.
"""

from __future__ import annotations


class OneShotError(Exception):
    """Base of the errors raised by ``oneshot_core`` and its plugins.

    Args:
        what: what is wrong, naming the path, plugin or value that the user wrote.
        expected: what would have been right.
        fix: what to do about it.

    Attributes:
        what: as given, like the two others; an empty text where nothing is known.

    >>> print(OneShotError("depth=-1", expected="0 or more", fix="correct depth="))
    depth=-1.
      expected: 0 or more
      fix: correct depth=
    """

    def __init__(self, what: str = "", *, expected: str = "", fix: str = "") -> None:
        self.what, self.expected, self.fix = what, expected, fix
        super().__init__(three_parts(what, expected, fix))


class HookReturnError(OneShotError, TypeError):
    """A mutation hook returned something the walk cannot interpret."""


class UnsupportedModuleError(OneShotError, TypeError):
    """A choice is left in the tree that no mutation hook replaced."""


class MutationError(OneShotError, RuntimeError):
    """The walk over a module tree cannot be finished."""


class LabelError(OneShotError, ValueError):
    """One label names two different choices."""


class SpaceError(OneShotError, ValueError):
    """A choice was declared with arguments that make no sense together."""


class OptimizerConfigError(OneShotError, ValueError):
    """``configure_optimizers`` returned none of Lightning's six shapes."""


class ArchitectureError(OneShotError, ValueError):
    """An architecture does not belong to the model space it is used with."""


class FreezeError(OneShotError, RuntimeError):
    """A module cannot be turned into a plain network."""


class StrategyError(OneShotError, RuntimeError):
    """A search is set up in a way its strategy cannot work with."""


class MissingDataError(StrategyError):
    """A strategy has no data to train the architecture on."""


class OutputError(OneShotError, OSError):
    """A file cannot be written; what was there before still is."""


class CheckpointError(OneShotError, RuntimeError):
    """A file is no checkpoint, or no whole one."""


class RankingError(OneShotError, ValueError):
    """Architectures cannot be scored as asked."""


class InspectionError(OneShotError, ValueError):
    """A model cannot be inspected as asked, or its inspection found problems."""


class PluginError(OneShotError):
    """Base of the errors about plugins and their components."""


class UnknownComponentError(PluginError, LookupError):
    """No installed or registered component has the name that was asked for."""


class DuplicateComponentError(PluginError, ValueError):
    """Two components claim one name."""


class PluginLoadError(PluginError, ImportError):
    """A component is known but cannot be loaded."""


class PluginSettingsError(PluginError, ValueError):
    """What is set about plugins cannot be followed."""


class ConformanceError(OneShotError, AssertionError):
    """A component does not keep what its kind promises."""


def three_parts(what: str, expected: str = "", fix: str = "") -> str:
    """Return the message of an error; what is not known is left out. A list gets no full stop."""
    parts = [f"  expected: {expected}"] * bool(expected) + [f"  fix: {fix}"] * bool(fix)
    ends = not parts or what.endswith((".", "?", ":")) or "\n" in what
    return "\n".join([what if ends else f"{what}.", *parts])
