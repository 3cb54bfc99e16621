"""The strategies against their equations; how a fit runs is tested in tests/lightning."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core.decision import DecisionTable
from oneshot_core.errors import StrategyError
from oneshot_core.space import ParameterSpec
from oneshot_plugins.strategies.darts import Darts, SoftmaxDecision
from oneshot_plugins.strategies.uniform import UniformDecision, UniformSampling


class Model(pl.LightningModule):
    """Two choices and BatchNorm between them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            oneshot.LayerChoice([nn.Linear(4, 4), nn.Tanh()], label="first"),
            nn.BatchNorm1d(4),
            oneshot.LayerChoice([nn.Linear(4, 2), nn.Linear(4, 2, bias=False)], label="second"),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(seed: int = 0) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(24, 4, generator=generator)
    return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=8)


def fit(search: oneshot.BaseOneShotLightningModule, epochs: int = 1) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(search, loader(), loader(1))
    return trainer


@pytest.mark.verifies("frequencies of draws", "random")
@pytest.mark.parametrize("n_chosen", [1, 2, None])
def test_uniform_sampling_takes_every_choice_equally_often(n_chosen: int | None) -> None:
    table = DecisionTable(UniformDecision)
    decision = table.decide(ParameterSpec("x", ("a", "b", "c"), n_chosen), path="x")
    table.reseed(0)
    draws = 6000
    counts = Counter(decision.resample() for _ in range(draws))
    expected = draws / decision.spec.size
    assert set(counts) == set(decision.spec.choices())
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 22.5  # 0.1 % quantile for 6 degrees of freedom
    taken = Counter(c for choice, n in counts.items() for c in decision.spec.members(choice) * n)
    for candidate, p in zip(decision.spec.candidates, decision.probabilities(), strict=True):
        assert taken[candidate] / draws == pytest.approx(p.item(), abs=0.03)


def test_uniform_sampling_runs_what_it_drew() -> None:
    decision = UniformDecision(ParameterSpec("x", ("a", "b", "c")))
    drawn = decision.resample()
    assert [(a.candidate, a.weight) for a in decision.mixture()] == [(drawn, None)]
    decision.adopt("b")
    assert [a.candidate for a in decision.active()] == ["b"]


def test_the_path_of_a_batch_depends_on_seed_epoch_and_index_alone() -> None:
    paths: list[list[dict[str, object]]] = []
    for noise in (0, 7):
        search = UniformSampling(Model(), seed=3)
        torch.manual_seed(noise)  # whatever else draws
        drawn = []
        for epoch in range(2):
            for index in range(4):
                search.reseed("train", epoch, index)
                drawn.append(dict(search.resample()))
        paths.append(drawn)
    assert paths[0] == paths[1]
    assert len({tuple(p.items()) for p in paths[0]}) > 1


@pytest.mark.verifies("frequencies under a constraint", "random")
def test_draws_that_keep_a_constraint_are_equally_probable() -> None:
    """However few there are, and what decides nothing is drawn too."""
    model = Model()
    values = [oneshot.choice(range(8), label=f"value{i}") for i in range(4)]
    model.more = nn.ModuleList(oneshot.nn.Linear(v + 1, 2) for v in values)
    for one, other in itertools.pairwise(values):
        oneshot.constrain(model, one + 1 == other)
    search = UniformSampling(model, seed=0)
    drawn = []
    for step in range(250):
        search.reseed("train", 0, step)
        drawn.append(search.resample())
        assert search.space.possible(drawn[-1])
        assert drawn[-1] == {d.spec.label: d.active()[0].candidate for d in search.decisions}
    found = Counter(each["value0"] for each in drawn)
    assert set(found) == set(range(5))
    assert sum((count - 50) ** 2 / 50 for count in found.values()) < 20  # 4 degrees of freedom


def test_uniform_sampling_has_no_opinion_before_a_ranking() -> None:
    search = oneshot.search(Model(), "random", seed=0)
    with pytest.raises(StrategyError, match="rank"):
        search.export()
    fit(search)
    ranking = search.rank(3, loader(1), metric="val_loss", mode="min", progress=False)
    assert search.export() == ranking.best
    assert search.top_k(2) == [entry.architecture for entry in ranking][:2]


