"""The reference's own names take the reference's arguments and give what it gives."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import oneshot_core as oneshot
from oneshot_core import BaseOneShotLightningModule, BaseSuperNetModule, Decision, ParameterSpec
from oneshot_core.errors import ArchitectureError, StrategyError
from oneshot_core.hooks import no_default_hook
from oneshot_core.lightning.architecture_step import listed
from oneshot_core.optimizers import merge_optimizers
from oneshot_core.space import Choice, LayerChoice
from oneshot_plugins.strategies.darts import SoftmaxDecision
from oneshot_plugins.strategies.uniform import UniformDecision
from oneshot_plugins.supernets.modules import MixedLayer


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            oneshot.LayerChoice({"a": nn.Linear(3, 3), "b": nn.Identity()}, label="first"),
            oneshot.LayerChoice({"a": nn.Linear(3, 3), "b": nn.Tanh()}, label="second"),
            nn.Linear(3, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.net(x))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Sampling(BaseOneShotLightningModule):
    def make_decision(self, spec: ParameterSpec) -> Decision:
        return UniformDecision(spec)

    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.resample()
        self.advance_optimization()


class Learning(BaseOneShotLightningModule):
    n_optimizers = 1

    def make_decision(self, spec: ParameterSpec) -> Decision:
        return SoftmaxDecision(spec)

    def configure_architecture_optimizers(self) -> Any:
        found = [torch.optim.Adam(d.parameters(), 0.1) for d in self.decisions]
        return {0: None, 1: found[0], 2: found}[self.n_optimizers]

    def search_step(self, batch: Any, batch_idx: int) -> None:
        self.architecture_step()
        self.advance_optimization()


def fit(search: Any, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(search, DataLoader(torch.randn(8, 3), 4))
    return trainer


# --- optimizers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2])
def test_architecture_optimizers_are_none_one_or_a_list(n: int) -> None:
    data = DataLoader(torch.randn(8, 3), 4)
    search = cast(Learning, oneshot.search(Model(), Learning, arch_dataloader=data))
    search.n_optimizers = n
    assert search.architecture_optimizers() is None, "before a fit there are none"
    trainer = fit(search)
    found = search.architecture_optimizers()
    if n == 0:
        assert found is None
    elif n == 1:
        assert isinstance(found, torch.optim.Adam)
    else:
        assert isinstance(found, list)
    ours = listed(found)
    assert len(ours) == n
    marked = [o for o in trainer.optimizers if getattr(o, "is_arch_optimizer", False)]
    assert [id(o) for o in marked] == [id(o) for o in ours]
    assert not hasattr(trainer.optimizers[0], "is_arch_optimizer")


def test_merged_optimizers_of_the_architecture_are_marked() -> None:
    def make() -> torch.optim.Optimizer:
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)

    merged = merge_optimizers(make(), {"optimizer": make()})
    assert [getattr(o, "is_arch_optimizer", False) for o in merged] == [False, True]


# --- memos ----------------------------------------------------------------------------------------


def test_a_search_follows_the_memo_that_it_resamples_with() -> None:
    search = oneshot.search(Model(), Sampling, seed=0)
    drawn = [search.resample({"first": "b"}) for _ in range(20)]
    assert {d["first"] for d in drawn} == {"b"}
    assert {d["second"] for d in drawn} == {"a", "b"}
    memo = {"first": "b", "second": "a"}
    assert search.resample(memo) == memo
    assert [d.active()[0].candidate for d in search.decisions] == ["b", "a"]
    assert memo == {"first": "b", "second": "a"}, "the memo is the caller's"
    assert search.resample(None).keys() == search.resample().keys() == {"first", "second"}


def test_a_search_exports_what_it_prefers_beside_the_memo() -> None:
    search = oneshot.search(Model(), Learning, arch_dataloader=[None])
    with torch.no_grad():
        for decision in search.decisions:
            decision.alpha.copy_(torch.tensor([1.0, 0.0]))  # type: ignore[union-attr]
    assert search.export() == search.export(None) == {"first": "a", "second": "a"}
    assert search.export({"first": "b"}) == {"first": "b", "second": "a"}
    assert search.export_probs({"first": {"a": 1.0}}) == {
        "first": {"a": 1.0},
        "second": search.export_probs()["second"],
    }


def test_an_export_beside_a_memo_keeps_the_constraints() -> None:
    model = Model()
    width = oneshot.choice([1, 2, 3], label="w")
    depth = oneshot.choice([1, 2, 3], label="d")
    model.extra = nn.Sequential(oneshot.nn.Linear(3, width), oneshot.nn.Linear(width, depth))
    oneshot.constrain(model, width + depth <= 4)
    search = oneshot.search(model, Learning, arch_dataloader=[None])
    with torch.no_grad():
        search.decisions["w"].alpha.copy_(torch.tensor([0.0, 0.0, 2.0]))  # type: ignore[union-attr]
        search.decisions["d"].alpha.copy_(torch.tensor([0.0, 0.0, 1.0]))  # type: ignore[union-attr]
    assert {**search.export()}["w"] == 3
    assert {**search.export()}["d"] == 1
    found = search.export({"d": 3})
    assert (found["w"], found["d"]) == (1, 3)
    with pytest.raises(ArchitectureError, match="keeps the constraints"):
        search.export({"d": 3, "w": 3})
    sampling = oneshot.search(_constrained(), Sampling)
    assert sampling.resample({"d": 3})["w"] == 1
    with pytest.raises(ArchitectureError, match="keeps the constraints"):
        sampling.resample({"d": 3, "w": 3})


def _constrained() -> Model:
    model = Model()
    width, depth = (oneshot.choice([1, 2, 3], label=label) for label in "wd")
    model.extra = nn.Sequential(oneshot.nn.Linear(3, width), oneshot.nn.Linear(width, depth))
    oneshot.constrain(model, width + depth <= 4)
    return model


@pytest.mark.parametrize("memo", [{"third": "a"}, {"first": "c"}])
def test_a_memo_of_something_else_is_an_error(memo: dict[str, Any]) -> None:
    search = oneshot.search(Model(), Sampling)
    for ask in (search.resample, search.export):
        with pytest.raises(ArchitectureError):
            ask(memo)


@pytest.mark.parametrize("strategy", ["random", "enas"])
@pytest.mark.parametrize("make", [Model, _constrained])
def test_strategies_that_draw_in_their_own_way_follow_a_memo(strategy: str, make: Any) -> None:
    options: dict[str, Any] = {}
    if strategy == "enas":
        options = {"arch_dataloader": [torch.ones(1, 3)], "reward": lambda model, batch: 1.0}
    search = oneshot.search(make(), strategy, seed=0, **options)
    for _ in range(5):
        drawn = search.resample({"first": "b"})
        assert drawn["first"] == "b"
        assert search.space.possible(drawn)
        taken = {d.spec.label: d.active()[0].candidate for d in search.decisions}
        assert {label: taken[label] for label in drawn} == drawn


# --- probabilities --------------------------------------------------------------------------------


class Silent(MixedLayer):
    def export_probs(self, memo: Any) -> Any:
        raise NotImplementedError


def silent_first(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> Any:
    if isinstance(module, LayerChoice) and module.label == "first":
        return Silent.mutate(module, name, memo, mutate_kwargs)
    return None


def test_a_module_without_probabilities_is_left_out_with_a_warning() -> None:
    search = oneshot.search(Model(), Sampling, mutation_hooks=[silent_first])
    with pytest.warns(UserWarning, match="a Silent has no probabilities to export; 'first'"):
        assert search.export_probs() == {"second": {"a": 0.5, "b": 0.5}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert oneshot.search(Model(), Sampling).export_probs().keys() == {"first", "second"}


# --- hooks ----------------------------------------------------------------------------------------


class Mine(MixedLayer):
    """A supernet module of a strategy's own."""


