"""The supernet module of cells: every edge that is active, and no other."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from oneshot_core.decision import Decision
from oneshot_core.errors import StrategyError
from oneshot_core.hooks import Memo, Options
from oneshot_plugins.supernets.modules import MixedChoice

from .cell import Cell, Slot


class MixedCell(MixedChoice[Cell]):
    """Run the active operations on the active states of a :class:`Cell`.

    The operations are supernet modules of their own, in the place of the cell's layer choices.
    If states are weighted, a node is the sum over states of weight times operations; weights of a
    decision that takes ``n`` states sum to ``n``, so a node has the scale of the frozen network.

    Source: Liu et al., "DARTS", arXiv:1806.09055, section 2; weights of states as in Xu et al.,
    "PC-DARTS", arXiv:1907.05737, eq. 3.
    """

    replaces = Cell

    def __init__(self, choice: Cell, *decisions: Decision, path: str = "") -> None:
        super().__init__(choice, *decisions, path=path)
        # One table of submodules: what the walk puts there is what the cell runs and freezes.
        self.__dict__["_modules"] = choice._modules
        label = choice.label_at(path)
        by_label = {decision.spec.label: decision for decision in decisions}
        self.__dict__["by_slot"] = {slot: by_label[slot.spec(label).label] for slot in choice.slots}

    @classmethod
    def mutate(
        cls, module: nn.Module, name: str, memo: Memo, mutate_kwargs: Options
    ) -> MixedChoice[Cell] | None:
        mixed = super().mutate(module, name, memo, mutate_kwargs)
        if mixed is None or mixed.original.merge_op == "all":
            return mixed
        weighted = [d.spec.label for d in mixed.decisions if d.superposes and d.spec.size > 1]
        if weighted:
            raise StrategyError(
                f"the Cell at {name!r} cannot be superposed: with merge_op='loose_end' the width "
                f"of its output depends on what {weighted[0]!r} takes",
                expected="merge_op='all' for a strategy that weights candidates",
                fix="change merge_op, or use a strategy that samples, such as 'random'",
            )
        return mixed

    def active(self, slot: Slot) -> list[tuple[int, Tensor | None]]:
        """Return the states that go into a slot now, with their weights."""
        decision: Decision = self.__dict__["by_slot"][slot]
        active = decision.active()
        return [(a.candidate, a.weight) for a in active if isinstance(a.candidate, int)]

    def forward(self, *inputs: Any) -> Any:
        """Compute the cell.

        Args:
            *inputs: as of the cell.
        """
        return self.original.compute(inputs, self.active)


__all__ = ["MixedCell"]
