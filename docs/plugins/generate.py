"""Write ``hooks.md``, the index for plugin authors: ``python docs/plugins/generate.py``.

A test fails when the page is not what this script writes.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from oneshot_core import Registry, hookspecs
from oneshot_core.cli import options
from oneshot_core.discovery.metadata import Problem
from oneshot_core.discovery.records import Record
from oneshot_core.testing import all_checks

PAGE = Path(__file__).with_name("hooks.md")

INTRODUCTION = """# Plugins: hooks, kinds, settings

*Written by `docs/plugins/generate.py` from the sources; change those.*

What a plugin can say to the core, and what its users can say about plugins. How to write one step
by step is in `CONTRIBUTING.md`.

**Installing a package is the act of trust.** A plugin is code that runs with all your rights: its
manifest is imported whenever plugins are listed or a search is made, its components when they are
used. Nothing here is a sandbox. What can be set below restricts and orders what is installed; a
project's `pyproject.toml` can do no more than that, and nothing is loaded *because* it lies in the
working directory. (Python itself puts that directory on the path for `python -m` and in notebooks;
a package whose metadata lies there counts as installed.)

A *manifest* is a module that an entry point of the group `oneshot_core` names. It imports neither
torch nor Lightning:

```toml
[project.entry-points.oneshot_core]
shuffle = "oneshot_plugin_shuffle.plugin"
```

