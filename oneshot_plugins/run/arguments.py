"""What the commands that read a run folder have in common."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

from oneshot_core.files import cannot_write, require_place


def read_a_run(parser: argparse.ArgumentParser, description: str) -> None:
    """Describe a command whose first argument is a run folder."""
    parser.description = description
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a search")


def take_an_architecture(parser: argparse.ArgumentParser) -> None:
    """Let an architecture be given instead of the one that the run chose."""
    parser.add_argument(
        "--architecture",
        type=Path,
        metavar="FILE",
        help="instead of the one that the run chose; ranking.json of RUN stands for its best "
        "(default: architecture.json of RUN)",
    )


def require_out(path: Path) -> None:
    """Look, before what takes long, whether a file can be written in a folder that is there.

    Raises:
        OutputError: it cannot.
    """
    require_place(path)
    if not path.resolve().parent.is_dir():
        raise cannot_write(path, OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
