"""What ``oneshot.inspect`` finds out before any training, and that it leaves no trace."""

from __future__ import annotations

import json
import random
import time

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import Architecture, Inspection, ModelSpace, freeze
from oneshot_core import nn as onn
from oneshot_core.errors import (
    InspectionError,
    LabelError,
    UnknownComponentError,
    UnsupportedModuleError,
)
from oneshot_core.lightning import BaseOneShotLightningModule
from oneshot_plugins.checks.isolation import rng_state
from oneshot_plugins.checks.tensors import trace_of
from oneshot_plugins.costs.sizes import Counter, extremes, greedy
from oneshot_plugins.inspect.probe import AsDeclared

pl = pytest.importorskip("pytorch_lightning")


class Nested(nn.Module):
    """Choices of every kind, one inside another, with a constraint."""

    def __init__(self) -> None:
        super().__init__()
        inner = oneshot.LayerChoice({"id": nn.Identity(), "lin": nn.Linear(4, 4)}, label="inner")
        self.first = oneshot.LayerChoice(
            {"plain": nn.Linear(4, 4), "deep": nn.Sequential(inner)}, label="outer"
        )
        self.chain = oneshot.Repeat(lambda i: nn.Linear(4, 4), (0, 2), label="depth")
        self.skips = oneshot.InputChoice(3, 2, label="skips")
        width = oneshot.choice([2, 4, 8], label="width")
        self.wide = nn.Sequential(onn.Linear(4, width), nn.ReLU(), onn.Linear(width, 4))
        oneshot.constrain(self, width >= 4)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return self.wide(self.skips([x, first, self.chain(first)]))


