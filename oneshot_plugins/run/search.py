"""``oneshot search``: from a configuration to a run folder."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneshot_core.cli.parser import Parser
from oneshot_core.terminal import stopped_by_signal

from .folder import RunError, RunFolder
from .words import explained, require_jsonargparse

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from oneshot_core import BaseOneShotLightningModule

    from .configuration import SearchCLI

DESCRIPTION = """Train a supernet and choose an architecture. Reads configuration files (--config,
repeatable) and options; imports the model and the data that they name, from where Python finds
modules (`python -m oneshot_core search` looks in this folder, too). Writes a run folder: a new one
in runs/, or --out. Costs one training of the supernet, and a ranking if rank.metric is given.
`oneshot search --resume RUN` goes on with a run that was stopped; further options change its
configuration. `oneshot search --search.help STRATEGY` shows the options of one strategy,
--print_config all that can be configured, as a file to start from."""


MOST_AT_ONCE = 100
"""So many searches of one name may be started at the same time."""


class SearchCommand:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take all that follows: it is read by LightningCLI, --help as well."""
        parser.prefix_chars = ""  # nothing is an option to this parser
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def run(self, args: argparse.Namespace) -> int:
        """Search.

        Returns:
            0; 130 after Ctrl-C, 143 after SIGTERM.

        Raises:
            RunError: something cannot work as configured.
        """
        require_jsonargparse()
        from .configuration import search_cli, show_strategy

        resumed, arguments = _without_resume(args.arguments)
        if any(argument.startswith("--search.help") for argument in arguments):
            show_strategy(arguments)
            return 0
        if resumed is not None:
            resumed.require(resumed.config)
            arguments = ["--config", str(resumed.config), *arguments]
        cli = search_cli(arguments, description=DESCRIPTION)
        return _run(cli, resumed)


def _without_resume(arguments: Sequence[str]) -> tuple[RunFolder | None, list[str]]:
    """Take ``--resume RUN`` out: it is no part of a configuration."""
    parser = Parser("oneshot search", add_help=False, allow_abbrev=False)
    parser.add_argument("--resume", type=Path, metavar="RUN")
    known, rest = parser.parse_known_args(arguments)
    return None if known.resume is None else RunFolder(known.resume), rest


def _run(cli: SearchCLI, resumed: RunFolder | None) -> int:
    from pytorch_lightning.utilities import rank_zero_only

    from .ranking import check
    from .tables import cost_tables, keep

    folders = _new_folders(cli) if resumed is None else [resumed]
    search = cli.search()
    if cli.ranking.metric is not None:
        check(search, cli.ranking)
    first = getattr(rank_zero_only, "rank", 0) == 0  # set by Lightning
    # The first process has written its tables before it starts others.
    tables = cost_tables(search, cli.options, resumed if first else folders[0])
    with ExitStack() as stack:
        folder = _claimed(folders, stack) if first else folders[0]
        trainer = cli.trainer_for(folder)
        if first:
            cli.save(folder.config)
            keep(tables, folder)
        stopped = _fit(cli, search, trainer, folder, resume=resumed is not None)
        if stopped is not None:
            print(f"stopped; go on with\n  oneshot search --resume {folder}")
            return stopped
        if trainer.is_global_zero:
            _choose(cli, search, folder)
    return 0


def _claimed(folders: Sequence[RunFolder], stack: ExitStack) -> RunFolder:
    """Return the first of some folders that no other process writes into.

    Raises:
        RunInUseError: there is none; about the last.
    """
    from .lock import RunInUseError, held

    for folder in folders:
        try:
            stack.enter_context(held(folder))
        except RunInUseError:
            if folder is folders[-1]:
                raise
        else:
            return folder
    raise AssertionError("no folder")


def _new_folders(cli: SearchCLI) -> list[RunFolder]:
    """Return the folder that is asked for, or those in ``runs/`` that are not there yet."""
    if cli.config.out is None:
        name = f"{type(cli.model).__name__}-{cli.strategy}".lower()
        numbered = [name, *(f"{name}-{n}" for n in range(2, 10_000))]
        folders = (RunFolder(Path("runs", name)) for name in numbered)
        return list(islice((f for f in folders if not f.record.exists()), MOST_AT_ONCE))
    folder = RunFolder(cli.config.out)
    if folder.path.exists() and not folder.path.is_dir():
        raise RunError(
            f"--out {folder} is a file",
            expected="a folder, or one that is to be made",
            fix="another --out",
        )
    if folder.record.exists():
        raise RunError(
            f"{str(folder)!r} holds a run already",
            expected="a folder without one",
            fix=f"another --out, or go on with it: oneshot search --resume {folder}",
        )
    return [folder]


def _fit(
    cli: SearchCLI,
    search: BaseOneShotLightningModule,
    trainer: Trainer,
    folder: RunFolder,
    *,
    resume: bool,
) -> int | None:
    """Train the supernet; return the exit code if a signal stopped it, None at its end."""
    from .checkpoint import load_checkpoint

    options: dict[str, Any] = {"datamodule": cli.datamodule}
    if resume and folder.checkpoint.is_file():  # else it was stopped in its first epoch
        load_checkpoint(folder.checkpoint)
        options["ckpt_path"] = str(folder.checkpoint)
        if "weights_only" in inspect.signature(trainer.fit).parameters:  # Lightning 2.6
            options["weights_only"] = True
    try:
        with explained("training the supernet", "search"):
            trainer.fit(search, **options)
    except SystemExit as stop:  # Lightning's answer to signals
        code = stopped_by_signal(stop)
        if code is None:
            raise
        return code
    return None


def _choose(cli: SearchCLI, search: BaseOneShotLightningModule, folder: RunFolder) -> None:
    """Rank if that is configured, and say what was chosen."""
    from .answers import told
    from .ranking import rank, save

    if cli.ranking.metric is not None:
        try:
            found = rank(search, cli.datamodule, cli.ranking)
        except Exception:
            print(f"the supernet is trained and kept; `oneshot rank {folder} ...` ranks again")
            raise
        save(found, search, folder)
        print(found)
    if not folder.architecture.is_file():
        print(
            f"the supernet is trained; {cli.strategy} itself prefers no architecture. Choose one "
            f"with\n  oneshot rank {folder} --metric NAME"
        )
        return
    print(told(folder))
    print(f"written: {folder}; next: oneshot report {folder}, oneshot freeze {folder}")


command = SearchCommand()
