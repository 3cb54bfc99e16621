"""What a mutation hook promises to the walk and to the hooks beside it."""

from __future__ import annotations

import copy
import inspect
import itertools
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from oneshot_core.decision import DecisionTable
from oneshot_core.hooks import HookResult
from oneshot_core.lightning.kit import plugin_hooks
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import MutableModule
from oneshot_core.traversal import traverse_and_mutate_submodules

from ..case import NothingToCheckError, Sample, Subject, checks, require
from ..choices import batch
from ..decisions import Drawn
from ..isolation import rng_state
from ..networks import networks
from ..tensors import form, trace_of
from ..trial import Network


def takes_four_arguments(subject: Subject) -> None:
    """It is called as ``hook(module, name, memo, mutate_kwargs)``, for every module of a model."""
    hook = subject.load()
    try:
        inspect.signature(hook).bind(nn.Identity(), "path", {}, {})
        problem = "" if not inspect.isclass(hook) else "it is a class"
    except (TypeError, ValueError) as error:
        problem = str(error)
    require(
        callable(hook) and not problem,
        f"{subject.record.id} is {hook!r}: {problem or 'not callable'}",
        "a function (module, name, memo, mutate_kwargs)",
        "name the function in the target; of a class, its method: 'package.module:Class.method'",
    )


def answers_are_legal(subject: Subject) -> None:
    """Every answer is a module, True, False, None, or (module or None, suppress)."""
    for sample in _samples(subject):
        model = sample.make()
        for path, module in _offered(model):
            HookResult.parse(_ask(subject, module, path), hook=subject.load(), path=path)


def answers_are_the_same_for_the_same_module(subject: Subject) -> None:
    """The answer depends on module, path and options alone, so that a search can be repeated."""
    for sample in _samples(subject):
        one, other = sample.make(), sample.make()
        for (path, module), (_, twin) in zip(_offered(one), _offered(other), strict=True):
            answers = [_answer(subject, module, path), _answer(subject, twin, path)]
            forms = [(type(a.replacement), a.suppress) for a in answers]
            require(
                forms[0] == forms[1],
                f"{subject.record.id} answers {forms[0]} for {path!r}, and {forms[1]} for an "
                "equal module",
                "equal answers for equal modules",
                "keep no state outside of memo, and draw no random numbers",
            )


def only_the_walk_changes_the_tree(subject: Subject) -> None:
    """Nothing in the tree is changed by being offered, nor random numbers drawn without need.

    The walk takes replacements back if anything raises, and it can take back only its own.
    """
    for sample in _samples(subject):
        model = sample.make()
        before = trace_of(model)
        for path, module in list(_offered(model)):
            drawn = rng_state()
            answer = _answer(subject, module, path)
            require(
                trace_of(model) == before,
                f"{subject.record.id} changed the model when {path!r} "
                f"({type(module).__name__}) was offered",
                "a tree with the same modules, tensors, modes and hooks as before",
                "return a replacement; change nothing in place",
            )
            require(
                answer.replacement is not None or rng_state() == drawn,
                f"{subject.record.id} drew random numbers for {path!r}, which it leaves in place",
                "the same random state, for the user's training goes on from it",
                "decide without randomness",
            )


def model_still_runs(subject: Subject) -> None:
    """The walk ends, whichever way it goes, and replacements take and return what was there."""
    for sample, topdown in itertools.product(_samples(subject), [True, False]):
        model = sample.make().eval()
        with torch.no_grad():
            wanted = form(copy.deepcopy(model)(*sample.inputs()))
            traverse_and_mutate_submodules(model, [subject.load()], _options(), topdown)
            found = form(model.eval()(*sample.inputs()))
        require(
            found == wanted,
            f"after {subject.record.id} a {type(model).__name__} returns {found}",
            f"{wanted}, as before",
            "let replacements return the shapes of what they replace",
        )


def leaves_no_choice_behind(subject: Subject) -> None:
    """With it in the walk every choice of a model is still replaced: it is in every search.

    An answer of True, or a replacement, keeps a choice from the hook that is for it.
    """
    for topdown in (True, False):
        model = Network()
        before = ModelSpace(model)
        hooks = [subject.load(), *plugin_hooks(subject.registry)]
        traverse_and_mutate_submodules(model, hooks, _options(), topdown)
        left = [path for path, part in model.named_modules() if isinstance(part, MutableModule)]
        after = ModelSpace(model)
        require(
            not left and after.fingerprint == before.fingerprint,
            f"after {subject.record.id} the choices {left or list(before.specs)} are "
            f"{'not replaced' if left else f'{list(after.specs)}'}",
            "supernet modules in the place of all choices, deciding what these decided",
            "answer None for every oneshot_core.MutableModule",
        )


def acts_on_its_samples(subject: Subject) -> None:
    """It has an answer for something in each of its own samples: else they show nothing."""
    samples = subject.samples(*subject.record.component.handles)
    if not samples:
        raise NothingToCheckError("it declares no samples of its own")
    for sample in samples:
        model = sample.make()
        answers = [_answer(subject, module, path) for path, module in list(_offered(model))]
        require(
            any(answer.replacement is not None or answer.suppress for answer in answers),
            f"{subject.record.id} leaves everything in a {type(model).__name__} to other hooks",
            "at least one replacement or True in each of its samples",
            "correct the samples, or what the hook looks for",
        )


def _samples(subject: Subject) -> list[Sample]:
    own = subject.samples(*subject.record.component.handles)
    return [*networks(), Sample(Network, lambda: (batch(),)), *own]


def _offered(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(path, module) for path, module in model.named_modules() if path]


def _options() -> MappingProxyType[str, object]:
    return MappingProxyType({"decisions": DecisionTable(Drawn)})


def _ask(subject: Subject, module: nn.Module, path: str) -> Any:
    return subject.load()(module, path, {}, _options())


def _answer(subject: Subject, module: nn.Module, path: str) -> HookResult:
    return HookResult.parse(_ask(subject, module, path), hook=subject.load(), path=path)


CHECKS = checks(
    "mutation-hook",
    takes_four_arguments,
    answers_are_legal,
    answers_are_the_same_for_the_same_module,
    only_the_walk_changes_the_tree,
    model_still_runs,
    leaves_no_choice_behind,
    acts_on_its_samples,
)
