"""``oneshot report``: read a run folder, write the page and the figures."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from oneshot_core.errors import OutputError
from oneshot_core.files import write_text

from .folder import ReportError, Run, read_run, require_no_link

DESCRIPTION = """\
Write one HTML page about a run: the chosen architecture, how the probabilities moved, what it was
compared with, and what is needed to repeat it. The page loads nothing from anywhere.

It reads RUN, a folder that `oneshot search` (or the callback RunRecorder) wrote, and writes
RUN/report.html, or --out. With --figures it draws the same figures as PNG and SVG. What the folder
does not hold is left out, with a sentence that says what would put it there. Nothing is trained or
run: seconds."""


class Report:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.description = DESCRIPTION
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("run_folder", metavar="RUN", type=Path, help="folder of the run")
        parser.add_argument(
            "--out", metavar="FILE", type=Path, help="the page (default: RUN/report.html)"
        )
        parser.add_argument(
            "--architecture",
            metavar="FILE",
            type=Path,
            help="report on this one; ranking.json of RUN stands for its best (default: "
            "architecture.json of RUN)",
        )
        parser.add_argument(
            "--figures",
            metavar="DIR",
            type=Path,
            help="draw the figures there, too, as PNG and SVG; needs oneshot-core[report]",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Write, and say what was written.

        Raises:
            ReportError: there is no run, a file of it is damaged, a library is missing, or
                something cannot be written.
        """
        if args.figures is not None and find_spec("matplotlib") is None:
            raise ReportError(
                "--figures needs matplotlib, which is not installed",
                expected="the extra 'report' of oneshot-core",
                fix="pip install 'oneshot-core[report]', or leave --figures out",
            )
        found = read_run(args.run_folder, args.architecture)
        out: Path = args.out or args.run_folder / "report.html"
        require_no_link(out)
        try:
            written = _write(found, out, args.figures)
        except OSError as error:
            reason = error.__cause__ if isinstance(error, OutputError) else error
            assert isinstance(reason, OSError)
            raise ReportError(
                f"{reason.filename or str(out)!r} cannot be written: {reason.strerror}",
                expected="a file, and a folder for the figures, that can be written",
                fix="name others with --out FILE and --figures DIR",
            ) from error
        except ReportError:
            raise
        except Exception as error:  # whatever the files hold in the place of what belongs there
            raise ReportError(
                f"the files of {str(args.run_folder)!r} do not belong together, or hold something "
                f"else than they should: {type(error).__name__}: {str(error)[:200]}",
                expected="files as docs/run-folder.md describes them",
                fix="write them again; `oneshot --debug report ...` shows where it failed",
            ) from error
        print(f"{out}  {out.stat().st_size / 1024:,.0f} KB", *written, sep="\n")
        return 0


def _write(run: Run, out: Path, figures: Path | None) -> list[Path]:
    """Write the page, and the figures, which are returned."""
    from .render import render

    page = render(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)
    if figures is None:
        return []
    from .figures import draw

    return draw(run, figures)


report = Report()
