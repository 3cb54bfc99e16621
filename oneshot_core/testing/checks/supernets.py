"""What a supernet module promises to every strategy, tried without any."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ...architecture import freeze
from ...decision import Decision, DecisionTable
from ...errors import OneShotError
from ...hooks import HookResult
from ...lightning.plugin_hooks import plugin_hooks
from ...model_space import ModelSpace
from ...space import Choice, ParameterSpec
from ...supernet import BaseSuperNetModule, supernet_modules
from ...traversal import traverse_and_mutate_submodules
from .. import choices
from ..case import NothingToCheckError, Sample, Subject, checks, require, require_samples
from ..decisions import Drawn, Weighted
from ..networks import networks
from ..tensors import close, same, total

MAX_ARCHITECTURES = 32
"""So many architectures of each sample are tried, the first ones."""


class Holder(nn.Module):
    """Holds a choice, since the walk does not replace its root."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, *args: Any) -> Any:
        return self.body(*args)


class Mutated:
    """One sample after the walk.

    Attributes:
        bare: an equal model before the walk.
        model: after the walk.
        supernet: what now stands in the place of the choice.
        decisions: of all choices.
        inputs: what the model is called with.
    """

    def __init__(
        self, subject: Subject, sample: Sample, make: Callable[[ParameterSpec], Decision] = Drawn
    ) -> None:
        self.bare = Holder(sample.make()).eval()
        self.model = Holder(sample.make()).eval()
        self.inputs = sample.inputs
        self.decisions = DecisionTable(make)
        cls = subject.load()
        mine: list[object] = []

        def mutate(module: nn.Module, name: str, memo: Any, options: Any) -> Any:
            answer = cls.mutate(module, name, memo, options)
            mine.append(HookResult.parse(answer, hook=cls.mutate, path=name).replacement)
            return answer

        # The others, for choices inside its candidates.
        hooks = [mutate, *plugin_hooks(subject.registry)]
        traverse_and_mutate_submodules(self.model, hooks, {"decisions": self.decisions})
        self.model.eval()
        found = self.model.body
        if not isinstance(found, BaseSuperNetModule) or found not in mine:
            raise NothingToCheckError("it replaces no choice; see supernet.replaces-its-choice")
        self.supernet = found

    def architectures(self) -> list[dict[str, Choice]]:
        """Return the first architectures of the sample."""
        return list(islice(ModelSpace(self.bare).architectures(), MAX_ARCHITECTURES))

    @contextmanager
    def at(self, architecture: Mapping[str, Choice]) -> Iterator[None]:
        """Let the model compute an architecture."""
        for decision in self.decisions:
            decision.pin(architecture.get(decision.spec.label))
        try:
            yield
        finally:
            for decision in self.decisions:
                decision.pin(None)

    def selected(self, architecture: Mapping[str, Choice]) -> nn.Module:
        """Return what the supernet module says it computes, sharing its parts."""
        labels = self.supernet.search_space_spec()
        return self.supernet.select({label: architecture[label] for label in labels})


def is_a_supernet_module(subject: Subject) -> None:
    """It is a concrete subclass of BaseSuperNetModule with the hook ``mutate``."""
    cls = subject.load()
    require(
        isinstance(cls, type) and issubclass(cls, BaseSuperNetModule),
        f"{subject.record.id} is {cls!r}",
        "a subclass of BaseSuperNetModule",
        "name the class in the target",
    )
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    require(
        not missing and not inspect.isabstract(cls),
        f"{cls.__name__} is abstract: it lacks {', '.join(missing)}",
        "a class that can be instantiated",
        "implement what is missing",
    )
    require(
        callable(getattr(cls, "mutate", None)),
        f"{cls.__name__} has no mutate",
        "a classmethod mutate(module, name, memo, mutate_kwargs), the mutation hook",
        "see the recipe for supernet modules in CONTRIBUTING.md",
    )


def has_samples(subject: Subject) -> None:
    """There is a sample of the choice it handles, for all other checks."""
    handles = subject.record.component.handles
    key = handles[0] if handles else subject.record.id
    require_samples(_samples(subject), key, "choice")


