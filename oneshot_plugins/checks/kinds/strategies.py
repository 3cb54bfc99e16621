"""What a strategy promises: Lightning trains as it would, and the answer is a network."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR

from oneshot_core.decision import Decision, DecisionTable
from oneshot_core.lightning import BaseOneShotLightningModule
from oneshot_core.space import ParameterSpec

from ..case import NothingToCheckError, Subject, checks, require
from ..isolation import noise, rng_state
from ..trial import (
    Trial,
    bare_trial,
    completed,
    differing,
    exported,
    fit,
    network_trial,
    require_honest,
    searched,
    sgd,
    state,
)

N_DRAWS = 8
Shape: TypeAlias = Callable[[Optimizer, Callable[[], LRScheduler]], Any]


def is_a_strategy(subject: Subject) -> None:
    """It is a concrete subclass of BaseOneShotLightningModule."""
    cls = subject.load()
    require(
        isinstance(cls, type) and issubclass(cls, BaseOneShotLightningModule),
        f"{subject.record.id} is {cls!r}",
        "a subclass of BaseOneShotLightningModule",
        "name the class in the target",
    )
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if cls.make_decision is BaseOneShotLightningModule.make_decision:
        missing.append("make_decision")
    require(
        not missing,
        f"{cls.__name__} is abstract: it lacks {', '.join(missing)}",
        "a class that can be instantiated",
        "implement what is missing",
    )


def mixture_is_legal(subject: Subject) -> None:
    """Decisions take part with as much weight as is taken, and say if they superpose."""
    for build in _builders(subject):
        search = build(network_trial())
        for n_chosen in (1, 2, None):
            table = DecisionTable(search.make_decision)
            spec = ParameterSpec(f"take-{n_chosen}", ("a", "b", "c"), n_chosen)
            decision = table.decide(spec, path="here")
            for _ in range(N_DRAWS):
                decision.resample()
                _require_legal(decision)


def _require_legal(decision: Decision) -> None:
    spec, active = decision.spec, decision.active()
    taken = [a.candidate for a in active]
    n_chosen = spec.n_chosen
    who = f"for {n_chosen or 'any'} of {list(spec.candidates)} the mixture is {active}"
    require(
        bool(taken) and set(taken) <= set(spec.candidates) and len(set(taken)) == len(taken),
        who,
        "at least one candidate, each once",
        "return [Active(candidate, weight), ...] from mixture",
    )
    if n_chosen is None:
        return
    weight = sum(1.0 if a.weight is None else float(a.weight.detach()) for a in active)
    require(
        math.isclose(weight, n_chosen, rel_tol=1e-4),
        f"{who}, of total weight {weight}",
        f"weights that sum to {n_chosen}; one of None counts as 1",
        "normalise the weights: outputs have else another scale than the frozen network's",
    )
    require(
        len(taken) <= n_chosen or decision.superposes,
        f"{who}, and superposes is False",
        f"{n_chosen} candidates, or superposes=True",
        "override superposes; supernet modules that cannot superpose ask for it",
    )


def probabilities_are_probabilities(subject: Subject) -> None:
    """For each label there is a number in [0, 1] per candidate, and they sum to what is taken."""
    for build in _builders(subject):
        search = build(network_trial())
        found = search.export_probs()
        for label, spec in search.search_space_spec().items():
            p = list(found.get(label, {}).values())
            holds = list(found.get(label, {})) == list(spec.candidates)
            holds = holds and all(0 <= x <= 1 + 1e-6 for x in p)
            if spec.n_chosen is not None:
                holds = holds and math.isclose(sum(p), spec.n_chosen, rel_tol=1e-4)
            require(
                holds,
                f"export_probs() gives {found.get(label)} for {label!r}",
                f"one number in [0, 1] for each of {list(spec.candidates)}, in sum "
                f"{spec.n_chosen or 'anything'}",
                "correct probabilities() of the decision",
            )


def draws_from_its_own_generator(subject: Subject) -> None:
    """A draw depends on the key given to ``reseed`` alone, and disturbs nobody else's.

    Else a path differs between processes, after a resume, and with the user's dropout.
    """
    for build in _builders(subject):
        draws = []
        for seed in (1, 2):
            search = build(network_trial())
            noise(seed)
            before = rng_state()
            search.reseed("train", 3, 5)
            draws.append([search.resample() for _ in range(4)])
            require(
                rng_state() == before,
                "resample() draws from a global generator of Python, NumPy or torch",
                "draws from decision.rng alone",
                "use self.rng of the decision",
            )
        require(
            draws[0] == draws[1],
            f"after the same reseed the draws are {draws[0][0]} and {draws[1][0]}",
            "the same draws for the same key",
            "use self.rng of the decision, and no other source of randomness",
        )


def trains(subject: Subject) -> None:
    """A fit runs to its end and trains the weights."""
    for build in _builders(subject):
        search = build(network_trial())
        before = state(search)
        fit(search, epochs=2)
        after = state(search)
        changed = [name for name in differing(before, after) if name.startswith("model.")]
        require(
            bool(changed),
            "a fit of two epochs left all weights as they were",
            "weights that are trained in each batch",
            "call self.advance_optimization() in search_step",
        )
        wrong = [name for name, value in after.items() if not value.isfinite().all()]
        require(
            not wrong,
            f"after two epochs {wrong} are not finite",
            "finite numbers",
            "check the gradients of what the strategy learns",
        )


def learns_what_it_has_parameters_for(subject: Subject) -> None:
    """The parameters of its decisions are trained: else all architectures stay equally good."""
    learned = 0
    for build in _builders(subject):
        search = build(network_trial())
        before = state(search)
        learned += len(list(search.decisions.parameters()))
        fit(search, epochs=2)
        changed = any(n.startswith("decisions.") for n in differing(before, state(search)))
        require(
            changed or not list(search.decisions.parameters()),
            "a fit of two epochs left the architecture parameters as they were",
            "architecture parameters that are trained, after a warm-up if there is one",
            "return their optimizer from configure_architecture_optimizers() and call "
            "self.architecture_step() in search_step; declare samples with a shorter warm-up",
        )
    if not learned:
        raise NothingToCheckError("its decisions have no parameters")


def optimizers_are_told_apart(subject: Subject) -> None:
    """The user's optimizers hold no architecture parameter, the strategy's hold nothing else.

    Learning rates, clipping and callbacks of the user would else act on the architecture.
    """
    for build in _builders(subject):
        search = build(network_trial())
        trainer = fit(search)
        ours = {id(p) for p in search.decisions.parameters()}
        for optimizer in trainer.optimizers:
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            architecture = search.is_architecture_optimizer(optimizer)
            require(
                held <= ours if architecture else not held & ours,
                f"{'an architecture' if architecture else 'a weight'} optimizer "
                f"({type(optimizer).__name__}) holds both weights and architecture parameters",
                "one or the other",
                "leave configure_optimizers to the user's module, and give the optimizers of "
                "configure_architecture_optimizers() parameters of self.decisions only",
            )


def no_choices_changes_nothing(subject: Subject) -> None:
    """A model without choices is trained bit for bit as Lightning alone trains it."""
    for build in _builders(subject):
        alone = bare_trial()
        fit(alone, epochs=2)
        search = build(bare_trial())
        search.needs_choices = False
        fit(search, epochs=2)
        wrong = differing(alone.state_dict(), search.model.state_dict())
        require(
            not wrong,
            f"without any choice, {wrong} are trained to other values than by Lightning alone",
            "equal weights, bit for bit",
            "call advance_optimization() once for each batch, and draw no global random numbers",
        )


def same_seed_same_result(subject: Subject) -> None:
    """Two searches with one seed end with equal weights and equal decisions."""
    for build in _builders(subject):
        states = []
        for seed in (1, 2):
            search = build(network_trial())
            noise(seed)
            fit(search, epochs=2)
            states.append(state(search))
        wrong = differing(*states)
        require(
            not wrong,
            f"two searches with seed 0 end with different {wrong}",
            "equal weights and decisions, bit for bit",
            "call self.reseed('train', self.current_epoch, batch_idx) before drawing, and draw "
            "from self.rng of the decision alone",
        )


def resumes(subject: Subject) -> None:
    """A search that was interrupted and goes on ends as one that was not."""
    for build in _builders(subject):
        through = build(network_trial())
        fit(through, epochs=2)
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "half.ckpt"))
            half = build(network_trial())
            fit(half, epochs=1).save_checkpoint(path)
            rest = build(network_trial())
            fit(rest, epochs=2, resume_from=path)
        wrong = differing(state(through), state(rest))
        require(
            not wrong,
            f"resumed after the first of two epochs, a search ends with different {wrong}",
            "the weights and decisions of a search that was not interrupted",
            "return further state from strategy_state() and take it back in "
            "load_strategy_state(); reseed draws by epoch and batch",
        )


def checkpoint_is_plain_and_loads(subject: Subject) -> None:
    """A checkpoint holds plain data and tensors, and gives back the search that was saved.

    What is not plain is code that runs when somebody loads the file.
    """
    cls = subject.load()
    for build, options in zip(_builders(subject), subject.options(), strict=True):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "search.ckpt"))
            search = build(network_trial())
            fit(search).save_checkpoint(path)
            try:
                torch.load(path, weights_only=True)
            except UnpicklingError as error:
                require(
                    False,
                    f"its checkpoint holds more than plain data: {str(error).splitlines()[0]}",
                    "numbers, strings, tensors, lists and dicts of them",
                    "return such from strategy_state(), and build objects in load_strategy_state",
                )
            loaded = cls.load_from_checkpoint(
                path, model=network_trial(), registry=subject.registry, **completed(cls, options)
            )
        wrong = differing(state(search), state(loaded))
        require(
            not wrong and search.export_probs() == loaded.export_probs(),
            f"loaded from its checkpoint, a search has different {wrong or 'probabilities'}",
            "the weights, decisions and probabilities that were saved",
            "keep what is learned in parameters or buffers of the decisions, or in "
            "strategy_state()",
        )


def can_be_copied(subject: Subject) -> None:
    """A deep copy is a search of its own with the same state, as averaging callbacks need."""
    for build in _builders(subject):
        search = build(network_trial())
        fit(search)
        twin = copy.deepcopy(search)
        wrong = differing(state(search), state(twin))
        require(
            not wrong,
            f"a deep copy has different {wrong}",
            "equal weights and decisions",
            "keep what is learned in parameters or buffers of the decisions",
        )
        held = {id(p) for _, p in search.named_parameters()}
        shared = held & {id(p) for _, p in twin.named_parameters()}
        require(
            not shared,
            f"a deep copy shares {len(shared)} parameters with the search",
            "parameters of its own",
            "keep no parameters in closures or other objects that are not copied",
        )


def six_shapes(subject: Subject) -> None:
    """It trains with each of the shapes that ``configure_optimizers`` may return."""
    for build in _builders(subject):
        for name, shape in SHAPES.items():
            schedulers: list[LRScheduler] = []
            search = build(network_trial(partial(_shaped, shape, schedulers)))
            before = state(search)
            fit(search, epochs=2)
            changed = any(n.startswith("model.") for n in differing(before, state(search)))
            require(
                changed == (name != "None"),
                f"with configure_optimizers returning {name}, weights were "
                f"{'' if changed else 'not '}trained",
                "weights that are trained if and only if there is an optimizer",
                "leave configure_optimizers to the user's module; architecture optimizers belong "
                "into configure_architecture_optimizers",
            )
            steps = [scheduler.last_epoch for scheduler in schedulers]
            require(
                all(step == 2 for step in steps),
                f"with configure_optimizers returning {name}, the schedulers took {steps} steps "
                "in two epochs",
                "one step in each epoch",
                "leave the user's schedulers to Lightning",
            )


def exports_a_valid_architecture(subject: Subject) -> None:
    """After a fit the answer is an architecture of the space, the same each time it is asked."""
    for build in _builders(subject):
        search = build(network_trial())
        fit(search)
        answer = exported(search)
        again = exported(search)
        require(
            answer == again,
            f"export() gives {dict(answer)}, and then {dict(again)}",
            "the same architecture each time: the result of a search is not random",
            "return what was learned or ranked, without drawing",
        )
        valid = search.space.validate(answer)
        require(
            valid == dict(answer),
            f"export() gives {dict(answer)}, of which {valid} decides something",
            "an Architecture with the choices that are active, and no others",
            "return Architecture(self.space.reduce(chosen), self.space)",
        )
        best = search.top_k(2)
        require(
            bool(best) and best[0] == answer and len(set(best)) == len(best),
            f"top_k(2) gives {[dict(each) for each in best]}, export() {dict(answer)}",
            "different architectures, of which the first is that of export()",
            "override top_k together with export",
        )


def result_is_honest(subject: Subject) -> None:
    """The supernet at the exported architecture computes what the frozen network computes."""
    for build in _builders(subject):
        search = build(network_trial())
        fit(search)
        require_honest(search, exported(search), subject.record.id)


SHAPES: dict[str, Shape] = {
    "None": lambda optimizer, scheduler: None,
    "an optimizer": lambda optimizer, scheduler: optimizer,
    "a list of optimizers": lambda optimizer, scheduler: [optimizer],
    "two lists": lambda optimizer, scheduler: ([optimizer], [scheduler()]),
    "a dict": lambda optimizer, scheduler: {"optimizer": optimizer, "lr_scheduler": scheduler()},
    "a list of dicts": lambda optimizer, scheduler: [
        {"optimizer": optimizer, "lr_scheduler": scheduler()}
    ],
}


def _shaped(shape: Shape, made: list[LRScheduler], parameters: list[nn.Parameter]) -> Any:
    """Return an optimizer in a shape; note its scheduler in ``made``."""
    optimizer = sgd(parameters)

    def scheduler() -> LRScheduler:
        made.append(StepLR(optimizer, step_size=1))
        return made[-1]

    return shape(optimizer, scheduler)


def _builders(
    subject: Subject,
) -> Iterator[Callable[[Trial], BaseOneShotLightningModule]]:
    cls = subject.load()
    if not isinstance(cls, type):
        raise NothingToCheckError("it is no class; see strategy.is-a-strategy")
    for options in subject.options():
        yield lambda model, options=options: searched(  # type: ignore[misc]
            model, cls, subject.registry, options
        )


CHECKS = checks(
    "strategy",
    is_a_strategy,
    mixture_is_legal,
    probabilities_are_probabilities,
    draws_from_its_own_generator,
    trains,
    learns_what_it_has_parameters_for,
    optimizers_are_told_apart,
    no_choices_changes_nothing,
    same_seed_same_result,
    resumes,
    checkpoint_is_plain_and_loads,
    can_be_copied,
    six_shapes,
    exports_a_valid_architecture,
    result_is_honest,
)
