"""What the command ``oneshot`` prints, returns and leaves unimported."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys

import pytest

import oneshot_core
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
        kinds = ["oneshot", "file", "value", "module", "bug", "stop", "exit"]
        parser.add_argument("--fail", choices=kinds)

    def run(self, args):
        from oneshot_core.errors import SpaceError
        raised = {
            "oneshot": SpaceError("what.\\n  expected: this\\n  fix: that"),
            "file": FileNotFoundError(2, "No such file or directory", "nowhere.pt"),
            "value": ValueError("not a number"),
            "module": ModuleNotFoundError("No module named 'abc.d'", name="abc.d"),
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
            ("file", 2, "error: 'nowhere.pt': No such file or directory."),
            ("value", 2, "error: not a number.\n  expected: "),
            ("module", 2, "fix: pip install abc; "),
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

    def test_no_action_shows_what_there_is(self, x, capsys):
        assert main(["plugins"]) == 0
        assert "doctor" in capsys.readouterr().out

    @pytest.mark.parametrize("action", ["list", "info", "order", "check", "doctor"])
    def test_every_action_says_what_it_does_and_returns(self, capsys, action):
        assert main(["plugins", action, "--help"]) == 0
        text = capsys.readouterr().out
        assert "--json" in text
        assert len(text.split("\n\n")[1].split()) >= 5  # a description below the usage


class TestFlags:
    """Which plugins are used, said before the command."""

    @pytest.mark.parametrize(
        ("flags", "there"),
        [
            pytest.param([], True, id="none"),
            pytest.param(["--no-plugins"], False, id="no-plugins"),
            pytest.param(["--plugins", ""], False, id="empty"),
            pytest.param(["--plugins", "oneshot-plugin-y"], False, id="others"),
            pytest.param(["--plugins", f"oneshot-plugin-y,{X}"], True, id="this"),
            pytest.param([f"--plugins={X}"], True, id="equals-sign"),
            pytest.param(["--no-plugin", X], False, id="without"),
            pytest.param(["--no-plugin", "a", "--no-plugin", X], False, id="without-two"),
            pytest.param(["--plugins", X, "--no-plugin", X], False, id="denial-beats"),
        ],
    )
    def test_they_act_before_anything_is_imported(self, x, flags, there):
        code = (
            "import sys\nfrom oneshot_core.cli import main\n"
            f"code = main([*{flags!r}, 'plugins', 'list'])\n"
            f"sys.exit(code or ('x_manifest' in sys.modules) != {there})"
        )
        env = {**os.environ, "PYTHONPATH": str(x)}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("strategy:x.a" in done.stdout) == there
        assert "strategy:random" in done.stdout

    def test_they_hold_for_commands_and_end_with_them(self, x, capsys):
        seen = "print(__import__('os').environ.get('ONESHOT_PLUGINS'), len(oneshot.registry))"
        source = COMMAND.replace(
            'print(f"hello', f'import oneshot_core as oneshot; {seen}; print(f"'
        )
        (x / "x_greet.py").write_text(source)
        before = dict(os.environ)
        assert main(["--plugins", "command:*", "x-greet", "you"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("command:* ")
        assert dict(os.environ) == before
        assert "strategy:x.a" in oneshot_core.registry
        assert main(["--no-plugin", "command:x-greet", "x-greet", "you"]) == 2
        assert dict(os.environ) == before
        oneshot_core.registry.refresh()

    def test_a_flag_beats_the_variable_and_denials_add_up(self, x, capsys, monkeypatch):
        monkeypatch.setenv("ONESHOT_PLUGINS", "")
        main(["--plugins", X, "plugins", "list"])
        assert "strategy:x.a" in capsys.readouterr().out
        monkeypatch.setenv("ONESHOT_DISABLE_PLUGINS", "strategy:x.a")
        main(["--plugins", X, "--no-plugin", "strategy:x.b", "plugins", "list"])
        out = capsys.readouterr().out
        assert "strategy:x" not in out
        assert "command:x-greet" in out

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--plugins", X, "--no-plugins", "plugins", "list"],
            ["--no-plugin"],
            ["--no-plug", X, "plugins", "list"],
            ["plugins", "list", "--no-plugins"],
        ],
    )
    def test_what_makes_no_sense_is_exit_code_2(self, x, capsys, arguments):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert "\n  expected: oneshot" in error
        assert "--help` explains them" in error

    def test_the_core_cannot_be_switched_off(self, x, capsys):
        assert main(["--no-plugin", "no_default_hook", "plugins", "list"]) == 2
        assert "belongs to the core" in capsys.readouterr().err

    def test_a_project_file_that_makes_no_sense_is_said_and_the_help_still_works(
        self, x, capsys, tmp_path, monkeypatch
    ):
        (tmp_path / "pyproject.toml").write_text("[tool.oneshot.plugins]\ndenny = []\n")
        monkeypatch.chdir(tmp_path)
        for arguments in (["plugins", "list"], ["plugins", "doctor"], ["x-greet", "you"]):
            assert main(arguments) == 2
            assert "did you mean deny" in capsys.readouterr().err
        for arguments in (["--help"], ["--version"]):
            assert main(arguments) == 0
            captured = capsys.readouterr()
            assert "oneshot" in captured.out
            assert "did you mean deny" in captured.err


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

    @pytest.mark.parametrize("command", [["list", "--kind", "stratgy"], ["order", "stratgy"]])
    def test_an_unknown_kind_is_answered_with_the_kind_that_is_meant(self, x, capsys, command):
        assert main(["plugins", *command]) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "did you mean strategy?" in captured.err

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            (
                ["--provider", "oneshot-plugin-*"],
                ["command:x-greet", "strategy:x.a", "strategy:x.b"],
            ),
            (["--handles", "m:C"], ["strategy:x.a"]),
            (["--state", "disabled"], ["strategy:x.c"]),
            (
                ["--state", "available", "--kind", "strategy", "--provider", X],
                ["strategy:x.a", "strategy:x.b"],
            ),
        ],
        ids=lambda value: "-".join(value),
    )
    def test_list_narrows_by_every_filter(self, x, capsys, monkeypatch, filters, expected):
        more = '        Component("strategy", "x.c", "m:C"),\n    ]'
        (x / "x_manifest.py").write_text(MANIFEST.replace("    ]", more))
        monkeypatch.setenv("ONESHOT_DISABLE_PLUGINS", "strategy:x.c")
        assert main(["plugins", "list", *filters]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[1:]] == expected

    def test_lines_in_a_pipe_are_neither_cut_nor_padded(self, x, capsys):
        summary = "a very long summary " * 20
        (x / "x_manifest.py").write_text(MANIFEST.replace("an [odd] one", summary))
        main(["plugins", "list"])
        lines = capsys.readouterr().out.splitlines()
        assert any(summary.strip() in line for line in lines)
        assert all(line == line.rstrip() for line in lines)

    @pytest.mark.parametrize("color", [True, False])
    def test_a_terminal_gets_what_fits_into_it(self, x, monkeypatch, color):
        pty = pytest.importorskip("pty")
        name = "x." + "long-name" * 6
        (x / "x_manifest.py").write_text(MANIFEST.replace("x.b", name))
        env = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(x), "TERM": "xterm"}
        env |= {} if color else {"NO_COLOR": "1"}
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "oneshot_core", "plugins", "list"]
        done = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=env)
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # how a terminal that was closed ends
            while chunk := os.read(ours, 4096):
                text += chunk
        os.close(ours)
        assert done.wait(30) == 0
        assert (b"\033[1m" in text) == color
        plain = re.sub(r"\033\[\d*m", "", text.decode()).replace("\r", "").splitlines()
        assert f"{X} 0.4.1" in plain
        assert any(f"strategy:{name}" in line for line in plain)
        assert max(len(line) for line in plain if "long-name" not in line) <= 80
        summaries = " ".join(line.strip() for line in plain)
        assert "search, export, freeze and retrain a network on" in summaries

    def test_a_pipe_that_is_closed_is_no_error(self):
        command = f"{sys.executable} -m oneshot_core plugins list | true"
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=env)
        assert (done.returncode, done.stderr) == (0, "")

    def test_a_misspelt_hook_is_shown_by_list_and_doctor(self, x, capsys):
        wrong = "\n@hookimpl\ndef oneshot_after_mutatoin(model): 0\n"
        (x / "x_manifest.py").write_text(MANIFEST + wrong)
        assert main(["plugins", "list"]) == 0
        assert "implements oneshot_after_mutatoin" in capsys.readouterr().err
        assert main(["plugins", "doctor"]) == 1
        assert "did you mean oneshot_after_mutation" in capsys.readouterr().out

    def test_what_the_project_requires_is_exit_code_1_of_doctor_and_check(
        self, x, capsys, tmp_path, monkeypatch
    ):
        file = tmp_path / "pyproject.toml"
        file.write_text('[tool.oneshot.plugins]\nrequired = ["oneshot-plugin-z"]\n')
        monkeypatch.chdir(tmp_path)
        oneshot_core.registry.refresh()
        assert main(["plugins", "list"]) == 0
        assert "oneshot-plugin-z: no such plugin is installed" in capsys.readouterr().err
        assert main(["plugins", "doctor"]) == 1
        assert "pip install 'oneshot-plugin-z'" in capsys.readouterr().out
        assert main(["plugins", "check", "command:demo"]) == 1
        assert "oneshot-plugin-z" in capsys.readouterr().err
        file.write_text("")
        assert main(["plugins", "check", "command:demo"]) == 0
        # The command has a registry of its own; it asked nothing of the program's.
        assert oneshot_core.registry.missing() == []

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

    def test_what_a_target_prints_does_not_mix_with_json(self, x, capsys):
        assert main(["plugins", "info", "command:x-greet", "--load", "--json"]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out)["component"]["state"] == "loaded"
        assert "noise from the command" in captured.err

    def test_info_takes_a_name_that_only_one_kind_has(self, x, capsys):
        assert main(["plugins", "info", "x.a"]) == 0
        assert "strategy:x.a" in capsys.readouterr().out
        source = MANIFEST.replace("    ]", '        Component("cost", "x.a", "m:C"),\n    ]')
        (x / "x_manifest.py").write_text(source)
        del sys.modules["x_manifest"]
        assert main(["plugins", "info", "x.a"]) == 2
        assert "did you mean" in capsys.readouterr().err

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

    def test_order_of_the_walk_names_its_phases(self, x, capsys):
        assert main(["plugins", "order", "mutation_hook"]) == 0
        assert "no_default_hook" in capsys.readouterr().out
        assert main(["plugins", "order", "--json", "supernet"]) == 0
        assert read_json(capsys)["phases"] == ["user", "plugin", "strategy", "core"]

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


def test_a_listing_imports_nothing_that_takes_long(x, fake_dist):
    fake_dist("oneshot-plugin-y", entry_points={"main": "y"}, requires=["oneshot-core>=0.1,<2"],
              modules={"y.py": MANIFEST}, folder=x)  # fmt: skip
    code = (
        "import sys\nfrom oneshot_core.cli import main\nmain(['plugins', 'list', '--all'])\n"
        "slow = {'rich', 'packaging', 'torch', 'traceback'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else 0)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(x)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "oneshot-plugin-y" in done.stdout


@pytest.mark.parametrize("start", [["-m", "oneshot_core"], ["-m", "oneshot_core", "plugins"]])
def test_the_package_runs_as_a_module(start):
    done = subprocess.run([sys.executable, *start, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: oneshot")
