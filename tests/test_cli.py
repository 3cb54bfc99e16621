"""What the command ``oneshot`` prints, returns and leaves unimported."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from oneshot_core import __version__
from oneshot_core.cli import main

X = "oneshot-plugin-x"

MANIFEST = """
print("noise from the manifest")
from oneshot_core.hookspecs import Component, hookimpl

@hookimpl
def oneshot_components():
    return [
        Component("command", "x-greet", "x_greet:command", summary="greet; 100% friendly"),
        Component("strategy", "x.a", "x_target:A", summary="an [odd] one", handles=("m:C",)),
        Component("strategy", "x.b", "no_such_module:B", priority=2),
    ]
"""

COMMAND = """
print("noise from the command")
class Command:
    def add_arguments(self, parser):
        parser.add_argument("name")
        parser.add_argument("--fail", choices=["oneshot", "file", "value", "bug", "stop", "exit"])

    def run(self, args):
        from oneshot_core.errors import SpaceError
        raised = {
            "oneshot": SpaceError("what.\\n  expected: this\\n  fix: that"),
            "file": FileNotFoundError(2, "No such file or directory", "nowhere.pt"),
            "value": ValueError("not a number"),
            "bug": ZeroDivisionError("a bug"),
            "stop": KeyboardInterrupt(),
            "exit": SystemExit("enough"),
        }
        if args.fail:
            raise raised[args.fail]
        print(f"hello {args.name}")
        return 3 if args.name == "three" else None