class AsksLast(Sampling):
    def default_mutation_hooks(self) -> Any:
        return [Mine.mutate, no_default_hook]


class AsksFirst(Sampling):
    def first_mutation_hooks(self) -> Any:
        return [Mine.mutate]


def test_default_hooks_are_asked_after_the_installed_ones_first_hooks_before() -> None:
    last, first = (oneshot.search(Model(), cls) for cls in (AsksLast, AsksFirst))
    assert {type(m) for m in last.nas_modules} == {MixedLayer}
    assert {type(m) for m in first.nas_modules} == {Mine}
    given = oneshot.search(Model(), AsksFirst, mutation_hooks=[silent_first])
    assert [type(m) for m in given.nas_modules] == [Silent, Mine], "the user's come before both"


def test_the_order_that_is_explained_names_the_first_hooks() -> None:
    text = oneshot.registry.explain_order("mutation_hook")
    places = [text.index(part) for part in ("user  ", "first_mutation_hooks", "plugin  ")]
    assert places == sorted(places)
    assert text.index("first_mutation_hooks") < text.index("default_mutation_hooks")


class Kwargs(Sampling):
    def mutate_kwargs(self) -> dict[str, object]:
        return {"mine": 7}


def test_mutate_kwargs_of_a_strategy_need_not_repeat_the_decisions() -> None:
    seen: list[Any] = []
    search = oneshot.search(
        Model(), Kwargs, mutation_hooks=[lambda *asked: seen.append(dict(asked[3]))]
    )
    assert len(search.nas_modules) == 2
    assert seen[0] == {"decisions": search.decisions, "mine": 7}


