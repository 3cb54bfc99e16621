"""Every option of every strategy, as a configuration says it: numbers, schedules, functions."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import Trainer

import oneshot_core as oneshot
from oneshot_core.cli import main
from oneshot_core.lightning.build import _options, takes
from oneshot_plugins.costs.table import CostTable
from oneshot_plugins.distillation.cache import TeacherCache
from oneshot_plugins.distillation.losses import Distill, Match
from oneshot_plugins.run.configuration import OURS, search_cli
from oneshot_plugins.strategies.penalties import CostPenalty
from oneshot_plugins.strategies.schedules import Schedule
from oneshot_plugins.strategies.shrinking import Phase

Oneshot = Callable[..., int]
STRATEGIES = oneshot.registry.names("strategy")
USERS = """
from collections.abc import Callable

import torch


def size(decisions):
    return torch.stack([decision.probabilities()[0] for decision in decisions]).sum()


class Size:
    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, decisions):
        return self.scale * size(decisions)


class TwoCosts:
    \"\"\"A penalty that holds what it is made of, and knows nothing of tables.\"\"\"

    def __init__(self, costs: list[Callable[[object], torch.Tensor]]):
        self.costs = costs

    def __call__(self, decisions):
        return sum(cost(decisions) for cost in self.costs) / 1000


class Accuracy:
    def __init__(self, weight: float = 1.0):
        self.weight = weight

    def __call__(self, model, batch):
        return self.weight * (model(batch[0]).argmax(1) == batch[1]).float().mean()


class Logits:
    def __init__(self, temperature: float = 1.0):
        self.temperature = temperature

    def __call__(self, model, batch) -> torch.Tensor:
        return model(batch[0]) / self.temperature


def weights(network, *inputs):
    return float(sum(p.numel() for p in network.parameters()))
