"""What a user has set about plugins: environment variables, and a table of ``pyproject.toml``.

Both only switch off, order and demand; nothing here names a file to be imported.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import PluginSettingsError
from .metadata import Problem, normalise
from .records import Restriction

AUTOLOAD = "ONESHOT_PLUGIN_AUTOLOAD"
ALLOW = "ONESHOT_PLUGINS"
DENY = "ONESHOT_DISABLE_PLUGINS"
STRICT = "ONESHOT_STRICT_PLUGINS"
TRACE = "ONESHOT_TRACE_PLUGINS"
VARIABLES = (AUTOLOAD, ALLOW, DENY, STRICT, TRACE)

TABLE = "[tool.oneshot.plugins]"
KEYS = ("allow", "deny", "order", "required")

ProjectFile: TypeAlias = str | PathLike[str] | bool
"""A ``pyproject.toml``; True for the nearest one, False for none."""

_ESSENTIAL = ("no-default-hook", "optimizer-shapes", "configure-optimizers", "merge-optimizers")
_ID = re.compile(r"[^:*?\[\]]+:[^:*?\[\]]+")
_SEEMS_OURS = re.compile(r"""\btool\W+oneshot\b(?!-)|\boneshot["']?\s*\.\s*["']?plugins\b""")


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """What is set, read once.

    Attributes:
        restrictions: what is switched off: denials first, then at most one list of what is
            allowed, that of the most explicit place.
        order: ids that come before all others in the order of use.
        required: requirements, as written, of what must be installed and in use.
        project: the file that ``order`` and ``required`` are from, for messages.
        strict: whether any problem with a plugin raises.
        trace: whether calls of hooks are shown on stderr.
        problems: about the settings themselves.
    """

    restrictions: tuple[Restriction, ...] = ()
    order: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    project: str = ""
    strict: bool = False
    trace: bool = False
    problems: tuple[Problem, ...] = ()


def read_settings(environ: Mapping[str, str], project: ProjectFile) -> Settings:
    """Read the environment and the project's file.

    Denials of both count. What is allowed is said by one of them: the environment if it says
    anything, else the file.

    Raises:
        PluginSettingsError: the file cannot be read, or the table holds what it must not.
    """
    file = _nearest() if project is True else None if project is False else Path(project)
    table = {} if file is None else _read_table(file)
    denials = [(DENY, _words(environ.get(DENY, ""))), (f"deny in {file}", table.get("deny", ()))]
    restrictions = [Restriction(name, words, keep=False) for name, words in denials if words]
    allowed: tuple[str, tuple[str, ...]] | None = None
    if ALLOW in environ:  # empty is not unset: then only the first party is used
        allowed = ALLOW, _words(environ[ALLOW])
    elif not _is_on(environ.get(AUTOLOAD) or "1"):
        allowed = AUTOLOAD, ()
    elif "allow" in table:
        allowed = f"allow in {file}", table["allow"]
    if allowed is not None:
        restrictions.append(Restriction(*allowed, keep=True, spares_first_party=True))
    return Settings(
        restrictions=tuple(restrictions),
        order=table.get("order", ()),
        required=table.get("required", ()),
        project=str(file),
        strict=_is_on(environ.get(STRICT, "")),
        trace=_is_on(environ.get(TRACE, "")),
        problems=tuple(_misspelt(environ)),
    )


def is_essential(pattern: str) -> bool:
    """Say whether a pattern names what belongs to the core and so cannot be switched off."""
    return normalise(pattern.rpartition(":")[2].partition("@")[0]) in _ESSENTIAL


def refuse_essential(source: str, pattern: str) -> PluginSettingsError:
    """Return the error for a denial of what :func:`is_essential`."""
    return PluginSettingsError(
        f"{source} names {pattern!r}, which belongs to the core and cannot be switched off",
        expected="a distribution, or kind:name of a plugin's component",
        fix=f"take {pattern!r} out; no_default_hook and the six shapes of configure_optimizers "
        "are always in use, what others add is in `oneshot plugins list`",
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in map(str.strip, text.split(",")) if word)


def _is_on(text: str) -> bool:
    return text.strip().lower() not in ("", "0", "false", "no", "off")


def _misspelt(environ: Mapping[str, str]) -> Iterator[Problem]:
    # Plugins may have variables of their own, so only what is nearly one of ours is reported.
    for name in sorted(environ):
        if name.startswith("ONESHOT_") and name not in VARIABLES:
            for meant in get_close_matches(name, VARIABLES, n=1, cutoff=0.9):
                reason = "this variable is set, and nothing reads it"
                yield Problem(name, "unknown", reason, f"did you mean {meant}?")


def _nearest() -> Path | None:
    """Return the ``pyproject.toml`` of the working directory or the nearest folder above."""
    try:
        here = Path.cwd()
    except OSError:  # the working directory was deleted
        return None
    files = (folder / "pyproject.toml" for folder in (here, *here.parents))
    return next((file for file in files if os.path.isfile(file)), None)


def _read_table(file: Path) -> dict[str, tuple[str, ...]]:
    """Return the table of a file, checked; empty if it has none."""
    try:
        text = file.read_bytes().decode(errors="replace")
    except OSError as error:
        raise PluginSettingsError(
            f"{file} cannot be read: {error}",
            expected=f"a file that may say in {TABLE} which plugins are used",
            fix="make it readable",
        ) from error
    loads = _toml_reader() if "oneshot" in text else None  # most projects need no parser
    if loads is None:
        if _SEEMS_OURS.search(text):
            raise PluginSettingsError(
                f"{file} seems to have a table {TABLE}, which this Python cannot read",
                expected="Python 3.11, or the package tomli",
                fix="pip install tomli",
            )
        return {}
    try:
        tool = loads(text).get("tool", {})
    except (ValueError, RecursionError) as error:
        if not _SEEMS_OURS.search(text):
            return {}  # not our business
        raise PluginSettingsError(
            f"{file} is no TOML: {error}",
            expected=f"a file that can be read, since it seems to have a table {TABLE}",
            fix="correct it",
        ) from error
    ours = tool.get("oneshot", {}) if isinstance(tool, dict) else {}
    _require_table(ours, ("plugins",), file, "[tool.oneshot]")
    table = ours.get("plugins", {})
    _require_table(table, KEYS, file, TABLE)
    return {key: _read_list(key, value, file) for key, value in table.items()}


def _toml_reader() -> Callable[[str], dict[str, Any]] | None:
    for name in ("tomllib", "tomli"):  # Python 3.10 has no tomllib
        try:
            loads: Callable[[str], dict[str, Any]] = importlib.import_module(name).loads
        except ModuleNotFoundError:
            continue
        return loads
    return None


def _require_table(found: object, keys: tuple[str, ...], file: Path, name: str) -> None:
    if not isinstance(found, dict):
        raise PluginSettingsError(
            f"{name} in {file} is {found!r}",
            expected=f"a table with keys of {', '.join(keys)}",
            fix=f"write {name} on a line of its own",
        )
    for key in found.keys() - set(keys):
        close = ", ".join(get_close_matches(key, keys))
        raise PluginSettingsError(
            f"{name} in {file} has the key {key!r}",
            expected=f"{', '.join(keys)}",
            fix=f"{f'did you mean {close}?' if close else 'take it out'}",
        )


def _read_list(key: str, value: object, file: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
        raise PluginSettingsError(
            f"{key} = {value!r} in {TABLE} of {file}",
            expected="a list of non-empty strings",
            fix=f'write {key} = ["..."]',
        )
    words = tuple(map(str.strip, value))
    for word in words:
        if key == "order" and not _ID.fullmatch(word):
            raise PluginSettingsError(
                f"order in {TABLE} of {file} holds {word!r}",
                expected="kind:name of one component, without wildcards",
                fix="copy the id from `oneshot plugins list`",
            )
        if key == "required":
            _require_requirement(word, file)
    return words


def _require_requirement(text: str, file: Path) -> None:
    from packaging.requirements import InvalidRequirement, Requirement  # slow to import

    try:
        given = Requirement(text)
        more = given.url or given.extras or given.marker
        wrong = "it has more than a name and versions" if more else ""
    except InvalidRequirement as error:
        wrong = str(error).splitlines()[0]
    if wrong:
        raise PluginSettingsError(
            f"required in {TABLE} of {file} holds {text!r}: {wrong}",
            expected='a distribution and its versions, such as "oneshot-plugin-x>=0.4"',
            fix="correct it",
        )