command = Command()
"""


@pytest.fixture
def x(fake_dist, monkeypatch):
    for name in [name for name in os.environ if name.startswith("ONESHOT_")]:
        monkeypatch.delenv(name)
    return fake_dist(
        X,
        "0.4.1",
        entry_points={"main": "x_manifest"},
        modules={
            "x_manifest.py": MANIFEST,
            "x_greet.py": COMMAND,
            "x_target.py": 'class A:\n    """Do it well."""\n    def __init__(self, size): ...\n',
        },
    )


class TestCommands:
    def test_help_shows_plugins_commands_without_importing_them(self, x, capsys):
        assert main(["--help"]) == 0
        out = capsys.readouterr().out
        assert "x-greet" in out
        assert "greet; 100% friendly" in out
        assert "plugins" in out
        assert "noise" not in out
        assert "x_greet" not in sys.modules

    def test_no_arguments_show_the_help(self, x, capsys):
        assert main([]) == 0
        assert "usage: oneshot" in capsys.readouterr().out

    def test_a_command_is_imported_and_run_when_used(self, x, capsys):
        assert main(["x-greet", "you"]) == 0
        captured = capsys.readouterr()
        assert captured.out == "hello you\n"
        assert "noise from the command" in captured.err
        assert main(["x-greet", "three"]) == 3

    def test_a_command_has_its_own_help(self, x, capsys):
        assert main(["x-greet", "--help"]) == 0
        assert "--fail" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("fail", "code", "message"),
        [
            ("oneshot", 2, "error: what.\n  expected: this\n  fix: that"),
            ("file", 2, "error: [Errno 2] No such file or directory: 'nowhere.pt'"),
            ("value", 2, "error: not a number"),
            ("stop", 130, ""),
            ("exit", 1, "enough"),
        ],
    )
    def test_what_a_user_can_get_wrong_is_said_without_a_traceback(
        self, x, capsys, fail, code, message
    ):
        assert main(["x-greet", "you", "--fail", fail]) == code
        err = capsys.readouterr().err
        assert message in err
        assert "Traceback" not in err

    def test_debug_shows_the_traceback(self, x, capsys):
        assert main(["--debug", "x-greet", "you", "--fail", "value"]) == 2
        err = capsys.readouterr().err
        assert "Traceback" in err
        assert "error: not a number" in err

    def test_a_bug_is_not_hidden(self, x):
        with pytest.raises(ZeroDivisionError):
            main(["x-greet", "you", "--fail", "bug"])

    def test_an_unknown_command_or_option_is_exit_code_2(self, x, capsys):
        assert main(["x-great"]) == 2
        assert "invalid choice: 'x-great'" in capsys.readouterr().err
        assert main(["--nonsense"]) == 2

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            pytest.param("import no_such_module", "No module named 'no_such_module'", id="import"),
            pytest.param("command = 1", "is 1, no command", id="no-command"),
            pytest.param("class command:\n    add_arguments = run = print", "<class", id="class"),
        ],
    )
    def test_a_broken_command_hurts_only_itself(self, x, capsys, source, message):
        (x / "x_greet.py").write_text(source)
        assert main(["--help"]) == 0
        assert main(["x-greet", "you"]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert "fix:" in err

    def test_a_command_that_is_switched_off_says_so(self, x, capsys, monkeypatch):
        monkeypatch.setenv("ONESHOT_DISABLE_PLUGINS", "command:x-greet")
        assert main(["x-greet", "you"]) == 2
        assert "ONESHOT_DISABLE_PLUGINS names it" in capsys.readouterr().err
        main(["--help"])
        assert "x-greet" not in capsys.readouterr().out

    def test_the_built_in_command_cannot_be_replaced(self, x, capsys):
        source = MANIFEST.replace('"x-greet"', '"plugins"')
        (x / "x_manifest.py").write_text(source)
        assert main(["--help"]) == 0
        assert main(["plugins", "order"]) == 0
        assert main(["plugins", "doctor"]) == 1
        assert "command:plugins" in capsys.readouterr().out


class TestVersion:
    def test_it_shows_what_plugins_have_to_say(self, x, capsys):
        header = "\n@hookimpl\ndef oneshot_report_header():\n    return ['x uses y 1.2', 'and z']\n"
        (x / "x_manifest.py").write_text(MANIFEST + header)
        assert main(["--version"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"oneshot-core {__version__}"
        assert lines[-2:] == ["x uses y 1.2", "and z"]

    def test_a_plugin_that_fails_does_not_keep_it_from_us(self, x, capsys):
        header = "\n@hookimpl\ndef oneshot_report_header():\n    1 / 0\n"
        (x / "x_manifest.py").write_text(MANIFEST + header)
        assert main(["--version"]) == 0
        captured = capsys.readouterr()
        assert captured.out == f"oneshot-core {__version__}\n"
        assert "ZeroDivisionError" in captured.err


def read_json(capsys) -> dict:
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "oneshot.plugins/1"
    assert data["core"] == __version__
    return data


class TestPlugins:
    def test_list_has_one_line_with_id_provider_version_and_state_for_each(self, x, capsys):
        assert main(["plugins", "list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert "noise from the manifest" not in lines
        (line,) = [line for line in lines if line.startswith("strategy:x.a ")]
        assert line.split() == ["strategy:x.a", X, "0.4.1", "available", "an", "[odd]", "one"]
        assert any(line.startswith("supernet:repeat ") for line in lines)
        assert "x_target" not in sys.modules

    def test_list_keeps_to_one_kind(self, x, capsys):
        assert main(["plugins", "list", "--kind", "command"]) == 0
        lines = capsys.readouterr().out.splitlines()[1:]
        assert lines
        assert all(line.startswith("command:") for line in lines)

    def test_list_of_an_unknown_kind_names_the_kinds(self, x, capsys):
        assert main(["plugins", "list", "--kind", "stratgy"]) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "strategy" in captured.err

    def test_list_shows_what_is_switched_off_only_with_all(self, x, capsys, monkeypatch):
        monkeypatch.setenv("ONESHOT_DISABLE_PLUGINS", "strategy:x.a")
        main(["plugins", "list"])
        assert "strategy:x.a" not in capsys.readouterr().out
        main(["plugins", "list", "--all"])
        out = capsys.readouterr().out
        assert "strategy:x.a" in out
        assert "ONESHOT_DISABLE_PLUGINS names it" in out

    def test_list_as_json_is_versioned_and_complete(self, x, capsys):
        assert main(["plugins", "list", "--json", "--kind", "strategy"]) == 0
        data = read_json(capsys)
        (row,) = [row for row in data["components"] if row["id"] == "strategy:x.a"]
        assert row == {
            "id": "strategy:x.a",
            "kind": "strategy",
            "name": "x.a",
            "target": "x_target:A",
            "summary": "an [odd] one",
            "handles": ["m:C"],
            "priority": 0,
            "provider": X,
            "version": "0.4.1",
            "plugin": "main",
            "state": "available",
            "reason": "",
            "fix": "",
        }
        assert data["fingerprint"].startswith("oneshot1:")
        assert isinstance(data["problems"], list)

    def test_a_broken_plugin_can_be_listed_even_in_strict_mode(self, x, capsys, monkeypatch):
        monkeypatch.setenv("ONESHOT_STRICT_PLUGINS", "1")
        (x / "x_manifest.py").write_text("raise SystemExit(7)")
        assert main(["plugins", "list"]) == 0
        captured = capsys.readouterr()
        assert f"manifest:{X}.main" in captured.out
        assert "SystemExit: 7" in captured.out
        assert "oneshot plugins doctor" in captured.err

    def test_info_shows_what_is_declared_without_importing(self, x, capsys):
        assert main(["plugins", "info", "strategy:x.a"]) == 0
        lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert lines["target"] == "x_target:A"
        assert lines["handles"] == "m:C"
        assert "x_target" not in sys.modules

    def test_info_with_load_shows_what_it_is(self, x, capsys):
        assert main(["plugins", "info", "strategy:x.a", "--load", "--json"]) == 0
        shown = read_json(capsys)["component"]
        assert (shown["state"], shown["signature"]) == ("loaded", "(size)")
        assert shown["doc"] == "Do it well."
        assert main(["plugins", "info", "strategy:x.b", "--load"]) == 2
        assert "No module named 'no_such_module'" in capsys.readouterr().err

    def test_info_shows_an_object_that_has_no_signature(self, x, capsys):
        assert main(["plugins", "info", "command:x-greet", "--load"]) == 0
        assert "object" in capsys.readouterr().out

    def test_info_about_nothing_names_what_is_close(self, x, capsys):
        assert main(["plugins", "info", "strategy:x.aa"]) == 2
        assert "did you mean strategy:x.a" in capsys.readouterr().err

    def test_order_is_that_of_use(self, x, capsys):
        assert main(["plugins", "order", "strategy"]) == 0
        assert capsys.readouterr().out.splitlines()[0].split() == ["1", "+2", X, "strategy:x.b"]
        assert main(["plugins", "order", "--json", "strategy"]) == 0
        assert read_json(capsys)["components"][0]["id"] == "strategy:x.b"

    def test_doctor_lists_problems_and_fails(self, x, fake_dist, capsys):
        fake_dist("leftover", metadata="")
        assert main(["plugins", "doctor"]) == 1
        out = capsys.readouterr().out
        assert "leftover-1.0.dist-info" in out
        assert "fix: delete that folder" in out
        assert main(["plugins", "doctor", "--json"]) == 1
        problems = read_json(capsys)["problems"]
        assert {"subject", "state", "reason", "fix"} == set(problems[0])

    def test_doctor_succeeds_exactly_if_there_are_no_problems(self, capsys):
        code = main(["plugins", "doctor", "--json"])
        assert code == (1 if read_json(capsys)["problems"] else 0)

    def test_doctor_says_when_the_project_itself_is_not_installed(self, x, fake_dist, capsys):
        fake_dist("oneshot-core", "0.1")  # a copy without entry points comes first on the path
        assert main(["plugins", "doctor"]) == 1
        assert "oneshot-core\n  stale: it is not installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param("import oneshot_core", id="import"),
        pytest.param("main(['--help'])", id="help"),
        pytest.param("main(['--version'])", id="version"),
        pytest.param("main(['plugins', 'list'])", id="list"),
        pytest.param("main(['plugins', 'list', '--json'])", id="list-json"),
        pytest.param("main(['plugins', 'doctor'])", id="doctor"),
    ],
)
def test_looking_around_imports_no_torch(arguments):
    code = (
        "import sys\nfrom oneshot_core.cli import main\n"
        f"{arguments}\n"
        "heavy = {'torch', 'pytorch_lightning', 'lightning'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("start", [["-m", "oneshot_core"], ["-m", "oneshot_core", "plugins"]])
def test_the_package_runs_as_a_module(start):
    done = subprocess.run([sys.executable, *start, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: oneshot")