class Convs(nn.Module):
    """Two choices between layers, then a head."""

    def __init__(self, **candidates: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.mid = nn.Sequential(oneshot.LayerChoice(candidates, label="mid"))
        self.head = nn.Linear(4 * 8 * 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mid(self.stem(x)).flatten(1))


def conv(kernel: int, inside: int = 4, **options: int) -> nn.Module:
    return nn.Conv2d(inside, 4, kernel, **options)


def images() -> Tensor:
    return torch.zeros(2, 3, 8, 8)


def of_kind(findings: tuple[oneshot.inspection.Finding, ...], kind: str) -> list[object]:
    return [finding for finding in findings if finding.kind == kind]


class TestChoices:
    def test_each_is_described_with_place_candidates_default_and_condition(self) -> None:
        report = oneshot.inspect(Nested(), torch.zeros(3, 4))
        by_label = {choice.label: choice for choice in report.choices}
        assert list(by_label) == ["outer", "inner", "depth", "skips", "width"]
        inner = by_label["inner"]
        assert inner.paths == ("first.candidates.deep.0",)
        assert inner.when == ("outer = deep",)
        assert inner.candidates == ("id", "lin")
        assert by_label["outer"].when == ()
        assert by_label["skips"].n_chosen == 2
        assert by_label["skips"].default == (0, 1)
        width = by_label["width"]
        assert (width.kind, width.paths) == ("Linear", ("wide.0", "wide.2"))
        assert width.constraints == ("(width >= 4)",) == report.constraints
        assert report.ok
        assert report.device == "meta"

    def test_what_a_second_choice_of_a_path_depends_on_is_joined(self) -> None:
        innermost = oneshot.LayerChoice([nn.ReLU(), nn.Tanh()], label="c")
        middle = oneshot.Repeat(lambda i: nn.Sequential(innermost), (0, 1), label="b")
        model = nn.Sequential(oneshot.LayerChoice({"x": nn.ReLU(), "y": middle}, label="a"))
        choice = oneshot.inspect(model).choices[-1]
        assert choice.when == ("a = y and b = 1",)

    def test_what_runs_with_every_candidate_always_runs(self) -> None:
        inner = oneshot.LayerChoice([nn.ReLU(), nn.Tanh()], label="op")
        model = nn.Sequential(oneshot.Repeat([nn.Sequential(inner), nn.ReLU()], (1, 2), label="d"))
        assert [choice.when for choice in oneshot.inspect(model).choices] == [(), ()]

    def test_a_choice_that_is_used_twice_is_found_at_both_places(self) -> None:
        shared = oneshot.LayerChoice([nn.ReLU(), nn.Tanh()], label="act")
        model = nn.ModuleDict({"one": nn.Sequential(shared), "two": nn.Sequential(shared)})
        (choice,) = oneshot.inspect(model).choices
        assert choice.paths == ("one.0", "two.0")

    def test_an_interval_is_shown_as_such(self) -> None:
        p = oneshot.loguniform(0.01, 0.5, label="p")
        report = oneshot.inspect(nn.Sequential(nn.Linear(2, 2), onn.Dropout(p)), torch.zeros(1, 2))
        (choice,) = report.choices
        assert choice.interval == (0.01, 0.5, True)
        assert report.architectures is None
        assert json.loads(report.to_json())["architectures"] is None
        assert "infinitely many" in str(report)

    @pytest.mark.parametrize("state", ["search", "mutated model"])
    def test_after_the_mutation_the_report_is_the_same(self, state: str) -> None:
        class Model(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.net = Nested()

            def forward(self, x: Tensor) -> Tensor:
                return self.net(x)

        x = torch.zeros(3, 4)
        before = oneshot.inspect(Model(), x)
        searching = oneshot.search(Model(), "random")
        after = oneshot.inspect(searching if state == "search" else searching.model, x)
        assert before == after
        assert len(after.capabilities) > 1
        assert all(c.able for c in after.capabilities)


class TestSizes:
    def test_architectures_are_counted_exactly_with_constraints(self) -> None:
        report = oneshot.inspect(Nested())
        # outer: plain, or deep with 2 inner; 3 depths; 3 pairs of inputs; 2 of 3 widths
        assert report.architectures == 3 * 3 * 3 * 2

    def test_smallest_default_and_largest_are_those_of_frozen_networks(self) -> None:
        model = Nested()
        report = oneshot.inspect(model, torch.zeros(3, 4))
        counts = {
            tuple(a.items()): sum(p.numel() for p in freeze(model, a).parameters())
            for a in ModelSpace(model).architectures()
        }
        sizes = report.sizes
        assert sizes.method == "enumeration"
        assert sizes.smallest.parameters == min(counts.values())
        assert sizes.largest.parameters == max(counts.values())
        for network in (sizes.smallest, sizes.default, sizes.largest):
            number = counts[tuple(network.architecture.items())]
            assert number == network.parameters == network.costs["parameters"]
            assert network.weight_bytes == 4 * number
        # 3 vectors through Linear(4, 4) and the two of width 8; of the default, in the same way
        assert sizes.default.architecture["width"] == 8
        assert sizes.default.costs["macs"] == 3 * ((1 + 2) * 16 + 4 * 8 + 8 * 4)

    def test_parameters_are_counted_as_in_frozen_networks_where_they_are_shared(self) -> None:
        width = oneshot.choice([2, 4], label="w")
        tied = onn.Linear(width, width)
        again = onn.Linear(width, width)
        again._parameters["weight"] = tied._parameters["weight"]
        model = nn.Sequential(tied, again, oneshot.LayerChoice([tied, nn.ReLU()], label="c"))
        count = Counter(model)
        for architecture in ModelSpace(model).architectures():
            frozen = freeze(model, architecture)
            assert count(architecture) == sum(p.numel() for p in frozen.parameters())

    def test_greedy_search_finds_the_extremes_of_a_space_where_contributions_add_up(self) -> None:
        rng = random.Random(0)
        layers = [
            oneshot.LayerChoice(
                [nn.Linear(1, rng.randrange(1, 9)) for _ in range(3)], label=f"c{i}"
            )
            for i in range(5)
        ]
        model = nn.Sequential(*layers)
        space, count = ModelSpace(model), Counter(model)
        smallest, largest, method = extremes(space, count)
        assert method == "enumeration"
        assert count(greedy(space, count)) == count(smallest)
        assert count(greedy(space, lambda a: -count(a))) == count(largest)

    def test_a_space_too_large_to_enumerate_says_that_it_was_not(self) -> None:
        model = nn.Sequential(
            *(oneshot.LayerChoice([nn.Linear(2, 2), nn.ReLU()], label=f"c{i}") for i in range(60))
        )
        report = oneshot.inspect(model, torch.zeros(1, 2))
        assert report.architectures == 2**60
        assert report.sizes.method == "greedy"
        assert (report.sizes.smallest.parameters, report.sizes.largest.parameters) == (0, 360)
        assert "1.15 x 10^18 architectures, exactly 1152921504606846976" in str(report)

    def test_costs_come_from_the_registry_and_what_is_not_repeatable_is_left_out(self) -> None:
        registry = oneshot.Registry()
        ticks = iter(range(100))
        registry.register("cost", "layers", lambda network, *x: len(list(network.modules())))
        registry.register("cost", "stopwatch", lambda network, *x: next(ticks))
        registry.register("cost", "broken", lambda network, *x: 1 / 0)
        report = oneshot.inspect(Nested(), torch.zeros(3, 4), registry=registry)
        assert set(report.sizes.default.costs) == {"parameters", "macs", "layers"}
        left_out = " ".join(f.message for f in of_kind(report.warnings, "cost-left-out"))
        assert "'stopwatch' is left out: it is not repeatable" in left_out
        assert "'broken' is left out: ZeroDivisionError" in left_out


class TestShapes:
    def test_a_candidate_that_takes_other_inputs_is_found_with_its_path(self) -> None:
        model = Convs(good=conv(3, padding=1), bad=conv(3, inside=5, padding=1))
        report = oneshot.inspect(model, images())
        (problem,) = report.problems
        assert (problem.kind, problem.path, problem.choice) == ("candidate-fails", "mid.0", "bad")
        assert problem.at == "mid.0.candidates.bad"
        assert "to have 5 channels, but got 4" in problem.message
        assert not any(capability.able for capability in report.capabilities)

    def test_a_candidate_after_which_the_network_fails_is_told_with_both_shapes(self) -> None:
        report = oneshot.inspect(Convs(good=conv(3, padding=1), small=conv(3)), images())
        (problem,) = report.problems
        assert (problem.path, problem.choice, problem.at) == ("mid.0", "small", "head")
        assert "returns 2x4x6x6 float32, where good returns 2x4x8x8 float32" in problem.message

    def test_candidates_that_cannot_be_added_are_legal_where_the_network_takes_them(self) -> None:
        model = nn.Sequential(
            oneshot.LayerChoice({"keep": conv(1, 3), "halve": conv(1, 3, stride=2)}, label="c"),
            nn.AdaptiveAvgPool2d(1),
        )
        report = oneshot.inspect(model, images())
        assert report.ok
        (warning,) = of_kind(report.warnings, "outputs-differ")
        assert warning.path == "0"
        assert "keep returns 2x4x8x8 float32, halve returns 2x4x4x4 float32" in warning.message
        able = {c.strategy: c.able for c in report.capabilities}
        assert (able["random"], able["darts"]) == (True, False)
        (refusal,) = next(c for c in report.capabilities if c.strategy == "darts").refusals
        assert (refusal.path, refusal.labels, refusal.at) == ("0", ("c",), "0")
        assert "cannot be added" in refusal.reason

    def test_candidates_of_different_types_of_numbers_are_told(self) -> None:
        class Double(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.double()

        model = nn.Sequential(oneshot.LayerChoice([nn.ReLU(), Double()], label="c"))
        report = oneshot.inspect(model, torch.zeros(1, 2))
        (warning,) = of_kind(report.warnings, "outputs-differ")
        assert "0 returns 1x2 float32, 1 returns 1x2 float64" in warning.message
        (output,) = of_kind(report.warnings, "network-output")
        assert "returns 1x2 float64 instead of 1x2 float32" in output.message

    def test_a_failure_deep_in_a_branch_that_is_not_the_default_is_found(self) -> None:
        inner = oneshot.LayerChoice({"ok": conv(1), "bad": conv(1, inside=7)}, label="inner")
        deep = nn.Sequential(oneshot.Repeat([conv(1), nn.Sequential(inner)], (1, 2), label="depth"))
        report = oneshot.inspect(Convs(plain=conv(1), deep=deep), images())
        (problem,) = report.problems
        assert problem.labels == ("inner",)
        assert problem.path == "mid.0.candidates.deep.0.blocks.1.0"
        assert problem.at == "mid.0.candidates.deep.0.blocks.1.0.candidates.bad"

    def test_an_elastic_width_that_a_plain_layer_cannot_take_is_found(self) -> None:
        model = nn.Sequential(
            onn.Linear(4, oneshot.choice([2, 8], label="width")), nn.ReLU(), nn.Linear(8, 1)
        )
        report = oneshot.inspect(model, torch.zeros(3, 4))
        (problem,) = report.problems
        assert (problem.labels, problem.choice, problem.at) == (("width",), 2, "2")

    def test_an_elastic_width_that_is_used_throughout_fits(self) -> None:
        width = oneshot.choice([2, 8], label="width")
        model = nn.Sequential(onn.Linear(4, width), nn.ReLU(), onn.Linear(width, 1))
        report = oneshot.inspect(model, torch.zeros(3, 4))
        assert report.ok
        assert not of_kind(report.warnings, "outputs-differ")  # weighted channels can be added
        assert all(c.able and c.ran for c in report.capabilities)

    @pytest.mark.parametrize("more", [0, 4])
    def test_choices_that_fit_one_by_one_but_not_together_are_found(self, more: int) -> None:
        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                width = oneshot.choice([2, 8], label="width")
                self.body = nn.Sequential(
                    onn.Linear(4, width),
                    *(
                        oneshot.LayerChoice([nn.ReLU(), nn.Tanh()], label=f"c{i}")
                        for i in range(more)
                    ),
                    oneshot.LayerChoice(
                        {"any": nn.ReLU(), "some": nn.Tanh(), "eight": nn.LayerNorm(8)}, label="end"
                    ),
                )

            def forward(self, x: Tensor) -> Tensor:
                return self.body(x).sum(1)

        report = oneshot.inspect(Model(), torch.zeros(3, 4))
        assert report.architectures == 6 * 2**more
        (problem,) = report.problems
        assert (problem.kind, problem.labels) == ("combination-fails", ("width", "end"))
        assert problem.choice == (2, "eight")
        assert problem.at == f"body.{more + 1}.candidates.eight"
        assert not any(capability.able for capability in report.capabilities)
        assert Inspection.from_json(report.to_json()) == report

    def test_what_constraints_forbid_is_not_tried(self) -> None:
        width = oneshot.choice([2, 8], label="width")
        model = nn.Sequential(onn.Linear(4, width), nn.Linear(8, 1))
        oneshot.constrain(model, width >= 8)
        assert oneshot.inspect(model, torch.zeros(3, 4)).ok

    def test_a_model_that_needs_data_is_run_with_data_and_that_is_said(self) -> None:
        class Counts(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x * 2 if x.sum().item() >= 0 else x

        model = nn.Sequential(
            Counts(), oneshot.LayerChoice([nn.Linear(4, 4), nn.Linear(5, 4)], label="c")
        )
        report = oneshot.inspect(model, torch.zeros(3, 4))
        assert report.device == "cpu"
        (warning,) = of_kind(report.warnings, "real-device")
        assert "cannot be run on the meta device" in warning.message
        (problem,) = report.problems
        assert (problem.path, problem.choice) == ("1", "1")
        assert report.sizes.default.costs["macs"] == 3 * 16

    def test_a_candidate_that_needs_data_is_no_problem(self) -> None:
        class Picky(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x if bool((x == 0).all()) else x[:1]

        model = nn.Sequential(oneshot.LayerChoice([nn.ReLU(), Picky()], label="c"))
        report = oneshot.inspect(model, torch.zeros(3, 4))
        assert report.ok
        assert report.device == "meta"
        (warning,) = of_kind(report.warnings, "needs-data")
        assert "c = 1" in warning.message
        assert all(c.able for c in report.capabilities)

    def test_a_default_that_fails_is_the_problem_whatever_the_candidates(self) -> None:
        model = Convs(bad=conv(3, inside=5), good=conv(3, padding=1))
        report = oneshot.inspect(model, images())
        (problem,) = report.problems
        assert (problem.kind, problem.at) == ("default-fails", "mid.0.candidates.bad")
        assert report.memory.note == "nothing was run"

    def test_a_transformer_fits(self) -> None:
        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                hidden = oneshot.choice([8, 16], label="hidden")
                self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
                self.norm = nn.LayerNorm(8)
                self.up = onn.Linear(8, hidden)
                self.act = onn.activation(["relu", "gelu"], label="act")
                self.down = onn.Linear(hidden, 8)

            def forward(self, x: Tensor) -> Tensor:
                y = self.norm(x)
                x = x + self.attention(y, y, y, need_weights=False)[0]
                return x + self.down(self.act(self.up(self.norm(x))))

        class Transformer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(10, 8)
                self.blocks = oneshot.Repeat(lambda i: Block(), (1, 3), label="depth")
                self.head = nn.Linear(8, 10)

            def forward(self, tokens: Tensor) -> Tensor:
                return self.head(self.blocks(self.embedding(tokens)))

        report = oneshot.inspect(Transformer(), torch.zeros(2, 5, dtype=torch.long))
        assert report.ok, report.problems
        assert report.architectures == 3 * 2 * 2
        assert report.sizes.largest.architecture["depth"] == 3
        assert all(capability.able for capability in report.capabilities)
        assert report.fed == "forward(2x5 int64)"


class TestCapability:
    def test_what_cannot_be_superposed_is_refused_with_every_path(self) -> None:
        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = onn.Conv2d(3, 3, 1, stride=oneshot.choice([1, 2], label="stride"))
                self.inputs = oneshot.InputChoice(3, 2, reduction="concat", label="inputs")

            def forward(self, x: Tensor) -> Tensor:
                x = self.conv(x)
                return self.inputs([x, x, x]).mean((2, 3))

        report = oneshot.inspect(Model(), images())
        by_name = {c.strategy: c for c in report.capabilities}
        darts, drawn = by_name["darts"], by_name["random"]
        assert (darts.strategy, darts.able, darts.superposes) == ("darts", False, True)
        assert [r.path for r in darts.refusals] == ["conv", "inputs"]
        assert [r.labels for r in darts.refusals] == [("stride",), ("inputs",)]
        assert "stride may be" in darts.refusals[0].reason
        assert "keeps its inputs apart" in darts.refusals[1].reason
        assert (drawn.strategy, drawn.able, drawn.superposes) == ("random", True, False)
        assert report.ok  # there is a strategy that can

    def test_a_strategy_that_was_asked_for_by_name_must_be_able(self) -> None:
        model = nn.Sequential(
            oneshot.LayerChoice([conv(1, 3), conv(3, 3)], label="c"), nn.AdaptiveAvgPool2d(1)
        )
        assert oneshot.inspect(model, images(), strategies=["random"]).ok
        report = oneshot.inspect(model, images(), strategies=["darts"])
        assert [p.kind for p in report.problems] == ["strategy"]
        with pytest.raises(InspectionError, match=r"'darts' cannot handle the model"):
            report.raise_for_problems()
        with pytest.raises(UnknownComponentError, match="drats"):
            oneshot.inspect(model, images(), strategies=["drats"])

    def test_a_choice_that_no_plugin_handles_is_a_problem(self) -> None:
        class Own(oneshot.Mutable):
            def spec(self, label: str) -> oneshot.ParameterSpec:
                return oneshot.ParameterSpec(label, (1, 2))

            def select(self, choice: object) -> nn.Module:
                return nn.Identity()

            def forward(self, x: Tensor) -> Tensor:
                return x

        report = oneshot.inspect(nn.Sequential(Own("own")), torch.zeros(1, 2))
        (problem,) = report.problems
        assert (problem.kind, problem.path, problem.labels) == ("unhandled", "0", ("own",))
        assert {c.able for c in report.capabilities} == {False}

    def test_a_strategy_that_needs_more_than_a_model_is_not_judged(self) -> None:
        class Demanding(BaseOneShotLightningModule):
            def __init__(self, model, mutation_hooks=None, *, teacher, seed=None, registry=None):  # type: ignore[no-untyped-def]
                super().__init__(model, mutation_hooks, seed=seed, registry=registry)

            def make_decision(self, spec: oneshot.ParameterSpec) -> oneshot.Decision:
                raise NotImplementedError

        registry = oneshot.Registry()
        registry.register("strategy", "demanding", Demanding)
        report = oneshot.inspect(Nested(), torch.zeros(3, 4), registry=registry)
        by_name = {c.strategy: c for c in report.capabilities}
        assert by_name["demanding"].able is None
        assert "teacher" in by_name["demanding"].refusals[0].reason
        assert report.ok

    def test_a_supernet_module_that_forgot_its_choice_is_tried_but_no_strategy_is(self) -> None:
        class Forgetful(oneshot.BaseSuperNetModule):
            def __init__(self, choice: oneshot.LayerChoice, decision: oneshot.Decision) -> None:
                super().__init__(decision)
                self.candidates = choice.candidates

            def select(self, chosen: dict[str, object]) -> nn.Module:
                return self.candidates[chosen["c"]]

            def forward(self, x: Tensor) -> Tensor:
                (active,) = self.decisions[0].active()
                return self.candidates[active.candidate](x)

        choice = oneshot.LayerChoice([nn.Linear(4, 2), nn.Linear(5, 2)], label="c")
        model = nn.Sequential(Forgetful(choice, AsDeclared(choice.spec("c"))))
        report = oneshot.inspect(model, torch.zeros(3, 4))
        assert [(p.path, p.choice, p.at) for p in report.problems] == [("0", "1", "0.candidates.1")]
        assert {c.able for c in report.capabilities} == {None}
        assert "Forgetful at '0'" in report.capabilities[0].refusals[0].reason
        assert report.memory.superposed_activations is None


class TestFeeding:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = oneshot.LayerChoice([nn.Linear(4, 2), nn.Linear(4, 2)], label="c")

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return self.layer(x if mask is None else x * mask)

    @pytest.mark.parametrize(
        ("batch", "fed"),
        [
            pytest.param(torch.zeros(3, 4), "forward(3x4 float32)", id="tensor"),
            pytest.param(
                (torch.zeros(3, 4), torch.ones(3, 4)),
                "forward(3x4 float32, 3x4 float32)",
                id="arguments",
            ),
            pytest.param(
                [torch.zeros(3, 4), torch.ones(3, dtype=torch.long)],
                "forward(3x4 float32)",
                id="x-and-y",
            ),
            pytest.param(
                {"mask": torch.ones(3, 4), "x": torch.zeros(3, 4)},
                "forward(mask=3x4 float32, x=3x4 float32)",
                id="by-name",
            ),
            pytest.param(
                {"x": torch.zeros(3, 4), "label": torch.ones(3)},
                "forward(x=3x4 float32)",
                id="what-forward-names",
            ),
        ],
    )
    def test_a_batch_is_given_as_forward_takes_it(self, batch: object, fed: str) -> None:
        report = oneshot.inspect(self.Two(), batch)
        assert report.ok, report.problems
        assert report.fed == fed
        assert report.sizes.default.costs["macs"] == 3 * 8

    def test_a_batch_that_forward_does_not_accept_is_an_error(self) -> None:
        class NoInput(nn.Module):
            def forward(self) -> None: ...

        with pytest.raises(InspectionError, match=r"does not accept the sample batch 3x4 float32"):
            oneshot.inspect(NoInput(), torch.zeros(3, 4))

    def test_without_a_batch_nothing_is_run_and_that_is_said(self) -> None:
        report = oneshot.inspect(Nested())
        assert (report.fed, report.device) == ("", "")
        assert of_kind(report.warnings, "no-sample")
        # 20 of a Linear(4, 4), two of those in the chain, 40 and 36 of those of width 8
        assert report.sizes.default.costs == {"parameters": 20 + 40 + 40 + 36}
        assert all(c.able and not c.ran for c in report.capabilities)

    def test_a_lightning_module_brings_its_example(self) -> None:
        class Model(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.net = Nested()
                self.example_input_array = torch.zeros(5, 4)

            def forward(self, x: Tensor) -> Tensor:
                return self.net(x)

        assert oneshot.inspect(Model()).fed == "forward(5x4 float32)"

    def test_a_lightning_module_without_forward_is_run_by_its_training_step(self) -> None:
        class Model(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.net = nn.Sequential(
                    oneshot.LayerChoice([nn.Linear(4, 3), nn.Linear(4, 2)], label="c"),
                    nn.Linear(3, 3),
                )

            def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
                loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
                self.log("loss", loss)
                return loss

        report = oneshot.inspect(Model(), (torch.zeros(5, 4), torch.zeros(5, dtype=torch.long)))
        assert report.fed == "training_step((5x4 float32, 5 int64), int)"
        (problem,) = report.problems
        assert (problem.path, problem.choice, problem.at) == ("net.0", "1", "net.1")
        assert report.sizes.default.costs["macs"] == 5 * (12 + 9)


class TestMemory:
    def test_bytes_are_those_that_can_be_counted_by_hand(self) -> None:
        model = nn.Sequential(
            oneshot.LayerChoice([nn.Linear(4, 4), nn.Identity()], label="c"),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.BatchNorm1d(4),
        )
        report = oneshot.inspect(model, torch.zeros(3, 4))
        memory = report.memory
        # weight and bias of Linear; weight, bias, mean, variance and an int64 of BatchNorm
        assert memory.supernet_weights == 4 * 20 + 4 * 16 + 8 == memory.largest_weights
        assert memory.supernet_gradients == 4 * (20 + 8)
        # outputs of Linear and BatchNorm; ReLU is in place, Flatten a view
        assert memory.default_activations == 2 * 3 * 4 * 4
        # and the sum that the choice returns, while Identity returns its input
        assert memory.superposed_activations == 3 * 3 * 4 * 4

    def test_nothing_is_superposed_where_something_refuses(self) -> None:
        model = nn.Sequential(onn.Conv2d(3, 3, 1, stride=oneshot.choice([1, 2], label="s")))
        memory = oneshot.inspect(model, images()).memory
        assert memory.superposed_activations is None
        assert "stride may be" in memory.note


class TestWarnings:
    def test_what_is_legal_but_surprising_is_named(self) -> None:
        model = nn.Sequential(
            oneshot.LayerChoice([nn.Linear(4, 4)], label="alone"),
            oneshot.LayerChoice([nn.Linear(4, 4), nn.Linear(4, 4)]),
            oneshot.LayerChoice({"a": nn.ReLU(), "b": nn.Linear(4, 4)}, label="twice"),
            oneshot.LayerChoice({"a": nn.Tanh(), "b": nn.Linear(4, 4)}, label="twice"),
            nn.BatchNorm1d(4),
        )
        report = oneshot.inspect(model, torch.zeros(3, 4))
        found = {finding.kind: finding for finding in report.warnings}
        assert found["single-candidate"].labels == ("alone",)
        assert found["label-is-path"].labels == ("1",)
        assert found["shared-label"].labels == ("twice",)
        assert "'2', '3'" in found["shared-label"].message
        assert (found["no-parameters"].labels, found["no-parameters"].choice) == (("twice",), "a")
        assert found["batch-norm"].path == "4"
        assert report.ok

    def test_a_model_without_surprises_has_none(self) -> None:
        model = nn.Sequential(oneshot.LayerChoice([nn.Linear(4, 4), nn.Linear(4, 4)], label="c"))
        assert oneshot.inspect(model, torch.zeros(3, 4)).warnings == ()

    def test_a_default_that_the_constraints_forbid_is_told(self) -> None:
        width = oneshot.choice([2, 8], label="width")
        model = nn.Sequential(onn.Linear(4, width), onn.Linear(width, 1))
        oneshot.constrain(model, width < 8)
        report = oneshot.inspect(model, torch.zeros(3, 4))
        assert of_kind(report.warnings, "default-forbidden")
        assert report.sizes.default.architecture == {"width": 2}

    def test_a_choice_that_forward_leaves_out_is_told(self) -> None:
        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.used = nn.Linear(4, 4)
                self.unused = oneshot.LayerChoice([nn.Linear(4, 4), nn.Linear(5, 5)], label="c")

            def forward(self, x: Tensor) -> Tensor:
                return self.used(x)

        report = oneshot.inspect(Model(), torch.zeros(3, 4))
        (warning,) = of_kind(report.warnings, "never-called")
        assert warning.path == "unused"


class TestNoTrace:
    @pytest.mark.parametrize("data_needed", [False, True])
    def test_nothing_in_the_model_is_changed(self, data_needed: bool) -> None:
        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = Nested()
                self.norm = nn.BatchNorm1d(4)
                self.drop = nn.Dropout(0.5)

            def forward(self, x: Tensor) -> Tensor:
                if data_needed:
                    x.sum().item()
                return self.drop(self.norm(self.net(x + torch.rand_like(x))))

        model = Model()
        model.norm.eval()
        model.net.first.register_forward_hook(lambda *_: None)
        model(torch.ones(3, 4)).sum().backward()
        x = torch.ones(3, 4)
        before = trace_of(model), rng_state(), random.getstate(), x._version
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        oneshot.inspect(model, x)
        assert (trace_of(model), rng_state(), random.getstate(), x._version) == before
        assert all(torch.equal(state[name], t) for name, t in model.state_dict().items())

    def test_a_search_keeps_what_it_has_drawn_and_pinned(self) -> None:
        class Model(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.net = Nested()

            def forward(self, x: Tensor) -> Tensor:
                return self.net(x)

        searching = oneshot.search(Model(), "random", seed=1)
        drawn = searching.resample()
        with searching.at({**drawn, "width": 4}):
            oneshot.inspect(searching, torch.zeros(3, 4))
            pinned = {d.spec.label: d.pinned for d in searching.decisions}
        assert pinned["width"] == 4
        active = {d.spec.label: d.active() for d in searching.decisions}
        assert active["width"][0].candidate == drawn["width"]


class TestReport:
    def test_json_comes_back_as_it_was(self) -> None:
        for model, x in [(Nested(), torch.zeros(3, 4)), (Convs(a=conv(3), b=conv(1)), images())]:
            report = oneshot.inspect(model, x)
            data = json.loads(report.to_json())
            assert data["schema"] == "oneshot.inspection/1"
            assert data["ok"] is report.ok
            assert Inspection.from_json(report.to_json()) == report

    def test_json_of_something_else_is_refused(self) -> None:
        for text in ("{}", "[]", '{"schema": "oneshot.inspection/9"}', "no json"):
            with pytest.raises(InspectionError, match=r"the text is no inspection"):
                Inspection.from_json(text)

    def test_a_number_of_architectures_may_have_more_digits_than_python_writes(self) -> None:
        from oneshot_plugins.inspect.report import digits, number

        huge = 7 * 10**9000 + 12345
        assert digits(huge) == "7" + "0" * 8995 + "12345"
        assert number(digits(huge)) == huge
        assert number(digits(625)) == 625

    def test_text_is_plain_in_a_pipe_and_html_is_escaped(self) -> None:
        class Odd(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.c = oneshot.LayerChoice({"<b>": nn.ReLU(), "[red]x": nn.Tanh()}, label="c")

            def forward(self, x: Tensor) -> Tensor:
                return self.c(x)

        report = oneshot.inspect(Odd(), torch.zeros(1))
        assert "\x1b" not in str(report)
        assert "[red]x" in str(report)
        assert max(map(len, str(report).splitlines())) <= 100
        assert "&lt;b&gt;" in report._repr_html_()
        assert "<b>" not in report._repr_html_()

    def test_raise_for_problems_lists_all_of_them(self) -> None:
        good = Convs(good=conv(3, padding=1), also=conv(1))
        oneshot.inspect(good, images()).raise_for_problems()
        bad = Convs(good=conv(3, padding=1), b1=conv(1, inside=5), b2=conv(1, inside=6))
        with pytest.raises(InspectionError, match=r"2 problem\(s\)") as caught:
            oneshot.inspect(bad, images()).raise_for_problems()
        assert "mid = b1" in str(caught.value)
        assert "mid = b2" in str(caught.value)
        assert "fix:" in str(caught.value)


class TestRefused:
    def test_a_choice_by_itself_is_no_model(self) -> None:
        with pytest.raises(UnsupportedModuleError, match=r"wrap it"):
            oneshot.inspect(oneshot.LayerChoice([nn.ReLU()], label="c"))

    def test_one_label_for_two_choices_is_an_error_at_once(self) -> None:
        model = nn.Sequential(
            oneshot.LayerChoice([nn.ReLU(), nn.Tanh()], label="c"),
            oneshot.LayerChoice([nn.ReLU()], label="c"),
        )
        with pytest.raises(LabelError, match=r"'1'"):
            oneshot.inspect(model)


@pytest.mark.slow
def test_a_chain_of_200_choices_takes_seconds() -> None:
    model = nn.Sequential(
        *(
            oneshot.LayerChoice([nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Identity()],
                                label=f"c{i}")
            for i in range(200)
        )
    )  # fmt: skip
    started = time.process_time()
    report = oneshot.inspect(model, torch.zeros(2, 4))
    assert time.process_time() - started < 30  # about 5 where nothing else runs
    assert report.ok
    assert report.architectures == 3**200
    assert report.sizes.smallest.parameters == 0
    assert report.sizes.largest.parameters == 200 * 20
    assert len(Architecture(report.sizes.largest.architecture)) == 200
