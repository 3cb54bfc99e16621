"""What the commands that read a run folder have in common."""

from __future__ import annotations

import argparse
from pathlib import Path


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
        help="instead of the one that the run chose (default: architecture.json of RUN)",
    )
