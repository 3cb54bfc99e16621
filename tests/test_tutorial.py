"""The tutorial for plugin authors is followed to the letter, in an environment of its own.

Every block of the page is a step: commands are run, files written, differences applied, in order.
What the page shows below a command must be what the command prints.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "plugins" / "tutorial.md"
BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)
SETTING_UP = """\
$ python -m venv .venv
$ . .venv/bin/activate
$ pip install 'oneshot-core[testing]'
"""
"""What the fixture ``environment`` does in its own way, since there may be no network."""


class Block(NamedTuple):
    language: str
    path: str
    text: str
    line: int


def blocks() -> list[Block]:
    page = PAGE.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2] or "", match[3], page.count("\n", 0, match.start()) + 1)
        for match in BLOCK.finditer(page)
    ]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Make a virtual environment that sees what is installed here; return its variables.

    ``pip`` installs into it, from folders and files only.
    """
    folder = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    bin_folder = folder / "bin"
    python = bin_folder / "python"
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    outer = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    # addsitedir, not a bare path: it also reads the .pth files there.
    lines = [f"import site; site.addsitedir({path!r})" for path in outer]
    Path(own, "outer.pth").write_text("\n".join(lines))
    scripts = {
        "oneshot": f'exec {python} -m oneshot_core "$@"',
        "pytest": f'exec {python} -m pytest -p no:cacheprovider "$@"',
        "pip": f"""
            pip="{sys.executable} -m pip --python {python} --disable-pip-version-check"
            offline="--no-index --no-deps --no-build-isolation"
            case "$1" in
                install|wheel) action=$1; shift; exec $pip $action $offline "$@" ;;
                *) exec $pip "$@" ;;
            esac""",
    }
    for name, script in scripts.items():
        (bin_folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin_folder / name).chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ONESHOT_", "PYTHON", "PIP_"))}
    # Wide, and without colours: as in a file.
    return {**kept, "PATH": f"{bin_folder}{os.pathsep}{kept['PATH']}", "NO_COLOR": "1"}


class Reader:
    """Somebody who follows the page in a terminal."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def follow(self, block: Block) -> None:
        if block.language == "console":
            for command, shown in commands(block.text):
                self.run(command, shown, block.line)
        elif block.language == "diff":
            file = self.folder / block.path
            file.write_text(changed(file.read_text(), block.text))
        elif block.language == "python" and block.path:
            (self.folder / block.path).write_text(block.text)
        else:
            pytest.fail(f"line {block.line} of the tutorial is no step that can be followed")

    def run(self, command: str, shown: str, line: int) -> None:
        """Run a command; it must succeed and print what is shown, if anything is."""
        # The shell ends in whatever folder the command went to.
        script = f"{command}\ncode=$?; pwd > {shlex.quote(str(self.folder))}/.pwd; exit $code"
        place = self.folder / ".pwd"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.folder = Path(place.read_text().strip())
        place.unlink()
        everything = f"line {line}: $ {command}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, everything
        # Others say on stderr what is beside the point, such as Lightning's advice.
        found = done.stdout + done.stderr if command.startswith("oneshot") else done.stdout
        if shown:
            as_shown = re.fullmatch(pattern(shown), plain(found), re.S) is not None
            assert as_shown, everything


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block, and what is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def changed(text: str, difference: str) -> str:
    """Apply a difference; each part must fit in exactly one place."""
    for part in re.split(r"^@@\n", difference, flags=re.M):
        # An empty line of context may have lost its leading space.
        lines = [line or " \n" for line in part.splitlines(keepends=True)]
        lines = [" \n" if line == "\n" else line for line in lines]
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(old) == 1, f"found {text.count(old)} times:\n{old}"
        text = text.replace(old, new)
    return text


def plain(text: str) -> str:
    """Return text without what may differ: blanks, numbers of passed and skipped, durations."""
    text = re.sub(r"\d+ (passed|skipped)", r"N \1", text)
    text = re.sub(r"(N passed(?:, \d+ failed)?), N skipped", r"\1", text)
    text = re.sub(r"(N passed) in [\d.]+s", r"\1", text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


def pattern(shown: str) -> str:
    """Return a pattern for what is shown; ``...`` stands for anything."""
    return ".*".join(map(re.escape, plain(shown).split("...")))


@pytest.mark.slow
def test_the_tutorial_can_be_followed_to_the_letter(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    first, *steps = blocks()
    assert first.text == SETTING_UP
    reader = Reader(tmp_path, environment)
    for step in steps:
        reader.follow(step)
    assert len(steps) > 15


def test_what_is_shown_must_be_what_is_printed() -> None:
    """The comparison itself: it forgives widths and durations, and nothing else."""
    assert re.fullmatch(pattern("ID  NAME\n16 passed\n"), plain("ID NAME  \n\n3 passed in 0.12s"))
    assert re.fullmatch(pattern("a\n...\nz\n"), plain("a\nb\nc\nz"), re.S)
    assert re.fullmatch(pattern("16 passed\n"), plain("3 passed, 2 skipped in 0.12s"))
    assert not re.fullmatch(pattern("16 passed\n"), plain("15 passed, 1 failed"))
    assert not re.fullmatch(pattern("15 passed, 1 failed\n"), plain("14 passed, 2 failed"))
    assert not re.fullmatch(pattern("a\nb\n"), plain("a\nc"))


def test_a_difference_must_fit_in_one_place() -> None:
    assert changed("a\n\nb\nc\n", " a\n\n-b\n+x\n+y\n@@\n-c\n") == "a\n\nx\ny\n"
    with pytest.raises(AssertionError, match="found 0 times"):
        changed("a\n", "-b\n")
    with pytest.raises(AssertionError, match="found 2 times"):
        changed("a\na\n", "-a\n+b\n")
