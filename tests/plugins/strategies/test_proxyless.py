"""ProxylessNAS: the gradient of binary gates, on two paths, and no cost for any other."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from oneshot_core.decision import DecisionTable
from oneshot_core.space import ParameterSpec
from oneshot_plugins.strategies.proxyless import Proxyless, ProxylessDecision


def decided(n_chosen: int | None = 1, alpha: Any = (0.5, -1.0, 0.2, 0.0)) -> ProxylessDecision:
    table = DecisionTable(ProxylessDecision)
    decision = table.decide(ParameterSpec("x", ("a", "b", "c", "d"), n_chosen), path="x")
    assert isinstance(decision, ProxylessDecision)
    decision.double()
    with torch.no_grad():
        decision.alpha.copy_(torch.tensor(alpha))
    table.reseed(0)
    return decision


class PlainProxyless(Proxyless):
    """Steps the architecture by its plain gradient."""

    def configure_architecture_optimizers(self) -> Any:
        return torch.optim.SGD(self.decisions.parameters(), lr=1.0)


@pytest.mark.verifies("equation 4 and the rescaling, written out", "proxyless")
def test_a_step_is_the_papers_estimator_and_its_rescaling(net: Any, loader: Any, fit: Any) -> None:
    """Section 3.2.1, equation 4, over the pair; section 3.2.2 for the unsampled paths."""
    search = PlainProxyless(net(), arch_dataloader=loader(2, n=8), seed=2)
    search.decisions.double()
    twin = copy.deepcopy(search.decisions)
    twin.reseed(search.seed, "architecture", 0, 0)
    (batch,) = list(loader(2, n=8))
    x, model, gates = batch[0], search.model, []
    for decision, choice in zip(twin, (model.first, model.second), strict=True):
        assert isinstance(decision, ProxylessDecision)
        decision.rng = twin.rng
        decision.compare()
        taken = decision.spec.members(decision._taken)
        g = torch.tensor(
            [float(c in taken) for c in decision.compared], dtype=torch.float64, requires_grad=True
        )
        gates.append(g)
        x = sum(g[i] * choice.candidates[c](x) for i, c in enumerate(decision.compared))
    slopes = torch.autograd.grad(nn.functional.cross_entropy(model.head(x), batch[1]), gates)
    expected = []
    for decision, dg in zip(twin, slopes, strict=True):
        assert isinstance(decision, ProxylessDecision)
        index = [decision.spec.candidates.index(c) for c in decision.compared]
        alpha = decision.alpha.detach()
        p = alpha[index].exp() / alpha[index].exp().sum()
        gradient = torch.stack(
            [sum(dg[j] * p[j] * (float(i == j) - p[i]) for j in (0, 1)) for i in (0, 1)]  # type: ignore[misc]
        )
        new = alpha[index] - gradient
        ratio = alpha[index].exp().sum() / new.exp().sum()
        after = alpha.clone()
        after[index] = (new.exp() * ratio).log()
        expected.append(after)

    fit(search, loader(1, n=8))

    for alpha, want, dg in zip(search.decisions.parameters(), expected, slopes, strict=True):
        assert torch.allclose(alpha, want, rtol=1e-10, atol=1e-13)
        assert dg.abs().max() > 0


@pytest.mark.verifies("probabilities of what was not compared", "proxyless")
def test_the_path_probabilities_of_what_was_not_compared_stay(
    net: Any, loader: Any, fit: Any
) -> None:
    """With Adam, moments of earlier pairs and weight decay, too."""
    search = Proxyless(
        net(),
        arch_dataloader=loader(2, n=8),
        betas=(0.9, 0.999),
        weight_decay=0.1,
        arc_learning_rate=0.1,
        seed=0,
    )
    seen: list[tuple[Any, Any]] = []
    step = search.train_architecture

    def watched() -> None:
        before = [d.probabilities().detach().clone() for d in search.decisions]
        step()
        seen.append((before, [(d.compared, d.probabilities()) for d in search.decisions]))  # type: ignore[attr-defined]

    search.__dict__["train_architecture"] = watched
    fit(search, loader(1), max_epochs=3)
    assert len(seen) == 9
    for before, after in seen:
        for p, (pair, q) in zip(before, after, strict=True):
            for i, candidate in enumerate(("a", "b", "skip")):
                same = torch.isclose(p[i], q[i], rtol=1e-6, atol=0)
                assert bool(same) == (candidate not in pair)


@pytest.mark.parametrize("n_chosen", [1, 2, None])
def test_gates_are_exactly_binary_and_at_most_one_more_than_the_path_runs(
    n_chosen: int | None,
) -> None:
    decision = decided(n_chosen)
    for _ in range(50):
        decision.compare()
        active = decision.mixture()
        open_ = [a.candidate for a in active if a.weight is None or a.weight.item() == 1.0]
        closed = [a for a in active if a.weight is not None and a.weight.item() == 0.0]
        assert tuple(open_) == decision.spec.members(decision._taken)
        assert len(closed) <= 1
        assert len(open_) + len(closed) == len(active)


def test_pairs_are_drawn_by_their_probabilities_and_so_is_the_open_one() -> None:
    """Two of the multinomial distribution without repetition, then one of the two."""
    decision = decided()
    p = dict(zip("abcd", decision.alpha.softmax(0).tolist(), strict=True))
    pairs, opens, draws = Counter[str](), Counter[str](), 8000
    for _ in range(draws):
        decision.compare()
        pair = "".join(map(str, decision.compared))
        pairs[pair] += 1
        opens[pair] += decision._taken == pair[0]
    for pair, count in pairs.items():
        one, two = p[pair[0]], p[pair[1]]
        drawn = one * two / (1 - one) + one * two / (1 - two)
        assert count / draws == pytest.approx(drawn, abs=0.02)
        assert opens[pair] / count == pytest.approx(one / (one + two), abs=0.06)


@pytest.mark.parametrize("n_chosen", [1, 2, None])
def test_paths_are_drawn_by_the_learned_probabilities(n_chosen: int | None) -> None:
    decision = decided(n_chosen)
    counts, draws = Counter[object](), 6000
    for _ in range(draws):
        counts.update(decision.spec.members(decision.resample()))
    if n_chosen == 2:  # the expectation of successive draws, by hand
        p = decision.alpha.detach().softmax(0)
        expected = [float(p[i] * (1 + (p / (1 - p)).sum() - p[i] / (1 - p[i]))) for i in range(4)]
    elif n_chosen is None:
        on = decision.alpha.detach().sigmoid()
        expected = on.tolist()
        expected[0] += float((1 - on).prod())  # where nothing is on, the most probable is
    else:
        expected = decision.probabilities().tolist()
    for candidate, q in zip("abcd", expected, strict=True):
        assert counts[candidate] / draws == pytest.approx(q, abs=0.02)


def ran_in(search: Any, calls: Counter[str]) -> None:
    for name in ("first", "second"):
        for key, module in getattr(search.model, name).candidates.items():
            module.register_forward_hook(
                lambda *_, at=f"{name}.{key}": calls.update([f"{at}.{search.stage}"])
            )


class Staged(Proxyless):
    """Knows which step it is in."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stage = "architecture"

    def advance_optimization(self) -> None:
        self.stage = "weights"
        super().advance_optimization()
        self.stage = "architecture"