def replaces_its_choice(subject: Subject) -> None:
    """Each sample is replaced, under the choice's own spec."""
    for sample in _some_samples(subject):
        choice = sample.make()
        decisions = DecisionTable(Drawn)
        options = {"decisions": decisions}
        answer = subject.load().mutate(choice, "body", {}, options)
        result = HookResult.parse(answer, hook=subject.load().mutate, path="body")
        name = type(choice).__name__
        require(
            isinstance(result.replacement, BaseSuperNetModule),
            f"mutate answers {answer!r} for a {name}",
            "a BaseSuperNetModule",
            f"let mutate recognise {name}, and its Component declare it in handles=",
        )
        assert isinstance(result.replacement, BaseSuperNetModule)
        found = result.replacement.search_space_spec()
        for spec in choice.specs_at("body"):
            require(
                found.get(spec.label) == spec,
                f"the choice decides {spec}, the module in its place {list(found.values())}",
                "the same labels, candidates and n_chosen",
                "make the decisions from module.specs_at(name)",
            )


def leaves_other_modules_alone(subject: Subject) -> None:
    """It answers None for everything that is not its choice; it is asked for every module."""
    for sample in networks():
        for path, module in sample.make().named_modules():
            answer = subject.load().mutate(module, path, {}, {"decisions": DecisionTable(Drawn)})
            require(
                answer is None or answer is False,
                f"mutate answers {answer!r} for a {type(module).__name__}",
                "None",
                "test the type of the module first",
            )


def keeps_the_space(subject: Subject) -> None:
    """The model space is the same before and after, with the same dependences."""
    for mutated in _mutated(subject):
        before, after = ModelSpace(mutated.bare), ModelSpace(mutated.model)
        sizes = (before.size, after.size)
        require(
            before.fingerprint == after.fingerprint and sizes[0] == sizes[1],
            f"the space is {before.describe()} with {sizes[0]} architectures before mutation, "
            f"and {after.describe()} with {sizes[1]} after",
            "the same labels, candidates and number of architectures",
            "return in branches() the same dependences as the choice",
        )


def keeps_names_of_weights(subject: Subject) -> None:
    """Weights have the names they had, so that the user's class loads a search's checkpoint."""
    for mutated in _mutated(subject):
        before, after = set(mutated.bare.state_dict()), set(mutated.model.state_dict())
        require(
            before == after,
            f"the state dict has {sorted(after - before)} too much and lacks "
            f"{sorted(before - after)}",
            f"the keys of the choice: {sorted(before)}",
            "give the choice's submodules and parameters the names they have there",
        )


def keeps_decisions_out(subject: Subject) -> None:
    """No architecture parameter becomes a parameter of the user's model."""
    for mutated in _mutated(subject, Weighted):
        inside = set(mutated.model.modules()) & set(mutated.decisions.modules())
        weights = {id(parameter) for parameter in mutated.model.parameters()}
        inside |= {d for d in mutated.decisions for p in d.parameters() if id(p) in weights}
        require(
            not inside,
            f"the decision is a part of {type(mutated.supernet).__name__}",
            "a plain reference, as BaseSuperNetModule.__init__ keeps it",
            "read self.decisions; do not assign a decision to an attribute",
        )


def runs_as_the_choice_by_default(subject: Subject) -> None:
    """At the default it computes what the choice computes before any search."""
    for mutated in _mutated(subject):
        default = ModelSpace(mutated.bare).default()
        with torch.no_grad(), mutated.at(default):
            alike = same(mutated.model(*mutated.inputs()), mutated.bare(*mutated.inputs()))
        require(
            alike,
            f"at its default {default} it does not compute what the choice computes",
            "equal outputs, bit for bit",
            "let both do the same, or correct the default of the spec",
        )


def equals_frozen(subject: Subject) -> None:
    """At every architecture it computes what the frozen network computes, bit for bit.

    The result of a search would else be a number that no network has.
    """
    for mutated in _mutated(subject):
        for architecture in mutated.architectures():
            with torch.no_grad(), mutated.at(architecture):
                supernet = mutated.model(*mutated.inputs())
                frozen = freeze(mutated.model, architecture)(*mutated.inputs())
            require(
                same(supernet, frozen),
                f"at {architecture} the supernet and its frozen network differ",
                "equal outputs, bit for bit",
                "let forward read decision.active(), multiply by no weight that is None, and let "
                "select return what that computes",
            )