"""
SIZE = {"class_path": "cli_functions.Size", "init_args": {"scale": 0.5}}
OPTIONS: dict[str, list[tuple[Any, Callable[[Any], bool]]]] = {
    **{
        name: [(value, lambda found, value=value: found == value)]  # type: ignore[misc]
        for name, value in {
            "arc_learning_rate": 0.01, "weight_decay": 0.25, "warmup_epochs": 2,
            "hessian": "difference", "recompute": True, "hard": True, "alpha": 0.5, "beta": 0.25,
            "anchor": 0.5, "distance": "l2", "n_random": 3, "n_paths": 2, "n_samples": 2,
            "entropy_weight": 0.5, "baseline_decay": 0.5, "hidden": 8, "tanh_constant": None,
            "skip": ["skip", "none"],
        }.items()
    },
    "betas": [([0.25, 0.5], lambda found: tuple(found) == (0.25, 0.5))],
    "perturbation": [
        (0.5, lambda f: f == 0.5),
        ({"start": 1.0, "end": 0.0}, lambda f: f == Schedule(1.0, 0.0)),
    ],
    "auxiliary_skip": [({"start": 1.0, "end": 0.0}, lambda f: f == Schedule(1.0, 0.0))],
    "temperature": [(2.5, lambda f: f == 2.5)],
    "arc_scheduler": [
        (
            {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 3}},
            lambda f: f(torch.optim.SGD([torch.zeros(1)], 0.1)).step_size == 3,
        )
    ],
    "order": [
        (2, lambda f: f == 2),  # of a gradient
        ({"depth": [2, 1, 0]}, lambda f: f == {"depth": [2, 1, 0]}),  # of choices
    ],
    "penalties": [
        (["cli_functions.size"], lambda f: f[0].__name__ == "size"),
        ([SIZE], lambda f: f[0].scale == 0.5),
        ([{"cost": "macs", "target": 50}], lambda f: f == [CostPenalty("macs", 50.0)]),
        (
            [{"cost": {"cost": "macs", "inputs": ["1x6"]}, "target": 50, "form": "hinge"}, SIZE],
            lambda f: f[0].cost.inputs == ("1x6",) and f[0].form == "hinge" and f[1].scale == 0.5,
        ),
    ],
    "cost": [
        ("macs", lambda f: f == "macs"),
        ({"cost": "macs", "inputs": ["1x6"]}, lambda f: f.inputs == ("1x6",)),
        (SIZE, lambda f: f.scale == 0.5),
        ({"first": {"wide": 2.0, "deep": 3.0}}, lambda f: f["first"]["deep"] == 3.0),
    ],
    "reward": [
        ("cli_functions.size", lambda f: f.__name__ == "size"),
        (
            {"class_path": "cli_functions.Accuracy", "init_args": {"weight": 2}},
            lambda f: f.weight == 2,
        ),
    ],
    "distill": [
        (
            {"class_path": "cli_functions.Logits", "init_args": {"temperature": 2}},
            lambda f: f.temperature == 2,
        ),
        ("cosine", lambda f: f == "cosine"),
        ({"body": "mse"}, lambda f: f == {"body": "mse"}),
        (
            {"losses": {"body": {"loss": "kl", "temperature": 2}}, "own": 0.5},
            lambda f: f == Distill({"body": Match("kl", temperature=2.0)}, own=0.5),
        ),
    ],
    "teacher": [
        ("original", lambda f: f == "original"),
        (
            {"class_path": "torch.nn.Linear", "init_args": {"in_features": 6, "out_features": 3}},
            lambda f: f.in_features == 6,
        ),
    ],
    "distill_at": [
        ("body", lambda f: f == "body"),
        ({"class_path": "cli_functions.Logits"}, lambda f: f.temperature == 1),
    ],
    "teacher_cache": [
        ("outputs", lambda f: f == "outputs"),
        (
            {"folder": "outputs", "dtype": "float16"},
            lambda f: f == TeacherCache("outputs", dtype="float16"),
        ),
    ],
    "sizes": [
        (2, lambda f: f == 2),
        ([{"depth": 2}, {"depth": 1}], lambda f: f == [{"depth": 2}, {"depth": 1}]),
    ],
    "epochs": [(0.5, lambda f: f == 0.5), ([1, 0.5], lambda f: f == [1, 0.5])],
    "phases": [
        (
            [{"epochs": 1}, {"epochs": 1, "opens": {"*": None}}],
            lambda f: list(f) == [Phase(1), Phase(1, {"*": None})],
        )
    ],
}  # fmt: skip
"""Option -> what can be written, and whether that was understood."""
NEEDED = {"fbnet": {"cost": "macs"}}


@pytest.fixture(scope="session", autouse=True)
def functions(users: Path) -> None:
    (users / "cli_functions.py").write_text(USERS)


def understood(users: Path, strategy: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options as the strategy gets them."""
    text = yaml.safe_dump({"search": {"strategy": strategy, **NEEDED.get(strategy, {}), **options}})
    return search_cli(["--config", str(users / "search.yaml"), "--config", text]).options


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_option_of_every_strategy_can_be_written_or_is_said_to_come_from_elsewhere(
    strategy: str, users: Path
) -> None:
    names = _options(oneshot.registry.load("strategy", strategy))
    assert names, "a strategy without any option would test nothing"
    for name in names:
        if name in OURS:
            continue
        assert name in OPTIONS, f"say in OPTIONS how {name} of {strategy} is written"
        several = _apart(strategy, name)
        assert several
        for value, right in several:
            found = understood(users, strategy, {name: value})
            assert right(found[name]), (name, value, found[name])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_not_written_is_the_default_of_the_strategy(strategy: str, users: Path) -> None:
    cls = oneshot.registry.load("strategy", strategy)
    options = understood(users, strategy, {})
    needed = NEEDED.get(strategy, {})
    model = importlib.import_module("cli_users").Net
    loader = {"arch_dataloader": [1]} if takes(cls, "arch_dataloader") else {}
    bare, said = cls(model(), **loader, **needed), cls(model(), **loader, **options)
    for name in options:
        if name != "cost":
            assert _plain(getattr(said, name, None)) == _plain(getattr(bare, name, None)), name


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _apart(strategy: str, name: str) -> list[tuple[Any, Callable[[Any], bool]]]:
    if name == "order":  # of a gradient, or of choices
        return [OPTIONS[name][1 if strategy in ("sandwich", "shrinking", "chain") else 0]]
    return OPTIONS[name]


