"""The six shapes of ``configure_optimizers``, and what merging makes of them.

Every cell of the merge table goes through Lightning's own parser; what should come out is
written down by hand for each row and column, not computed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
import torch
from pytorch_lightning.core.optimizer import (
    _configure_optimizers,
    _configure_schedulers_automatic_opt,
    _configure_schedulers_manual_opt,
    _validate_optimizers_attached,
)
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from oneshot_core.errors import OptimizerConfigError
from oneshot_core.optimizers import (
    OptimizerPlan,
    is_known_shape,
    merge_optimizers,
    normalised,
)


def sgd() -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


def step(optimizer: Optimizer) -> StepLR:
    return StepLR(optimizer, step_size=1)


@dataclass
class Case:
    """What was returned, and what Lightning should make of it."""

    config: Any
    optimizers: Sequence[Optimizer] = field(default_factory=list)
    schedulers: list[dict[str, Any]] = field(default_factory=list)


DEFAULTS = {field.name: field.default for field in fields(LRSchedulerConfig)}
ALL_KEYS = {
    "interval": "step",
    "frequency": 3,
    "monitor": "val_loss",
    "strict": False,
    "name": "mine",
}


def is_now(scheduler: Any, **keys: Any) -> dict[str, Any]:
    return {**DEFAULTS, "scheduler": scheduler, **keys}


def bare() -> Case:
    u = sgd()
    return Case(u, [u])


def several(kind: type, n: int) -> Case:
    us = [sgd() for _ in range(n)]
    return Case(kind(us), us)


def two_lists(kind: type) -> Case:
    u, v = sgd(), sgd()
    s, t = step(u), step(v)
    config = kind([[u, v], [s, {"scheduler": t, **ALL_KEYS}]])
    return Case(config, [u, v], [is_now(s), is_now(t, **ALL_KEYS)])


def two_lists_one_scheduler() -> Case:
    u = sgd()
    s = step(u)
    return Case(([u], s), [u], [is_now(s)])


def two_lists_without_scheduler() -> Case:
    u = sgd()
    return Case(([u], []), [u])


def single_dict(**outer: Any) -> Case:
    u = sgd()
    s = step(u)
    return Case({"optimizer": u, "lr_scheduler": s, **outer}, [u], [is_now(s)])


def dict_without_scheduler() -> Case:
    u = sgd()
    return Case({"optimizer": u}, [u])


def dict_with_outer_monitor() -> Case:
    u = sgd()
    s = ReduceLROnPlateau(u)
    config = {"optimizer": u, "lr_scheduler": s, "monitor": "val_loss"}
    return Case(config, [u], [is_now(s, monitor="val_loss", reduce_on_plateau=True)])


def dict_with_all_keys() -> Case:
    u = sgd()
    s = step(u)
    return Case(
        {"optimizer": u, "lr_scheduler": {"scheduler": s, **ALL_KEYS}}, [u], [is_now(s, **ALL_KEYS)]
    )


def dict_with_plateau_dict() -> Case:
    u = sgd()
    s = ReduceLROnPlateau(u)
    keys = {"monitor": "val_loss", "strict": False}
    config = {"optimizer": u, "lr_scheduler": {"scheduler": s, **keys}}
    return Case(config, [u], [is_now(s, **keys, reduce_on_plateau=True)])


def dicts(kind: type) -> Case:
    u, v, w = sgd(), sgd(), sgd()
    s = step(u)
    first = {"optimizer": u, "lr_scheduler": {"scheduler": s, **ALL_KEYS}}
    second = {"optimizer": v}
    third = {"optimizer": w}
    return Case(kind([first, second, third]), [u, v, w], [is_now(s, **ALL_KEYS)])


def dicts_with_bare_schedulers() -> Case:
    u, v = sgd(), sgd()
    s, t = step(u), step(v)
    config = [{"optimizer": u, "lr_scheduler": s}, {"optimizer": v, "lr_scheduler": t}]
    return Case(config, [u, v], [is_now(s), is_now(t)])


USERS = {
    "none": lambda: Case(None),
    "empty-list": lambda: Case([]),
    "one": bare,
    "list-of-one": lambda: several(list, 1),
    "tuple-of-one": lambda: several(tuple, 1),
    "list-of-two": lambda: several(list, 2),
    "tuple-of-two": lambda: several(tuple, 2),
    "tuple-of-two-lists": lambda: two_lists(tuple),
    "list-of-two-lists": lambda: two_lists(list),
    "two-lists-one-scheduler": two_lists_one_scheduler,
    "two-lists-no-scheduler": two_lists_without_scheduler,
    "dict-without-scheduler": dict_without_scheduler,
    "dict": single_dict,
    "dict-monitor-that-nobody-reads": lambda: single_dict(monitor="val_loss"),
    "dict-plateau-outer-monitor": dict_with_outer_monitor,
    "dict-all-keys": dict_with_all_keys,
    "dict-plateau-in-dict": dict_with_plateau_dict,
    "list-of-dicts": lambda: dicts(list),
    "tuple-of-dicts": lambda: dicts(tuple),
    "list-of-dicts-bare-schedulers": dicts_with_bare_schedulers,
}
NOTHING: dict[str, Any] = {
    "none": None,
    "empty-list": [],
    "empty-tuple": (),
    "two-empty-lists": ([], []),
}


def named(cases: dict[str, Any], *leave_out: str) -> list[Any]:
    return [pytest.param(case, id=name) for name, case in cases.items() if name not in leave_out]


def parsed_by_lightning(config: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    optimizers, schedulers, monitor = _configure_optimizers(config)
    configs = _configure_schedulers_automatic_opt(schedulers, monitor)
    _validate_optimizers_attached(optimizers, configs)
    return optimizers, [{f.name: getattr(c, f.name) for f in fields(c)} for c in configs]


def same(given: Any, expected: Any) -> bool:
    return len(given) == len(expected) and all(a is b for a, b in zip(given, expected, strict=True))


@pytest.mark.parametrize("make_user", named(USERS, "none"))
def test_the_expectations_of_this_file_are_lightnings(make_user: Callable[[], Case]) -> None:
    user = make_user()
    optimizers, schedulers = parsed_by_lightning(user.config)
    assert same(optimizers, user.optimizers)
    assert schedulers == user.schedulers


@pytest.mark.parametrize("nothing", named(NOTHING))
@pytest.mark.parametrize("make_user", named(USERS))
def test_without_architecture_optimizers_the_users_own_object_is_returned(
    make_user: Callable[[], Case], nothing: Any
) -> None:
    user = make_user()
    assert merge_optimizers(user.config, nothing) is user.config


@pytest.mark.parametrize("make_arch", named(USERS, "none", "empty-list"))
@pytest.mark.parametrize("make_user", named(USERS))
def test_merged_the_users_come_first_and_every_scheduler_keeps_its_keys(
    make_user: Callable[[], Case], make_arch: Callable[[], Case]
) -> None:
    user, arch = make_user(), make_arch()

    merged = merge_optimizers(user.config, arch.config)

    expected_schedulers = user.schedulers + arch.schedulers
    if expected_schedulers:
        assert type(merged) is tuple
        assert [type(part) for part in merged] == [list, list]
    else:
        assert type(merged) is list
        assert same(merged, [*user.optimizers, *arch.optimizers])
    optimizers, schedulers = parsed_by_lightning(merged)
    assert same(optimizers, [*user.optimizers, *arch.optimizers])
    assert schedulers == expected_schedulers


def test_merged_configuration_suits_manual_optimization_without_the_keys_of_automatic() -> None:
    """Lightning warns about ``monitor`` and ``strict`` there; all else passes as it is."""
    user, arch = dict_with_all_keys(), bare()
    _, schedulers = merge_optimizers(user.config, arch.config)
    kept = [{k: v for k, v in s.items() if k not in ("monitor", "strict")} for s in schedulers]
    [config] = _configure_schedulers_manual_opt(kept)
    assert (config.interval, config.frequency, config.name) == ("step", 3, "mine")


def snapshot(config: Any) -> Any:
    """Copy the containers, keep what they hold."""
    if isinstance(config, dict):
        return {key: snapshot(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(snapshot(value) for value in config)
    return config


@pytest.mark.parametrize("make_user", named(USERS, "none"))
def test_merging_and_lightning_after_it_change_nothing_of_the_users(
    make_user: Callable[[], Case],
) -> None:
    """Lightning writes ``reduce_on_plateau`` into the dicts it is given: into our copies."""
    user, arch = make_user(), make_user()
    before = snapshot(user.config), snapshot(arch.config)

    merged = merge_optimizers(user.config, arch.config)
    parsed_by_lightning(merged)
    for part in merged if isinstance(merged, tuple) else [merged]:
        part.clear()

    assert (user.config, arch.config) == before


def test_two_merges_share_no_list_and_no_dict() -> None:
    user, arch = dict_with_all_keys(), dict_with_all_keys()
    first = merge_optimizers(user.config, arch.config)
    second = merge_optimizers(user.config, arch.config)
    first[1][0]["interval"] = "changed"
    first[0].pop()
    assert second[1][0]["interval"] == "step"
    assert len(second[0]) == 2


def test_plan_holds_optimizers_and_scheduler_dicts_of_any_shape() -> None:
    user = dict_with_outer_monitor()
    plan = OptimizerPlan.parse(user.config, source="here")
    assert same(plan.optimizers, user.optimizers)
    assert plan.schedulers == ({"scheduler": user.config["lr_scheduler"], "monitor": "val_loss"},)


def test_plan_of_none_is_empty() -> None:
    assert OptimizerPlan.parse(None, source="here") == OptimizerPlan((), ())


def test_keys_of_a_scheduler_that_lightning_does_not_know_are_left_to_lightning() -> None:
    u = sgd()
    config = {"optimizer": u, "lr_scheduler": {"scheduler": step(u), "intervall": "step"}}
    _, [scheduler] = merge_optimizers(config, sgd())
    assert scheduler["intervall"] == "step"
    with pytest.warns(RuntimeWarning, match="intervall"):
        parsed_by_lightning(([u], [scheduler]))


def test_keys_beside_the_optimizer_that_lightning_ignores_are_warned_about() -> None:
    with pytest.warns(RuntimeWarning, match="here returned a dict with the keys .'frequency'."):
        OptimizerPlan.parse([{"optimizer": sgd(), "frequency": 2}], source="here")


class DuckOptimizer:
    """An optimizer as DeepSpeed has them: not torch's class, but all that Lightning asks for."""

    param_groups: list[Any] = []  # noqa: RUF012
    defaults: dict[str, Any] = {}  # noqa: RUF012
    state: dict[str, Any] = {}  # noqa: RUF012

    def step(self, closure: Any = None) -> None: ...
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class DuckScheduler:
    """A scheduler that needs the user's own ``lr_scheduler_step``."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def test_whatever_lightning_takes_for_an_optimizer_or_a_scheduler_is_taken() -> None:
    duck, arch = DuckOptimizer(), sgd()
    scheduler = DuckScheduler(duck)
    merged = merge_optimizers(([duck], scheduler), arch)
    optimizers, schedulers = parsed_by_lightning(merged)
    assert same(optimizers, [duck, arch])
    assert schedulers == [is_now(scheduler)]


def lone_scheduler() -> StepLR:
    return step(sgd())


MALFORMED: dict[str, Callable[[], Any]] = {
    "number": lambda: 3,
    "class": lambda: Adam,
    "scheduler-alone": lone_scheduler,
    "generator": lambda: (o for o in [sgd()]),
    "set": lambda: {sgd()},
    "mixed-list": lambda: [sgd(), {"optimizer": sgd()}],
    "list-with-none": lambda: [sgd(), None],
    "tuple-of-tuples": lambda: ((sgd(),), ()),
    "tuple-where-a-list-tells-two-lists": lambda: ((sgd(),), []),
    "three-lists": lambda: ([sgd()], [], []),
    "list-in-list": lambda: [[sgd()]],
    "optimizer-and-scheduler": lambda: (lambda u: (u, step(u)))(sgd()),
    "empty-dict": dict,
    "dict-with-none": lambda: {"optimizer": None},
    "dict-with-list": lambda: {"optimizer": [sgd()]},
    "dicts-one-without-optimizer": lambda: [{"optimizer": sgd()}, {}],
    "scheduler-none": lambda: {"optimizer": sgd(), "lr_scheduler": None},
    "scheduler-list": lambda: (lambda u: {"optimizer": u, "lr_scheduler": [step(u)]})(sgd()),
    "scheduler-dict-without-scheduler": lambda: {
        "optimizer": sgd(),
        "lr_scheduler": {"interval": "step"},
    },
    "scheduler-is-an-optimizer": lambda: ([sgd()], [sgd()]),
    "scheduler-missing": lambda: ([sgd()], None),
    "schedulers-as-tuple": lambda: (lambda u: ([u], (step(u),)))(sgd()),
    "scheduler-of-another-optimizer": lambda: ([sgd()], [lone_scheduler()]),
    "schedulers-alone": lambda: ([], [lone_scheduler()]),
}


@pytest.mark.parametrize("make", named(MALFORMED))
def test_malformed_configurations_name_who_returned_them_and_what_is_expected(
    make: Callable[[], Any],
) -> None:
    with pytest.raises(OptimizerConfigError) as caught:
        OptimizerPlan.parse(make(), source="configure_optimizers of Net")
    message = str(caught.value)
    assert message.startswith("configure_optimizers of Net returned ")
    assert "\n  expected: " in message
    assert "\n  fix: " in message
    assert "Parameter Group" not in message, "optimizers are named by type, not printed"


def test_each_side_is_blamed_for_its_own_mistake() -> None:
    with pytest.raises(OptimizerConfigError, match=r"^configure_optimizers returned 3"):
        merge_optimizers(3, sgd())
    with pytest.raises(OptimizerConfigError, match=r"^configure_architecture_optimizers returned"):
        merge_optimizers(sgd(), [3])


def test_an_architecture_scheduler_may_not_drive_the_users_optimizer() -> None:
    user, arch = sgd(), sgd()
    with pytest.raises(OptimizerConfigError, match="of an optimizer that it did not return: SGD"):
        merge_optimizers(user, ([arch], [step(user)]))


def test_one_optimizer_may_not_be_both_the_users_and_the_architectures() -> None:
    shared = sgd()
    with pytest.raises(OptimizerConfigError, match="same optimizer"):
        merge_optimizers([sgd(), shared], {"optimizer": shared})


def test_plans_cannot_be_changed() -> None:
    plan = OptimizerPlan.parse(sgd(), source="here")
    with pytest.raises(AttributeError):
        plan.optimizers = ()  # type: ignore[misc]
    assert copy.copy(plan) == plan


class Custom:
    """A shape of somebody's own."""

    def __init__(self) -> None:
        self.optimizer = sgd()


