"""Write ``docs/elastic-table.md``: ``python -m tools.elastic_table``.

Twelve unmodified models are made elastic and examined: is the full network the original, is each
drawn network its frozen one, does a step of training run, are the costs those of the frozen
network, and can it be exported. tests/plugins/pretrained/test_twelve.py demands the same.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

import oneshot_core as oneshot
from oneshot_core.model_space import ModelSpace
from oneshot_plugins.costs.counts import macs, parameters

PAGE: Final = Path(__file__).parent.parent / "docs" / "elastic-table.md"
START, END = "<!-- table: python -m tools.elastic_table -->", "<!-- end of table -->"


class Task(pl.LightningModule):
    """Draws what a model returns to zero: enough to give every weight a gradient.

    Args:
        net: the model.
        named: keyword arguments. Tensors are what a batch consists of, the rest is passed on.
    """

    def __init__(self, net: nn.Module, named: Mapping[str, Any]) -> None:
        super().__init__()
        self.net = net
        self.names = tuple(name for name, value in named.items() if isinstance(value, Tensor))
        self.rest = {name: value for name, value in named.items() if name not in self.names}

    def forward(self, *values: Any) -> list[Tensor]:
        """Return all tensors of floats that the model returns."""
        if self.names:
            given = dict(zip(self.names, values, strict=True))
            return floats(self.net(**given, **self.rest))
        return floats(self.net(*values, **self.rest))

    def training_step(self, batch: Any, index: int) -> Tensor:
        return torch.stack([result.square().mean() for result in self(*batch)]).sum()

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("size", self.training_step(batch, index))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


@dataclass(frozen=True)
class Found:
    """What an examination has found.

    Args:
        plan: the plan, as it was made.
        full: whether the full elastic model computed the original's bits.
        drawn: so many networks were drawn.
        equal: so many of them were equal to their frozen networks, bit for bit.
        trained: whether a step of training changed the weights.
        costs: so many of the drawn had the costs of their frozen networks.
        plain: whether nothing of ours is left in the frozen networks.
        exported: whether the smallest frozen network went through torch.export with equal results;
            None if that was not tried.
    """

    plan: Any
    full: bool
    drawn: int
    equal: int
    trained: bool
    costs: int
    plain: bool
    exported: bool | None


def floats(result: Any) -> list[Tensor]:
    """Return the tensors of floats in what a model returns."""
    leaves = pytree.tree_leaves(result)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def same(one: Iterable[Tensor], other: Iterable[Tensor]) -> bool:
    """Say whether the tensors are equal bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def trainer() -> pl.Trainer:
    """Return one that takes a single step and writes nothing."""
    return pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def draw(space: ModelSpace, rng: random.Random) -> dict[str, Any]:
    """Draw an architecture, each choice by itself."""
    return {label: rng.choice(spec.candidates) for label, spec in space.specs.items()}


def examine(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    draws: int,
    export: bool = False,
    **options: Any,
) -> Found:
    """Make a model elastic, train it for a step, and compare networks with frozen ones.

    Args:
        model: in evaluation mode; it is changed in place.
        args: what it is called with.
        kwargs: by name.
        draws: so many networks are drawn; the first one is the smallest.
        export: whether the smallest network is exported.
        options: of :func:`oneshot_core.elastic`.
    """
    task = Task(model, kwargs)
    values = (*args, *(kwargs[name] for name in task.names))
    with torch.no_grad():
        original = task(*values)
    plan = oneshot.elastic(model, args or dict(kwargs), by_config=False, **options)
    with torch.no_grad():
        full = same(task(*values), original)
    search: Any = oneshot.search(task, "sandwich", seed=0)
    before = [p.detach().clone() for p in model.parameters()]
    batches = DataLoader([values], batch_size=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the number of workers
        trainer().fit(search, batches)
    trained = any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    search.eval()
    space = ModelSpace(search)
    rng = random.Random(0)
    smallest = {label: spec.candidates[0] for label, spec in space.specs.items()}
    drawn = [smallest, *(draw(space, rng) for _ in range(draws - 1))]
    equal = costs = 0
    plain = True
    for architecture in drawn:
        frozen: Any = oneshot.freeze(search, architecture).eval()
        with torch.no_grad(), search.at(architecture):
            found = search.model(*values)
            counted = macs(search.model, *values)
        with torch.no_grad():
            equal += same(found, frozen(*values))
        costs += (counted, _parameters(plan, architecture)) == (
            macs(frozen, *values),
            parameters(frozen),
        )
        plain = plain and not any(
            type(module).__module__.startswith("oneshot") for module in frozen.modules()
        )
    exported = _exports(oneshot.freeze(search, smallest).eval(), values) if export else None
    return Found(plan, full, len(drawn), equal, trained, costs, plain, exported)


def _parameters(plan: Any, architecture: Mapping[str, Any]) -> int:
    """Return the number of parameters of an architecture, computed from the plan alone."""
    values = {one.size: architecture[label] for label, one in plan.sizes.items()}
    blocks = {block for depth in plan.depth for block in depth.blocks}
    runs = {block for depth in plan.depth for block in depth.runs(architecture)}
    total, seen = 0, set()
    for name, parameter in plan.model.named_parameters(remove_duplicate=False):
        gone = any(name.startswith(f"{block}.") for block in blocks - runs)
        if gone or id(parameter) in seen or not parameter.requires_grad:
            continue
        seen.add(id(parameter))
        extents = plan.extents.get(name, {})
        total += prod(
            extents[dim].at(values) if dim in extents else length
            for dim, length in enumerate(parameter.shape)
        )
    return total


def _exports(network: Any, values: tuple[Any, ...]) -> bool:
    """Say whether torch.export keeps what a frozen network computes."""
    with torch.no_grad():
        exported = torch.export.export(network, values).module()
        pairs = zip(exported(*values), network(*values), strict=True)
        return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)


def row(name: str, found: Found, whole: nn.Module) -> tuple[str, ...]:
    """Return the cells of a model's row."""
    plan = found.plan
    roles: dict[str, list[str]] = {}
    for label, one in plan.sizes.items():
        roles.setdefault(one.role, []).append(label)
    sizes = ", ".join(
        labels[0] if len(labels) == 1 else f"{len(labels)} x {role}"
        for role, labels in roles.items()
    )
    if plan.depth:
        sizes += f", depth ({sum(len(depth.blocks) for depth in plan.depth)} blocks)"
    count = plan.architectures
    exported = {True: "yes", False: "no", None: "-"}[found.exported]
    return (
        name,
        sizes,
        f"{count:,}" if count < 10**7 else f"{count:.1e}",
        f"{plan.seconds:.1f}",
        str(len(plan.fixed)),
        "yes" if found.full else "no",
        f"{found.equal} of {found.drawn}",
        f"{found.costs} of {found.drawn}",
        "yes" if found.trained else "no",
        exported,
    )


HEAD: Final = (
    "model", "what can be chosen", "architectures", "seconds of the trace", "fixed dimensions",
    "full = original", "networks = frozen", "costs = frozen", "a step of `sandwich`",
    "torch.export",
)  # fmt: skip


def main(names: Iterable[str]) -> int:
    """Examine models and write the page."""
    sys.path.insert(0, str(PAGE.parent.parent / "tests"))
    import models  # type: ignore[import-not-found]

    rows = [HEAD, tuple("---" for _ in HEAD)]
    for name in names or models.TWELVE:
        built = models.build(name)
        found = examine(built.model, built.args, built.kwargs, draws=20, export=True, depth=True)
        rows.append(row(name, found, built.model))
        print("|".join(rows[-1]), flush=True)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