@pytest.mark.verifies("equation 2", "darts")
def test_softmax_weights_are_those_of_the_paper() -> None:
    decision = SoftmaxDecision(ParameterSpec("x", ("a", "b", "c")), seed=0)
    with torch.no_grad():
        decision.alpha.copy_(torch.tensor([0.0, 1.0, -2.0]))
    total = sum(math.exp(a) for a in (0.0, 1.0, -2.0))
    for active, a in zip(decision.mixture(), (0.0, 1.0, -2.0), strict=True):
        assert active.weight is not None
        assert active.weight.item() == pytest.approx(math.exp(a) / total)


@pytest.mark.parametrize("n_chosen", [1, 2, 3])
def test_softmax_weights_sum_to_the_number_that_is_chosen(n_chosen: int) -> None:
    decision = SoftmaxDecision(ParameterSpec("x", ("a", "b", "c"), n_chosen))
    assert decision.probabilities().sum().item() == pytest.approx(n_chosen)


def test_any_subset_is_decided_by_a_sigmoid_for_each_candidate() -> None:
    decision = SoftmaxDecision(ParameterSpec("x", ("a", "b"), None))
    with torch.no_grad():
        decision.alpha.copy_(torch.tensor([3.0, -3.0]))
    assert torch.allclose(decision.probabilities(), torch.tensor([3.0, -3.0]).sigmoid())
    assert decision.best() == ("a",)


def test_initial_alphas_depend_on_seed_and_label_not_on_the_order_of_the_walk() -> None:
    one, two = (SoftmaxDecision(ParameterSpec(label, ("a", "b")), seed=5) for label in "xy")
    again = SoftmaxDecision(ParameterSpec("x", ("a", "b")), seed=5)
    other = SoftmaxDecision(ParameterSpec("x", ("a", "b")), seed=6)
    assert torch.equal(one.alpha, again.alpha)
    assert not torch.equal(one.alpha, two.alpha)
    assert not torch.equal(one.alpha, other.alpha)
    assert one.alpha.abs().max() < 0.01


def test_a_choice_of_one_candidate_is_computed_as_it_is() -> None:
    decision = SoftmaxDecision(ParameterSpec("x", ("a",)))
    assert [(a.candidate, a.weight) for a in decision.mixture()] == [("a", None)]


@pytest.mark.verifies("algorithm 1: both steps of a batch, written out", "darts")
def test_one_darts_batch_equals_both_steps_written_out() -> None:
    """Algorithm 1 with xi = 0: Adam on alpha with the other batch, then SGD on the weights."""
    torch.manual_seed(0)
    weights, architecture = loader(1), loader(2)
    model = Model()
    search = Darts(model, arch_dataloader=architecture, arc_learning_rate=0.1, seed=0)
    plain = Model()
    plain.load_state_dict(model.state_dict())
    alphas = {
        d.spec.label: d.alpha.detach().clone().requires_grad_()
        for d in search.decisions
        if isinstance(d, SoftmaxDecision)
    }

    def forward(x: Tensor) -> Tensor:
        for layer in plain.net:
            if isinstance(layer, oneshot.LayerChoice):
                p = alphas[str(layer.label)].softmax(0)
                x = sum(p[i] * layer[name](x) for i, name in enumerate(layer))  # type: ignore[assignment]
            else:
                x = layer(x)
        return x

    adam = torch.optim.Adam(alphas.values(), lr=0.1, betas=(0.5, 0.999), weight_decay=1e-3)
    sgd = torch.optim.SGD(plain.parameters(), lr=0.1)
    for (x, y), (xa, ya) in zip(weights, architecture, strict=True):
        buffers = {name: b.clone() for name, b in plain.named_buffers()}
        loss = nn.functional.cross_entropy(forward(xa), ya)
        grads = torch.autograd.grad(loss, list(alphas.values()))
        for alpha, grad in zip(alphas.values(), grads, strict=True):
            alpha.grad = grad
        adam.step()
        for name, b in plain.named_buffers():
            b.copy_(buffers[name])
        sgd.zero_grad()
        nn.functional.cross_entropy(forward(x), y).backward()
        sgd.step()

    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(search, weights, loader(3))
    for decision in search.decisions:
        assert isinstance(decision, SoftmaxDecision)
        assert torch.equal(decision.alpha, alphas[decision.spec.label])
    for name, value in plain.state_dict().items():
        assert torch.equal(search.state_dict()[name], value), name


