"""Write ``conformance.md``, the page of all checks, from the checks themselves.

``python docs/plugins/generate_conformance.py`` writes it; a test fails where it is not current.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from oneshot_core.testing import Check, all_checks
from oneshot_plugins.checks import attempt

PAGE = Path(__file__).with_name("conformance.md")

HEAD = """\
<!-- Written by docs/plugins/generate_conformance.py; change the checks or that file instead. -->

# Conformance checks

A plugin that passes these checks works with every strategy, supernet module and model that passes
them, whoever wrote them. `oneshot-core` runs them on its own plugins in CI. There are three ways to
run them, all the same checks:

```console
$ oneshot plugins check oneshot-plugin-x
```

```console
$ pytest --oneshot-conformance oneshot-plugin-x
```

needs no test code, and `-k supernet`, `-x` and reports work as ever. As a part of a test suite, in
`tests/test_conformance.py`:

```python
from oneshot_core.testing.suite import *

conformance = "oneshot-plugin-x"
```

They need the extra `oneshot-core[testing]`. Instead of a distribution, a single component can be
named (`supernet:x.mixed`), and `oneshot_core.testing.check("cost:x.size", registry=registry)`
checks what a program has registered; in a test, `oneshot_registry` is a fixture that is an empty
registry. Every check runs in an empty working directory; random states and
settings such as torch's default dtype are put back, and a component that changes them fails.

## What a check can say

| outcome | means |
|---|---|
| `passed` | the promise holds |
| `failed` | it does not; the message has what happened, what was expected, and the fix |
| `advice` | it does not, and is recommended only: exit code 0, and `xfail` in pytest |
| `skipped` | there was nothing to check; the message says why |
| `expected` | it does not hold, as the plugin declares |

Checks keep their ids. Promises that are new in a release are `recommended` until the next one.
A component of a kind that `oneshot-core` does not know is checked as a component only.

## Samples and expected failures

A supernet module is tried with samples of the choice that it handles; those of `oneshot_core.space`
are known. For a choice of your own, name a function in the manifest:

```python
from oneshot_core.hookspecs import Conformance, hookimpl

@hookimpl
def oneshot_conformance():
    return Conformance(
        samples={
            # a choice, for every supernet module that handles it: a list of Sample(make, inputs)
            "oneshot_plugin_x.choices:MyChoice": "oneshot_plugin_x.samples:choices",
            # a strategy, searcher or cost: a list of dicts of keyword arguments
            "strategy:x.slow": "oneshot_plugin_x.samples:short_warm_ups",
        },
        expected_failures={
            ("cost:x.latency", "cost.same-network-same-number"): "it measures time",
            ("supernet:x.mixed x strategy:*", "cross.*"): "not before 0.2",
        },
    )
```

Both parts of an expected failure may be globs, and need a reason. They are strict: where a check
holds that is declared to fail, that is a failure. A plugin can declare failures of its own
components, and of pairs with one of them; of nothing else.

`Sample(make, inputs)` takes two *functions*, which are called many times. `make()` builds a new and
equal module in each call, `inputs()` returns a tuple of equal values in each call. The global
generators of Python, NumPy and torch get one seed before each call, so `nn.Linear(4, 4)` and
`torch.randn(2, 4)` repeat themselves; a generator that is made once, outside of the function, does
not. Samples are called twice before anything is tried with them. Where they differ,
`component.samples-repeat-themselves` fails, and the checks that need samples are skipped: nothing
is said about the component.

## What is asked of supernet modules and choices beside `forward`

- `select(...)` returns a plain module that *shares* its parts: the submodules and parameters of the
  choice, not copies, where all of a tensor is used. Freezing makes the copy. What it needs beside
  them, it builds; nothing of `oneshot_core` may be left in it.
- `branches()` names, for each label and candidate, the submodules that run only if it is taken.
  What it does not name counts as always running, and choices inside as always deciding. A supernet
  module returns what its choice returns. `gates()` is for what depends on several choices.