```python
from oneshot_core.hookspecs import Component, hookimpl

@hookimpl
def oneshot_components():
    return [
        Component("mutation_hook", "shuffle.mixed", "oneshot_plugin_shuffle.hooks:mixed"),
    ]
```
"""


def page() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *_hooks(), *_kinds(), *_settings(), *_states(), *_schemas()])


def _hooks() -> Iterator[str]:
    yield "## Hooks\n"
    yield (
        "Functions of a manifest, marked with `@hookimpl`. Each takes as many of the arguments as "
        "it wants, by name; arguments are only ever added. A misspelt name is a problem that "
        "`oneshot plugins list` and `doctor` show and that raises in strict mode; a hook for other "
        "versions is marked `@hookimpl(optionalhook=True)`. Plugins are called `oneshot-core` "
        "first, then by name.\n"
    )
    for name, function in vars(hookspecs).items():
        marks = getattr(function, f"{hookspecs.ENTRY_POINT_GROUP}_spec", None)
        if not marks:
            continue
        signature = str(inspect.signature(function)).replace("'", "")
        yield f"### {name}\n"
        yield f"```text\n{name}{signature}\n```\n"
        if marks["firstresult"]:
            yield "*First result*: the first answer that is not `None` counts; no other is asked.\n"
        yield f"{_markdown(inspect.getdoc(function) or '')}\n"


def _kinds() -> Iterator[str]:
    checks: dict[str, list[str]] = {}
    for check in all_checks():
        checks.setdefault(check.scope.replace("-", "_"), []).append(f"`{check.id}`")
    yield "## Kinds of components\n"
    yield (
        "`Component(kind, name, target, summary, handles, priority)`. The target is a string and "
        "is imported on first use. A plugin may have kinds of its own, which it asks for with "
        "`registry.names(kind)` and `registry.load(kind, name)`.\n"
    )
    rows = [
        (f"`{name}`", kind.target, kind.asked_by, f"{len(checks.get(name, []))}")
        for name, kind in hookspecs.KINDS.items()
    ]
    yield _table(("kind", "target", "asked by", "checks of its own"), rows)
    yield (
        "Commands are components, not a hook, so that `oneshot --help` can show them without "
        "importing them.\n"
    )
    yield (
        "A cost may say more about itself by attributes of its function: `readings`, `per_input` "
        "and `counts`. The page about conformance checks says what each means.\n"
    )
    yield "### What `oneshot plugins check` checks\n"
    yield _table(
        ("about", "checks"),
        [(f"`{scope}`", ", ".join(ids)) for scope, ids in checks.items()],
    )


def _settings() -> Iterator[str]:
    doc = inspect.getdoc(Registry) or ""
    yield "## Settings\n"
    yield (
        "Read when the registry is first asked anything, before any plugin is imported. Patterns "
        "are separated by commas and may be globs: a name without a colon is a distribution, "
        "`kind:name` a component (`kind:name@distribution` that of one distribution), and "
        "`manifest:distribution.entry-point` one manifest.\n"
    )
    rows = [*_rst_table(doc)]
    yield "### Environment\n"
    yield _table(("variable", "meaning"), [row for row in rows if "ONESHOT_" in row[0]])
    yield "### `[tool.oneshot.plugins]` in `pyproject.toml`\n"
    yield (
        "The nearest `pyproject.toml` from the working directory upwards, looked up when the "
        "registry is first asked. Keys and types that are not known are errors. Python 3.10 needs "
        "the package `tomli` for it. A program that must not depend on where it is started uses "
        "`Registry(project=False)`, or names the file.\n"
    )
    yield _table(("key", "meaning"), [row for row in rows if "ONESHOT_" not in row[0]])
    yield "### Flags of `oneshot`, before the command\n"
    flags = [
        (f"`{' '.join(filter(None, (action.option_strings[0], action.metavar)))}`", action.help)
        for action in options()._actions
        if "plugin" in action.option_strings[0]
    ]
    yield _table(("flag", "meaning"), ((flag, _quoted(text or "")) for flag, text in flags))
    yield (
        "What is allowed is said by the most explicit of flag, environment and file. Denials of "
        "all three add up, and beat what is allowed. Names that nothing has are problems, with "
        "close matches.\n"
    )
    yield (
        "`oneshot-core` in a denial switches off the plugins that come with it (all of "
        "`oneshot_plugins`). The core has no switch: `no_default_hook` and the six shapes of "
        "`configure_optimizers` are always in use, and a denial that names them is an error.\n"
    )
    yield (
        "In a program: `registry.disable(...)` and `registry.only(...)`, for good or inside "
        "`with`; `registry.register(...)`; `registry.refresh()` after an installation.\n"
    )


def _states() -> Iterator[str]:
    yield "## States\n"
    yield "What `oneshot plugins list --all` shows, with the reason and what to do.\n"
    yield _table(("state", "means"), _rst_table(inspect.getdoc(Record) or ""))
    yield (
        "Problems that are about no component have the state `unknown` (a name in a setting or a "
        "manifest that nothing has) or `missing` (what the project requires).\n"
    )


def _schemas() -> Iterator[str]:
    yield "## JSON\n"
    yield (
        "Every document begins with its `schema`. Fields are added, never renamed or removed, "
        "without another number there.\n"
    )
    yield _table(
        ("printed by", "schema", "besides `schema` and `core`"),
        [
            (
                "`registry.snapshot().to_json()`",
                "`oneshot.registry/1`",
                "`fingerprint`, `components`, `problems`",
            ),
            (
                "`oneshot plugins list --json`",
                "`oneshot.plugins/1`",
                "`fingerprint`, `components`, `problems`",
            ),
            (
                "`oneshot plugins info --json`",
                "`oneshot.plugins/1`",
                "`component`; with `--load` its `object`, `signature` and `doc` as well",
            ),
            (
                "`oneshot plugins order --json`",
                "`oneshot.plugins/1`",
                "`components` in order; `phases` of the walk",
            ),
            ("`oneshot plugins doctor --json`", "`oneshot.plugins/1`", "`problems`"),
            ("`oneshot plugins check --json`", "`oneshot.conformance/1`", "what was checked"),
        ],
    )
    registry = Registry(entry_points=False)
    registry.register(
        "cost", "noise.layers", "oneshot_plugin_noise.costs:layers", summary="how many modules"
    )
    names = ", ".join(f"`{field.name}`" for field in fields(Problem))
    yield f"A problem has {names}. A component:\n"
    yield f"```json\n{json.dumps(registry['cost:noise.layers'].as_dict(), indent=2)}\n```\n"


def _rst_table(doc: str) -> Iterator[tuple[str, str]]:
    """Yield the rows of a two-column table in a docstring, as Markdown."""
    lines = doc.splitlines()
    rules = [index for index, line in enumerate(lines) if re.fullmatch(r"=+  =+", line)]
    start, end = rules[-2], rules[-1]
    width = lines[start].index("  ") + 2
    rows: list[list[str]] = []
    for line in lines[start + 1 : end]:
        if line[:width].strip():
            rows.append([line[:width].strip(), line[width:].strip()])
        else:  # the second column goes on
            rows[-1][1] += " " + line.strip()
    for first, second in rows:
        yield _markdown(first), _markdown(second)


def _quoted(text: str) -> str:
    return re.sub(r"\b(ONESHOT_\w+|oneshot-core)\b", r"`\1`", text)


def _markdown(text: str) -> str:
    text = re.sub(r":\w+:`~?\.?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [[*head], *([*row] for row in rows)]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    cells.insert(1, ["---"] * len(cells[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
