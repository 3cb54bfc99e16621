"""Searching a supernet for several objectives: what is asked, measured, told and kept."""

from __future__ import annotations

import itertools
import json
import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import Architecture, LayerChoice, Repeat
from oneshot_core.errors import OutputError, RankingError, UnknownComponentError
from oneshot_core.searching import Outcome
from oneshot_plugins.costs.counts import macs, parameters
from oneshot_plugins.ranking.front import Scored, non_dominated
from oneshot_plugins.ranking.journal import Journal

SMALL = {"val_acc": "max", "parameters": "min"}


class Net(LightningModule):
    """36 networks of different sizes, with BatchNorm behind the choices."""

    def __init__(self) -> None:
        super().__init__()
        self.first = LayerChoice(
            {n: nn.Sequential(nn.Linear(6, w), nn.ReLU(), nn.Linear(w, 8)) for n, w in WIDTHS},
            label="first",
        )
        self.norm = nn.BatchNorm1d(8)
        self.blocks = Repeat(lambda index: nn.Linear(8, 8), (0, 2), label="depth")
        self.last = LayerChoice(
            {"linear": nn.Linear(8, 3), "deep": nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3)),
             "small": nn.Sequential(nn.Linear(8, 1), nn.Linear(1, 3))},
            label="last",
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.blocks(self.norm(self.first(x))))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


WIDTHS = (("narrow", 2), ("middle", 4), ("wide", 8), ("wider", 16))


@pytest.fixture
def val(make_loader: Any) -> Any:
    return make_loader(40, seed=1, batch_size=8)


@pytest.fixture
def search(make_trainer: Any, make_loader: Any, val: Any) -> Any:
    torch.manual_seed(0)
    made = oneshot.search(Net(), seed=0)
    make_trainer(max_epochs=2).fit(made, make_loader(60, batch_size=6), val)
    return made


def pareto(search: Any, val: Any, objectives: Any = SMALL, budget: int = 14, **options: Any) -> Any:
    given = {"progress": False, "baselines": False, **options}
    return search.pareto(objectives, val, budget=budget, **given)


def test_a_small_space_is_scored_completely_and_its_front_is_the_true_one(
    search: Any, val: Any
) -> None:
    front = pareto(search, val, budget=36)

    ranking = search.rank("all", val, metric="val_acc", progress=False)
    truth = {e.architecture: e.score for e in ranking}
    sizes = {a: parameters(oneshot.freeze(search, a)) for a in truth}
    known = list(truth)
    true = {known[i] for i in non_dominated([(truth[a], -sizes[a]) for a in known])}
    assert {entry.architecture for entry in front} == true
    assert len(front.scored) == 36
    for entry in front.scored:
        assert entry.values == {
            "val_acc": truth[entry.architecture],  # with recalibrated BatchNorm, as rank has it
            "parameters": sizes[entry.architecture],
        }
        assert entry.metrics.keys() == {"val_acc", "val_loss"}