def of_custom(config: object) -> Any:
    return config.optimizer if isinstance(config, Custom) else None


def test_another_shape_is_read_as_what_normalise_makes_of_it() -> None:
    mine, theirs = Custom(), Custom()
    plan = OptimizerPlan.parse(mine, source="test", normalise=of_custom)
    assert plan.optimizers == (mine.optimizer,)
    merged = merge_optimizers(theirs, mine, normalise=of_custom)
    assert merged == [theirs.optimizer, mine.optimizer]


@pytest.mark.parametrize("make_user", named(USERS))
def test_normalise_is_never_asked_about_one_of_the_six_shapes(
    make_user: Callable[[], Case],
) -> None:
    def refuse(config: object) -> Any:
        raise AssertionError(config)

    user = make_user()
    assert is_known_shape(user.config)
    plan = OptimizerPlan.parse(user.config, source="test", normalise=refuse)
    assert list(plan.optimizers) == list(user.optimizers)
    assert normalised(user.config, refuse) is user.config


def test_what_normalise_does_not_know_is_the_error_that_it_was() -> None:
    messages = []
    for normalise in (None, of_custom):
        with pytest.raises(OptimizerConfigError) as caught:
            OptimizerPlan.parse("text", source="test", normalise=normalise)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert normalised("text", of_custom) == "text"


def test_telling_the_shapes_apart_warns_of_nothing() -> None:
    assert is_known_shape({"optimizer": sgd(), "ignored": 1})
    assert not is_known_shape({"optimizer": 1})
    assert not is_known_shape(SGD)
