"""Samples that do not repeat themselves are told once, and the component is not blamed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oneshot_core import LayerChoice, Registry
from oneshot_core.errors import ConformanceError
from oneshot_core.hookspecs import Conformance
from oneshot_core.testing import Report, Sample, check
from oneshot_plugins.supernets.modules import MixedLayer

CHECK = "component.samples-repeat-themselves"


class OwnChoice(LayerChoice):
    """A choice of a plugin's own."""


class MixedOwn(MixedLayer):
    """Runs an :class:`OwnChoice`."""

    replaces = OwnChoice


def choice() -> OwnChoice:
    torch.manual_seed(1)
    return OwnChoice({"a": nn.Linear(3, 3), "b": nn.Tanh()}, label="own")


def x() -> tuple[Tensor]:
    return (torch.ones(2, 3),)


SAMPLES: dict[str, Callable[[], list[Any]]] = {}
"""What the next check is to try, by the name of a function."""


def report_on(samples: Callable[[], Any], *names: str) -> Report:
    SAMPLES["now"] = samples
    registry = Registry(entry_points=False)
    handles = (f"{__name__}:OwnChoice",)
    registry.register("supernet", "own", MixedOwn, summary="for a test", handles=handles)
    declared = Conformance({"supernet:own": f"{__name__}:samples_now"})
    return check(*(names or ("supernet:own",)), registry=registry, declared=declared)


def samples_now() -> list[Any]:
    return SAMPLES["now"]()


def only_failure(samples: Callable[[], Any]) -> str:
    report = report_on(samples)
    (failed,) = report.failed
    assert failed.check == CHECK
    assert "\n  expected: " in failed.message
    assert "\n  fix: " in failed.message
    skipped = [r for r in report if r.outcome == "skipped" and CHECK in r.message]
    assert len(skipped) > 20  # all that would have blamed the component
    return failed.message


def unseeded_inputs() -> tuple[Tensor]:
    return (torch.randn(2, 3, generator=GENERATOR),)


GENERATOR = torch.Generator().manual_seed(0)
COUNT = itertools.count()
KEPT = choice()


def wider_each_time() -> OwnChoice:
    return OwnChoice({str(n): nn.Linear(3, 3) for n in range(2 + next(COUNT))}, label="own")


def drawn_from_the_system() -> OwnChoice:
    made = choice()
    with torch.no_grad():
        made.candidates["a"].weight.fill_(random.SystemRandom().random())
    return made


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (lambda: Sample(choice, unseeded_inputs), "inputs() of sample 0 for 'supernet:own' does"),
        (lambda: Sample(choice, lambda: (float(next(COUNT)),)), "two calls returned other values"),
        (lambda: Sample(drawn_from_the_system, x), "modules that differ in 'candidates.a.weight'"),
        (lambda: Sample(wider_each_time, x), "modules that differ in their model spaces"),
        (lambda: Sample(lambda: KEPT, x), "the same object twice"),
        (lambda: Sample(choice, lambda: torch.ones(2, 3)), "inputs() of sample 0"),  # type: ignore[arg-type, return-value]
        (lambda: Sample(lambda: 3, x), "make() of sample 0 for 'supernet:own' returned a int"),
        (lambda: Sample(lambda: 1 / 0, x), "raised ZeroDivisionError"),
        (lambda: (choice, x), "sample 0 for 'supernet:own' is a tuple"),
    ],
)
def test_a_sample_that_does_not_repeat_itself_is_one_failure_that_says_so(
    sample: Callable[[], Any], said: str
) -> None:
    assert said in only_failure(lambda: [sample()])


@pytest.mark.parametrize(("make", "inputs", "name"), [(choice, x(), "inputs"), (KEPT, x, "make")])
def test_what_is_no_function_is_refused_where_the_sample_is_made(
    make: Any, inputs: Any, name: str
) -> None:
    if name == "make":
        make = 3
    with pytest.raises(ConformanceError, match=f"Sample got {name}= of the type") as caught:
        Sample(make, inputs)
    assert f"fix: {name}=lambda: ..." in str(caught.value)
    assert f"Sample got {name}=" in only_failure(lambda: [Sample(make, inputs)])


def test_samples_that_draw_from_the_global_generators_repeat_themselves() -> None:
    def make() -> OwnChoice:
        return OwnChoice({"a": nn.Linear(3, 3), "b": nn.Tanh()}, label="own")

    def inputs() -> tuple[Tensor]:
        scale = random.random() + float(np.random.rand())
        return (scale * torch.randn(2, 3),)

    before = torch.get_rng_state(), random.getstate()
    report = report_on(lambda: [Sample(make, inputs)])
    assert not report.failed
    assert {r.check: r.outcome for r in report}["supernet.equals-frozen"] == "passed"
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_dicts_are_wanted_for_a_strategy_and_samples_for_a_choice() -> None:
    SAMPLES["now"] = lambda: [Sample(choice, x)]
    registry = Registry(entry_points=False)
    registry.register("cost", "own", lambda network, *inputs: 1.0, summary="for a test")
    declared = Conformance({"cost:own": f"{__name__}:samples_now"})
    (failed,) = check("cost:own", registry=registry, declared=declared).failed
    assert "expected: a dict of keyword arguments" in failed.message
