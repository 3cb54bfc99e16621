"""What a command finds under a name, and what it says where there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from oneshot_core.cli.target import find_target
from oneshot_core.errors import InspectionError, UnknownComponentError
from oneshot_plugins.spaces.chain import Chain1d


def test_a_space_and_an_object_of_a_module_are_found() -> None:
    assert find_target("space:mnist1d-chain", "inspect", InspectionError) is Chain1d
    assert find_target("pathlib:Path.cwd", "inspect", InspectionError) == Path.cwd
    with pytest.raises(UnknownComponentError):
        find_target("space:no-such", "inspect", InspectionError)


@pytest.mark.parametrize(
    ("target", "source", "says"),
    [
        pytest.param("no_such_module:x", None, "python -m oneshot_core inspect no_such", id="none"),
        pytest.param("pathlib", None, "fix: correct the name", id="no object named"),
        pytest.param("pathlib:Pfad", None, "'Pfad'", id="no such object"),
        pytest.param("needs:x", "import not_installed_xyz", "needs: not_installed_xyz", id="needs"),
        pytest.param("broken:x", "1 / 0", "broken.py:1", id="raises at import"),
    ],
)
def test_what_cannot_be_found_is_an_error_of_the_command_with_a_fix(
    target: str,
    source: str | None,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if source is not None:
        (tmp_path / f"{target.partition(':')[0]}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InspectionError) as error:
        find_target(target, "inspect", InspectionError)
    assert says in str(error.value)
    assert str(error.value).startswith(f"{target} cannot be found: ")