def freezes_as_its_choice(subject: Subject) -> None:
    """Freezing the model after mutation gives the network that freezing it before gives."""
    for mutated in _mutated(subject):
        for architecture in mutated.architectures():
            with torch.no_grad():
                after = freeze(mutated.model, architecture)(*mutated.inputs())
                before = freeze(mutated.bare, architecture)(*mutated.inputs())
            require(
                same(before, after),
                f"at {architecture} the frozen supernet and the frozen choice differ",
                "equal outputs, bit for bit",
                "let select of the supernet module return select of the choice",
            )


def runs_only_what_is_active(subject: Subject) -> None:
    """No candidate runs that is not taken: sampling one path would cost as much as all."""
    tried = 0
    for mutated in _mutated(subject):
        parts = set(mutated.supernet.modules()) - {mutated.supernet}
        tried += len(parts)
        for architecture in mutated.architectures():
            with torch.no_grad(), mutated.at(architecture):
                ran = _ran(parts, mutated.supernet, mutated.inputs())
                needed = _ran(parts, mutated.selected(architecture), mutated.inputs())
            idle = ran - needed
            require(
                not idle,
                f"at {architecture} it runs {_paths(mutated.supernet, idle)}, which the result "
                "does not need",
                "only the active candidates",
                "run the candidates of decision.active(), and no others",
            )
    if not tried:
        raise NothingToCheckError("it has no submodules")


def declares_its_branches(subject: Subject) -> None:
    """What runs for some choices only is named in ``branches()`` or ``gates()``.

    Choices inside would else count although they decide nothing.
    """
    tried = 0
    for mutated in _mutated(subject):
        parts = set(mutated.supernet.modules()) - {mutated.supernet}
        tried += len(parts)
        runs: list[set[nn.Module]] = []
        for architecture in mutated.architectures():
            with torch.no_grad(), mutated.at(architecture):
                runs.append(_ran(parts, mutated.supernet, mutated.inputs()))
        sometimes = set[nn.Module]().union(*runs) - runs[0].intersection(*runs)
        declared = {
            module
            for choice in supernet_modules(mutated.supernet)  # it, and those inside
            for branch in _branches(choice)
            for part in branch
            for module in part.modules()
        }
        missing = sometimes - declared
        require(
            not missing,
            f"{_paths(mutated.supernet, missing)} run for some choices only, and branches() "
            "does not name them",
            "label -> candidate -> the submodules that run only if it is taken",
            "implement branches(), here and in the choice",
        )
    if not tried:
        raise NothingToCheckError("it has no submodules")


def _branches(choice: BaseSuperNetModule) -> Iterator[Sequence[nn.Module]]:
    for by_candidate in choice.branches().values():
        yield from by_candidate.values()
    for _, branch in choice.gates():
        yield branch


def gradient_reaches_weights(subject: Subject) -> None:
    """At every architecture the weights get the gradient that they get in the network alone."""
    tried = 0
    for mutated in _mutated(subject):
        weights = list(mutated.supernet.parameters())
        tried += len(weights)
        for architecture in mutated.architectures() if weights else ():
            with mutated.at(architecture):
                found = _gradients(mutated.supernet, mutated.inputs(), weights)
                wanted = _gradients(mutated.selected(architecture), mutated.inputs(), weights)
            wrong = [
                name
                for (name, _), f, w in zip(
                    mutated.supernet.named_parameters(), found, wanted, strict=True
                )
                if (f is None) != (w is None) or (f is not None and not close(f, w))
            ]
            require(
                not wrong,
                f"at {architecture} the gradients of {wrong} are not those of the network alone",
                "equal gradients, and none for what is not taken",
                "detach nothing in forward, and run only what is active",
            )
    if not tried:
        raise NothingToCheckError("it has no weights")


