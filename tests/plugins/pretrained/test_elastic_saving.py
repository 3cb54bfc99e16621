"""What `oneshot.elastic` sorts and what is frozen from it is saved, for unmodified models."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot

from ...models import TWELVE, build

VISION = {"resnet50", "mobilenet_v3_small", "convnext_tiny", "efficientnet_b0"}


def marks(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.nightly if name in VISION else pytest.mark.slow]


def results(network: nn.Module, built: Any) -> list[Tensor]:
    with torch.no_grad():
        result = network.eval()(*built.args, **built.kwargs)
    found = list(result.values()) if isinstance(result, dict) else [result]
    return [x for x in torch.utils._pytree.tree_leaves(found) if isinstance(x, Tensor)]


@pytest.mark.parametrize("name", [pytest.param(n, marks=marks(n)) for n in TWELVE])
def test_sorted_elastic_models_stay_equal_and_what_is_frozen_is_saved(
    name: str, tmp_path: Path
) -> None:
    built = build(name)
    given = built.kwargs or built.args
    before = results(built.model, built)
    plan = oneshot.elastic(built.model, given, depth=True, batches=[given], by_config=False)
    assert plan.importance is not None
    assert len(plan.importance.orders) > 0
    assert plan.importance.deviation is not None
    assert 0 < plan.importance.deviation < 1e-5
    for old, new in zip(before, results(built.model, built), strict=True):
        if old.is_floating_point():
            torch.testing.assert_close(new, old, rtol=0, atol=1e-5 * float(old.abs().max()))
    how: Any = (f"torchvision.models:{name}", {"weights": None}) if name in VISION else None
    rng = random.Random(0)
    for number in range(2):
        small = oneshot.freeze(built.model, oneshot.ModelSpace(built.model).sample(rng))
        folder = oneshot.save_network(small, tmp_path / str(number), build=how)
        expected = results(small, built)
        loaded = oneshot.load_network(folder)
        assert all(map(torch.equal, expected, results(loaded, built)))
        names: dict[str, Any] = {"__file__": str(folder / "load.py"), "__name__": "load"}
        exec(compile((folder / "load.py").read_text(), "load.py", "exec"), names)
        assert all(map(torch.equal, expected, results(names["load"](), built)))