def test_the_search_is_as_it_was_afterwards(search: Any, val: Any) -> None:
    before = {k: v.clone() for k, v in search.state_dict().items()}
    random_state = torch.get_rng_state()
    pareto(search, val, budget=5)
    assert all(torch.equal(v, before[k]) for k, v in search.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("searcher", ["nsga2", "tpe", "evolution"])
def test_searchers_score_their_budget_and_are_repeatable(
    searcher: str, search: Any, val: Any
) -> None:
    options = {"weights": {"val_acc": 1.0, "parameters": 1e-4}} if searcher == "evolution" else {}
    first, second = (pareto(search, val, searcher=searcher, **options) for _ in range(2))

    assert len({e.architecture for e in first.scored}) == len(first.scored) == 14
    assert first.scored == second.scored
    assert first.entries == second.entries


def test_objectives_can_be_metrics_costs_and_functions(search: Any, val: Any) -> None:
    front = pareto(
        search,
        val,
        {"val_loss": "min", "macs": "min", "depth": "max", "tensors": "min", "odd": "max"},
        budget=36,
        inputs=torch.zeros(1, 6),
        measures={
            "depth": lambda architecture: architecture["depth"],
            "tensors": lambda network: len(list(network.parameters())),
            "odd": lambda architecture, network: len(architecture) + network.training,
        },
    )
    for entry in front.scored:
        network = oneshot.freeze(search, entry.architecture)
        assert entry.values == {
            "val_loss": entry.metrics["val_loss"],
            "macs": macs(network, torch.zeros(1, 6)),
            "depth": entry.architecture["depth"],
            "tensors": len(list(network.parameters())),
            "odd": 3,
        }


def test_costs_take_the_example_input_of_the_model(search: Any, val: Any) -> None:
    search.model.example_input_array = torch.zeros(2, 6)
    front = pareto(search, val, {"macs": "min"}, budget=36)
    assert front[0].values["macs"] == 2 * (6 * 2 + 2 * 8 + 8 * 1 + 1 * 3)


def test_constraints_hold_on_the_front_and_all_that_was_scored_is_kept(
    search: Any, val: Any
) -> None:
    front = pareto(search, val, {"val_acc": "max"}, 36, constraints={"parameters": (None, 120)})
    assert all(entry.values["parameters"] <= 120 for entry in front)
    inside = [e for e in front.scored if e.values["parameters"] <= 120]
    assert front[0].values["val_acc"] == max(e.values["val_acc"] for e in inside)
    assert len(inside) < len(front.scored) == 36


def listening(space: Any, *, budget: int, seed: int, objectives: int | None = None) -> Any:
    """A searcher that records what it is told."""
    TOLD.append(objectives)
    for architecture in list(space.architectures())[:budget]:
        TOLD.append((yield architecture))


def deaf(space: Any, *, budget: int, seed: int) -> Any:
    for architecture in list(space.architectures())[:budget]:
        TOLD.append((yield architecture))


TOLD: list[Any] = []


@pytest.fixture
def told(search: Any) -> list[Any]:
    search.registry = oneshot.Registry()
    search.registry.register("searcher", "listening", listening)
    search.registry.register("searcher", "deaf", deaf)
    TOLD.clear()
    return TOLD


def test_a_searcher_of_several_objectives_is_told_all_of_them_and_what_is_broken(
    search: Any, val: Any, told: list[Any]
) -> None:
    """Larger is better; a constraint is broken by a share of its limit."""
    front = pareto(
        search,
        val,
        budget=4,
        searcher="listening",
        constraints={"parameters": (None, 100), "val_loss": (0.0, None)},
    )
    assert told == [2] + [
        Outcome(
            (e.values["val_acc"], -e.values["parameters"]),
            (max(0.0, e.values["parameters"] - 100) / 100, 0.0),
        )
        for e in front.scored
    ]
    assert {outcome.violations[0] > 0 for outcome in told[1:]} == {True, False}


def test_a_searcher_of_one_score_is_told_the_weighted_sum_below_which_are_broken_ones(
    search: Any, val: Any, told: list[Any]
) -> None:
    front = pareto(
        search,
        val,
        budget=4,
        searcher="deaf",
        weights={"val_acc": 2.0, "parameters": 0.01},
        constraints={"parameters": (None, 100)},
    )
    for score, entry in zip(told, front.scored, strict=True):
        acc, size = entry.values["val_acc"], entry.values["parameters"]
        if size <= 100:
            assert score == pytest.approx(2 * acc - 0.01 * size)
        else:
            assert score == -1e100 * (1 + (size - 100) / 100)


class Stopped(Exception):
    pass


class Counting:
    """A measure that counts its calls, and stops the search after some."""

    def __init__(self, stop: float = math.inf) -> None:
        self.calls = -1  # the first is the trial before anything is scored
        self.stop = stop

    def __call__(self, architecture: Architecture) -> float:
        self.calls += 1
        if self.calls > self.stop:
            raise Stopped
        return float(str(architecture["depth"]))


@pytest.mark.parametrize(
    ("torn", "searcher"),
    [
        (False, "nsga2"),
        (True, "nsga2"),
        (True, "tpe"),
        (False, "evolution"),
        # A journal is read before any searcher is asked: how it ends and who proposes are apart.
        pytest.param(False, "tpe", marks=pytest.mark.nightly),
        pytest.param(True, "evolution", marks=pytest.mark.nightly),
    ],
)
def test_a_killed_search_goes_on_and_ends_as_one_that_was_not(
    torn: bool, searcher: str, search: Any, val: Any, tmp_path: Path
) -> None:
    """Nothing is scored twice, also where the kill has cut off a line."""
    objectives = {"val_acc": "max", "count": "min"}
    options: dict[str, Any] = {"searcher": searcher}
    if searcher == "evolution":
        options |= {"weights": dict.fromkeys(objectives, 1.0), "population_size": 4}
    whole = pareto(search, val, objectives, measures={"count": Counting()}, **options)
    options["journal"] = tmp_path / "pareto.jsonl"
    with pytest.raises(Stopped):
        pareto(search, val, objectives, measures={"count": Counting(stop=6)}, **options)
    if torn:
        text = options["journal"].read_text()
        options["journal"].write_text(text[:-20])

    count = Counting()
    resumed = pareto(search, val, objectives, measures={"count": count}, **options)

    assert count.calls == 14 - 6 + torn
    assert {e.architecture: e for e in resumed.scored} == {e.architecture: e for e in whole.scored}
    assert [e.values for e in resumed] == [e.values for e in whole]
    again = Counting()
    assert len(pareto(search, val, objectives, measures={"count": again}, **options).scored) == 14
    assert again.calls == 0


def test_a_journal_of_other_weights_or_quantities_is_refused(
    search: Any, val: Any, tmp_path: Path
) -> None:
    journal = tmp_path / "pareto.jsonl"
    pareto(search, val, budget=2, journal=journal)
    before = journal.read_text()
    with pytest.raises(RankingError, match=r"about something else \(quantities"):
        pareto(search, val, {"val_loss": "min"}, budget=2, journal=journal)
    with torch.no_grad():
        search.model.norm.weight += 1
    with pytest.raises(RankingError, match=r"about something else \(weights"):
        pareto(search, val, budget=2, journal=journal)
    assert journal.read_text() == before


def test_every_line_of_a_journal_is_read_once(
    search: Any, val: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So reading grows with what is scored, though the journal is looked at for each proposal."""
    parsed: list[Any] = []

    def counting(line: Any, loads: Any = json.loads) -> Any:
        parsed.append(line)
        return loads(line)

    journal = tmp_path / "pareto.jsonl"
    monkeypatch.setattr("oneshot_plugins.ranking.journal.json.loads", counting)
    for budget in (7, 14):
        parsed.clear()
        pareto(search, val, budget=budget, journal=journal)
        assert parsed == journal.read_bytes().splitlines()
        assert len(parsed) == 1 + budget


def test_what_has_no_end_yet_is_read_when_it_has_one(search: Any, tmp_path: Path) -> None:
    """And a line that a kill has cut off is ended by whoever appends the next one."""
    path = tmp_path / "pareto.jsonl"
    one, two, three = (Architecture(a, search.space) for a in first(search.space, 3))
    with closing(Journal(path, search, ["m"], 0)) as journal:
        journal.add(Scored(one, {"m": 1.0}, {}))
        line = path.read_bytes().splitlines(keepends=True)[1]
        assert [s.architecture for s in journal.read()] == [one]
        with path.open("ab") as other:
            other.write(line[:-5])
            assert journal.read() == []
            other.write(line[-5:])
        assert [s.architecture for s in journal.read()] == [one]
        with path.open("ab") as other:
            other.write(line[:-5])
        journal.add(Scored(two, {"m": 2.0}, {}))
        journal.add(Scored(three, {"m": 3.0}, {}))
        assert [s.architecture for s in journal.read()] == [two, three]
        assert journal.read() == []


@pytest.mark.parametrize("header", ["", "{", '{"schema": "ones'])
def test_a_journal_killed_at_its_first_line_is_begun_again(
    header: str, search: Any, tmp_path: Path
) -> None:
    path = tmp_path / "pareto.jsonl"
    path.write_text(header)
    for _ in range(2):
        with closing(Journal(path, search, ["m"], 0)) as journal:
            assert journal.read() == []


def test_a_journal_that_is_deleted_or_cut_while_it_is_used_is_an_error(
    search: Any, tmp_path: Path
) -> None:
    path = tmp_path / "pareto.jsonl"
    (architecture,) = first(search.space, 1)
    scored = Scored(Architecture(architecture, search.space), {"m": 1.0}, {})
    with closing(Journal(path, search, ["m"], 0)) as journal:
        journal.add(scored)
        journal.read()
        kept = path.read_bytes()
        path.write_bytes(kept[:-20])
        for use in (journal.read, lambda: journal.add(scored)):
            with pytest.raises(RankingError, match=r"bytes, and \d+ were read: it was cut"):
                use()
        path.unlink()
        for use in (journal.read, lambda: journal.add(scored)):
            with pytest.raises(RankingError, match="was deleted or replaced"):
                use()
        path.write_bytes(kept)
        with pytest.raises(RankingError, match="was deleted or replaced"):
            journal.read()


@pytest.mark.parametrize("form", ["tensor", "tuple", "list", "example"])
def test_inputs_of_costs_may_be_given_in_any_form_to_rankings_and_fronts(
    form: str, search: Any, val: Any
) -> None:
    x = torch.zeros(1, 6)
    inputs = {"tensor": x, "tuple": (x,), "list": [x], "example": None}[form]
    if form == "example":
        search.model.example_input_array = x
    chosen = [search.space.default()]
    ranking = search.rank(
        chosen, val, metric="val_acc", costs=["macs"], inputs=inputs, progress=False
    )
    wanted = macs(oneshot.freeze(search, chosen[0]), x)
    assert ranking[0].costs == {"macs": wanted}
    front = search.pareto(
        {"macs": "max"}, val, budget=36, inputs=inputs, baselines=False, progress=False
    )
    assert wanted in {entry.values["macs"] for entry in front.scored}


def test_a_front_is_compared_with_random_architectures_and_the_largest(
    search: Any, val: Any
) -> None:
    """They are scored as those of the search, outside of its budget, and change nothing of it."""
    limits = {"parameters": (None, 300)}
    without = pareto(search, val, constraints=limits, budget=9)
    front = pareto(search, val, constraints=limits, budget=9, baselines=True)
    ranking = search.rank("all", val, metric="val_acc", progress=False)
    acc = {e.architecture: e.score for e in ranking}
    sizes = {a: parameters(oneshot.freeze(search, a)) for a in acc}
    found, mean, best, largest = front.baselines.rows
    sample = front.baselines.sample

    assert front.scored == without.scored
    assert front.entries == without.entries
    assert without.baselines is None
    assert sample == {a: {"val_acc": acc[a], "parameters": sizes[a]} for a in sample}
    assert len(sample) == 9
    assert found.values == {"val_acc": front[0].values["val_acc"],
                            "parameters": min(e.values["parameters"] for e in front)}  # fmt: skip
    assert mean.values == pytest.approx(
        {"val_acc": sum(acc[a] for a in sample) / 9, "parameters": sum(map(sizes.get, sample)) / 9}
    )
    inside = [a for a in sample if sizes[a] <= 300]
    assert best.values == {"val_acc": max(acc[a] for a in inside),
                           "parameters": min(sizes[a] for a in inside)}  # fmt: skip
    assert sizes[largest.architecture] == max(sizes.values())
    assert str(front).endswith(str(front.baselines))


def test_baselines_are_in_the_journal_and_never_scored_twice(
    search: Any, val: Any, tmp_path: Path
) -> None:
    """Also where a search stops in the midst of them, or proposes one of them later."""
    objectives = {"val_acc": "max", "count": "min"}
    options: dict[str, Any] = {"journal": tmp_path / "pareto.jsonl", "baselines": True}
    with pytest.raises(Stopped):
        pareto(search, val, objectives, 9, measures={"count": Counting(stop=11)}, **options)
    count = Counting()
    front = pareto(search, val, objectives, 9, measures={"count": count}, **options)
    everything = {e.architecture for e in front.scored} | front.baselines.sample.keys()
    everything.add(front.baselines.rows[-1].architecture)
    assert count.calls == len(everything) - 11
    assert len(front.scored) == 9

    again = Counting()
    same = pareto(search, val, objectives, 9, measures={"count": again}, **options)
    assert again.calls == 0
    assert same.scored == front.scored
    assert same.baselines.to_dict() == front.baselines.to_dict()
    whole = Counting()
    assert (
        len(pareto(search, val, objectives, 36, measures={"count": whole}, **options).scored) == 36
    )
    assert whole.calls == 36 - len(everything)


def first(space: Any, n: int) -> list[Any]:
    return list(itertools.islice(space.architectures(), n))


def test_a_score_that_the_disk_does_not_take_is_an_error_and_the_search_goes_on_later(
    search: Any, val: Any, tmp_path: Path, disk_of: Any
) -> None:
    """The disk is full in the middle of a line: what is whole before it is not scored again."""
    journal = tmp_path / "pareto.jsonl"
    pareto(search, val, budget=2, journal=journal)
    with disk_of(journal.stat().st_size + 10), pytest.raises(OutputError, match="room"):
        pareto(search, val, budget=4, journal=journal)
    assert len(journal.read_text().splitlines()) == 1 + 2 + 1

    whole = pareto(search, val, budget=4)
    resumed = pareto(search, val, budget=4, journal=journal)
    assert len(journal.read_text().splitlines()) == 1 + 2 + 1 + 2
    assert resumed.scored == whole.scored


@pytest.mark.parametrize(
    "line",
    [
        '{"choices": {}}',
        '{"choices": {"nothing": 1}, "values": {}, "metrics": {}}',
        '{"choices": 3, "values": {}, "metrics": {}}',
        '{"choices": %s, "values": {"val_acc": "high", "parameters": 1}, "metrics": {}}',
        '{"choices": %s, "values": {"val_acc": 1}, "metrics": {}}',
    ],
)
def test_a_line_that_is_no_score_is_named(line: str, search: Any, val: Any, tmp_path: Path) -> None:
    journal = tmp_path / "pareto.jsonl"
    pareto(search, val, budget=1, journal=journal)
    choices = json.dumps(search.space.default())
    journal.write_text(journal.read_text() + line.replace("%s", choices) + "\n")
    with pytest.raises(RankingError, match=r"damaged: .*is no score(.|\n)*fix: take the line out"):
        pareto(search, val, budget=2, journal=journal)


def test_a_journal_of_bytes_without_meaning_is_begun_anew_at_its_end(
    search: Any, val: Any, tmp_path: Path
) -> None:
    """As a power cut may leave them: nothing is known, and nothing is taken away."""
    journal = tmp_path / "pareto.jsonl"
    journal.write_bytes(b"\xff\x00\x00")
    pareto(search, val, budget=1, journal=journal)
    assert journal.read_bytes().startswith(b"\xff\x00\x00\n")
    assert len(pareto(search, val, budget=1, journal=journal).scored) == 1


def test_processes_share_a_storage_and_a_journal(search: Any, val: Any, tmp_path: Path) -> None:
    """One after another here: the second has nothing left to score, and the same front."""
    options: dict[str, Any] = {
        "journal": tmp_path / "pareto.jsonl",
        "storage": f"sqlite:///{tmp_path}/study.db",
    }
    first = pareto(search, val, budget=8, **options)
    lines = options["journal"].read_text().splitlines()
    second = pareto(search, val, budget=8, **options)
    further = pareto(search, val, budget=11, **options)
    assert len(lines) == 1 + 8
    assert all(json.loads(line) for line in lines)
    assert first.scored == second.scored == further.scored[:8]
    assert len(further.scored) == 11


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": {}}, "objectives="),
        ({"objectives": {"val_acc": "best"}}, "expected: at least one name -> 'max' or 'min'"),
        ({"constraints": {"parameters": 100}}, "constraints="),
        ({"constraints": {"parameters": (2, 1)}}, "constraints="),
        ({"constraints": {"parameters": (None, None)}}, "constraints="),
        ({"budget": 0}, "budget=0"),
        ({"storage": "study.db"}, "without a journal"),
        ({"searcher": "evolution"}, r"'evolution' got weights=None[\s\S]*one score only"),
        ({"weights": {"val_acc": 1.0, "parameters": 1.0}}, "it weighs nothing"),
        ({"objectives": {"macs": "min"}}, "'macs' cannot be computed[\\s\\S]*inputs"),
        ({"measures": {"speed": lambda architecture: 1.0}}, r"\['speed'\] are neither"),
        (
            {"objectives": {"speed": "max"}, "measures": {"speed": lambda x: 1.0}},
            r"a function of \['x'\]",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_before_anything_is_scored(
    options: Any, message: str, search: Any, val: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.model, "validation_step", pytest.fail)
    with pytest.raises(RankingError, match=message):
        pareto(search, val, **options)


def test_an_unknown_searcher_or_metric_is_refused(search: Any, val: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownComponentError, match="telepathy"):
        pareto(search, val, searcher="telepathy")
    with pytest.raises(
        RankingError, match=r"'speed' is no measure[\s\S]*\['val_acc', 'val_loss'\]"
    ):
        pareto(search, val, {"speed": "max"})
    options = {"weights": dict.fromkeys(SMALL, 1.0), "journal": tmp_path / "j", "storage": "s"}
    with pytest.raises(RankingError, match="cannot share its state"):
        pareto(search, val, searcher="evolution", **options)


def test_constraints_that_nothing_keeps_are_an_error(search: Any, val: Any) -> None:
    with pytest.raises(RankingError, match="none of 36 scored architectures"):
        pareto(search, val, budget=36, constraints={"parameters": (None, 1)})
