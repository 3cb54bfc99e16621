"""Choices in layers and functions of torch.nn: the commonest mistake has one clear answer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import oneshot_core as oneshot
from oneshot_core.errors import SpaceError

X = torch.zeros(2, 4, 8, 8)

LAYERS: dict[str, Callable[[Any], object]] = {
    "Linear": lambda w: nn.Linear(4, w),
    "Linear-in": lambda w: nn.Linear(w, 4),
    "Conv1d": lambda w: nn.Conv1d(3, w, 3),
    "Conv2d": lambda w: nn.Conv2d(3, w, 3),
    "Conv2d-in": lambda w: nn.Conv2d(w, 4, 3),
    "Conv2d-kernel": lambda w: nn.Conv2d(3, 4, w),
    "Conv2d-padding": lambda w: nn.Conv2d(3, 4, 3, padding=w // 2)(X[:, :3]),
    "Conv2d-groups": lambda w: nn.Conv2d(4, 4, 3, groups=w),
    "ConvTranspose2d": lambda w: nn.ConvTranspose2d(3, w, 2),
    "LayerNorm": lambda w: nn.LayerNorm(w),
    "LayerNorm-list": lambda w: nn.LayerNorm([3, w]),
    "RMSNorm": lambda w: nn.RMSNorm(w),
    "GroupNorm": lambda w: nn.GroupNorm(2, w),
    "BatchNorm2d": lambda w: nn.BatchNorm2d(w),
    "InstanceNorm2d": lambda w: nn.InstanceNorm2d(w, affine=True),
    "Dropout": lambda w: nn.Dropout(w / 10),
    "Embedding": lambda w: nn.Embedding(10, w),
    "Embedding-rows": lambda w: nn.Embedding(w, 10),
    "Bilinear": lambda w: nn.Bilinear(w, 2, 3),
    "PReLU": lambda w: nn.PReLU(w),
    "LeakyReLU": lambda w: nn.LeakyReLU(w / 10)(X),
    "LSTM": lambda w: nn.LSTM(4, w),
    "LSTM-in": lambda w: nn.LSTM(w, 4),
    "GRU": lambda w: nn.GRU(4, 4, num_layers=w),
    "RNN-dropout": lambda w: nn.RNN(4, 4, 2, dropout=w / 10),
    "LSTMCell": lambda w: nn.LSTMCell(4, w),
    "MultiheadAttention": lambda w: nn.MultiheadAttention(w, 2),
    "MultiheadAttention-heads": lambda w: nn.MultiheadAttention(8, w),
    "TransformerEncoderLayer": lambda w: nn.TransformerEncoderLayer(16, 2, w),
    "MaxPool2d": lambda w: nn.MaxPool2d(w)(X),
    "AdaptiveAvgPool2d": lambda w: nn.AdaptiveAvgPool2d(w)(X),
    "Upsample": lambda w: nn.Upsample(scale_factor=w)(X),
    "Unflatten": lambda w: nn.Unflatten(1, (w, 2)),
    "PixelShuffle": lambda w: nn.PixelShuffle(w)(X),
    "Softmax": lambda w: nn.Softmax(w)(X),
}
FUNCTIONS: dict[str, Callable[[Any], object]] = {
    "pad": lambda w: F.pad(X, (w, w)),
    "dropout": lambda w: F.dropout(X, w / 10),
    "interpolate": lambda w: F.interpolate(X, size=w),
    "max_pool2d": lambda w: F.max_pool2d(X, w),
    "zeros": lambda w: torch.zeros(w),
    "empty": lambda w: torch.empty((2, w)),
    "view": lambda w: X.view(w, -1),
    "reshape": lambda w: X.reshape(2, w),
    "index": lambda w: X[w],
    "times": lambda w: X * w,
    "times-from-the-left": lambda w: w * X,
    "plus": lambda w: w + X,
    "power": lambda w: X**w,
    "full": lambda w: torch.full((2,), w),
    "topk": lambda w: X.topk(w),
}


@pytest.mark.parametrize("computed", [False, True], ids=["choice", "computed"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_torch_nn_says_that_it_takes_no_choices(name: str, computed: bool) -> None:
    w = oneshot.choice([4, 8], label="w")
    with pytest.raises(SpaceError) as caught:
        LAYERS[name](2 * w if computed else w)
    message = str(caught.value)
    assert "take no choices" in message
    assert "from oneshot_core import nn" in message
    assert message.startswith(f"torch.nn.{name.partition('-')[0]} got the choice")
    assert "  expected: " in message
    assert "  fix: " in message


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_torch_says_that_it_takes_no_choices(name: str) -> None:
    with pytest.raises(SpaceError, match=r"(?s)got the choice .*w.*take no choices.*oneshot_core"):
        FUNCTIONS[name](oneshot.choice([4, 8], label="w"))


def test_what_is_no_fault_of_torch_keeps_its_own_advice() -> None:
    w = oneshot.choice([4, 8], label="w")
    with pytest.raises(SpaceError, match="if_else"):
        assert w > 4
    with pytest.raises(SpaceError, match="value\\[0\\]"):
        list(w)
    with pytest.raises(SpaceError, match="used as a number"):
        range(w)  # type: ignore[call-overload]


def test_a_value_may_still_be_kept_copied_and_asked_for_its_class() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = oneshot.choice([4, 8], label="w")
            self.layer = oneshot.nn.Linear(3, self.w)

    model = Model()
    assert type(copy.deepcopy(model).w) is type(model.w)
    again = pickle.loads(pickle.dumps(model.w + 1))
    assert again.evaluate({"w": 4}) == 5
    assert isinstance(model.w, oneshot.ValueChoice)
    assert not isinstance(model.w, int)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: oneshot.choice("hidden", [16, 32]),
        lambda: oneshot.choice([16, 32], "hidden"),
        lambda: oneshot.choice("hidden", label="hidden"),
        lambda: oneshot.uniform("lr", 0.1, 0.9),
        lambda: oneshot.loguniform("lr", 1e-4, 1e-1),
    ],
)
def test_the_order_of_arguments_of_other_libraries_is_answered_with_ours(wrong: Any) -> None:
    with pytest.raises(SpaceError, match=r"(?s)without names.*fix: oneshot\.\w+\(.*label="):
        wrong()


def test_a_choice_without_a_label_says_what_is_missing() -> None:
    with pytest.raises(SpaceError, match=r"(?s)label=None.*fix: oneshot.choice\(.*label="):
        oneshot.choice([4, 8])
