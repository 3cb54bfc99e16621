"""The parser of all commands: its errors have three parts, as all of ours."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Says what was expected and the fix; parsers of subcommands do, too."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        self.exit(
            2,
            f"error: {message.rstrip('.')}.\n"
            f"  expected: {usage}\n"
            f"  fix: correct the arguments; `{self.prog} --help` explains them\n",
        )
