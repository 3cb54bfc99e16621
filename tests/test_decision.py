"""How one labelled choice is made, and how decisions are kept together."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from oneshot_core.decision import Active, Decision, DecisionTable
from oneshot_core.errors import ArchitectureError, LabelError
from oneshot_core.space import Choice, ParameterSpec
from oneshot_plugins.supernets.joint import joint

ABC = ("a", "b", "c")


class Given(Decision):
    """Has the probabilities it is given."""

    def __init__(self, spec: ParameterSpec, p: Sequence[float] | None = None) -> None:
        super().__init__(spec)
        n = len(spec.candidates)
        self.p = nn.Parameter(torch.tensor(p if p is not None else [1 / n] * n))

    def mixture(self) -> list[Active]:
        return [
            Active(candidate, p) for candidate, p in zip(self.spec.candidates, self.p, strict=True)
        ]

    def probabilities(self) -> Tensor:
        return self.p

    def resample(self) -> Choice | None:
        return self.draw_uniform()


def decision(p: Sequence[float], n_chosen: int | None = 1) -> Given:
    return Given(ParameterSpec("x", tuple(range(len(p))), n_chosen), p)


def test_active_is_the_mixture_while_nothing_is_pinned() -> None:
    active = Given(ParameterSpec("x", ABC), [0.2, 0.5, 0.3]).active()
    assert [a.candidate for a in active] == list(ABC)
    torch.testing.assert_close(
        torch.stack([a.weight for a in active]), torch.tensor([0.2, 0.5, 0.3])
    )


@pytest.mark.parametrize(
    ("n_chosen", "choice", "pinned", "active"),
    [
        pytest.param(1, "b", "b", ["b"], id="one"),
        pytest.param(1, ["b"], "b", ["b"], id="list-of-one"),
        pytest.param(2, ["c", "a"], ("a", "c"), ["a", "c"], id="two-in-any-order"),
        pytest.param(None, "c", ("c",), ["c"], id="subset"),
    ],
)
def test_a_pinned_choice_is_computed_as_it_is_until_unpinned(
    n_chosen: int | None, choice: Choice, pinned: Choice, active: list[str]
) -> None:
    given_decision = Given(ParameterSpec("x", ABC, n_chosen))
    given_decision.pin(choice)
    assert given_decision.pinned == pinned
    assert given_decision.active() == [Active(candidate, None) for candidate in active]
    given_decision.pin(None)
    assert given_decision.pinned is None
    assert len(given_decision.active()) == 3


def test_only_choices_of_the_spec_can_be_pinned() -> None:
    with pytest.raises(ArchitectureError):
        Given(ParameterSpec("x", ABC)).pin("d")


def test_by_default_nothing_is_drawn_adopted_or_superposed() -> None:
    class Fixed(Decision):
        def mixture(self) -> list[Active]:
            return [Active("a")]

        def probabilities(self) -> Tensor:
            return torch.tensor([1.0, 0.0, 0.0])

    fixed = Fixed(ParameterSpec("x", ABC))
    assert fixed.resample() is None
    fixed.adopt("b")
    assert fixed.active() == [Active("a")]
    assert fixed.superposes is False
    assert list(fixed.parameters()) == []


@pytest.mark.parametrize(
    ("p", "n_chosen", "best"),
    [
        pytest.param([0.1, 0.7, 0.2], 1, 1, id="one"),
        pytest.param([0.1, 1.0, 0.9], 2, (1, 2), id="two"),
        pytest.param([0.1, 0.7, 0.2], None, (1,), id="subset"),
        pytest.param([0.1, 0.7, 0.6], None, (1, 2), id="larger-subset"),
        pytest.param([0.1, 0.2, 0.3], None, (2,), id="a-subset-is-never-empty"),
        pytest.param([0.4, 0.4, 0.2], 1, 0, id="first-of-equals"),
        pytest.param([0.2, 0.4, 0.4], 1, 1, id="first-of-equal-best"),
        pytest.param([0.5] * 4, 2, (0, 1), id="first-of-equal-pairs"),
        pytest.param([0.1, 0.3, 0.1, 0.3, 0.1], 3, (0, 1, 3), id="first-of-equal-triples"),
        pytest.param([0.5] * 3, None, (0,), id="first-of-equal-subsets"),
        pytest.param([0.0, 0.0, 1.0], 2, (0, 2), id="zeros"),
    ],
)
def test_best_is_the_most_probable_and_the_first_of_equals(
    p: list[float], n_chosen: int | None, best: Choice
) -> None:
    assert decision(p, n_chosen).best() == best


def brute_force(given_decision: Given, choice: Choice) -> float:
    """Compute the log-probability of one choice, candidates being independent."""
    p = dict(zip(given_decision.spec.candidates, given_decision.p.double().tolist(), strict=True))
    taken = given_decision.spec.members(choice)
    factors = [p[c] for c in taken]
    if given_decision.spec.n_chosen is None:
        factors += [1 - p[c] for c in p if c not in taken]
    return sum(math.log(f) if f > 0 else -math.inf for f in factors)


@st.composite
def decisions(draw: st.DrawFn) -> Given:
    p = draw(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]), min_size=1, max_size=6))
    return decision(p, draw(st.none() | st.integers(1, len(p))))


@given(decisions(), st.integers(1, 12))
def test_top_k_are_the_k_best_of_all_choices_in_a_fixed_order(d: Given, k: int) -> None:
    order = list(d.spec.choices())
    everything = sorted((brute_force(d, choice) for choice in order), reverse=True)

    top = d.top_k(k)

    assert len(top) == min(k, len(order))
    assert len({choice for choice, _ in top}) == len(top)
    assert [score for _, score in top] == pytest.approx(everything[: len(top)])
    assert [score for _, score in top] == pytest.approx([brute_force(d, c) for c, _ in top])

    # Of choices with the very same factors, the earlier one comes first, and comes at all.
    def factors(choice: Choice) -> list[float]:
        return sorted(d.p[int(c)].item() for c in d.spec.members(choice))

    ranked = [choice for choice, _ in top]
    for position, choice in enumerate(ranked):
        twins = [c for c in order[: order.index(choice)] if factors(c) == factors(choice)]
        assert set(twins) <= set(ranked[:position])


def test_top_k_needs_a_positive_k() -> None:
    with pytest.raises(ValueError, match="k >= 1, got 0"):
        decision([0.5, 0.5]).top_k(0)


def test_top_k_of_many_candidates_does_not_enumerate_them_all() -> None:
    d = decision([1 / (i + 2) for i in range(60)], 20)  # 4e15 choices
    assert d.best() == tuple(range(20))
    assert len(d.top_k(5)) == 5


def test_top_k_leaves_no_graph_behind() -> None:
    d = decision([0.4, 0.6])
    d.top_k(2)
    assert d.p.grad is None
    assert d.probabilities().requires_grad


@pytest.mark.parametrize("n_chosen", [1, 2, None])
def test_uniform_draws_are_uniform_over_all_choices(n_chosen: int | None) -> None:
    """Chi-square with a fixed seed; 99.9 percent quantiles of 3, 5 and 14 degrees of freedom."""
    d = decision([0.25] * 4, n_chosen)
    d.rng.seed(7)
    n = 3000
    counts = Counter(d.draw_uniform() for _ in range(n))
    choices = list(d.spec.choices())
    expected = n / len(choices)
    chi_square = sum((counts[choice] - expected) ** 2 / expected for choice in choices)
    assert counts.total() == sum(counts[choice] for choice in choices)
    assert chi_square < {1: 16.3, 2: 20.5, None: 36.1}[n_chosen]


def test_one_label_has_one_decision() -> None:
    table = DecisionTable(Given)
    spec = ParameterSpec("stem.conv", ABC)
    first = table.decide(spec, path="a")
    assert table.decide(ParameterSpec("stem.conv", ABC, default="b"), path="b") is first
    assert first.spec is spec
    other = table.decide(ParameterSpec("other", ABC), path="c")
    assert other is not first
    assert table["stem.conv"] is first
    assert list(table) == [first, other]
    assert table.labels == ("stem.conv", "other")
    assert len(table) == 2
    assert "other" in table
    assert "third" not in table


def test_a_label_that_is_not_known_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        DecisionTable(Given)["x"]


@pytest.mark.parametrize(
    ("second", "shown"),
    [
        pytest.param(ParameterSpec("x", ("a", "d")), "one of ['a', 'd']", id="candidates"),
        pytest.param(ParameterSpec("x", ("b", "a", "c")), "['b', 'a', 'c']", id="order"),
        pytest.param(ParameterSpec("x", ABC, 2), "2 of", id="n-chosen"),
    ],
)
def test_a_label_with_two_meanings_is_refused_with_both_places(
    second: ParameterSpec, shown: str
) -> None:
    table = DecisionTable(Given)
    table.decide(ParameterSpec("x", ABC), path="encoder.0")
    with pytest.raises(LabelError) as caught:
        table.decide(second, path="decoder.1")
    message = str(caught.value)
    assert message.startswith("the label 'x' names two different choices.")
    assert "'encoder.0' offers one of ['a', 'b', 'c']" in message
    assert "'decoder.1' offers" in message
    assert shown in message
    assert isinstance(caught.value, ValueError)
    assert len(table) == 1


def test_architecture_parameters_are_the_tables_and_dots_in_labels_do_no_harm() -> None:
    table = DecisionTable(Given)
    table.decide(ParameterSpec("a.b.c", ABC), path="p")
    assert [p.shape for p in table.parameters()] == [(3,)]
    copied = DecisionTable(Given)
    copied.decide(ParameterSpec("a.b.c", ABC), path="p")
    copied.load_state_dict(table.state_dict())


def table_of(*labels: str) -> DecisionTable:
    table = DecisionTable(Given)
    for label in labels:
        table.decide(ParameterSpec(label, tuple(range(100))), path=label)
    return table


def draws(table: DecisionTable, n: int = 5) -> list[Choice | None]:
    return [d.resample() for _, d in itertools.product(range(n), table)]


def test_the_same_key_gives_the_same_draws() -> None:
    one, other = table_of("x", "y"), table_of("x", "y")
    one.reseed(1, "train", 3)
    draws(other)
    other.reseed(1, "train", 3)
    assert draws(one) == draws(other)


def test_draws_do_not_depend_on_the_process() -> None:
    """Pinned: another Python, machine or hash seed must give the same."""
    table = table_of("x")
    table.reseed(0, 1, 2)
    assert draws(table) == [72, 6, 91, 45, 49]


@pytest.mark.parametrize("key", [(1, 2, 4), (1, 23), (12, 3), (1, 2), ()])
def test_another_key_gives_other_draws(key: tuple[int, ...]) -> None:
    table = table_of("x", "y")
    table.reseed(1, 2, 3)
    first = draws(table)
    table.reseed(*key)
    assert draws(table) != first


def test_draws_neither_use_nor_change_the_global_generators() -> None:
    import random

    table = table_of("x")
    table.reseed(0)
    first = draws(table)
    torch.manual_seed(1)
    random.seed(1)
    before = torch.get_rng_state(), random.getstate()
    table.reseed(0)
    assert draws(table) == first
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda table: pickle.loads(pickle.dumps(table))],
    ids=["copy", "pickle"],
)
def test_a_copied_table_draws_on_its_own_from_one_shared_generator(clone: object) -> None:
    table = table_of("x", "y")
    copied = clone(table)  # type: ignore[operator]
    assert all(d.rng is copied.rng for d in copied)
    copied.reseed(3)
    expected = draws(copied)
    table.reseed(3)
    assert draws(table) == expected


def test_none_is_pinned_like_any_candidate() -> None:
    """It was taken for "not pinned", so that the strategy went on to decide."""
    decision = Given(ParameterSpec("eps", (1e-5, None)))
    assert not decision.is_pinned
    decision.pin(None)
    assert decision.is_pinned
    assert decision.active() == [Active(None)]
    decision.unpin()
    assert not decision.is_pinned
    assert len(decision.active()) == 2


class Default(Decision):
    """Take the default, each candidate with a weight if there is one."""

    def __init__(self, spec: ParameterSpec, weight: float | None = None) -> None:
        super().__init__(spec)
        self.weight = None if weight is None else torch.tensor(weight)

    def mixture(self) -> list[Active]:
        return [Active(c, self.weight) for c in self.spec.members(self.spec.default)]

    def probabilities(self) -> Tensor:
        return torch.ones(len(self.spec.candidates))


def test_a_joint_choice_of_several_candidates_is_one_choice_with_the_product_of_weights() -> None:
    one = Default(ParameterSpec("one", ("a", "b")))
    two = Default(ParameterSpec("two", (0, 1, 2), 2))
    assert joint([one, two]) == [({"one": "a", "two": (0, 1)}, None)]
    [(chosen, weight)] = joint([two, Default(ParameterSpec("x", (0, 1, 2), 2), 0.5)])
    assert chosen == {"two": (0, 1), "x": (0, 1)}
    assert weight == 0.25


@pytest.mark.parametrize(
    ("p", "n_chosen", "entropy"),
    [
        pytest.param([0.5, 0.5], 1, 1.0, id="undecided"),
        pytest.param([1.0, 0.0], 1, 0.0, id="decided"),
        pytest.param([2 / 3, 2 / 3, 2 / 3], 2, 1.0, id="two-of-three"),
        pytest.param([1.0, 0.5], None, 0.5, id="each-by-itself"),
        pytest.param([0.25, 0.75], 1, 2 - 0.75 * math.log2(3), id="between"),
    ],
)
def test_entropy_is_1_for_equal_probabilities_and_0_for_a_certain_choice(
    p: list[float], n_chosen: int | None, entropy: float
) -> None:
    assert decision(p, n_chosen).entropy() == pytest.approx(entropy, abs=1e-6)
    assert math.isnan(decision([math.nan, 0.5]).entropy())
