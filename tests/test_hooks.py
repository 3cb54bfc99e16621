"""What a hook's answer means, and how hooks follow each other."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from torch import nn

from oneshot_core.errors import HookReturnError, UnsupportedModuleError
from oneshot_core.hooks import HookResult, hook_name, no_default_hook, run_hooks
from oneshot_core.space import InputChoice, LayerChoice, Repeat

EMPTY = nn.Sequential()  # falsy, and a legal module
TANH = nn.Tanh()


def some_hook(module: nn.Module, name: str, memo: Any, mutate_kwargs: Any) -> Any:
    return None


@pytest.mark.parametrize(
    ("answer", "replacement", "suppress"),
    [
        pytest.param(None, None, False, id="none"),
        pytest.param(False, None, False, id="false"),
        pytest.param(True, None, True, id="true"),
        pytest.param(TANH, TANH, True, id="module"),
        pytest.param(EMPTY, EMPTY, True, id="empty-module-is-a-module"),
        pytest.param((TANH, True), TANH, True, id="module-and-stop"),
        pytest.param((TANH, False), TANH, False, id="module-and-go-on"),
        pytest.param((EMPTY, False), EMPTY, False, id="empty-module-and-go-on"),
        pytest.param((None, True), None, True, id="nothing-and-stop"),
        pytest.param((None, False), None, False, id="nothing-and-go-on"),
    ],
)
def test_every_documented_answer_replaces_and_suppresses_as_the_table_says(
    answer: Any, replacement: nn.Module | None, suppress: bool
) -> None:
    result = HookResult.parse(answer, hook=some_hook, path="a.b")
    assert result.replacement is replacement
    assert result.suppress is suppress


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answer, id=repr(answer))
        for answer in [0, 1, 3, "", "relu", nn.ReLU, (), (None,), (TANH, 1), (TANH, None)]
    ]
    + [
        pytest.param([TANH, True], id="list"),
        pytest.param((TANH, TANH), id="two-modules"),
        pytest.param((True, TANH), id="wrong-order"),
        pytest.param((TANH, True, None), id="three"),
        pytest.param({"replacement": TANH}, id="dict"),
    ],
)
def test_any_other_answer_is_a_type_error_with_hook_path_and_value(answer: Any) -> None:
    with pytest.raises(TypeError) as caught:
        HookResult.parse(answer, hook=some_hook, path="encoder.0")
    assert isinstance(caught.value, HookReturnError)
    first, *rest = str(caught.value).partition("  expected:")
    assert first == f"some_hook returned {answer!r} for 'encoder.0'.\n"
    assert "fix:" in rest[1]


@pytest.mark.parametrize(
    ("answer", "second_hook_runs"),
    [
        pytest.param(None, True, id="none"),
        pytest.param(False, True, id="false"),
        pytest.param(True, False, id="true"),
        pytest.param(TANH, False, id="module"),
        pytest.param(EMPTY, False, id="empty-module"),
        pytest.param((TANH, False), True, id="module-and-go-on"),
        pytest.param((None, True), False, id="nothing-and-stop"),
    ],
)
def test_later_hooks_run_unless_they_are_suppressed(answer: Any, second_hook_runs: bool) -> None:
    calls: list[nn.Module] = []
    run_hooks([lambda *_: answer, lambda m, *_: calls.append(m)], nn.ReLU(), "x", {}, {})
    assert bool(calls) is second_hook_runs


def test_a_later_hook_sees_what_the_earlier_ones_made_of_the_module() -> None:
    seen: list[nn.Module] = []

    def look(module: nn.Module, *_: Any) -> None:
        seen.append(module)

    original, last = nn.ReLU(), nn.GELU()
    hooks = [look, lambda *_: (EMPTY, False), look, lambda *_: (TANH, False), look, lambda *_: last]
    assert run_hooks(hooks, original, "x", {}, {}) is last
    assert seen[0] is original
    assert seen[1] is EMPTY
    assert seen[2] is TANH


def test_a_hook_is_called_with_module_path_memo_and_options() -> None:
    calls: list[tuple[Any, ...]] = []
    module, memo, options = nn.ReLU(), {"k": 1}, {"o": 2}
    run_hooks([lambda *args: calls.append(args)], module, "a.b", memo, options)
    [(given_module, name, given_memo, given_options)] = calls
    assert given_module is module
    assert name == "a.b"
    assert given_memo is memo
    assert given_options is options


@pytest.mark.parametrize(
    "choice",
    [LayerChoice([nn.ReLU()]), InputChoice(2), Repeat(nn.ReLU(), (0, 2))],
    ids=lambda choice: type(choice).__name__,
)
def test_the_default_hook_refuses_choices_by_type_and_path(choice: nn.Module) -> None:
    with pytest.raises(UnsupportedModuleError) as caught:
        no_default_hook(choice, "stem.0", {}, {})
    assert f"{type(choice).__name__} at 'stem.0'" in str(caught.value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("module", [nn.Linear(1, 1), EMPTY])
def test_the_default_hook_lets_other_modules_be_and_is_the_last_word(module: nn.Module) -> None:
    assert no_default_hook(module, "x", {}, {}) is True


class CallableHook:
    def __call__(self, *_: Any) -> None: ...
    def __repr__(self) -> str:
        return "<a hook>"


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        pytest.param(some_hook, "some_hook", id="function"),
        pytest.param(CallableHook().__call__, "CallableHook.__call__", id="method"),
        pytest.param(CallableHook(), "<a hook>", id="object"),
    ],
)
def test_hooks_of_every_kind_have_a_name_for_messages(hook: Any, name: str) -> None:
    assert hook_name(hook) == name


def test_a_partial_is_named_by_what_it_calls() -> None:
    assert "some_hook" in hook_name(functools.partial(some_hook))
