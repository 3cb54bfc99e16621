"""The types of ``oneshot_core.nn``: complete, those of torch, and what mypy makes of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch.nn

from oneshot_core import nn as onn

from ..typed import mypy

ROOT = Path(__file__).parent.parent.parent
STUB = ROOT / "oneshot_core/nn/__init__.pyi"

RIGHT = """
from torch import Tensor

import oneshot_core as oneshot
import oneshot_core.nn as nn
from oneshot_core import choice

width, kernel = choice([16, 32], label="width"), choice([3, 5], label="kernel")
shape = choice([(1, 7), (7, 1)], label="shape")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, kernel, padding=kernel // 2),
            nn.Conv2d(width, 2 * width, (kernel, 1), padding=(kernel // 2, 0)),
            nn.Conv2d(2 * width, 8, shape, padding=(shape[0] // 2, shape[1] // 2)),
            nn.BatchNorm2d(8),
            nn.Dropout(oneshot.uniform(0.0, 0.5, label="rate")),
            nn.activation(["relu", "gelu"]),
        )
        self.norm = nn.LayerNorm([8, width])
        self.attention = nn.MultiheadAttention(width, choice([1, 2], label="heads"))
        self.head: nn.Linear = nn.Linear(in_features=8, out_features=10, bias=False)
        self.scale = nn.Parameter(self.head.weight.mean())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(nn.functional.relu(self.body(x)).mean((2, 3)))
        return self.scale * out
"""
WRONG = """
import oneshot_core.nn as nn
from oneshot_core import choice

width = choice([16, 32], label="width")
nn.Linear(3, "wide")  # wrong
nn.Conv2d(3, width, kernel=3)  # wrong
nn.Conv2d(3, width)  # wrong
nn.BatchNorm2d(width, affine="yes")  # wrong
nn.Conv2d(3, width, (3, 3, 3))  # wrong
nn.Lineal(3, width)  # wrong
plain: int = nn.Linear(3, width)  # wrong
"""


def test_every_name_of_torch_nn_has_a_type_and_is_there() -> None:
    declared: set[str] = set()
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            declared.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            declared |= {a.asname for a in node.names if a.asname == a.name}
    for name in dir(torch.nn):
        thing = getattr(torch.nn, name)
        if not name.startswith("_") and getattr(thing, "__module__", "").startswith("torch.nn"):
            assert name in declared, f"{name}: run python -m tools.nn_stubs"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of names that torch will drop
        for name in declared:
            assert hasattr(onn, name), name


def test_the_types_are_those_of_the_installed_torch() -> None:
    written = re.search(r"from torch (\d+\.\d+);", STUB.read_text(encoding="utf-8"))
    assert written is not None
    if not torch.__version__.startswith(f"{written[1]}."):
        pytest.skip(f"they were written from torch {written[1]}")
    command = [sys.executable, "-m", "tools.nn_stubs", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0, "run it without --check"


@pytest.mark.slow
def test_values_are_accepted_where_plain_data_is_and_nothing_else(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(RIGHT)
    wrong.write_text(WRONG)
    done = mypy(right, wrong)
    found = {
        (Path(path).name, int(line))
        for path, line in re.findall(r"^(\S+?):(\d+): error", done.stdout, re.M)
    }
    marked = {
        ("wrong.py", number)
        for number, line in enumerate(WRONG.splitlines(), start=1)
        if "# wrong" in line
    }
    assert found == marked, done.stdout + done.stderr
