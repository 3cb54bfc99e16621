"""Text, letter by letter: heads, widths, depth and the mixing layers of a tiny transformer.

``proxyless`` trains one drawn path at a time, and learns what to draw by comparing two: it needs
little more memory and time than one network.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pydoc_data.topics import topics
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

import oneshot_core as oneshot
from oneshot_core import nn

from .common import Data, Examples, halves, shuffled, trainer
from .compare import TRAINING, Found, Task

BATCH = 16
CONTEXT = 64
"""Letters that are read; after each the next is predicted."""
WIDTH = 32
LETTERS = "\n" + "".join(map(chr, range(32, 127)))
"""What is told apart; everything else counts as one more letter."""


class Writer(pl.LightningModule):
    """Predict the next letter."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS) + 1, WIDTH)
        self.places = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = oneshot.Repeat(Block, (1, 3), label="depth")
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(LETTERS) + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape ``(batch, length, letters)``, for ``x`` of ``(batch, length)``."""
        places = self.places(torch.arange(x.shape[1], device=x.device))
        logits: Tensor = self.head(self.blocks(self.letters(x) + places))
        return logits

    def training_step(self, batch: Examples, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]).flatten(0, 1), batch[1].flatten())

    def validation_step(self, batch: Examples, batch_idx: int) -> None:
        self.log("val_bits", self.training_step(batch, batch_idx) / math.log(2))

    def test_step(self, batch: Examples, batch_idx: int) -> None:
        self.log("test_bits", self.training_step(batch, batch_idx) / math.log(2))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.004)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.004, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Block(nn.Module):
    """Mix the letters with what stands before them, then look at each by itself."""

    def __init__(self, index: int) -> None:
        super().__init__()
        heads = oneshot.choice([1, 2, 4], label=f"heads{index}")
        hidden = oneshot.choice([16, 32, 64, 128], label=f"hidden{index}")
        self.before_mixing, self.before_thinking = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mix = oneshot.LayerChoice(
            {
                "attention": Attention(heads),
                "convolution": Convolution(),
                "identity": nn.Identity(),
            },
            label=f"mix{index}",
        )
        self.think = nn.Sequential(
            nn.Linear(WIDTH, hidden),
            nn.activation(["relu", "gelu"], label="activation"),
            nn.Linear(hidden, WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(self.before_mixing(x))
        out: Tensor = x + self.think(self.before_thinking(x))
        return out


class Attention(nn.Module):
    """Attend to the letters so far; the number of heads may be open."""

    def __init__(self, heads: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        later = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
        out: Tensor = self.attention(x, x, x, attn_mask=later, need_weights=False)[0]
        return out


class Convolution(nn.Module):
    """Mix each letter with the four before it."""

    def __init__(self, kernel: int = 5) -> None:
        super().__init__()
        self.kernel = kernel
        self.each = nn.Conv1d(WIDTH, WIDTH, kernel, groups=WIDTH)
        self.across = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x.transpose(1, 2), (self.kernel - 1, 0))
        out: Tensor = self.across(self.each(padded).transpose(1, 2))
        return out


def data() -> Data:
    """Return the reference of the language, which every Python has for ``help()``.

    Topics quote each other, so each paragraph counts once. The first 80 % train, the next 10 %
    validate and the last 10 % test.
    """
    paragraphs = "\n\n".join(topics[name] for name in sorted(topics)).split("\n\n")
    text = "\n\n".join(dict.fromkeys(paragraphs))
    codes = {letter: code for code, letter in enumerate(LETTERS)}
    encoded = torch.tensor([codes.get(letter, len(LETTERS)) for letter in text])
    ends = [0, len(text) * 8 // 10, len(text) * 9 // 10, len(text)]
    return Data(*(windows(encoded[a:b]) for a, b in pairwise(ends)))


def windows(text: Tensor) -> Examples:
    """Return pieces beside each other, and the same moved by one letter."""
    n = (len(text) - 1) // CONTEXT * CONTEXT
    return text[:n].reshape(-1, CONTEXT), text[1 : n + 1].reshape(-1, CONTEXT)


def find(data: Data, seed: int, epochs: int) -> Found:
    """Train a drawn path, compare two, in turn; take the most probable candidates."""
    pl.seed_everything(seed, verbose=False)
    weights, architecture = halves(data.train)
    search = oneshot.search(
        Writer(),
        "proxyless",
        arch_dataloader=shuffled(architecture, BATCH, seed + 1),
        arc_learning_rate=0.01,
        weight_decay=0.0,
        seed=seed,
    )
    trainer(epochs).fit(search, shuffled(weights, BATCH, seed))
    return Found(search.export(), 3 * TRAINING * epochs * len(weights[0]))


TASK = Task(
    name="text",
    strategy="proxyless",
    model=Writer,
    data=data,
    find=find,
    epochs=2,
    search_epochs=4,
    batch=BATCH,
    metric="bits",
)