@pytest.mark.parametrize("name", OURS)
def test_what_is_no_option_is_told_by_name_where_it_is_said(
    name: str, search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([f"--search.{name}", "1"], ["--config", f"{{search: {{{name}: 1}}}}"]):
        assert search(*arguments) == 2
        error = capsys.readouterr().err
        assert f"search.{name}" in error or f"'{name}'" in error
        assert error.rstrip().endswith(f"fix: {OURS[name]}")


def test_an_option_of_another_strategy_is_told_by_name(
    search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    gdas = "{search: {strategy: gdas, temperature: {start: 5.0}}}"
    assert search("--config", gdas, "--search.strategy", "darts") == 2
    fix = "leave temperature out; `oneshot search --search.help darts` shows what darts has"
    assert capsys.readouterr().err.rstrip().endswith(f"fix: {fix}")


DARTS = ("--search.strategy", "darts", "--search.arch_fraction", "0.5")
MACS = "[{cost: macs, target: 50, scale: 0.1, form: hinge}]"


def test_a_penalty_by_the_name_of_its_cost_trains_as_one_from_a_script(
    search: Oneshot, users: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        search(*DARTS, "--search.penalties", MACS, "--out", "run", "--trainer.max_epochs", "2") == 0
    )
    assert "table of macs: exact" in capsys.readouterr().out
    table = CostTable.load("run/costs/macs.json")
    assert table.of({"first": "wide", "depth": 0}) == (6 * 8 + 8 * 3) * 2  # a batch of two

    config = search_cli(["--config", "run/config.yaml"])
    script = config.search()
    script.penalties = [CostPenalty(table.expected, target=50, scale=0.1, form="hinge")]
    trainer = Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(script, datamodule=config.datamodule)
    last = json.loads(Path("run/probabilities.jsonl").read_text().splitlines()[-1])
    assert last["probabilities"] == {
        label: pytest.approx(list(p.values())) for label, p in script.export_probs().items()
    }


def test_the_printed_configuration_has_the_penalties_as_they_were_written(
    search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    written = [
        {"cost": {"cost": "macs", "inputs": ["1x6"]}, "target": 50},
        SIZE,
        "cli_functions.size",
    ]
    text = yaml.safe_dump({"search": {"strategy": "darts", "penalties": written}})
    assert search("--config", text, "--print_config") == 0
    printed = yaml.safe_load(capsys.readouterr().out)["search"]["penalties"]
    assert printed[0]["cost"] == {"cost": "macs", "inputs": ["1x6"], "device": None}
    assert printed[1:] == written[1:]
    assert main(["search", "--search.help", "darts"]) == 0
    shown = capsys.readouterr().out
    assert "CostPenalty" in shown
    assert "torch.sparse" not in shown  # no list of all subclasses of what functions return


@pytest.fixture
def noisy() -> Iterator[list[int]]:
    """Register a cost of a third party that gives another number each time; return its calls."""
    calls: list[int] = []

    def noise(network: torch.nn.Module, *inputs: torch.Tensor) -> float:
        calls.append(1)
        return 100.0 + len(calls)

    oneshot.registry.register("cost", "others.noise", noise)
    yield calls
    oneshot.registry.unregister("cost", "others.noise")


def test_a_resumed_search_goes_on_with_the_costs_it_was_begun_with(
    search: Oneshot, noisy: list[int]
) -> None:
    options = ("--search.strategy", "fbnet", "--search.arch_fraction", "0.5")
    cost = ("--search.cost", "others.noise", "--out", "run", "--trainer.max_epochs", "1")
    assert search(*options, *cost) == 0
    measured = len(noisy)
    assert measured > 5
    before = Path("run/costs/others.noise.json").read_text()
    assert main(["search", "--resume", "run", "--trainer.max_epochs", "2"]) == 0
    assert Path("run/costs/others.noise.json").read_text() == before
    assert main(["freeze", "run"]) == 0
    assert len(noisy) == measured
    assert main(["cost", "show", "run/costs/others.noise.json"]) == 0


def test_penalties_of_others_hold_costs_by_name_and_by_file(
    search: Oneshot,
) -> None:
    named = "oneshot_plugins.costs.named.NamedCost"
    first = "{strategy: fbnet, cost: parameters}"
    assert search("--search", first, *DARTS[2:], "--out", "one", "--trainer.max_epochs", "1") == 0
    Path("one/costs/parameters.json").rename("known.json")
    parts = [
        {"class_path": named, "init_args": {"cost": "macs"}},
        {"class_path": named, "init_args": {"cost": "known.json"}},
    ]
    penalty = {"class_path": "cli_functions.TwoCosts", "init_args": {"costs": parts}}
    text = yaml.safe_dump({"search": {"strategy": "darts", "penalties": [penalty]}})
    assert search("--config", text, *DARTS[2:], "--out", "two", "--trainer.max_epochs", "1") == 0
    kept = sorted(file.name for file in Path("two/costs").iterdir())
    assert kept == ["file_known.json", "macs.json"]


@pytest.mark.parametrize(
    ("penalties", "says"),
    [
        ("[{cost: mass, target: 5}]", "expected: one of latency, macs"),
        ("[{cost: nowhere.json, target: 5}]", "'nowhere.json' cannot be read as a table"),
        ("[{cost: other.json, target: 5}]", "its schema is None"),
        (
            "[{cost: no.such.size, target: 5}]",
            "or a function of the decisions that can be imported",
        ),
        ("[{cost: macs, target: -5}]", "expected: a target greater than 0"),
        ("[{cost: macs}]", "target"),
        ("[{cost: macs, target: many}]", "Expected a <class 'float'>"),
        ("[{cost: {cost: macs, inputs: [1x7]}, target: 5}]", "inputs of the shapes [[1, 7]]"),
        ("[{cost: {cost: macs, inputs: [1xq]}, target: 5}]", "sizes with x between them"),
        ("[no.such.size]", "No module named 'no'"),
        ("[{class_path: cli_functions.Size, init_args: {scal: 1}}]", "'scal' is not accepted"),
        ("[5]", "search.penalties"),
    ],
)
def test_a_penalty_that_cannot_work_is_said_before_anything_is_trained_or_written(
    penalties: str, says: str, search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.json").write_text('{"a": 1}')
    assert search(*DARTS, "--search.penalties", penalties) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "\n  expected: " in error
    assert "\n  fix: " in error
    assert "Does not validate against" not in error
    assert not Path("runs").exists()


def test_a_model_that_does_not_say_what_it_is_called_with_is_told_how(
    search: Oneshot, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--model", "cli_users:WithoutExample", *DARTS, "--search.penalties")
    assert search(*arguments, "[{cost: macs, target: 50}]") == 2
    error = capsys.readouterr().err
    assert "WithoutExample does not say what it is called with" in error
    assert "{cost: macs, inputs: [1x3x32x32]} in the place of macs" in error
    given = "[{cost: {cost: macs, inputs: [1x6]}, target: 50}]"
    assert search(*arguments, given, "--trainer.max_epochs", "1", "--out", "run") == 0


def test_fbnet_counts_the_draw_of_a_named_cost(users: Path) -> None:
    options = (
        "--search.strategy",
        "fbnet",
        "--search.arch_fraction",
        "0.5",
        "--search.cost",
        "macs",
    )
    fbnet = search_cli(["--config", str(users / "search.yaml"), *options]).search()
    fbnet.prepare_costs()
    fbnet.resample()
    table: CostTable = fbnet.cost.__self__.table
    assert torch.equal(fbnet.cost(fbnet.decisions), table.sampled(fbnet.decisions))
    assert not torch.equal(fbnet.cost(fbnet.decisions), table.expected(fbnet.decisions))
