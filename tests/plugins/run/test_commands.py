"""What works from the folder of a run: ``oneshot rank | freeze | export | inspect``."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import oneshot_core as oneshot
from oneshot_core.cli import main
from oneshot_plugins.run.rebuild import load_run

X = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the finished run, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(finished, "run"))


def test_a_run_is_ranked_again_as_it_was_ranked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [(folder / name).read_text() for name in ("ranking.json", "architecture.json")]
    for name in ("ranking.json", "ranking.csv", "architecture.json"):
        (folder / name).unlink()
    assert main(["rank", str(folder)]) == 0  # metric and costs are those of its configuration
    assert "6 architectures by val_acc" in capsys.readouterr().out
    assert before == [(folder / name).read_text() for name in ("ranking.json", "architecture.json")]


@pytest.mark.slow
def test_a_searcher_ranks_within_its_budget(folder: Path) -> None:
    options = ("--method", "evolution", "--budget", "4", "--mode", "min", "--costs", "parameters")
    assert main(["rank", str(folder), "--metric", "val_acc", *options, "--input", "1x6"]) == 0
    ranking = json.loads((folder / "ranking.json").read_text())
    assert (ranking["mode"], len(ranking["entries"])) == ("min", 4)
    assert all(entry["costs"].keys() == {"parameters"} for entry in ranking["entries"])


def test_the_lines_that_freeze_prints_load_the_network_that_the_ranking_scored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["freeze", str(folder), "--out", "model.pt"]) == 0
    said = capsys.readouterr().out
    lines = said[said.index("load it with\n") :].splitlines()[1:]
    loaded: dict[str, Any] = {}
    exec("\n".join(line.strip() for line in lines), loaded)
    network = loaded["network"].eval()
    assert type(network).__module__ == "cli_users"
    run = load_run(folder)
    assert run.data is not None
    run.data.setup("validate")
    right = [
        float((network(x).argmax(1) == y).float().mean()) for x, y in run.data.val_dataloader()
    ]
    entries = json.loads((folder / "ranking.json").read_text())["entries"]
    (entry,) = [
        e for e in entries if oneshot.Architecture(e["architecture"]) == loaded["architecture"]
    ]
    assert sum(right) / len(right) == pytest.approx(entry["score"])  # its own BatchNorm statistics


def test_fresh_weights_and_another_architecture_are_frozen(folder: Path) -> None:
    other = oneshot.Architecture({"first": "deep", "depth": 0})
    other.save("other.json")
    (folder / "search.ckpt").unlink()  # new weights need none
    options = ("--architecture", "other.json", "--weights", "fresh", "--out", "model.pt")
    assert main(["freeze", str(folder), *options]) == 0
    weights = torch.load("model.pt", weights_only=True)
    assert weights["first.0.weight"].shape == (4, 6)
    assert not [name for name in weights if name.startswith("blocks")]


@pytest.mark.slow
def test_the_exported_program_computes_what_the_frozen_network_computes(folder: Path) -> None:
    assert main(["freeze", str(folder)]) == 0
    assert main(["export", str(folder), "--dynamic-batch"]) == 0
    program = torch.export.load(folder / "net.pt2").module()
    torch.testing.assert_close(program(X), _frozen(folder)(X))


@pytest.mark.slow
def test_onnx_computes_what_the_frozen_network_computes(folder: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra onnx brings it")
    pytest.importorskip("onnxscript", reason="the extra onnx brings it")
    from onnx.reference import ReferenceEvaluator

    assert main(["freeze", str(folder)]) == 0
    state = ("--state", str(folder / "model.pt"))
    assert main(["export", str(folder), "--out", "net.onnx", "--input", "5x6", *state]) == 0
    model = onnx.load("net.onnx")
    onnx.checker.check_model(model)
    (name,) = (value.name for value in model.graph.input)
    (computed,) = ReferenceEvaluator(model).run(None, {name: X.numpy()})
    torch.testing.assert_close(torch.from_numpy(computed), _frozen(folder)(X))


def _frozen(folder: Path) -> torch.nn.Module:
    chosen = oneshot.Architecture.load(folder / "architecture.json")
    network = oneshot.freeze(load_run(folder, trained=False).search, chosen)
    network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    return network.eval()


def test_a_run_is_inspected_as_its_model_was_before_the_search(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(folder), "--strategy", "gdas", "--json"]) == 0
    report = oneshot.Inspection.from_json(capsys.readouterr().out)
    assert (report.model, report.architectures) == ("Net", 6)


def test_nothing_in_a_checkpoint_is_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (Path("evil"),)

    checkpoint = torch.load(folder / "search.ckpt", weights_only=True)
    torch.save({**checkpoint, "more": Evil()}, folder / "search.ckpt")
    for command in ("rank", "freeze", "export"):
        assert main([command, str(folder)]) == 2
        assert "search.ckpt' cannot be loaded" in capsys.readouterr().err
    assert main(["search", "--resume", str(folder)]) == 2
    assert not Path("evil").exists()


@pytest.mark.parametrize(
    ("gone", "arguments", "says"),
    [
        ("config.yaml", ["rank"], "name a folder that `oneshot search` wrote"),
        ("search.ckpt", ["rank"], "oneshot search --resume run"),
        ("architecture.json", ["freeze"], "oneshot rank run --metric NAME"),
        ("architecture.json", ["export"], "oneshot rank run --metric NAME"),
        (None, ["rank", "--metric", "val_loss"], "expected: one of ['val_acc']"),
        (None, ["rank", "--method", "nsga3", "--budget", "3"], "did you mean searcher:nsga2"),
        (None, ["rank", "--budget", "3"], "leave the budget out"),
        (None, ["rank", "--input", "1xq"], "sizes with x between them"),
        (None, ["freeze", "--architecture", "run/run.json"], "cannot be read as an architecture"),
        (None, ["export", "--out", "net.h5"], "--out net.onnx, or --out net.pt2"),
        (None, ["export", "--input", "2x7"], "exporting to .pt2 failed"),
        (None, ["export", "--state", "run/search.ckpt"], "state dict of the network"),
        (None, ["export", "--state", "run/run.json"], "'run/run.json' cannot be loaded"),
        (None, ["export", "--state", "nothere.pt"], "'nothere.pt': No such file"),
        (None, ["export", "--out", "nowhere/x.pt2"], "mkdir -p nowhere"),
        (None, ["freeze", "--out", "nowhere/x.pt"], "mkdir -p nowhere"),
        (None, ["freeze", "--out", "run"], "Is a directory"),
        (None, ["freeze", "--calibration-batches", "-1"], "-1 calibration batches"),
        (None, ["freeze", "--calibration-batches", "few"], "expected: oneshot freeze [-h]"),
        (None, ["freeze", "--architecture", "nothere.json"], "'nothere.json': No such file"),
        (None, ["rank", "--calibration-batches", "-1"], "-1 calibration batches"),
        (
            None,
            ["rank", "--metrik", "val_acc"],
            "fix: correct the arguments; `oneshot rank --help`",
        ),
    ],
)
def test_what_a_command_cannot_do_ends_in_a_fix(
    gone: str | None,
    arguments: list[str],
    says: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if gone is not None:
        (folder / gone).unlink()
    assert main([arguments[0], str(folder), *arguments[1:]]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "\n  fix: " in error


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.yaml", b"\xff\xfe\x00", "reading the configuration failed"),
        ("config.yaml", b"model: {class_path: [", "Problems parsing config"),
        ("config.yaml", b"model: {class_path: cli_users.Nett}", "fix: correct the name"),
        (
            "config.yaml",
            b"search: {strategy: gda}",
            "did you mean",
        ),
        ("search.ckpt", b"half", "'run/search.ckpt' cannot be loaded"),
        ("search.ckpt", None, "fix: put a copy of it in its place"),
        ("architecture.json", b'{"schema": "oneshot.arch', "cannot be read as an architecture"),
    ],
)
def test_a_half_written_or_damaged_folder_is_told_with_the_file(
    file: str,
    content: bytes | None,
    says: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = folder / file
    path.write_bytes(path.read_bytes()[:500] if content is None else content)
    commands = ["freeze", "export"] if file.startswith("arch") else ["rank", "freeze", "export"]
    for command in commands:
        assert main([command, str(folder)]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert "\n  expected: " in error
        assert "\n  fix: " in error


def test_a_checkpoint_of_another_model_is_told_in_few_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("hidden: 8", "hidden: 9"))
    assert main(["rank", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "size mismatch for first" in error
    assert len(error) < 1000


def test_where_the_model_cannot_be_imported_the_fix_is_how_to(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("cli_users.Net", "not_here.Net"))
    for command in ("rank", "freeze", "export", "inspect"):
        assert main([command, str(folder)]) == 2
        assert f"python -m oneshot_core {command} ..." in capsys.readouterr().err


@pytest.mark.parametrize("command", ["rank", "freeze", "export", "inspect"])
def test_without_jsonargparse_the_fix_is_to_install_it(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("oneshot_plugins.run.words.find_spec", lambda name: None)
    assert main([command, str(folder)]) == 2
    assert "fix: pip install 'oneshot-core[cli]'" in capsys.readouterr().err


def test_an_interrupted_ranking_is_exit_code_130_and_leaves_the_last_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    before = (folder / "ranking.json").read_text()
    monkeypatch.setenv("STOP_IN_VALIDATION", "1")
    try:
        assert main(["rank", str(folder), "--metric", "val_acc"]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    assert (folder / "ranking.json").read_text() == before


def test_without_onnx_the_fix_is_to_install_it_or_another_format(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("oneshot_plugins.run.export.find_spec", lambda name: None)
    assert main(["export", str(folder), "--out", "net.onnx"]) == 2
    assert "oneshot-core[onnx]" in capsys.readouterr().err