- `forward` runs what `decision.active()` names and no more, multiplies by `weight` unless that is
  `None`, and returns one candidate without a weight untouched.
- Submodules have the names that they have in the choice, so that state dicts stay the same;
  decisions are no submodules; tensors are parameters or buffers.
- `sealed = True`, on the choice and on the supernet module, if they rely on their submodules being
  what they are, such as by reading `self.conv.weight`. The walk then offers those to no hook. Else
  hooks of others may replace them, as they may replace whatever users write into candidates.

A mutation hook returns `None` for every `oneshot_core.MutableModule`, and changes nothing in place.

## What a cost may say about itself

A cost is a function, and you may set attributes on that function. All of them are optional:

- `readings` is the number of times that rankings and fronts call the cost for each network. They
  call it once for each network and then begin again, so a machine that is busy for a while affects
  all networks. The result is the median of the readings. Without this attribute they call the cost
  once. Set it on a cost that measures time.
- `per_input = False` says that the cost does not depend on the inputs of the network, as the number
  of parameters does not. Tables then print the number without the size of a batch.
- `counts = True` says that the cost looks at shapes only. With `counts = False` the cost runs the
  network with data.

A cost that measures may return a `Measured` of `oneshot_plugins.costs.measured`: a number with its
spread.

## The checks

For each check: the promise, and what the messages advise. `…` stands for what a message fills in.
"""

UNSAID = {"…", "did you mean …?"}
"""Fixes of which nothing can be said before it is known what is wrong."""

SCOPES = {
    "packaging": "How a plugin is packaged; once for each manifest",
    "component": "Components of any kind",
    "mutation-hook": "Mutation hooks",
    "supernet": "Supernet modules",
    "strategy": "Strategies",
    "cost": "Costs",
    "space": "Spaces",
    "searcher": "Searchers",
    "elastic": "Rules for elastic layers",
    "adapter": "Adapters of pretrained models",
    "command": "Commands",
    "search-method": "Methods of a search",
    "check": "Checks",
    "cross": "Every supernet module with every strategy",
    "cross-hook": "Every supernet module and space with every mutation hook",
}


def page() -> str:
    """Return the text of the page."""
    parts = [HEAD]
    for scope, title in SCOPES.items():
        found = [check for check in all_checks() if check.scope == scope]
        parts.append(f"\n### {title}\n\n" + "\n".join(map(_entry, found)))
    return "".join(parts)


def _entry(check: Check) -> str:
    level = " (recommended)" if check.level == "recommended" else ""
    promise = " ".join(inspect.cleandoc(check.doc).split()).replace("``", "`")
    lines = [f"**`{check.id}`**{level}: {promise}", ""]
    lines += [f"- Fix: {fix}." for fix in fixes(check)]
    return "\n".join(lines) + "\n"


def fixes(check: Check) -> list[str]:
    """Return what the messages of a check advise, as written in its source and its helpers."""
    functions = {
        node.name: node
        for module in (attempt, inspect.getmodule(check.function))
        for node in ast.parse(inspect.getsource(module)).body  # type: ignore[arg-type]
        if isinstance(node, ast.FunctionDef)
    }
    found: list[str] = []
    seen: set[str] = set()
    open_ = [check.function.__name__]
    while open_:
        name = open_.pop(0)
        if name in seen or name not in functions:
            continue
        seen.add(name)
        calls = [n for n in ast.walk(functions[name]) if isinstance(n, ast.Call)]
        for call in sorted(calls, key=lambda call: call.lineno):
            if not isinstance(call.func, ast.Name):
                continue
            open_.append(call.func.id)
            if call.func.id == "require":
                found.append(_text(call.args[3]))
    return list(dict.fromkeys(fix for fix in found if fix not in UNSAID)) or [
        "as the message says; where a component raises, it names the line"
    ]


def _text(node: ast.expr) -> str:
    """Return a string literal; ``…`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join("…" if isinstance(v, ast.FormattedValue) else _text(v) for v in node.values)
    return "…"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
