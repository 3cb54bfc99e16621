"""What an elastic network costs beside the plain network of the same sizes: ``python -m
benchmarks.elastic [mlp resnet18 minilm llama]``.

At full size and at about half of every size, the elastic and the frozen network are run in turn:
a forward pass without gradients, and one with its backward pass. Nothing is cached between passes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import DecisionTable, traverse_and_mutate_submodules
from oneshot_core.lightning.kit import plugin_hooks
from oneshot_plugins.costs.supernet import Followed

from .timing import Ratio, compare


class Case(NamedTuple):
    """A model, and what it is called with."""

    model: nn.Module
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012


def mlp() -> Case:
    layers = [m for _ in range(4) for m in (nn.Linear(1024, 1024), nn.ReLU())]
    return Case(nn.Sequential(*layers), (torch.randn(64, 1024),))


def resnet18() -> Case:
    from tests.models import torchvision

    built = torchvision("resnet18", 128)
    return Case(built.model, built.args)


def minilm() -> Case:
    from tests.models import minilm as real

    ids = torch.randint(5, 90, (8, 64))
    return Case(real().model, (), {"input_ids": ids, "attention_mask": torch.ones_like(ids)})


def llama() -> Case:
    from tests.models import package

    t = package("transformers")
    config = t.LlamaConfig(
        vocab_size=8000, hidden_size=512, intermediate_size=1376, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=4, head_dim=64, pad_token_id=0,
    )  # fmt: skip
    ids = torch.randint(5, 90, (4, 64))
    return Case(t.LlamaForCausalLM(config), (), {"input_ids": ids, "use_cache": False})


CASES: dict[str, Callable[[], Case]] = {
    "mlp": mlp,
    "resnet18": resnet18,
    "minilm": minilm,
    "llama": llama,
}


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def _forward(network: nn.Module, case: Case) -> None:
    with torch.no_grad():
        network(*case.args, **case.kwargs)


def _step(network: nn.Module, case: Case) -> None:
    _first(network(*case.args, **case.kwargs)).square().mean().backward()  # type: ignore[no-untyped-call]
    network.zero_grad()


def measure(name: str) -> list[tuple[str, str, Ratio]]:
    """Return the ratios of one model: size, what ran, elastic over plain."""
    torch.manual_seed(0)
    case = CASES[name]()
    case.model.eval()
    oneshot.elastic(case.model, case.kwargs or case.args, ratios=(0.5, 1.0))
    root, decisions = nn.Sequential(case.model), DecisionTable(Followed)
    hooks = list(plugin_hooks(oneshot.registry))
    traverse_and_mutate_submodules(root, hooks, {"decisions": decisions})
    found = []
    for size, index in (("full", -1), ("half", 0)):
        chosen = {d.spec.label: d.spec.candidates[index] for d in decisions}
        for decision in decisions:
            decision.pin(chosen[decision.spec.label])
        plain = oneshot.freeze(root, chosen)[0]  # type: ignore[index]
        for what, run in (("forward", _forward), ("forward and backward", _step)):
            ratio = compare(partial(run, case.model, case), partial(run, plain, case))
            found.append((size, what, ratio))
    return found


def main(names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    print("| model | size | what | elastic / plain | quartiles | plain, ms |")
    print("|---|---|---|---|---|---|")
    for name in names or CASES:
        for size, what, ratio in measure(name):
            print(
                f"| {name} | {size} | {what} | {ratio.median:.2f} | {ratio.low:.2f} to "
                f"{ratio.high:.2f} | {1000 * ratio.theirs:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