# --- constructors ---------------------------------------------------------------------------------


class LooksEarly(Sampling):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.found = list(self.nas_modules)
        self.drawn = self.resample()
        self.labels = self.decisions.labels


class LooksTooEarly(Sampling):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.found = self.nas_modules
        self.factor = 2

    def make_decision(self, spec: ParameterSpec) -> Decision:
        assert self.factor
        return super().make_decision(spec)


def test_nas_modules_are_there_inside_a_constructor() -> None:
    search: Any = oneshot.search(Model(), LooksEarly)
    assert search.found == search.nas_modules
    assert len(search.found) == 2
    assert search.drawn.keys() == {"first", "second"}
    assert search.labels == ("first", "second")


def test_nas_modules_asked_for_before_a_strategy_is_ready_are_a_clear_error() -> None:
    with pytest.raises(StrategyError, match=r"asked for nas_modules before it was ready.*factor"):
        oneshot.search(Model(), LooksTooEarly)


class WithoutDecisions(BaseOneShotLightningModule):
    pass


def test_a_strategy_without_make_decision_is_told_where_to_read() -> None:
    model = Model()
    with pytest.raises(StrategyError, match=r"WithoutDecisions makes no decision for 'first'") as e:
        oneshot.search(model, WithoutDecisions)
    assert "docs/from-nni.md" in str(e.value)
    assert isinstance(model.net[0], LayerChoice), "the model is as it was"


# --- supernet modules that decide by themselves ---------------------------------------------------


class DecidesAlone(BaseSuperNetModule):
    """As in the reference: samples and remembers by itself."""

    def __init__(self, label: str, candidates: dict[str, nn.Module]) -> None:
        super().__init__()
        self.label = label
        self.candidates = nn.ModuleDict(candidates)
        self.sampled = next(iter(candidates))

    @classmethod
    def mutate(cls, module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> Any:
        if isinstance(module, LayerChoice):
            return cls(module.label or name, {str(n): module[n] for n in module.names})
        return None

    def search_space_spec(self) -> dict[str, ParameterSpec]:
        return {self.label: ParameterSpec(self.label, tuple(self.candidates))}

    def resample(self, memo: Mapping[str, Choice]) -> dict[str, Choice]:
        if self.label in memo:
            self.sampled = str(memo[self.label])
            return {}
        self.sampled = "b" if self.sampled == "a" else "a"
        return {self.label: self.sampled}

    def export(self, memo: Mapping[str, Choice]) -> dict[str, Choice]:
        return {} if self.label in memo else {self.label: "b"}

    def export_probs(self, memo: Any) -> Any:
        raise NotImplementedError

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        return self.candidates[str(chosen[self.label])]

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.candidates[self.sampled](x))


class Alone(BaseOneShotLightningModule):
    """No decision is made: all its modules decide by themselves."""

    def first_mutation_hooks(self) -> Any:
        return [DecidesAlone.mutate]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.resample()
        self.advance_optimization(self.model.training_step(batch, batch_idx), batch_idx)


def test_supernet_modules_without_decisions_are_trained_exported_and_frozen() -> None:
    search = oneshot.search(Model(), Alone)
    before = {k: v.clone() for k, v in search.state_dict().items()}
    fit(search)
    assert any(not torch.equal(before[k], v) for k, v in search.state_dict().items())
    assert search.resample({"first": "b"})["first"] == "b"
    assert search.export() == {"first": "b", "second": "b"}
    assert search.export({"first": "a"}) == {"first": "a", "second": "b"}
    assert search.top_k(2) == [search.export()]
    with pytest.warns(UserWarning, match="no probabilities"):
        assert search.export_probs() == {}
    frozen = oneshot.freeze(search, search.export())
    assert [type(m) for m in frozen.net] == [nn.Identity, nn.Tanh, nn.Linear]


def test_what_cannot_be_set_from_outside_is_refused() -> None:
    """It computed what the module had drawn, whatever architecture was asked for."""
    search = oneshot.search(Model(), Alone)
    with (
        pytest.raises(StrategyError, match="'first' is decided by a supernet module without"),
        search.at({"first": "a", "second": "a"}),
    ):
        pass
