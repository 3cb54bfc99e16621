"""``oneshot plugins new``: write a plugin package that works, to be changed into one's own.

Imports no torch. JSON has the schema ``oneshot.plugins/1``.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from oneshot_core import __version__

from .project import KINDS, Project
from .render import render
from .write import write


class NewPlugin:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.add_argument(
            "--json", action="store_true", help="print JSON; it begins with the name of its schema"
        )
        width = max(map(len, KINDS))
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.description = (
            "Write the package oneshot-plugin-NAME into a new folder: working code for each kind,\n"
            "its manifest and entry point, tests that include the conformance checks,\n"
            "documentation, a workflow for CI, a licence, and the settings of ruff, mypy and\n"
            "pytest. It can be installed and passes as it is; then change it into what you want.\n"
            "Needs no network."
        )
        parser.epilog = "kinds, and what is written for each:\n" + "\n".join(
            f"  {kind:<{width}}  {about}" for kind, (_, about) in KINDS.items()
        )
        parser.add_argument(
            "name", metavar="NAME", help="such as drop-path; pip installs oneshot-plugin-NAME"
        )
        parser.add_argument(
            "--kind",
            action="append",
            required=True,
            dest="kinds",
            metavar="KIND",
            help="what to write, see below; may be repeated",
        )
        parser.add_argument(
            "--out",
            type=Path,
            metavar="DIR",
            help="folder to write into, new or empty (default: oneshot-plugin-NAME)",
        )
        parser.add_argument(
            "--author", help="whose copyright it is (default: user.name of git, if there is one)"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Write the package and say what was written.

        Raises:
            PluginError: the name, a kind or the folder does not fit; nothing is written.
        """
        project = Project.read(args.name, args.kinds, args.author)
        files = render(project)
        folder: Path = args.out or Path(project.distribution)
        written = write(files, folder)
        following = [
            f"cd {shlex.quote(str(folder))}",
            "pip install -e '.[testing]'",
            f"oneshot plugins check {project.distribution}",
        ]
        if args.json:
            about = {
                "schema": "oneshot.plugins/1",
                "core": __version__,
                "distribution": project.distribution,
                "module": project.module,
                "kinds": list(project.kinds),
                "folder": str(written),
                "files": list(files),
                "next": following,
            }
            print(json.dumps(about, indent=2))
            return 0
        print(f"{project.distribution}: {project.description}")
        print(f"wrote {len(files)} files to {folder}:")
        for path in files:
            print(f"  {path}")
        print("next:")
        for command in following:
            print(f"  {command}")
        return 0


command = NewPlugin()
