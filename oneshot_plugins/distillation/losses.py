"""What a student learns from its teacher: losses between two outputs, and how they are declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from torch import Tensor, nn

from oneshot_core.errors import StrategyError

UsersLoss: TypeAlias = Callable[[Any, Any, Any], Tensor]
"""Returns the loss of a student: ``(student_output, teacher_output, batch) -> scalar``."""

PREFERRED: Final = ("logits", "last_hidden_state")
"""Which item of a mapping is compared where :attr:`Match.item` does not say it."""


def kl(student: Tensor, teacher: Tensor, *, temperature: float = 1.0, dim: int = -1) -> Tensor:
    """Return ``T^2 KL(softmax(teacher / T) || softmax(student / T))``, the mean over examples.

    The factor keeps the gradient of the same size for every temperature.

    Args:
        student: logits of shape ``(batch, ..., classes)``, or with the classes in ``dim``.
        teacher: logits of the same shape.
        temperature: more than 0; larger ones soften both distributions.
        dim: the dimension of the classes.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531,
    section 2.

    >>> import torch
    >>> kl(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]])).item()
    0.0
    """
    log_q = (student / temperature).log_softmax(dim)
    log_p = (teacher / temperature).log_softmax(dim)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim).mean()


def soft_cross_entropy(logits: Tensor, labels: Tensor, *, dim: int = -1) -> Tensor:
    """Return the mean cross entropy of ``logits`` with soft ``labels``, classes in ``dim``."""
    return -(labels * logits.log_softmax(dim)).sum(dim).mean()


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean of the squared differences of all elements."""
    return nn.functional.mse_loss(student, teacher)


def cosine(student: Tensor, teacher: Tensor, *, dim: int = -1) -> Tensor:
    """Return the mean of ``1 - cos(student, teacher)``, the features being in ``dim``."""
    return (1 - nn.functional.cosine_similarity(student, teacher, dim=dim)).mean()


LOSSES: Final = ("kl", "soft_cross_entropy", "mse", "cosine")
"""Names of the losses, each of a function above."""


@dataclass(frozen=True)
class Match:
    """How one output of the student is compared with that of its teacher.

    Args:
        loss: ``"kl"`` or ``"soft_cross_entropy"`` between logits, ``"mse"`` or ``"cosine"``
            between features, or a function ``(student, teacher, batch) -> scalar``.
        item: key, attribute or position of the tensor in an output that is a mapping or a
            tuple. None takes a tensor as it is, the first of a tuple, and of a mapping
            ``logits`` or ``last_hidden_state``; a function gets the whole output.
        teacher: path of the module in the teacher; None is the same path.
        weight: factor of this loss.
        temperature: of ``kl`` and ``soft_cross_entropy``.
        dim: the dimension of classes or features, for all but ``mse``.
        prefix: compare a student that has fewer features with as many first ones of the teacher.
            That is right where the student's features are the first of the teacher's, as in an
            elastic model. Without it different shapes are refused.

    Raises:
        StrategyError: an argument is out of range.

    >>> Match("kl", temperature=2.0).loss
    'kl'
    """

    loss: str | UsersLoss = "kl"
    item: str | int | None = None
    teacher: str | None = None
    weight: float = 1.0
    temperature: float = 1.0
    dim: int = -1
    prefix: bool = False

    def __post_init__(self) -> None:
        known = callable(self.loss) or self.loss in LOSSES
        if not known or not self.temperature > 0 or not self.weight >= 0:
            raise StrategyError(
                f"the distillation has loss={self.loss!r}, weight={self.weight}, "
                f"temperature={self.temperature}",
                expected=f"one of {', '.join(LOSSES)} or a function (student_output, "
                "teacher_output, batch) -> loss, a weight of 0 or more, a temperature above 0",
                fix="correct it, such as Match('kl', temperature=2.0)",
            )

    def select(self, output: Any, who: str) -> Any:
        """Return what of an output is compared.

        Args:
            output: of a module.
            who: names it in messages.

        Raises:
            StrategyError: it is not there, or it is no tensor of floating-point numbers.
        """
        if self.item is None and callable(self.loss):
            return output
        found = self._item(output, who)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            raise StrategyError(
                f"{who} returned {_described(found)}",
                expected="logits or features, a tensor of floating-point numbers"
                + (f" in item {self.item!r}" if self.item is not None else ""),
                fix="say which item is compared, such as Match('mse', item='last_hidden_state')",
            )
        return found

    def _item(self, output: Any, who: str) -> Any:
        if self.item is None:
            if isinstance(output, Mapping):
                return next((output[k] for k in PREFERRED if k in output), output)
            return output[0] if isinstance(output, (tuple, list)) and output else output
        try:
            if isinstance(self.item, str) and not isinstance(output, Mapping):
                return getattr(output, self.item)
            return output[self.item]
        except (AttributeError, LookupError, TypeError) as error:
            raise StrategyError(
                f"{who} returned {_described(output)}, which has no item {self.item!r}",
                expected="an item of the output",
                fix="correct item= of the Match",
            ) from error

    def __call__(self, student: Any, teacher: Any, batch: Any, who: str) -> Tensor:
        """Return the loss, without :attr:`weight`.

        Losses by name are computed in float32 where both are float16 or bfloat16.

        Args:
            student: what :meth:`select` gave for the student.
            teacher: what it gave for the teacher.
            batch: of the training step.
            who: names the output in messages.

        Raises:
            StrategyError: the shapes do not fit, or a function returned no scalar.
        """
        if callable(self.loss):
            return _scalar(self.loss(student, teacher, batch), who)
        student, teacher = self._aligned(student, teacher, who)
        if self.loss == "kl":
            return kl(student, teacher, temperature=self.temperature, dim=self.dim)
        if self.loss == "soft_cross_entropy":
            labels = (teacher / self.temperature).softmax(self.dim)
            return soft_cross_entropy(student / self.temperature, labels, dim=self.dim)
        if self.loss == "cosine":
            return cosine(student, teacher, dim=self.dim)
        return mse(student, teacher)

    def _aligned(self, student: Tensor, teacher: Tensor, who: str) -> tuple[Tensor, Tensor]:
        s, t = tuple(student.shape), tuple(teacher.shape)
        if self.loss != "mse" and len(s) < 2:
            raise StrategyError(
                f"{who} returned {s}",
                expected="logits or features, a tensor of shape (batch, ..., classes)",
                fix="compare another output, or use 'mse'",
            )
        if s != t:
            different = [i for i, (a, b) in enumerate(zip(s, t, strict=False)) if a != b]
            fits = len(s) == len(t) and len(different) == 1 and different[0] > 0
            if not (self.prefix and fits and s[different[0]] < t[different[0]]):
                raise StrategyError(
                    f"{who} has the shape {s} in the student and {t} in the teacher",
                    expected="equal shapes; with prefix=True one dimension may be smaller in the "
                    "student, whose features are then the first of the teacher's",
                    fix=f"Match({self.loss!r}, prefix=True) for an elastic model, another output, "
                    "or a function that projects one of both",
                )
            teacher = teacher.narrow(different[0], 0, s[different[0]])
        student = _wide(student)
        return student, teacher.to(student.dtype)


