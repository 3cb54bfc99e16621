"""Checkpoint files through a Trainer: whole, refused where cut off, safe to read."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core import AtomicCheckpointIO, LayerChoice
from oneshot_core.errors import CheckpointError, OutputError
from oneshot_plugins.strategies.uniform import UniformSampling


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = LayerChoice([nn.Linear(6, 3), nn.Linear(6, 3)], label="layer")
        self.batches = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.batches += 1
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "new folder" / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.arange(300.0)}}, path)
    return path


def test_what_was_saved_is_loaded(saved: Path) -> None:
    loaded = AtomicCheckpointIO().load_checkpoint(saved)
    assert torch.equal(loaded["state_dict"]["weight"], torch.arange(300.0))


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_anywhere_is_named_with_the_fix(
    saved: Path, keep: float, make_loader: Any, make_trainer: Any
) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content))])
    expected = r"a\.ckpt' cannot be read as a checkpoint: (.|\n)*fix: go on from an older"
    with pytest.raises(CheckpointError, match=expected):
        AtomicCheckpointIO().load_checkpoint(saved)
    with pytest.raises(CheckpointError, match=expected):
        UniformSampling.load_from_checkpoint(saved, model=Net())
    trainer = make_trainer(plugins=[AtomicCheckpointIO()])
    with pytest.raises(CheckpointError, match=expected):
        trainer.fit(oneshot.search(Net()), make_loader(8), ckpt_path=saved)


@pytest.mark.parametrize("content", [[1], torch.zeros(2), 3])
def test_another_file_of_torch_is_no_checkpoint(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other")
    with pytest.raises(CheckpointError, match="it holds a"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "other")


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=200) | st.builds(pickle.dumps, st.text() | st.integers()))
def test_bytes_of_any_kind_are_a_checkpoint_error(content: bytes) -> None:
    with pytest.raises(CheckpointError):
        AtomicCheckpointIO().load_checkpoint(io.BytesIO(content))


class Opaque:
    """An object of the user's own."""


def test_objects_are_refused_unless_the_file_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"mine": Opaque()}, path)
    with pytest.raises(pickle.UnpicklingError, match="Opaque"):
        AtomicCheckpointIO().load_checkpoint(path)
    loaded = AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert isinstance(loaded["mine"], Opaque)


def test_what_cannot_be_pickled_is_told_before_a_file_is_touched(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        AtomicCheckpointIO().save_checkpoint({"mine": lambda: 0}, saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_urls_are_left_to_lightning() -> None:
    AtomicCheckpointIO().save_checkpoint({"a": torch.ones(2)}, "memory://folder/a.ckpt")
    loaded = AtomicCheckpointIO().load_checkpoint("memory://folder/a.ckpt")
    assert torch.equal(loaded["a"], torch.ones(2))
    AtomicCheckpointIO().remove_checkpoint("memory://folder/a.ckpt")
    with pytest.raises(FileNotFoundError):
        AtomicCheckpointIO().load_checkpoint("memory://folder/a.ckpt")


def test_a_trainer_keeps_and_removes_checkpoints_as_with_lightnings_own(
    make_loader: Any, make_trainer: Any, tmp_path: Path
) -> None:
    names = []
    for folder, plugins in {"theirs": [], "ours": [AtomicCheckpointIO()]}.items():
        keeper = ModelCheckpoint(
            tmp_path / folder, "{step}", every_n_train_steps=2, save_top_k=1, save_last=True
        )
        trainer = make_trainer(callbacks=[keeper], plugins=plugins, enable_checkpointing=True)
        trainer.fit(oneshot.search(Net(), seed=0), make_loader(20))
        names.append(sorted(os.listdir(tmp_path / folder)))
    assert names[0] == names[1]
    assert len(names[0]) == 2


def test_checkpoints_that_could_not_be_written_are_an_error_before_training(
    make_loader: Any, make_trainer: Any, readonly_folder: Path
) -> None:
    """Without our plugin, too: Lightning itself goes on and writes nothing."""
    search = oneshot.search(Net())
    keeper = ModelCheckpoint(readonly_folder / "deeper")
    trainer = make_trainer(callbacks=[keeper], enable_checkpointing=True)
    with pytest.raises(OutputError, match=r"deeper(.|\n)*expected: permission"):
        trainer.fit(search, make_loader(8))
    assert search.model.batches == 0


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_disk_that_is_full_ends_the_fit_and_leaves_the_last_checkpoint(
    make_loader: Any, make_trainer: Any, tmp_path: Path, disk_of: Any
) -> None:
    def fit(**options: Any) -> Trainer:
        keeper = ModelCheckpoint(tmp_path, "a", enable_version_counter=False)
        trainer = make_trainer(
            callbacks=[keeper], plugins=[AtomicCheckpointIO()], enable_checkpointing=True, **options
        )
        trainer.fit(oneshot.search(Net(), seed=0), make_loader(8))
        return trainer

    fit(max_epochs=1)
    before = (tmp_path / "a.ckpt").read_bytes()
    with disk_of(1000), pytest.raises(OutputError, match="room"):
        fit(max_epochs=2)
    assert (tmp_path / "a.ckpt").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.ckpt"]


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs `lightning`")
def test_a_trainer_of_the_other_package_takes_it_too(tmp_path: Path) -> None:
    import lightning.pytorch as other

    io = AtomicCheckpointIO()
    trainer = other.Trainer(plugins=[io], logger=False, default_root_dir=tmp_path)
    assert trainer.strategy.checkpoint_io is io
