"""Every exception this project raises on purpose.

Each is also the builtin that a caller would expect, and each message has three
parts: what happened (in the names the user wrote), what was expected, the fix.
"""

from __future__ import annotations


class OneShotError(Exception):
    """Base of the errors raised by ``oneshot_core`` and its plugins."""


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


def stopped_by_signal(error: BaseException) -> int | None:
    """Return the exit code of a process that a signal has stopped; None if none has.

    Lightning answers Ctrl-C with a SystemExit, and SIGTERM with a subclass of it; a plain
    SystemExit is somebody's ``sys.exit()``.

    Args:
        error: what was raised.
    """
    stop = error.__cause__ if isinstance(error, KeyboardInterrupt) and error.__cause__ else error
    if isinstance(stop, SystemExit) and type(stop).__name__ == "SIGTERMException":
        return 128 + 15
    if isinstance(stop, SystemExit):
        stop = stop.__context__ or stop
    return 128 + 2 if isinstance(stop, KeyboardInterrupt) else None
