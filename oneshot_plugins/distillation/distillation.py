"""One step of distillation: the user's ``training_step``, watched, and the loss of its outputs.

The user's step returns a loss and nothing else. What the student computed on the way is read by
forward hooks on the module at ``distill_at``, and the teacher is called with the same inputs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from oneshot_core.errors import StrategyError
from oneshot_core.lightning.kit import isolated_buffers, isolated_rng

from .cache import OpenCache, TeacherCache
from .losses import Distill, Losses, Match
from .recorder import Call, recorded
from .teacher import Output, Teacher, module_at, original_of, require_apart

if TYPE_CHECKING:
    from oneshot_core import BaseOneShotLightningModule

ORIGINAL = "original"
LARGEST = "largest"
Answers = dict[str, list[Any]]
"""Path in the student -> what it is compared with, one for each call of the module there."""


class DistillOptions(TypedDict, total=False):
    """Options of every strategy that can distil; see :func:`distillation_of`."""

    teacher: str | nn.Module | None
    distill: Losses
    distill_at: str | Output | None
    teacher_cache: str | os.PathLike[str] | TeacherCache | None


class Distillation:
    """What the networks of one search learn from a teacher.

    Args:
        teacher: from outside; None where the largest network of the search teaches the others.
        at: path of the module whose inputs the teacher gets, or a function that reads the output.
        distill: the losses.
        cache: where outputs of the teacher are kept, if anywhere.
        option: what messages call ``at`` where it is a function.
    """

    def __init__(
        self,
        teacher: Teacher | None,
        at: str | Output,
        distill: Distill,
        cache: TeacherCache | None = None,
        option: str = "distill_at",
    ) -> None:
        self.teacher = teacher
        self.at = at
        self.option = option
        self.weight = distill.weight
        in_place = teacher is None
        self.own = (0.0 if in_place else 1.0) if distill.own is None else distill.own
        self.matches = distill.matches("" if callable(at) else at)
        self.expected: str | None = None
        self._settings = cache
        self._cache: OpenCache | None = None
        self._known: list[tuple[Call, Answers]] = []
        self._taught = False
        if callable(at) and set(self.matches) != {""}:
            raise StrategyError(
                f"the distillation compares {sorted(self.matches)} and {option} is a function",
                expected="the path of a module that holds them, or one loss for what the function "
                "returns",
                fix="distill_at='net', where net is that module",
            )

    # --- the beginning of a fit ---------------------------------------------------------------

    def start(self, search: BaseOneShotLightningModule) -> None:
        """Check what can be checked before training, and make the teacher ready.

        Raises:
            StrategyError: a path leads nowhere or into a candidate, the teacher is trained
                itself, or is another than before the search was interrupted.
        """
        if not callable(self.at):
            self._require_always_run(search)
        if self.teacher is None:
            return
        self._require_teacher_has_paths()
        if search.trainer.world_size > 1:
            self.teacher.share(search.device)
        if self.expected not in (None, self.teacher.fingerprint):
            raise StrategyError(
                f"{self.teacher.name} is not the one of the checkpoint: its weights have the hash "
                f"{self.teacher.fingerprint[:12]}, those of then {str(self.expected)[:12]}",
                expected="the same teacher, so that a resumed search goes on as it was",
                fix="give the model, before oneshot.search, the weights that it had before the "
                "search was begun (as from_pretrained does); or pass that network as teacher=",
            )
        if self._settings is not None:
            outputs = [f"{path}: {match.teacher}, {match.item}" for path, match in self._sorted()]
            at = self.at if isinstance(self.at, str) else getattr(self.at, "__qualname__", "")
            about = f"{at}: {'; '.join(outputs)}"
            self._cache = OpenCache(self._settings, self.teacher.fingerprint, about)

    def replace(self, teacher: Teacher) -> None:
        """Learn from another teacher from now on; not with a cache, which is of one teacher.

        Raises:
            StrategyError: it has no module that is compared.
        """
        self.teacher = teacher
        self._require_teacher_has_paths()
        self._known.clear()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: the hash of the teacher, not its weights."""
        return {} if self.teacher is None else {"teacher": self.teacher.fingerprint}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` returned; it is compared when a fit starts."""
        self.expected = state.get("teacher")

    # --- one batch ----------------------------------------------------------------------------

    def begin_batch(self) -> None:
        """Forget what the teacher said about the batch before."""
        self._known.clear()
        self._taught = False

    def step(self, search: BaseOneShotLightningModule, step: Callable[[], Any], batch: Any) -> Any:
        """Run the user's step; return its output with the distillation in its loss.

        Args:
            search: whose model is trained.
            step: the user's ``training_step``.
            batch: what it runs on.

        Raises:
            StrategyError: the module was not called, or an output does not fit.
        """
        if self.teacher is None and not self._taught:  # the user skipped the batch
            return None
        if callable(self.at) and self.own == 0 and self.teacher is None:
            return self.weight * self._loss([self._read(search.model, batch)], search, batch)
        answer, calls = self._watched(search.model, step, batch)
        loss = answer.get("loss") if isinstance(answer, Mapping) else answer
        if loss is None:
            return answer
        learned = self.weight * self._loss(calls, search, batch)
        total = learned if self.own == 0 else self.own * loss + learned
        return {**answer, "loss": total} if isinstance(answer, Mapping) else total

    def teach(self, search: BaseOneShotLightningModule, step: Callable[[], Any], batch: Any) -> Any:
        """Run the user's step of the largest network and keep what the others learn from it."""
        if callable(self.at):
            # With the same dropout as the user's step, which comes next, and no second trace in
            # BatchNorm.
            model = search.model
            with torch.no_grad(), isolated_rng(model), isolated_buffers(model):
                calls = [self._read(model, batch)]
            answer = step()
        else:
            answer, calls = self._watched(search.model, step, batch)
        self._known = [
            (call, self._detached(self._selected(call, "the student"))) for call in calls
        ]
        self._taught = answer is not None
        return answer

    def _read(self, model: nn.Module, batch: Any) -> Call:
        assert callable(self.at)
        return Call((batch,), {}, {"": [self.at(model, batch)]})

    def _watched(
        self, model: nn.Module, step: Callable[[], Any], batch: Any
    ) -> tuple[Any, list[Call]]:
        if callable(self.at):
            return step(), [self._read(model, batch)]
        module, inside = self._modules(model)
        with recorded(module, inside, self._name("")) as calls:
            answer = step()
        skipped = answer is None or (isinstance(answer, Mapping) and answer.get("loss") is None)
        if not calls and not skipped:
            raise StrategyError(
                f"training_step of {type(model).__name__} does not call {self.at or 'itself'!r}",
                expected="a module that training_step calls, whose output is compared with the "
                "teacher's",
                fix="name it: distill_at='net' for self.net(x), distill_at='' for self(x), or a "
                "function (model, batch) -> output",
            )
        return answer, calls

    def _loss(self, calls: list[Call], search: BaseOneShotLightningModule, batch: Any) -> Tensor:
        """Return the sum over matches; of several calls, and outputs in a call, the mean."""
        terms: list[Tensor] = []
        for position, call in enumerate(calls):
            student = self._selected(call, "the student")
            target = self._target(call, position, search, batch)
            for path, match in self.matches.items():
                who = self._name(path)
                one, other = student[path], target[path]
                if len(one) != len(other):
                    raise StrategyError(
                        f"{who} is called {len(one)} times by the student and {len(other)} times "
                        "by the teacher",
                        expected="as many calls",
                        fix="compare another module, or say the teacher's: Match(teacher='...')",
                    )
                pairs = zip(one, other, strict=True)
                losses = [match(s, t, batch, who) for s, t in pairs]
                terms.append(match.weight * torch.stack(losses).mean())
        return torch.stack(terms).sum() / len(calls)

    def _target(
        self, call: Call, position: int, search: BaseOneShotLightningModule, batch: Any
    ) -> Answers:
        for known, answers in self._known:
            # Asked once for all paths of a step, which get the same inputs.
            if callable(self.at) or known.same_inputs(call):
                return answers
        if self.teacher is None:
            raise StrategyError(
                f"training_step gives {self._name('')} other inputs in each path of a step",
                expected="the same inputs, on which the largest network teaches the others",
                fix="draw augmentations in the data loader or in on_after_batch_transfer, or use "
                "teacher='original'",
            )
        answers = self._asked(call, position, search, batch)
        self._known.append((call, answers))
        return answers

    def _asked(
        self, call: Call, position: int, search: BaseOneShotLightningModule, batch: Any
    ) -> Answers:
        assert self.teacher is not None
        keys: list[str] = []
        if self._cache is not None:
            keys = [f"{key}/{position}" for key in self._cache.settings.keys(batch)]
            found = self._cache.get(keys, call, search.device)
            if found is not None:
                return found
        self.teacher.place(search.device, search.trainer.precision_plugin)
        if callable(self.at):
            answer = self.teacher.answer_to(batch, self.at)
        else:
            answer = self.teacher.answer(call, self._inside_teacher())
        answers = self._detached(self._selected(answer, "the teacher"))
        return answers if self._cache is None else self._cache.put(keys, call, answers)

    def _selected(self, call: Call, whose: str) -> Answers:
        found: Answers = {}
        for path, match in self.matches.items():
            who = self._name(path)
            if path not in call.values:
                raise StrategyError(
                    f"{who} was not called in a step of {whose}",
                    expected="a module that every network of the search runs",
                    fix="compare another one",
                )
            found[path] = [match.select(output, who) for output in call.values[path]]
        return found

    def _detached(self, answers: Answers) -> Answers:
        detached: Answers = tree_map_only(Tensor, lambda tensor: tensor.detach(), answers)
        return detached

    # --- where ----------------------------------------------------------------------------------

    def _modules(self, model: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
        assert isinstance(self.at, str)
        module = module_at(model, self.at, "distill_at")
        paths = {p: f"{self.at}.{p}".lstrip(".") for p in self.matches if p}
        return module, {p: module_at(model, full, "distill") for p, full in paths.items()}

    def _inside_teacher(self) -> dict[str, str]:
        return {path: match.teacher or path for path, match in self.matches.items() if path}

    def _require_teacher_has_paths(self) -> None:
        assert self.teacher is not None
        for path in [] if callable(self.at) else self._inside_teacher().values():
            module_at(self.teacher.module, path, f"the distillation, of {self.teacher.name},")

    def _sorted(self) -> list[tuple[str, Match]]:
        return sorted(self.matches.items(), key=lambda pair: pair[0])

    def _name(self, path: str) -> str:
        if callable(self.at):
            return self.option
        return repr(f"{self.at}.{path}".strip(".")) if self.at or path else "the model"

    def _require_always_run(self, search: BaseOneShotLightningModule) -> None:
        """Refuse what only some networks run, for others would have nothing to compare."""
        module, inside = self._modules(search.model)
        wanted = {self._name(""): module, **{self._name(p): m for p, m in inside.items()}}
        for supernet in search.nas_modules:
            parts = [part for c in supernet.branches().values() for ps in c.values() for part in ps]
            sometimes = {m for part in parts for m in part.modules()} - {supernet}
            for who, part in wanted.items():
                if part in sometimes:
                    raise StrategyError(
                        f"{who} is a candidate, or inside of one: only some networks run it",
                        expected="a module that every network of the search runs",
                        fix="compare the choice itself, or what comes after it",
                    )


def distillation_of(
    model: nn.Module,
    teacher: str | nn.Module | None = None,
    distill: Losses = None,
    distill_at: str | Output | None = None,
    teacher_cache: str | os.PathLike[str] | TeacherCache | None = None,
    *,
    others: Iterable[str] = (),
) -> Distillation | None:
    """Return the distillation that the options of a strategy describe; None without a teacher.

    Args:
        model: the user's, which no search has changed yet.
        teacher: ``"original"`` copies the model as it is now, and freezes the copy. A module is
            taken as it is, and put into evaluation mode without gradients.
        distill: what is learned; see :class:`.Distill`. None compares logits by ``"kl"``.
        distill_at: path of the module whose inputs the teacher gets, such as ``"net"``, or
            ``(model, batch) -> output``. None is the only submodule that has weights, else the
            model itself, if it has a ``forward``.
        teacher_cache: a folder where outputs of the teacher are kept.
        others: further names that the strategy knows for ``teacher``.

    Raises:
        StrategyError: the options do not go together, or lead to no module.
    """
    if teacher is None:
        given = {"distill": distill, "distill_at": distill_at, "teacher_cache": teacher_cache}
        idle = [name for name, value in given.items() if value is not None]
        if idle:
            raise StrategyError(
                f"{', '.join(idle)} is given, and no teacher",
                expected="teacher='original', or a module",
                fix="say who teaches, or leave it out",
            )
        return None
    known = [ORIGINAL, *others]
    if not isinstance(teacher, nn.Module) and teacher not in known:
        raise StrategyError(
            f"teacher={teacher!r}",
            expected=f"{', '.join(map(repr, known))}, or a module",
            fix="correct it",
        )
    at = default_at(model) if distill_at is None else distill_at
    if not callable(at):
        module_at(model, at, "distill_at")
    if teacher_cache is None or isinstance(teacher_cache, TeacherCache):
        cache = teacher_cache
    else:
        cache = TeacherCache(teacher_cache)
    made: Teacher | None
    if isinstance(teacher, nn.Module):
        require_apart(teacher, model)  # before it is frozen
        made = Teacher(teacher, "the teacher")
    elif teacher == LARGEST:
        made = None
    else:
        copied = original_of(model, "" if callable(at) else at)
        made = Teacher(copied, "the original")
    if made is None and cache is not None:
        raise StrategyError(
            "the outputs of the largest network are to be cached, and it is trained itself",
            expected="a teacher that does not change",
            fix="leave teacher_cache out, or use teacher='original'",
        )
    default = "soft_cross_entropy" if made is None else "kl"
    return Distillation(made, at, Distill.of(distill, default), cache)


def default_at(model: nn.Module) -> str:
    """Return the path of the only child that has weights, else ``""`` for the model itself.

    Raises:
        StrategyError: there are several, and the model has no ``forward``.
    """
    children = [n for n, c in model.named_children() if next(c.parameters(), None) is not None]
    if len(children) == 1:
        return children[0]
    forward = type(model).forward
    if forward.__module__.startswith(("pytorch_lightning.", "lightning.", "torch.")):
        raise StrategyError(
            f"{type(model).__name__} has the submodules {children} and no forward",
            expected="one module whose outputs student and teacher are compared by",
            fix="name it, such as distill_at='net', or give a function (model, batch) -> output",
        )
    return ""


__all__ = ["DistillOptions", "Distillation", "default_at", "distillation_of"]
