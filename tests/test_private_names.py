"""One list names every private name of other libraries that our code uses."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tools.private_names import NAMES, PAGE, names_in, page, used

from .models import package

ROOT = Path(__file__).parent.parent


def found_in(source: str) -> set[str]:
    return set(names_in(ast.parse(source)))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (
            "from pytorch_lightning.loops import _EvaluationLoop",
            {"_EvaluationLoop"},
        ),
        ("from torch._inductor import config", {"_inductor"}),
        ("import torch._dynamo", {"_dynamo"}),
        ("trainer._data_connector.prepare_data()", {"_data_connector"}),
        ("torch._foreach_add", {"_foreach_add"}),
        ("getattr(loop, '_results')", {"_results"}),
        ("SLOTS = ('_trainer', 'training')", {"_trainer"}),
        ("self._forward_hooks", {"_forward_hooks"}),
        ("class A(Module):\n    def _call_impl(self): ...", {"_call_impl"}),
        ("super()._add_signature_parameter(1)", {"_add_signature_parameter"}),
        ("distribution._path", {"_path"}),
    ],
)
def test_a_private_name_of_others_is_found_however_it_is_used(source: str, names: set[str]) -> None:
    assert found_in(source) == names


@pytest.mark.parametrize(
    "source",
    [
        "from ._version import __version__",
        "from oneshot_core._version import __version__",
        "from __future__ import annotations",
        "self._decisions",  # defined by us
        "self._path",  # a method of ours, whatever distributions have
        "point._fields",  # a named tuple's, documented
        "name.endswith('_anything')",
        "f'{name}_anything'",
        "self.__dict__['__class__']",
        "tensor._oneshot_slice",
    ],
)
def test_what_is_our_own_or_no_private_name_is_left_alone(source: str) -> None:
    assert found_in(source) == set()


def test_every_private_name_that_is_used_is_in_the_list_and_none_besides() -> None:
    names = used()
    new = {name: sorted(places) for name, places in names.items() if name not in NAMES}
    assert new == {}, "do without it, or add it to tools/private_names.py with risk and test"
    assert sorted(NAMES.keys() - names.keys()) == [], "no longer used: take it out of the list"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there_in_the_installed_library(name: str) -> None:
    module, _, cls = NAMES[name].home.partition(":")
    if module.startswith("transformers."):
        package("transformers")
    home = import_module(module)
    owner = getattr(home, cls) if cls else home
    if hasattr(owner, name):
        return
    # What __init__ sets is in no class: the source of the class and of its bases has it.
    bases = owner.__mro__ if isinstance(owner, type) else [home]
    sources = [sys.modules[b.__module__] if isinstance(b, type) else b for b in bases]
    texts = [inspect.getsource(s) for s in sources if getattr(s, "__file__", None)]
    assert any(re.search(rf"\b{name}\b", text) for text in texts)


@pytest.mark.parametrize("name", NAMES)
def test_the_test_that_notices_a_change_exists(name: str) -> None:
    file, _, test = NAMES[name].test.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")


def test_the_page_of_private_names_is_what_its_script_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.private_names"
