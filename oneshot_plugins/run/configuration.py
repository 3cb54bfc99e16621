"""A search in a configuration file: LightningCLI with ``search``, ``rank`` and ``out``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from jsonargparse import ArgumentError, Namespace
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, Logger
from torch.optim import Optimizer

import oneshot_core as oneshot
from oneshot_core.errors import MissingDataError
from oneshot_core.lightning.kit import HOME, Tree, takes, tree_of

from .bounded import bounded_yaml
from .checkpoint import SearchCheckpoint
from .data import ALTERNATIVE, architecture_loader
from .early import lightning_of, strategy_of
from .folder import RunError, RunFolder
from .parser import SearchParser
from .recorder import RunRecorder
from .settings import RankSettings
from .words import explained

OURS = {
    "model": "name it in the section model",
    "mutation_hooks": "offer the hook in a plugin (see `oneshot plugins new`), or write a script",
    "arch_dataloader": "--search.arch_fraction 0.5, or arch_dataloader() in the data module",
    "registry": "choose plugins by --plugins or --no-plugin, before the command",
    "seed": "--seed_everything 1",
}
"""Arguments of a strategy that are not options, and what gives them on the command line."""
NOISE = (
    "Subclasses are disabled for",
    "Type <class 'collections.abc.Callable'> expects a function or a callable class: Dict must",
    "Does not validate against any of the Union",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Expected a path but",
    "Given value",
    "Subtypes:",
)
"""Begin lines of jsonargparse that say which types it tried."""
OWN = ("strategy", "arch_fraction")
"""Keys of the section ``search`` that are not options of the strategy."""


def search_cli(
    arguments: Sequence[str], *, command: str = "search", description: str = ""
) -> SearchCLI:
    """Read arguments and configuration files, with the Lightning that the model is of.

    Args:
        arguments: of the command line.
        command: of ``oneshot`` that asks, for help and errors.
        description: shown in the help.

    Raises:
        RunError: an argument has no meaning, or the user's code cannot be imported or called.
        UnknownComponentError: there is no such strategy.
    """
    tree = lightning_of(arguments)
    return tree.rebased(SearchCLI)(arguments, tree, command, description)


class SearchCLI(LightningCLI):
    """A model, data, a Trainer and a strategy, as arguments and configuration files say.

    Args:
        arguments: of the command line.
        tree: the Lightning that this class is based on.
        command: of ``oneshot`` that asks, for help and errors.
        description: shown in the help.

    Attributes:
        strategy: name of the strategy.
        model: the user's module, not mutated yet.
        datamodule: None if the model has the loaders.
        config: what was read, as it can be saved.

    Raises:
        RunError: an argument has no meaning, or the user's code cannot be imported or called.
        UnknownComponentError: there is no such strategy.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        tree: Tree,
        command: str,
        description: str,
    ) -> None:
        self.tree = tree
        self.strategy = strategy_of(arguments)
        self.strategy_class = oneshot.registry.load("strategy", self.strategy)
        self.command = command
        with explained("reading the configuration", command), bounded_yaml():
            super().__init__(
                args=list(_dotted(arguments)),
                run=False,
                save_config_callback=None,
                parser_class=tree.rebased(SearchParser),
                seed_everything_default=0,
                load_from_checkpoint_support=False,
                parser_kwargs={
                    "prog": f"oneshot {command}",
                    "description": description,
                    "exit_on_error": False,
                    "allow_abbrev": False,
                },
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what Lightning does not know."""
        parser.add_argument(
            "--out", type=str | None, help="folder of the run; by default a new one in runs/"
        )
        add_strategy_arguments(parser, self.strategy, self.strategy_class)
        parser.add_class_arguments(RankSettings, "rank", instantiate=True)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read arguments and configuration files.

        Raises:
            RunError: one of them has no meaning.
        """
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            message = _plain(str(error))
            raise RunError(
                f"{message}",
                expected="options and configuration files that fit the model, the data, the "
                f"Trainer and the strategy {self.strategy!r}",
                fix=f"{self._fix(message)}",
            ) from error
        if self.config.search.strategy != self.strategy:
            raise RunError(
                f"the strategy is {self.config.search.strategy!r}, and options were read for "
                f"{self.strategy!r}",
                expected="search.strategy in the configuration file itself, or as an option",
                fix=f"--search.strategy {self.config.search.strategy}",
            )

    def _fix(self, message: str) -> str:
        """Return what to do about an error of the parser."""
        if "No module named" in message:
            return (
                f"install it; for a file in this folder, python -m oneshot_core {self.command} ..."
            )
        if re.search(r"\.py, line \d+\)", message):
            return "correct that file"
        if " has no attribute " in message:
            return "correct the name"
        unknown = re.search(r"'search' does not accept option '(\w+)|--search\.(\w+)", message)
        name = unknown and (unknown[1] or unknown[2])
        if name in OURS:
            return OURS[name]
        if name and name not in OWN:
            return (
                f"leave {name} out; `oneshot search --search.help {self.strategy}` shows what "
                f"{self.strategy} has"
            )
        return f"see `oneshot search --search.strategy {self.strategy} --help`"

    def instantiate_classes(self) -> None:
        """Make the model and the data."""
        with explained("making the model or the data", self.command):
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make none yet: :meth:`trainer_for` does, once it is known where the run is written."""
        return cast(Trainer, None)

    @staticmethod
    def configure_optimizers(
        lightning_module: LightningModule, optimizer: Optimizer, lr_scheduler: Any = None
    ) -> Any:
        """Return the optimizer of the section ``optimizer``.

        Raises:
            RunError: parameters came into the model after it was made.
        """
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        missing = [name for name, p in lightning_module.named_parameters() if id(p) not in held]
        if missing:
            raise RunError(
                "the optimizer of the configuration does not train "
                f"{missing[0]!r}{f' and {len(missing) - 1} more' if missing[1:] else ''}",
                expected="parameters that are there once the model is made",
                fix=f"write configure_optimizers in {type(lightning_module).__name__}, and leave "
                "the section optimizer out",
            )
        own = tree_of(lightning_module).own(LightningCLI)
        return own.configure_optimizers(lightning_module, optimizer, lr_scheduler)

    def trainer_for(self, folder: RunFolder) -> Trainer:
        """Return the Trainer of the configuration, which writes into ``folder``, too."""
        section, own = self.config_init.trainer, self.tree.rebased
        callbacks: list[Callback] = [own(RunRecorder)(folder.path, self.options)]
        if section.enable_checkpointing is not False:
            checkpoint = own(SearchCheckpoint)(folder.checkpoint)
            callbacks += [own(oneshot.LogCheckpointRow)(), checkpoint]
        self.trainer_defaults = {"callbacks": callbacks}
        section.callbacks = _of_tree(section.callbacks, self.tree)
        with explained("making the Trainer", "search"):
            trainer: Trainer = super().instantiate_trainer(
                logger=_loggers(section.logger, folder, self.tree)
            )
        usual = import_module(f"{self.tree}.plugins").TorchCheckpointIO
        if type(trainer.strategy.checkpoint_io) is usual:  # else the user has chosen
            trainer.strategy.checkpoint_io = oneshot.AtomicCheckpointIO()
        return trainer

    def save(self, path: Path) -> None:
        """Write the whole configuration, as it can be run again."""
        self.parser.save(self.config, path, overwrite=True, multifile=False)

    @property
    def seed(self) -> int | None:
        """The seed of everything; None if seeding is switched off."""
        seed = self.config.seed_everything
        return None if seed is False else int(seed)

    @property
    def options(self) -> dict[str, Any]:
        """What the strategy is made with."""
        section: Namespace = self.config_init.search
        return {name: value for name, value in vars(section).items() if name not in OWN}

    @property
    def ranking(self) -> RankSettings:
        """The section ``rank``."""
        ranking: RankSettings = self.config_init.rank
        return ranking

    def search(self) -> oneshot.BaseOneShotLightningModule:
        """Return the search, before any training.

        Raises:
            RunError: there is no data for the architecture, or too much of it.
            OneShotError: what the strategy does not take.
        """
        source = self.model if self.datamodule is None else self.datamodule
        fraction = self.config.search.arch_fraction
        given = dict(self.options)
        if takes(self.strategy_class, "arch_dataloader"):
            loader = architecture_loader(source, fraction, self.seed or 0)
            given |= {} if loader is None else {"arch_dataloader": loader}
        elif fraction is not None:
            raise RunError(
                f"the strategy {self.strategy!r} trains no architecture, and search.arch_fraction "
                f"is {fraction}",
                expected="a strategy that takes arch_dataloader",
                fix="leave search.arch_fraction out",
            )
        try:
            with explained(f"making the search {self.strategy!r}", self.command):
                return oneshot.search(self.model, self.strategy, seed=self.seed, **given)
        except MissingDataError as error:
            raise RunError(
                f"the strategy {self.strategy!r} has no data to train the architecture on",
                expected="batches that do not train the weights",
                fix="--search.arch_fraction 0.5, which takes half of the training data; or "
                f"{ALTERNATIVE}",
            ) from error


def add_strategy_arguments(parser: LightningArgumentParser, name: str, cls: type) -> None:
    """Add the section ``search``: which strategy, and the options of its constructor."""
    names = ", ".join(oneshot.registry.names("strategy"))
    parser.add_argument("--search.strategy", default=name, help=f"one of {names}")
    parser.add_argument(
        "--search.arch_fraction",
        type=float | None,
        help="part of the training data, between 0 and 1, that trains the architecture and not "
        "the weights, for strategies that learn it; not needed if the data module has a method "
        "arch_dataloader()",
    )
    parser.add_class_arguments(
        cls, "search", skip=set(OURS), fail_untyped=False, instantiate=False, sub_configs=True
    )


def show_strategy(arguments: Sequence[str]) -> None:
    """Print the options of the strategy that arguments name.

    Raises:
        UnknownComponentError: there is no such strategy.
    """
    name = strategy_of(arguments)
    cls = oneshot.registry.load("strategy", name)
    parser = SearchParser(
        usage=f"oneshot search --search.strategy {name} [options]",
        description=(inspect.getdoc(cls) or "").partition("\n\nArgs:")[0],
    )
    add_strategy_arguments(parser, name, cls)
    parser.print_help()


def _of_tree(asked: Any, tree: Tree) -> Any:
    """Return callbacks of a configuration; rebased, if they are written on ``pytorch_lightning``.

    Raises:
        StrategyError: one is of the other Lightning itself.
    """
    found = [asked] if isinstance(asked, (Callback, tree.own(Callback))) else asked
    for callback in found or ():
        if not isinstance(callback, tree.own(Callback)):
            if HOME.holds(type(callback)):
                tree.require(callback, f"the callback {type(callback).__name__}")
            callback.__class__ = tree.rebased(type(callback))
    return found


def _loggers(asked: Any, folder: RunFolder, tree: Tree) -> Any:
    """Return the loggers of the configuration and one that writes into the folder."""
    if asked is False:
        return False
    one = isinstance(asked, tree.own(Logger))
    theirs = [asked] if one else [] if asked in (None, True) else list(asked)
    return [*theirs, tree.own(CSVLogger)(folder.path, name="logs")]


def _dotted(arguments: Sequence[str]) -> Iterator[str]:
    """Yield arguments, ``--model package.module:Class`` as jsonargparse knows it: with dots."""
    for before, argument in pairwise(["", *arguments]):
        named = re.fullmatch(r"((?:--(?:model|data)=)?[\w.]+):([\w.]+)", argument)
        if named and (before in ("--model", "--data") or "=" in argument):
            yield f"{named[1]}.{named[2]}"
        else:
            yield argument


def _plain(message: str) -> str:
    """Return a message on few lines: of the types that were tried, what concerns the user."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    return "\n    ".join(line for line in lines if line and not line.startswith(NOISE))