def test_warm_up_epochs_train_weights_only() -> None:
    search = Darts(Model(), arch_dataloader=loader(2), warmup_epochs=1, seed=0)
    before = [p.detach().clone() for p in search.decisions.parameters()]
    fit(search, epochs=1)
    assert all(map(torch.equal, before, search.decisions.parameters()))
    fit(search, epochs=2)
    assert not any(map(torch.equal, before, search.decisions.parameters()))


def test_the_architecture_scheduler_is_stepped_once_an_epoch() -> None:
    search = Darts(
        Model(),
        arch_dataloader=loader(2),
        arc_learning_rate=1.0,
        arc_scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5),
        seed=0,
    )
    fit(search, epochs=3)
    optimizer = search.architecture_optimizers()
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_darts_needs_data_of_its_own_and_says_so_before_touching_the_model() -> None:
    model = Model()
    with pytest.raises(StrategyError, match="arch_dataloader"):
        oneshot.search(model, "darts")
    assert isinstance(model.net[0], oneshot.LayerChoice)


def test_negative_warm_up_is_refused() -> None:
    with pytest.raises(StrategyError, match="warmup_epochs=-1"):
        Darts(Model(), arch_dataloader=loader(), warmup_epochs=-1)


def test_random_refuses_an_architecture_loader_it_would_not_use() -> None:
    with pytest.raises(StrategyError, match="takes no arch_dataloader"):
        oneshot.search(Model(), "random", arch_dataloader=loader())


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(StrategyError, match="takes no lr") as info:
        oneshot.search(Model(), "darts", arch_dataloader=loader(), lr=1.0)
    assert "arc_learning_rate" in str(info.value)


def test_a_strategy_may_be_given_as_a_class() -> None:
    assert isinstance(oneshot.search(Model(), UniformSampling), UniformSampling)


def test_an_unknown_strategy_is_named_with_close_matches() -> None:
    with pytest.raises(LookupError, match="did you mean strategy:darts"):
        oneshot.search(Model(), "dart")


def test_a_class_that_is_no_strategy_is_refused() -> None:
    with pytest.raises(StrategyError, match="BaseOneShotLightningModule"):
        oneshot.search(Model(), nn.Linear)  # type: ignore[arg-type]


def with_priors() -> nn.Module:
    return nn.ModuleList(
        [
            oneshot.LayerChoice({"a": nn.ReLU(), "b": nn.Tanh()}, prior=[3, 1], label="layer"),
            oneshot.InputChoice(3, prior=[0, 2, 2], label="input"),
            oneshot.nn.Linear(2, oneshot.choice([1, 2], label="width", prior=[0.1, 0.9])),
        ]
    )


PRIORS = {
    "layer": {"a": 0.75, "b": 0.25},
    "input": {0: 0, 1: 0.5, 2: 0.5},
    "width": {1: 0.1, 2: 0.9},
}


class WithPriors(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.parts = with_priors()

    def configure_optimizers(self) -> None:
        return None


def test_uniform_sampling_draws_by_the_prior_and_reports_it() -> None:
    search = oneshot.search(WithPriors(), "random", seed=0)
    for label, probabilities in search.export_probs().items():
        assert probabilities == pytest.approx(PRIORS[label])
    drawn = [search.resample() for _ in range(3000)]
    for label, expected in PRIORS.items():
        counts = Counter(draw[label] for draw in drawn)
        for candidate, probability in expected.items():
            assert counts[candidate] / 3000 == pytest.approx(probability, abs=0.03)
    assert all(draw["input"] != 0 for draw in drawn)


def test_darts_starts_from_the_prior() -> None:
    """Up to the noise of N(0, 1e-3²); what has a prior of 0 can still be learned."""
    search = oneshot.search(WithPriors(), "darts", arch_dataloader=[0], seed=0)
    for label, probabilities in search.export_probs().items():
        assert probabilities == pytest.approx(PRIORS[label], abs=0.005)
    assert search.export() == {"layer": "a", "input": search.export()["input"], "width": 2}
    alpha = search.decisions["input"].alpha
    assert alpha[0].item() == pytest.approx(math.log(1e-6), abs=0.01)  # type: ignore[index]
    search.decisions["input"].probabilities()[0].backward()
    assert alpha.grad.abs().max() > 0  # type: ignore[union-attr]


def test_ranking_draws_by_the_prior() -> None:
    search = oneshot.search(WithPriors(), "random", seed=0)
    rng = search.decisions.rng
    drawn = [search.space.sample(rng)["layer"] for _ in range(2000)]
    assert drawn.count("a") / 2000 == pytest.approx(0.75, abs=0.03)
