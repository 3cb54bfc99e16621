"""What a supernet module promises to every strategy, tried without any."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from oneshot_core.architecture import freeze
from oneshot_core.decision import Decision, DecisionTable
from oneshot_core.errors import StrategyError
from oneshot_core.hooks import HookResult
from oneshot_core.lightning.kit import plugin_hooks
from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Candidate, Choice, ParameterSpec
from oneshot_core.supernet import BaseSuperNetModule, supernet_modules
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.costs.nests import leaves

from .. import choices
from ..case import NothingToCheckError, Sample, Subject, checks, require, require_samples
from ..decisions import Drawn, Weighted
from ..networks import networks
from ..tensors import close, close_but_for_zeros, form, mapped, same, total

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
        self.inputs: Callable[[], tuple[Any, ...]] = sample.inputs
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

    def double(self) -> None:
        """Go over to float64, inputs and decisions too."""
        for module in (self.bare, self.model, self.decisions):
            module.double()
        single = self.inputs
        self.inputs = lambda: tuple(mapped(Tensor.double, single()))

    def architectures(self) -> list[dict[str, Choice]]:
        """Return the first architectures of the sample."""
        return list(islice(ModelSpace(self.bare).architectures(), MAX_ARCHITECTURES))

    @contextmanager
    def at(self, architecture: Mapping[str, Choice]) -> Iterator[None]:
        """Let the model compute an architecture."""
        for decision in self.decisions:
            decision.unpin()
            if decision.spec.label in architecture:
                decision.pin(architecture[decision.spec.label])
        try:
            yield
        finally:
            for decision in self.decisions:
                decision.unpin()

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
    for mutated in [*_mutated(subject), *_mutated(subject, Weighted)]:
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
        declared |= {
            module
            for _, branch in mutated.supernet.gates()
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
            selected = mutated.selected(architecture)
            with mutated.at(architecture):
                found = _gradients(mutated.supernet, mutated.inputs(), weights)
                wanted = _gradients(selected, mutated.inputs(), weights)
            names = [name for name, _ in mutated.supernet.named_parameters()]
            own = [p for p in selected.parameters() if not any(p is w for w in weights)]
            if own:  # cut from larger weights, which get the same numbers, and zeros beside them
                names, wrong = ["weights"], []
                there = _gradients(selected, mutated.inputs(), [*own, *weights])
                if not math.isclose(_size(found), _size(there), rel_tol=1e-4, abs_tol=1e-6):
                    wrong = names
            else:
                wrong = [
                    name
                    for name, f, w in zip(names, found, wanted, strict=True)
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
    """If candidates are superposed, each weight gets its gradient: architectures are learned so.

    It is compared with central differences, in float64.
    """
    for mutated in _superposed(subject):
        mutated.double()
        for spec in mutated.supernet.search_space_spec().values():
            decision = mutated.decisions[spec.label]
            assert isinstance(decision, Weighted)
            loss = total(mutated.model(*mutated.inputs()))
            found = None
            if loss.requires_grad:
                (found,) = torch.autograd.grad(loss, [decision.weights], allow_unused=True)
            wanted = _differences(mutated, decision.weights)
            require(
                found is not None
                and bool((found != 0).any())
                and torch.allclose(found, wanted, rtol=1e-4, atol=1e-5),
                f"the weights of {spec.label!r} get the gradient {_numbers(found)}",
                f"{_numbers(wanted)}, as differences of the output say, and not only zeros",
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
                close_but_for_zeros(weighted, pinned),
                f"with all weight on {architecture} it computes something else",
                "the output at that architecture, up to rounding, with zeros behind where other "
                "candidates are larger",
                "add up the candidates, each times its weight",
            )


def answers_for_its_labels(subject: Subject) -> None:
    """Whatever is asked, the answer is for the labels of ``search_space_spec``, and for all."""
    for mutated in _mutated(subject):
        module = mutated.supernet
        specs = module.search_space_spec()
        probabilities = module.export_probs({})
        answers: dict[str, Mapping[str, object]] = {
            "resample": module.resample({}),
            "export": module.export({}),
            "export_probs": probabilities,
        }
        for name, answer in answers.items():
            require(
                set(answer) == set(specs),
                f"{name}({{}}) answers for {sorted(answer)}",
                f"an answer for each of {sorted(specs)}",
                "let it go through self.decisions, as BaseSuperNetModule does",
            )
        for label, spec in specs.items():
            for name in ("resample", "export"):
                spec.normalise(answers[name][label])
            require(
                list(probabilities[label]) == list(spec.candidates),
                f"export_probs({{}}) gives {probabilities[label]} for {label!r}",
                f"a number for each of {list(spec.candidates)}",
                "return candidate -> probability",
            )


def follows_the_memo(subject: Subject) -> None:
    """It takes what is decided already under its label: equal labels decide together."""
    for mutated in _mutated(subject):
        module = mutated.supernet
        for architecture in mutated.architectures():
            memo = {label: architecture[label] for label in module.search_space_spec()}
            answers: list[Mapping[str, object]] = [
                module.resample(memo),
                module.export(memo),
                module.export_probs(_sure(memo)),
            ]
            known = [label for answer in answers for label in answer if label in memo]
            require(
                not known,
                f"given {memo}, it decides {known} again",
                "answers for labels that the memo does not know, and no others",
                "leave out what is in the memo",
            )
            rest = {k: v for k, v in architecture.items() if k not in memo}
            with torch.no_grad():
                with mutated.at(rest):
                    followed = mutated.model(*mutated.inputs())
                with mutated.at(architecture):
                    wanted = mutated.model(*mutated.inputs())
            require(
                same(followed, wanted),
                f"after resample({memo}) it computes something else than {memo}",
                "what was decided elsewhere under the label",
                "call decision.adopt(memo[label])",
            )


def loads_weights_of_the_choice(subject: Subject) -> None:
    """Weights of the model before mutation can be loaded, and are then computed with."""
    for mutated in _mutated(subject):
        with torch.no_grad():
            for parameter in mutated.bare.parameters():
                parameter.add_(0.25)
            mutated.model.load_state_dict(mutated.bare.state_dict())
            mutated.bare.load_state_dict(mutated.model.state_dict())
            default = ModelSpace(mutated.bare).default()
            with mutated.at(default):
                alike = same(mutated.model(*mutated.inputs()), mutated.bare(*mutated.inputs()))
        require(
            alike,
            "after load_state_dict it computes with other weights than those that were loaded",
            "the output of the choice with these weights",
            "read weights in forward; keep no copies of them",
        )


def keeps_tensors_in_buffers(subject: Subject) -> None:
    """Each tensor it holds is a parameter or a buffer: those follow to devices and dtypes."""
    for mutated in _mutated(subject):
        mutated.model(*mutated.inputs())
        loose = [
            name
            for name, value in vars(mutated.supernet).items()
            if name not in ("_parameters", "_buffers", "_modules")
            and any(isinstance(leaf, Tensor) for leaf in leaves(value))
        ]
        require(
            not loose,
            f"it holds tensors in {', '.join(loose)}",
            "no tensors but parameters and buffers, before and after forward",
            "self.register_buffer(name, tensor, persistent=False): state dicts stay as they were",
        )


def runs_its_submodules(subject: Subject) -> None:
    """Each module with weights that it runs is in the tree: so it is trained, saved and moved."""
    for mutated in _mutated(subject):
        inside = set(mutated.model.modules())
        for _, ran in _runs(mutated):
            outside = [module for module in ran - inside if _holds_data(module)]
            require(
                not outside,
                f"it runs {', '.join(type(m).__name__ for m in outside)} from outside of the model",
                "modules that named_modules() of the model finds",
                "assign them to attributes, or to an nn.ModuleList or nn.ModuleDict",
            )


def follows_train_and_eval(subject: Subject) -> None:
    """All that it runs is in the mode of the model: dropout ends where an evaluation begins."""
    for mutated in _mutated(subject):
        for mode in (True, False):
            mutated.model.train(mode)
            for architecture, ran in _runs(mutated):
                wrong = [type(module).__name__ for module in ran if module.training != mode]
                require(
                    not wrong,
                    f"after train({mode}), at {architecture}, it runs {', '.join(wrong)} in the "
                    "other mode",
                    "training equal to that of the model in everything that runs",
                    "make what it runs a submodule, and do not override train",
                )


def follows_dtype(subject: Subject) -> None:
    """In float64 it computes what the choice computes, in float64."""
    for mutated in _mutated(subject):
        mutated.double()
        for architecture in mutated.architectures():
            with torch.no_grad(), mutated.at(architecture):
                wanted = form(freeze(mutated.bare, architecture)(*mutated.inputs()))
                found = form(mutated.model(*mutated.inputs()))
            require(
                found == wanted,
                f"after double(), at {architecture}, it returns {found}",
                f"{wanted}, as the choice alone",
                "make tensors in the dtype of the input, with x.new_zeros and the like",
            )


def can_be_copied(subject: Subject) -> None:
    """A deep copy computes the same with parts of its own, as averaging callbacks need."""
    for mutated in _mutated(subject):
        twin = copy.deepcopy(mutated.model)
        with torch.no_grad():
            wanted = mutated.model(*mutated.inputs())
            alike = same(twin(*mutated.inputs()), wanted)
            shared = _all_that_runs(twin, mutated.inputs()) & set(mutated.model.modules())
            for parameter in twin.parameters():
                parameter.zero_()
            alike = alike and same(mutated.model(*mutated.inputs()), wanted)
        require(
            alike and not shared,
            "a deep copy computes something else, or with parts of the original"
            + (f": {_paths(mutated.model, shared)}" if shared else ""),
            "equal outputs, bit for bit, from modules of its own",
            "keep what forward needs in attributes that can be copied; a closure is none",
        )


def can_be_pickled(subject: Subject) -> None:
    """It goes through pickle if the choice does, as starting processes by spawning needs."""
    tried = 0
    for mutated in _mutated(subject):
        try:
            pickle.dumps(mutated.bare)
        except Exception:
            continue
        tried += 1
        twin = pickle.loads(pickle.dumps(mutated.model))
        with torch.no_grad():
            alike = same(twin(*mutated.inputs()), mutated.model(*mutated.inputs()))
        require(
            alike,
            "what comes back from pickle computes something else",
            "equal outputs, bit for bit",
            "keep what forward needs in attributes that can be pickled",
        )
    if not tried:
        raise NothingToCheckError("its choice cannot be pickled either")


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
        except StrategyError:
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


def _all_that_runs(module: nn.Module, inputs: tuple[Any, ...]) -> set[nn.Module]:
    """Return every module that runs when ``module`` is called, wherever it is kept."""
    ran: set[nn.Module] = set()
    handle = register_module_forward_hook(lambda m, *_: ran.add(m))
    try:
        module(*inputs)
    finally:
        handle.remove()
    return ran


def _runs(mutated: Mutated) -> Iterator[tuple[dict[str, Choice], set[nn.Module]]]:
    """Yield what runs at each architecture."""
    for architecture in mutated.architectures():
        with torch.no_grad(), mutated.at(architecture):
            yield architecture, _all_that_runs(mutated.model, mutated.inputs())


def _sure(memo: Mapping[str, Choice]) -> dict[str, dict[Candidate, float]]:
    """Return probabilities as another module with the same labels would have given them."""
    return {label: {} for label in memo}


def _differences(mutated: Mutated, weights: Tensor, step: float = 1e-6) -> Tensor:
    """Return the gradient of the output with respect to ``weights`` by central differences."""
    found = torch.zeros_like(weights)
    with torch.no_grad():
        for i, weight in enumerate(weights.tolist()):
            ends = []
            for end in (weight + step, weight - step):
                weights[i] = end
                ends.append(total(mutated.model(*mutated.inputs())))
            weights[i] = weight
            found[i] = (ends[0] - ends[1]) / (2 * step)
    return found


def _numbers(tensor: Tensor | None) -> str:
    return "None" if tensor is None else str([round(x, 6) for x in tensor.tolist()])


def _gradients(
    module: nn.Module, inputs: tuple[Any, ...], weights: list[nn.Parameter]
) -> list[Tensor | None]:
    loss = total(module(*inputs))
    if not loss.requires_grad:
        return [None] * len(weights)
    return list(torch.autograd.grad(loss, weights, allow_unused=True))


def _holds_data(module: nn.Module) -> bool:
    """Say whether a module has tensors of its own; those of a mere description are on meta."""
    tensors = [*module._parameters.values(), *module._buffers.values()]
    return any(tensor is not None and not tensor.is_meta for tensor in tensors)


def _size(gradients: list[Tensor | None]) -> float:
    return math.fsum(float(g.abs().sum()) for g in gradients if g is not None)


def _paths(root: nn.Module, modules: set[nn.Module]) -> str:
    return ", ".join(repr(path) for path, module in root.named_modules() if module in modules)


CHECKS = (
    *checks(
        "supernet",
        is_a_supernet_module,
        has_samples,
        replaces_its_choice,
        leaves_other_modules_alone,
        keeps_the_space,
        keeps_names_of_weights,
        loads_weights_of_the_choice,
        keeps_decisions_out,
        keeps_tensors_in_buffers,
        answers_for_its_labels,
        follows_the_memo,
        follows_train_and_eval,
        follows_dtype,
        runs_as_the_choice_by_default,
        equals_frozen,
        freezes_as_its_choice,
        runs_only_what_is_active,
        runs_its_submodules,
        declares_its_branches,
        gradient_reaches_weights,
        gradient_reaches_decision,
        superposition_with_one_weight_is_that_choice,
        can_be_copied,
    ),
    *checks("supernet", can_be_pickled, level="recommended"),
)
