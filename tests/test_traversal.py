"""What the walk promises: order, replacement, suppression, sharing, and undoing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oneshot_core.decision import Active, Decision, DecisionTable
from oneshot_core.errors import HookReturnError, MutationError, UnsupportedModuleError
from oneshot_core.hooks import no_default_hook
from oneshot_core.space import Choice, InputChoice, LayerChoice, Repeat
from oneshot_core.supernet import BaseSuperNetModule, supernet_modules
from oneshot_core.traversal import MAX_GENERATIONS, traverse_and_mutate_submodules
from oneshot_plugins.supernets.modules import MixedLayer

both_orders = pytest.mark.parametrize("topdown", [True, False], ids=["topdown", "bottomup"])


class Marked(BaseSuperNetModule):
    """A supernet module around what it replaced."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        return self.inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Fresh(BaseSuperNetModule):
    """A supernet module that keeps nothing of what it replaced."""

    def select(self, chosen: Mapping[str, Choice]) -> nn.Module:
        return nn.Identity()


class Plain(nn.Module):
    """A replacement that is no supernet module, around what it replaced."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class First(Decision):
    def mixture(self) -> list[Active]:
        return [Active(self.spec.candidates[0])]

    def probabilities(self) -> Tensor:
        return torch.ones(len(self.spec.candidates)) / len(self.spec.candidates)


def mark_linear(module: nn.Module, *_: Any) -> nn.Module | None:
    return Marked(module) if type(module) is nn.Linear else None


def refresh_linear(module: nn.Module, *_: Any) -> nn.Module | None:
    return Fresh() if type(module) is nn.Linear else None


def refresh_sequential(module: nn.Module, *_: Any) -> nn.Module | None:
    return Fresh() if type(module) is nn.Sequential else None


def linear() -> nn.Linear:
    return nn.Linear(1, 1)


def offered(root: nn.Module, *, topdown: bool = True) -> list[str]:
    names: list[str] = []
    traverse_and_mutate_submodules(root, [lambda module, name, *_: names.append(name)], {}, topdown)
    return names


def tree(root: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(root.named_modules(remove_duplicate=False))


def nested() -> nn.Sequential:
    return nn.Sequential(nn.Sequential(linear(), nn.ReLU()), linear())


def test_topdown_offers_a_module_before_its_children() -> None:
    assert offered(nested()) == ["0", "0.0", "0.1", "1"]


def test_bottomup_offers_a_module_after_its_children() -> None:
    assert offered(nested(), topdown=False) == ["0.0", "0.1", "0", "1"]


def test_topdown_is_the_default_and_may_be_given_by_position() -> None:
    names: list[str] = []
    traverse_and_mutate_submodules(nested(), [lambda m, name, *_: names.append(name)])
    assert names == ["0", "0.0", "0.1", "1"]


@both_orders
def test_the_root_is_never_offered(topdown: bool) -> None:
    assert "" not in offered(nested(), topdown=topdown)
    assert offered(nn.Linear(1, 1), topdown=topdown) == []


@pytest.mark.parametrize(
    "choice",
    [LayerChoice([nn.ReLU()]), InputChoice(2), Repeat(nn.ReLU(), 2)],
    ids=lambda choice: type(choice).__name__,
)
def test_a_choice_at_the_root_is_refused_with_the_advice_to_wrap_it(choice: nn.Module) -> None:
    with pytest.raises(UnsupportedModuleError, match=type(choice).__name__) as caught:
        traverse_and_mutate_submodules(choice, [])
    assert "wrap it" in str(caught.value)


@both_orders
def test_children_that_are_none_are_skipped_and_stay(topdown: bool) -> None:
    root = nn.Module()
    root.register_module("gap", None)
    root.layer = linear()
    traverse_and_mutate_submodules(root, [mark_linear], topdown=topdown)
    assert root._modules["gap"] is None
    assert isinstance(root.layer, Marked)


@both_orders
def test_children_of_lists_and_dicts_are_replaced(topdown: bool) -> None:
    root = nn.Module()
    root.items = nn.ModuleList([linear(), nn.ReLU()])
    root.named = nn.ModuleDict({"a": linear(), "b": nn.ReLU()})
    found = traverse_and_mutate_submodules(root, [mark_linear], topdown=topdown)
    assert found == [root.items[0], root.named["a"]]
    assert root.items[0](torch.ones(1)).shape == (1,)


@both_orders
def test_the_list_is_in_walk_order(topdown: bool) -> None:
    root = nn.Sequential(nn.Sequential(linear()), linear())
    both = [refresh_linear, lambda m, *_: Marked(m) if type(m) is nn.Sequential else None]
    found = traverse_and_mutate_submodules(root, both, topdown=topdown)
    inner, outer, last = root[0].inner[0], root[0], root[1]
    assert found == ([outer, inner, last] if topdown else [inner, outer, last])


@pytest.mark.parametrize(
    ("answer", "replaced", "second_hook_runs"),
    [
        pytest.param(None, False, True, id="none"),
        pytest.param(False, False, True, id="false"),
        pytest.param(True, False, False, id="true"),
        pytest.param(Fresh(), True, False, id="module"),
        pytest.param((Fresh(), False), True, True, id="module-and-go-on"),
        pytest.param((Fresh(), True), True, False, id="module-and-stop"),
        pytest.param((None, True), False, False, id="nothing-and-stop"),
        pytest.param((None, False), False, True, id="nothing-and-go-on"),
    ],
)
@both_orders
def test_answers_of_hooks_act_on_the_tree(
    answer: Any, replaced: bool, second_hook_runs: bool, topdown: bool
) -> None:
    calls: list[nn.Module] = []
    original = nn.ReLU()
    root = nn.Sequential(original)
    hooks = [lambda *_: answer, lambda module, *_: calls.append(module)]
    traverse_and_mutate_submodules(root, hooks, topdown=topdown)
    assert (root[0] is not original) is replaced
    assert bool(calls) is second_hook_runs
    assert all(module is root[0] for module in calls)


@both_orders
def test_an_empty_sequential_is_a_replacement(topdown: bool) -> None:
    empty = nn.Sequential()
    root = nn.Sequential(linear())
    with pytest.warns(RuntimeWarning, match="no supernet modules"):
        traverse_and_mutate_submodules(root, [lambda *_: empty], topdown=topdown)
    assert root[0] is empty


def test_hooks_share_one_memo_for_the_walk_and_get_a_new_one_for_the_next() -> None:
    memos: list[Any] = []

    def count(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> None:
        memo["n"] = memo.get("n", 0) + 1
        memos.append(memo)

    root = nn.Sequential(nn.ReLU(), nn.ReLU())
    traverse_and_mutate_submodules(root, [count, count])
    assert memos[0] == {"n": 4}
    assert all(memo is memos[0] for memo in memos)
    traverse_and_mutate_submodules(root, [count])
    assert memos[-1] == {"n": 2}


def test_mutate_kwargs_are_read_only_for_hooks_and_safe_from_the_caller() -> None:
    seen: list[Any] = []

    def write(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> None:
        seen.append(mutate_kwargs)
        mutate_kwargs["a"] = 2

    given = {"a": 1}
    with pytest.raises(TypeError, match="does not support item assignment"):
        traverse_and_mutate_submodules(nn.Sequential(nn.ReLU()), [write], given)
    given["a"] = 3
    assert dict(seen[0]) == {"a": 1}


def test_without_mutate_kwargs_hooks_get_an_empty_mapping() -> None:
    seen: list[Any] = []
    traverse_and_mutate_submodules(nested(), [lambda m, n, memo, kwargs: seen.append(kwargs)])
    assert seen[0] == {}


def test_a_wrong_answer_names_hook_path_and_value() -> None:
    def careless(module: nn.Module, *_: Any) -> Any:
        return 3 if isinstance(module, nn.ReLU) else None

    with pytest.raises(HookReturnError, match=r"careless returned 3 for '0\.1'"):
        traverse_and_mutate_submodules(nested(), [careless])


def test_errors_of_hooks_keep_their_type_and_say_where() -> None:
    def fail(module: nn.Module, name: str, *_: Any) -> None:
        if name == "0.1":
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        traverse_and_mutate_submodules(nested(), [fail])
    assert getattr(caught.value, "__notes__", ["'0.1'"])[0].endswith("'0.1'")  # Python 3.11


def test_the_default_hook_at_the_end_refuses_what_nobody_handled() -> None:
    root = nn.Sequential(nn.Sequential(LayerChoice([nn.ReLU()])))
    with pytest.raises(UnsupportedModuleError, match=r"LayerChoice at '0\.0'"):
        traverse_and_mutate_submodules(root, [mark_linear, no_default_hook])


@both_orders
def test_a_module_under_many_names_is_offered_once_and_replaced_under_all(topdown: bool) -> None:
    tied = linear()
    root = nn.ModuleDict({"a": nn.Sequential(tied), "b": nn.Sequential(tied), "c": tied})
    root["d"] = tied
    found = traverse_and_mutate_submodules(root, [mark_linear], topdown=topdown)
    assert len(found) == 1
    slots = [root["a"][0], root["b"][0], root["c"], root["d"]]
    assert all(slot is found[0] for slot in slots)
    assert found[0].inner is tied


@both_orders
def test_a_shared_container_is_walked_once_and_stays_shared(topdown: bool) -> None:
    shared = nn.Sequential(linear())
    root = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)})
    assert offered(root, topdown=topdown).count("a.0") == 1
    found = traverse_and_mutate_submodules(root, [mark_linear], topdown=topdown)
    assert root["a"] is root["b"][0] is shared
    assert found == [shared[0]]


@both_orders
def test_a_shared_container_that_is_replaced_is_replaced_everywhere(topdown: bool) -> None:
    shared = nn.Sequential(linear())
    root = nn.ModuleDict({"a": shared, "b": nn.ModuleList([shared])})
    found = traverse_and_mutate_submodules(root, [refresh_sequential], topdown=topdown)
    assert [root["a"]] == list(root["b"]) == found


@both_orders
def test_hooks_may_give_one_replacement_for_two_modules(topdown: bool) -> None:
    shared = Fresh()
    root = nn.Sequential(linear(), nn.ReLU(), linear())
    found = traverse_and_mutate_submodules(
        root, [lambda m, *_: shared if type(m) is nn.Linear else None], topdown=topdown
    )
    assert root[0] is root[2] is shared
    assert found == [shared]


@both_orders
def test_a_replacement_that_fuses_siblings_keeps_them_all_inside(topdown: bool) -> None:
    """Rebinding a sibling inside the fused module would make that its own child."""
    root = nn.ModuleDict({"q": linear(), "k": linear()})
    q, k = root["q"], root["k"]

    def fuse(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> nn.Module | None:
        if type(module) is not nn.Linear:
            return None
        return memo.setdefault("fused", Marked(nn.ModuleList([q, k])))

    [fused] = traverse_and_mutate_submodules(root, [fuse], topdown=topdown)
    assert root["q"] is root["k"] is fused
    assert list(fused.inner) == [q, k]


def test_a_replacement_that_is_already_in_the_tree_becomes_an_alias() -> None:
    keep, other = linear(), linear()
    root = nn.Sequential(keep, other)
    with pytest.warns(RuntimeWarning):
        traverse_and_mutate_submodules(root, [lambda m, *_: keep if m is other else None])
    assert root[0] is root[1] is keep


@both_orders
@pytest.mark.parametrize("wrapper", [Marked, Plain])
@pytest.mark.filterwarnings("ignore:replacements that are no supernet")
def test_a_replacement_may_hold_its_original(wrapper: type[Marked], topdown: bool) -> None:
    original = linear()
    root = nn.Sequential(original, nn.Sequential(original))
    calls: list[nn.Module] = []

    def wrap(module: nn.Module, *_: Any) -> nn.Module | None:
        calls.append(module)
        return wrapper(module) if type(module) is nn.Linear else None

    traverse_and_mutate_submodules(root, [wrap], topdown=topdown)
    assert type(root[0]) is wrapper
    assert root[0].inner is original
    assert root[1][0] is root[0]
    assert calls.count(original) == 1


@both_orders
def test_a_replacement_may_hold_its_original_twice_and_deep_inside(topdown: bool) -> None:
    original = nn.Sequential(linear())
    root = nn.Sequential(original)

    def wrap(module: nn.Module, name: str, *_: Any) -> nn.Module | None:
        if module is original:
            return Marked(nn.ModuleList([module, nn.ModuleList([module])]))
        return refresh_linear(module)

    found = traverse_and_mutate_submodules(root, [wrap], topdown=topdown)
    inner = root[0].inner
    assert inner[0] is inner[1][0] is original
    assert isinstance(original[0], Fresh), "the walk goes on below the original"
    assert set(found) == {root[0], original[0]}


@both_orders
def test_nested_wrappers_each_keep_their_own_original(topdown: bool) -> None:
    root = nn.Sequential(nn.Sequential(nn.Sequential(linear())))
    seen: set[nn.Module] = set()

    def wrap(module: nn.Module, *_: Any) -> nn.Module | None:
        if isinstance(module, Marked) or module in seen:
            return None
        seen.add(module)
        return Marked(module)

    found = traverse_and_mutate_submodules(root, [wrap], topdown=topdown)
    paths = [name for name, _ in root.named_modules()][1:]
    assert paths[-1] == "0.inner.0.inner.0.inner"
    assert [m for _, m in root.named_modules() if isinstance(m, Marked)] == (
        found if topdown else found[::-1]
    )


class Ring(nn.Module):
    """A module that can be reached from its own child."""

    def __init__(self) -> None:
        super().__init__()
        self.me = self
        self.child = nn.Sequential(linear())
        self.child.parent = self


@both_orders
def test_a_cycle_is_walked_once(topdown: bool) -> None:
    names = offered(nn.Sequential(Ring()), topdown=topdown)
    assert sorted(names) == ["0", "0.child", "0.child.0"]


@both_orders
def test_the_names_in_a_cycle_follow_the_replacement_but_a_wrapper_keeps_its_original(
    topdown: bool,
) -> None:
    ring = Ring()
    root = nn.Sequential(ring)
    traverse_and_mutate_submodules(
        root, [lambda m, *_: Marked(m) if type(m) is Ring else None], topdown=topdown
    )
    assert root[0].inner is ring
    assert ring.me is ring.child.parent is root[0]


@both_orders
def test_the_root_in_a_cycle_is_not_offered(topdown: bool) -> None:
    ring = Ring()
    assert sorted(offered(ring, topdown=topdown)) == ["child", "child.0"]


@both_orders
def test_a_candidate_that_points_back_to_its_choice_leaves_no_choice_behind(topdown: bool) -> None:
    candidate = nn.Sequential(nn.ReLU())
    choice = LayerChoice([candidate, nn.Tanh()])
    candidate.back = choice
    root = nn.Sequential(choice)
    options = {"decisions": DecisionTable(First)}
    traverse_and_mutate_submodules(root, [MixedLayer.mutate], options, topdown)
    assert candidate.back is root[0]
    assert type(root[0]) is MixedLayer
    assert not any(isinstance(module, LayerChoice) for module in root.modules())


def test_topdown_goes_on_in_the_replacement_and_never_in_the_detached_original() -> None:
    inside_old, inside_new = linear(), linear()
    root = nn.Sequential(nn.Sequential(inside_old))

    def hook(module: nn.Module, name: str, *_: Any) -> nn.Module | None:
        assert module is not inside_old
        if name == "0":
            return nn.ModuleList([inside_new])
        return mark_linear(module)

    with pytest.warns(RuntimeWarning):
        found = traverse_and_mutate_submodules(root, [hook])
    assert found == [root[0][0]]
    assert root[0][0].inner is inside_new


def test_bottomup_reports_no_supernet_module_of_a_detached_original() -> None:
    root = nn.Sequential(nn.Sequential(linear()))
    hooks = [refresh_linear, lambda m, *_: nn.ReLU() if type(m) is nn.Sequential else None]
    with pytest.warns(RuntimeWarning):
        assert traverse_and_mutate_submodules(root, hooks, topdown=False) == []


@both_orders
def test_a_child_that_a_hook_takes_away_is_neither_offered_nor_put_back(topdown: bool) -> None:
    root = nn.Module()
    root.first, root.second = nn.ReLU(), linear()

    def drop(module: nn.Module, *_: Any) -> nn.Module | None:
        if isinstance(module, nn.ReLU):
            del root.second
        return mark_linear(module)

    assert traverse_and_mutate_submodules(root, [drop], topdown=topdown) == []
    assert list(root._modules) == ["first"]


@both_orders
def test_choices_that_a_replacement_creates_are_walked(topdown: bool) -> None:
    root = nn.Sequential(nn.ReLU())

    def hook(module: nn.Module, *_: Any) -> nn.Module | None:
        return (
            Marked(nn.Sequential(linear()))
            if isinstance(module, nn.ReLU)
            else (refresh_linear(module))
        )

    found = traverse_and_mutate_submodules(root, [hook], topdown=topdown)
    inner = root[0].inner[0]
    assert type(inner) is Fresh
    assert found == ([root[0], inner] if topdown else [inner, root[0]])


@both_orders
def test_a_replacement_may_create_any_number_of_choices_side_by_side(topdown: bool) -> None:
    def hook(module: nn.Module, *_: Any) -> nn.Module | None:
        if isinstance(module, nn.ReLU):
            return Marked(nn.Sequential(*(linear() for _ in range(2 * MAX_GENERATIONS))))
        return refresh_linear(module)

    root = nn.Sequential(nn.ReLU())
    found = traverse_and_mutate_submodules(root, [hook], topdown=topdown)
    assert len(found) == 1 + 2 * MAX_GENERATIONS


@both_orders
def test_a_cycle_that_a_replacement_creates_is_walked_once(topdown: bool) -> None:
    def hook(module: nn.Module, *_: Any) -> nn.Module | None:
        if isinstance(module, nn.ReLU):
            return Marked(Ring())
        return Marked(module) if type(module) is Ring else refresh_linear(module)

    root = nn.Sequential(nn.ReLU())
    traverse_and_mutate_submodules(root, [hook], topdown=topdown)
    ring = root[0].inner.inner
    assert type(ring) is Ring
    assert type(ring.child[0]) is Fresh


@both_orders
@pytest.mark.parametrize("direct", [True, False], ids=["as-child", "deeper"])
def test_replacements_that_never_end_raise_a_readable_error(topdown: bool, direct: bool) -> None:
    def hook(module: nn.Module, *_: Any) -> nn.Module | None:
        if type(module) is not nn.Linear:
            return None
        return Marked(linear() if direct else nn.Sequential(nn.Sequential(linear())))

    root = nn.Sequential(linear())
    before = tree(root)
    with pytest.raises(MutationError) as caught:
        traverse_and_mutate_submodules(root, [hook], topdown=topdown)
    message = str(caught.value)
    assert message.startswith("the walk does not end below '0.inner")
    assert "…" in message
    assert len(message) < 400
    assert "fix: let the hook recognise what it created" in message
    assert tree(root) == before


def test_a_hook_that_grows_the_tree_for_ever_raises_a_readable_error() -> None:
    def grow(module: nn.Module, *_: Any) -> None:
        module.add_module("more", nn.Module())

    with pytest.raises(MutationError, match="does not end below the tree") as caught:
        traverse_and_mutate_submodules(nn.Sequential(nn.ReLU()), [grow])
    assert len(str(caught.value)) < 400


@both_orders
def test_replacements_may_nest_up_to_the_limit(topdown: bool) -> None:
    def countdown(module: nn.Module, *_: Any) -> nn.Module | None:
        if type(module) is not nn.Linear or module.in_features == 1:
            return None
        return Marked(nn.Linear(module.in_features - 1, 1))

    root = nn.Sequential(nn.Linear(MAX_GENERATIONS + 2, 1))
    found = traverse_and_mutate_submodules(root, [countdown], topdown=topdown)
    assert len(found) == MAX_GENERATIONS + 1
    with pytest.raises(MutationError):
        traverse_and_mutate_submodules(
            nn.Sequential(nn.Linear(MAX_GENERATIONS + 3, 1)), [countdown], topdown=topdown
        )


@both_orders
def test_a_second_walk_offers_nothing_new_and_changes_nothing(topdown: bool) -> None:
    shared = LayerChoice([nn.ReLU(), LayerChoice([nn.Tanh(), nn.GELU()])])
    root = nn.Sequential(shared, nn.Sequential(shared), LayerChoice([linear()]))
    hooks = [MixedLayer.mutate, no_default_hook]
    options = {"decisions": DecisionTable(First)}
    first = traverse_and_mutate_submodules(root, hooks, options, topdown)
    before = tree(root)
    second = traverse_and_mutate_submodules(root, hooks, options, topdown)
    assert tree(root) == before
    assert second == first
    assert set(first) == set(supernet_modules(root))
    assert len(first) == 3


def test_replacements_that_are_no_supernet_modules_are_warned_about_once() -> None:
    root = nn.Sequential(linear(), nn.Sequential(linear()), linear())
    hooks = [lambda m, *_: nn.Tanh() if type(m) is nn.Linear else None]
    with pytest.warns(RuntimeWarning) as caught:
        found = traverse_and_mutate_submodules(root, hooks)
    assert found == []
    assert len(caught) == 1
    assert "'0' (Linear -> Tanh), '1.0' (Linear -> Tanh)" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_supernet_replacements_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traverse_and_mutate_submodules(nested(), [mark_linear])


def test_a_warning_that_is_an_error_undoes_the_walk_too() -> None:
    root = nn.Sequential(linear())
    before = tree(root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            traverse_and_mutate_submodules(
                root, [lambda m, *_: nn.Tanh() if type(m) is nn.Linear else None]
            )
    assert tree(root) == before


@both_orders
def test_each_replacement_is_announced_with_path_original_and_replacement(topdown: bool) -> None:
    tied = linear()
    root = nn.Sequential(tied, nn.Sequential(nn.ReLU(), tied), linear())
    last = root[2]
    events: list[tuple[str, nn.Module, nn.Module]] = []
    traverse_and_mutate_submodules(
        root, [mark_linear], topdown=topdown, on_replace=lambda *event: events.append(event)
    )
    assert events == [("0", tied, root[0]), ("2", last, root[2])]


@both_orders
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_every_original_is_back_in_its_place(
    error: type[BaseException], topdown: bool
) -> None:
    tied = linear()
    root = nn.Sequential(
        nn.Sequential(tied, LayerChoice([nn.Sequential(linear()), tied])), tied, nn.ReLU()
    )
    before = tree(root)

    def fail_at_the_end(module: nn.Module, name: str, *_: Any) -> None:
        if name == "2":
            assert tree(root) != before, "something is there to undo"
            raise error

    options = {"decisions": DecisionTable(First)}
    with pytest.raises(error):
        traverse_and_mutate_submodules(
            root, [fail_at_the_end, MixedLayer.mutate, mark_linear], options, topdown
        )
    assert tree(root) == before


def test_an_error_of_a_listener_undoes_the_walk() -> None:
    def refuse(path: str, original: nn.Module, replacement: nn.Module) -> None:
        raise ValueError(path)

    root = nn.Sequential(nn.Sequential(linear()))
    before = tree(root)
    with pytest.raises(ValueError, match=r"0\.0"):
        traverse_and_mutate_submodules(root, [mark_linear], on_replace=refuse)
    assert tree(root) == before