@pytest.mark.verifies("calls of candidates: one path, then two", "proxyless")
def test_the_weight_step_pays_for_one_path_and_the_other_step_for_two(
    net: Any, loader: Any, fit: Any
) -> None:
    """The reference ran all candidates in every step (its bug B38)."""
    search = Staged(net(), arch_dataloader=loader(2), seed=0)
    calls = Counter[str]()
    ran_in(search, calls)
    fit(search, limit_val_batches=0)
    assert sum(n for at, n in calls.items() if at.endswith("weights")) == 3 * 2 * 1
    assert sum(n for at, n in calls.items() if at.endswith("architecture")) == 3 * 2 * 2


@pytest.mark.verifies("BatchNorm of idle paths", "proxyless")
def test_batch_norm_of_paths_that_did_not_train_is_untouched(
    net: Any, loader: Any, fit: Any
) -> None:
    """The reference updated it inside of the architecture's backward pass (its bug B13)."""
    search = Proxyless(net(norm=True), arch_dataloader=loader(2), seed=0)
    trained = Counter[tuple[str, object]]()
    for index in range(3):
        search.draw("train", index)
        trained.update((d.spec.label, d.mixture()[0].candidate) for d in search.decisions)
    before = [p.detach().clone() for p in search.decisions.parameters()]
    fit(search, limit_val_batches=0, max_steps=-1)
    assert not any(map(torch.equal, before, search.decisions.parameters()))
    total = 0
    for name in ("first", "second"):
        for key in ("a", "b"):
            total += int(getattr(search.model, name).candidates[key][1].num_batches_tracked)
    # Scores moved by thousandths only, so the paths are those drawn above.
    assert total == sum(n for (_, c), n in trained.items() if c != "skip")


def test_export_is_the_most_probable_path_each_time(net: Any, loader: Any) -> None:
    """The reference drew it at random (its bug B6)."""
    search = Proxyless(net(), arch_dataloader=loader(2), seed=0)
    with torch.no_grad():
        for decision in search.decisions:
            decision.alpha.copy_(torch.tensor([0.0, 1.0, 0.5]))  # type: ignore[attr-defined,operator]
    assert all(search.export() == {"first": "b", "second": "b"} for _ in range(5))