Losses: TypeAlias = (
    "UsersLoss | Distill | Match | Mapping[str, str | Match | UsersLoss] | str | None"
)


@dataclass(frozen=True)
class Distill:
    """All that is learned from the teacher, and how much it counts beside the user's own loss.

    The loss of a student is ``own * (loss of training_step) + weight * (losses)``.

    Args:
        losses: path of a module -> its loss, a :class:`Match` or the name of a loss. One that is
            no mapping is that of the output of ``distill_at``.
        weight: factor of the sum of the losses.
        own: factor of the loss that the user's ``training_step`` returns; 0 learns from the
            teacher alone. None is 1; 0 where the teacher is the largest network.

    >>> Distill({"net": "kl", "net.body": Match("mse", weight=0.1)}, own=0.5).weight
    1.0
    """

    losses: Mapping[str, str | Match | UsersLoss] | str | Match | UsersLoss = "kl"
    weight: float = 1.0
    own: float | None = None

    @classmethod
    def of(cls, given: Losses, default: str) -> Distill:
        """Return what a user wrote as ``distill=`` in its full form.

        Raises:
            StrategyError: it is none of the forms.
        """
        found = given if isinstance(given, cls) else cls(default if given is None else given)  # type: ignore[arg-type]
        known = isinstance(found.losses, (str, Match, Mapping)) or callable(found.losses)
        numbers = found.weight >= 0 and (found.own is None or found.own >= 0)
        if not known or not numbers or found.losses == {}:
            raise StrategyError(
                f"distill={given!r}",
                expected="the name of a loss, a Match, a function (student_output, "
                "teacher_output, batch) -> loss, a dict from paths to these, or a Distill whose "
                "weights are 0 or more",
                fix="distill='kl', or distill={'net.body': 'mse'}",
            )
        return found

    def matches(self, at: str) -> dict[str, Match]:
        """Return path inside of ``at`` -> how it is compared; ``""`` is the output of ``at``.

        Raises:
            StrategyError: a path is not inside of ``at``, or a loss has no such name.
        """
        given = self.losses if isinstance(self.losses, Mapping) else {at: self.losses}
        found: dict[str, Match] = {}
        for path, loss in given.items():
            if at and path != at and not path.startswith(f"{at}."):
                raise StrategyError(
                    f"the distillation compares {path!r}, which is not inside of {at!r}",
                    expected=f"{at!r}, whose inputs the teacher gets, or a module inside of it",
                    fix="correct the path, or name a module that holds both as distill_at",
                )
            inside = path.removeprefix(at).lstrip(".")
            found[inside] = loss if isinstance(loss, Match) else Match(loss)
        return found


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.element_size() < 4 else tensor


def _scalar(loss: Any, who: str) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise StrategyError(
            f"the loss given for {who} returned {_described(loss)}",
            expected="a tensor with one number",
            fix="return the mean over the batch",
        )
    return loss.reshape(())


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with {sorted(map(str, value))}"
    return type(value).__name__


__all__ = [
    "LOSSES",
    "Distill",
    "Losses",
    "Match",
    "UsersLoss",
    "cosine",
    "kl",
    "mse",
    "soft_cross_entropy",
]