def gradient_reaches_decision(subject: Subject) -> None:
    """If candidates are superposed, each weight gets a gradient: architectures are learned so."""
    for mutated in _superposed(subject):
        total(mutated.model(*mutated.inputs())).backward()  # type: ignore[no-untyped-call]
        for spec in mutated.supernet.search_space_spec().values():
            decision = mutated.decisions[spec.label]
            assert isinstance(decision, Weighted)
            gradient = decision.weights.grad
            require(
                gradient is not None and bool((gradient != 0).any()),
                f"the weights of {spec.label!r} get the gradient {gradient}",
                "a gradient that is not zero",
                "multiply what a candidate computes by its weight, unless that is None",
            )


def superposition_with_one_weight_is_that_choice(subject: Subject) -> None:
    """With weight 1 for what is taken and 0 for the rest it computes the choice."""
    for mutated in _superposed(subject):
        for architecture in mutated.architectures():
            for label, choice in architecture.items():
                decision = mutated.decisions[label]
                assert isinstance(decision, Weighted)
                decision.weigh(choice)
            with torch.no_grad():
                weighted = mutated.model(*mutated.inputs())
                with mutated.at(architecture):
                    pinned = mutated.model(*mutated.inputs())
            require(
                close(weighted, pinned),
                f"with all weight on {architecture} it computes something else",
                "the output at that architecture, up to rounding",
                "add up the candidates, each times its weight",
            )


def can_be_copied(subject: Subject) -> None:
    """A deep copy computes the same, as averaging callbacks and ``freeze`` need."""
    for mutated in _mutated(subject):
        twin = copy.deepcopy(mutated.model)
        with torch.no_grad():
            alike = same(twin(*mutated.inputs()), mutated.model(*mutated.inputs()))
        require(
            alike and twin.body is not mutated.supernet,
            "a deep copy computes something else",
            "equal outputs, bit for bit",
            "keep what forward needs in attributes that can be copied",
        )


def _samples(subject: Subject) -> list[Sample]:
    handles = subject.record.component.handles
    own: list[Sample] = [sample for handled in handles for sample in choices.samples(handled)]
    return [*own, *subject.samples(*handles)]


def _some_samples(subject: Subject) -> list[Sample]:
    samples = _samples(subject)
    if not samples:
        raise NothingToCheckError("there is nothing to try it with; see supernet.has-samples")
    return samples


def _mutated(
    subject: Subject, make: Callable[[ParameterSpec], Decision] = Drawn
) -> Iterator[Mutated]:
    for sample in _some_samples(subject):
        try:
            yield Mutated(subject, sample, make)
        except OneShotError:
            # It may refuse to superpose, as concatenated inputs do; but not to follow a draw.
            if make is Drawn:
                raise


def _superposed(subject: Subject) -> list[Mutated]:
    found = list(_mutated(subject, Weighted))
    if not found:
        raise NothingToCheckError("it refuses to superpose all of its samples")
    return found


def _ran(parts: set[nn.Module], module: nn.Module, inputs: tuple[Any, ...]) -> set[nn.Module]:
    """Return which of ``parts`` run when ``module`` is called."""
    ran: set[nn.Module] = set()
    handles = [part.register_forward_hook(lambda m, *_: ran.add(m)) for part in parts]
    try:
        module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return ran


def _gradients(
    module: nn.Module, inputs: tuple[Any, ...], weights: list[nn.Parameter]
) -> list[Tensor | None]:
    loss = total(module(*inputs))
    if not loss.requires_grad:
        return [None] * len(weights)
    return list(torch.autograd.grad(loss, weights, allow_unused=True))


def _paths(root: nn.Module, modules: set[nn.Module]) -> str:
    return ", ".join(repr(path) for path, module in root.named_modules() if module in modules)


CHECKS = checks(
    "supernet",
    is_a_supernet_module,
    has_samples,
    replaces_its_choice,
    leaves_other_modules_alone,
    keeps_the_space,
    keeps_names_of_weights,
    keeps_decisions_out,
    runs_as_the_choice_by_default,
    equals_frozen,
    freezes_as_its_choice,
    runs_only_what_is_active,
    declares_its_branches,
    gradient_reaches_weights,
    gradient_reaches_decision,
    superposition_with_one_weight_is_that_choice,
    can_be_copied,
)
