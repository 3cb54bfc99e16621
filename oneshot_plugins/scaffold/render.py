"""Turn the templates into the files of a package.

``templates/package`` holds what every package has, ``templates/kinds/KIND`` what a kind adds: files
of its own, and fragments of the files that all kinds share. They end in ``.tmpl`` so that no tool
takes them for code of ours; ``dot-`` stands for a leading dot, ``src/package`` for the module.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from string import Template

from .project import Project, core_bounds

TEMPLATES = Path(__file__).parent / "templates"
FRAGMENTS = ("component.tmpl", "sample-key.tmpl", "sample.py.tmpl", "usage.md.tmpl")


def render(project: Project) -> dict[str, str]:
    """Return path -> text of every file, sorted by path. Writes nothing."""
    values = _values(project)
    files: dict[str, str] = {}
    for folder in [TEMPLATES / "package", *(_folder(kind) for kind in project.kinds)]:
        for path in _templates(folder):
            files[_target(path.relative_to(folder), project)] = _fill(path, values)
    samples = _samples(project, values)
    if samples:
        files[f"src/{project.module}/samples.py"] = samples
    table = _table({path: _summary(text) for path, text in files.items()})
    readme = TEMPLATES / "package" / "README.md.tmpl"
    files["README.md"] = _fill(readme, {**values, "files_table": table})  # it lists the others
    return dict(sorted(files.items()))


def _values(project: Project) -> dict[str, str]:
    """Return what stands for the names in the templates."""
    lowest, above = core_bounds()
    values = {
        "name": project.name,
        "distribution": project.distribution,
        "module": project.module,
        "author": project.author,
        "author_toml": json.dumps(project.author, ensure_ascii=False).replace("\x7f", "\\u007f"),
        "year": str(date.today().year),
        "description": project.description,
        "description_sentence": f"{project.description}.",
        "lowest": lowest,
        "requirement": f"oneshot-core>={lowest},<{above}",
        "files_table": "",
    }
    keys = "\n".join(_fragments(project, "sample-key.tmpl", values))
    components = "\n".join(_fragments(project, "component.tmpl", values))
    return {
        **values,
        "components": components,
        "components_table": _table(_components(components)),
        "hookspecs": "Component, Conformance, hookimpl" if keys else "Component, hookimpl",
        "constants": f'\nSAMPLES = "{project.module}.samples"\n' if keys else "",
        "conformance": _fill(TEMPLATES / "conformance.tmpl", {"samples": keys}) if keys else "",
        "usage": "\n\n".join(_fragments(project, "usage.md.tmpl", values)),
    }


def _samples(project: Project, values: Mapping[str, str]) -> str:
    """Return ``samples.py``: the kinds' functions below the union of their imports."""
    imports: set[str] = set()
    functions: list[str] = []
    for fragment in _fragments(project, "sample.py.tmpl", values):
        head, _, body = fragment.partition("\n\n\n")
        imports |= set(head.splitlines())
        functions.append(body)
    if not functions:
        return ""
    groups = [
        ["from __future__ import annotations"],
        _sorted(line for line in imports if not line.startswith("from .")),
        _sorted(line for line in imports if line.startswith("from .")),
    ]
    return _fill(
        TEMPLATES / "samples.py.tmpl",
        {
            "imports": "\n\n".join("\n".join(group) for group in groups) + "\n\n",
            "samples": "\n\n\n".join(functions),
        },
    )


def _sorted(lines: Iterator[str]) -> list[str]:
    """Sort imports as ruff does: ``import`` before ``from``, then by name."""
    return sorted(lines, key=lambda line: (line.startswith("from"), line))


def _components(source: str) -> dict[str, str]:
    """Return id -> summary of the components in the text of a manifest."""
    calls = [node for node in ast.walk(ast.parse(f"[\n{source}\n]")) if isinstance(node, ast.Call)]
    found = {}
    for call in calls:
        kind, name, _ = map(ast.literal_eval, call.args)
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        found[f"{kind}:{name}"] = ast.literal_eval(options["summary"])
    return found


def _summary(text: str) -> str:
    """Return the first line of a Python file's docstring; empty for other files."""
    first = text.partition("\n")[0]
    return first.strip('"').rstrip(".") if first.startswith('"""') else ""


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(f"| `{key}` | {text} |" for key, text in sorted(rows.items()) if text)


def _fragments(project: Project, name: str, values: Mapping[str, str]) -> list[str]:
    paths = [_folder(kind) / name for kind in project.kinds]
    return [_fill(path, values).rstrip("\n") for path in paths if path.is_file()]


def _folder(kind: str) -> Path:
    return TEMPLATES / "kinds" / kind


def _templates(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.tmpl") if path.name not in FRAGMENTS]


def _target(template: Path, project: Project) -> str:
    """Return where a template's text goes, relative to the package's folder."""
    parts = [part.replace("dot-", ".") for part in template.with_suffix("").parts]
    if parts[:2] == ["src", "package"]:
        parts[1] = project.module
    return "/".join(parts)


def _fill(template: Path, values: Mapping[str, str]) -> str:
    text = Template(template.read_text(encoding="utf-8")).substitute(values)
    return text.rstrip("\n") + "\n" if text.strip() else ""
