"""What counts as an unmet requirement, with and without the library that knows all of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from oneshot_core.discovery.requirements import required_name, unmet

versions = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda n: ".".join(map(str, n)))
clauses = st.lists(st.tuples(st.sampled_from([">=", "<=", "==", "!=", ">", "<"]), versions))


@given(versions, clauses)
def test_plain_requirements_are_read_as_packaging_reads_them(version, asked):
    line = "core" + ", ".join(f"{sign} {than}" for sign, than in asked)
    holds = Requirement(line).specifier.contains(version, prereleases=True)
    assert (unmet(line, "core", version) == "") == holds


@pytest.mark.parametrize(
    ("line", "version", "expected"),
    [
        pytest.param("Core >=2", "1.0", ">=2", id="spelling"),
        pytest.param("core (>=2)", "1.0", ">=2", id="brackets"),
        pytest.param("core~=1.4", "2.0", "~=1.4", id="compatible-release"),
        pytest.param("core==1.*", "2.0", "==1.*", id="prefix"),
        pytest.param("core>=1", "2.0rc1", "", id="pre-release"),
        pytest.param("core>=1", "unknown", ">=1", id="no-version"),
        pytest.param("core", "unknown", "", id="any-version"),
        pytest.param("core>=2; python_version < '3'", "1.0", "", id="other-environment"),
        pytest.param("core>=2; python_version > '3'", "1.0", ">=2", id="this-environment"),
        pytest.param("core>=2; extra == 'dev'", "1.0", "", id="extra"),
        pytest.param("core ~~ 2", "1.0", "", id="malformed"),
        pytest.param("core-more>=2", "1.0", "", id="another"),
        pytest.param("!", "1.0", "", id="nothing"),
    ],
)
def test_anything_else_is_left_to_packaging(line, version, expected):
    assert unmet(line, "core", version) == expected


def test_a_name_is_normalised():
    assert required_name(" Oneshot_Plugin.X>=0.4") == "oneshot-plugin-x"


def test_what_is_plain_costs_no_import():
    code = (
        "import sys\nfrom oneshot_core.discovery.requirements import unmet\n"
        "assert unmet('oneshot-core>=0.1,<0.2', 'oneshot-core', '0.2')\n"
        "sys.exit('packaging' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
