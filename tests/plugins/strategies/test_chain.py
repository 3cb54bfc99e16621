"""A chain of sizes: what each stage trains, and that finished stages keep their weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.errors import ArchitectureError, StrategyError
from oneshot_plugins.strategies.chain import Chain
from oneshot_plugins.strategies.stages import begins_of

ce = nn.functional.cross_entropy
SIZES: Any = [{"width": 6}, {"width": 4}, {"width": 2, "act": "skip"}]


class Task(pl.LightningModule):
    """An elastic width and a choice of layers, in float64."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        width = oneshot.choice([2, 4, 6], label="width")
        self.net = nn.Sequential(
            oneshot.nn.Linear(4, width),
            oneshot.nn.BatchNorm1d(width) if norm else nn.Identity(),
            oneshot.LayerChoice({"tanh": nn.Tanh(), "skip": nn.Identity()}, label="act"),
            oneshot.nn.Linear(width, 3),
        )
        self.double()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return ce(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", ce(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


ORDER: Any = {"act": ["skip", "tanh"]}


def chain(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    given = {"sizes": SIZES, "order": ORDER, "seed": seed, **options}
    return Chain(Task(norm=given.pop("norm", False)), **given)


def losses(search: Any, loader: Any) -> list[float]:
    ranking = search.rank(
        search.sizes, loader(9), metric="val_loss", mode="min", baselines=False, progress=False,
        calibration_batches=0,
    )  # fmt: skip
    scores = {entry.architecture: entry.score for entry in ranking}
    return [scores[size] for size in search.sizes]


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: Any, two: Any) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.verifies("each stage, trained by hand as a plain network from the one before", "chain")
@pytest.mark.parametrize("seed", [0, 1])
def test_each_stage_trains_its_network_from_the_weights_of_the_one_before(
    seed: int, loader: Any, fit: Any
) -> None:
    search = chain(seed)
    first, _, _, last = copy.deepcopy(search.model.net)
    weight, bias = first.weight.detach(), first.bias.detach()
    out, shift = last.weight.detach(), last.bias.detach()
    expected = []
    for width, act in ((6, torch.tanh), (4, torch.tanh), (2, lambda t: t)):
        # A stage is the prefix of the one before, and nothing else of it is trained.
        tensors = [weight[:width], bias[:width], out[:, :width], shift]
        tensors = [t.clone().requires_grad_() for t in tensors]
        optimizer = torch.optim.SGD(tensors, lr=0.1)
        for _ in range(2):
            for x, y in loader(1):
                w, b, o, s = tensors
                loss = ce(act(x @ w.T + b) @ o.T + s, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        weight, bias, out, shift = [t.detach() for t in tensors]
        expected.append([t.clone() for t in (weight, bias, out, shift)])

    fit(search, max_epochs=6)

    for i, tensors in enumerate(expected):
        found = list(search.network(i).net.parameters())
        for one, two in zip(found, tensors, strict=True):
            assert torch.allclose(one, two, rtol=1e-10, atol=1e-13), i


def test_at_rank_and_freeze_of_a_finished_stage_use_its_own_weights(
    loader: Any, fit: Any, tmp_path: Path
) -> None:
    search = chain()
    seen: list[Any] = []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            seen.append(state(oneshot.freeze(search, search.sizes[len(seen)])))

    fit(search, max_epochs=3, callbacks=[Watch()])
    shared = state(search.model)
    x = loader(3).dataset[:][0]
    expected = []
    for i, size in enumerate(search.sizes):
        frozen = oneshot.freeze(search, size)
        assert same(state(frozen), seen[i]), "as at the end of its stage"
        assert same(state(search.network(i)), seen[i])
        with search.at(size), torch.no_grad():
            assert torch.equal(search.model.net(x), frozen.net(x))
        with torch.no_grad():
            batches = [ce(frozen.net(b), y).item() for b, y in loader(9)]
        expected.append(sum(batches) / len(batches))
    assert losses(search, loader) == pytest.approx(expected, rel=1e-6)
    assert same(state(search.model), shared), "the shared weights are as they were"
    assert not same(state(search.network(0)), state(oneshot.freeze(search.model, search.sizes[0])))
    front = search.pareto({"val_loss": "min", "parameters": "min"}, loader(9), budget=6,
                          baselines=False, progress=False)  # fmt: skip
    known = {point.architecture: point.values["val_loss"] for point in front}
    for size, loss in zip(search.sizes, expected, strict=True):
        assert known.get(size, loss) == pytest.approx(loss, rel=1e-6)


def test_blocks_inside_each_other_hold_the_weights_of_the_innermost(fit: Any) -> None:
    search = chain()
    fit(search, max_epochs=3)
    nets = [state(oneshot.freeze(search, size)) for size in search.sizes]
    assert not any(same(nets[0], nets[i]) for i in (1, 2))
    with search.at(search.sizes[0]):
        held = state(search.model)
        assert [same(state(search.network(i)), nets[i]) for i in range(3)] == [True] * 3
        with search.at(search.sizes[2]):
            assert same(state(oneshot.freeze(search, search.sizes[0])), nets[0])
        assert same(state(search.model), held)


def test_an_architecture_that_is_no_stage_has_the_shared_weights(fit: Any) -> None:
    search = chain()
    fit(search, max_epochs=3)
    other = {"width": 4, "act": "skip"}
    assert same(state(oneshot.freeze(search, other)), state(oneshot.freeze(search.model, other)))


def test_the_stages_say_what_has_become_of_them(fit: Any) -> None:
    search = chain(epochs=[1, 2, 1])
    assert [tuple(s)[2:] for s in search.stages] == [(False, False)] * 3
    with pytest.raises(StrategyError, match="stage 0 of the chain was not trained"):
        search.network(0)
    fit(search, max_epochs=4, limit_val_batches=0)
    assert [s.begins for s in search.stages] == [0, 1, 3]
    assert [(s.reached, s.kept) for s in search.stages] == [(True, True)] * 2 + [(True, False)]
    assert search.stages[1].architecture == {"width": 4, "act": "tanh"}
    assert search.search_phase == "size 3/3"


def test_stages_may_be_parts_of_an_epoch(fit: Any) -> None:
    search = chain(epochs=1 / 3)
    seen: list[Any] = []
    step = search.model.training_step

    def watched(batch: Any, batch_idx: int) -> Any:
        seen.append(search._stage)
        return step(batch, batch_idx)

    search.model.training_step = watched
    fit(search, max_epochs=2, limit_val_batches=0)
    assert seen == [0, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("done", [1, 2, 3, 5])
@pytest.mark.parametrize("teacher", [None, "original", "previous"])
def test_an_interrupted_chain_goes_on_exactly(
    done: int, teacher: str | None, fit: Any, tmp_path: Path
) -> None:
    """In the middle of a stage, and at its end."""
    options: Any = {"epochs": 2, "teacher": teacher, "distill": "kl" if teacher else None}
    through = chain(**options)
    fit(through, max_epochs=6)

    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            trainer.should_stop = trainer.current_epoch + 1 == done

    path = tmp_path / "half.ckpt"
    fit(chain(**options), max_epochs=6, callbacks=[Stop()]).save_checkpoint(path)
    torch.load(path, weights_only=True)
    rest = chain(**options)
    fit(rest, max_epochs=6, ckpt_path=str(path))
    assert same(state(through.model), state(rest.model))
    for i in range(3):
        assert same(state(through.network(i)), state(rest.network(i)))


def test_a_checkpoint_gives_all_stages_back(fit: Any, tmp_path: Path) -> None:
    search = chain()
    fit(search, max_epochs=3).save_checkpoint(tmp_path / "end.ckpt")
    loaded = Chain.load_from_checkpoint(
        tmp_path / "end.ckpt", model=Task(), sizes=SIZES, order=ORDER
    )
    for i in range(3):
        assert same(state(search.network(i)), state(loaded.network(i)))  # type: ignore[attr-defined]
    with pytest.raises(StrategyError, match="a chain of 3 sizes"):
        Chain.load_from_checkpoint(tmp_path / "end.ckpt", model=Task(), sizes=SIZES[:2])


def test_tensors_that_a_stage_left_alone_are_kept_once(fit: Any) -> None:
    class Three(Task):
        def __init__(self) -> None:
            super().__init__()
            layers = {name: nn.Linear(8, 8) for name in "abc"}
            self.net = nn.Sequential(
                nn.Linear(4, 8), oneshot.LayerChoice(layers, label="act"), nn.Linear(8, 3)
            )
            self.double()

    search = Chain(Three(), sizes=[{"act": "c"}, {"act": "b"}, {"act": "a"}], seed=0)
    fit(search, max_epochs=3)
    one, two = search._kept
    shared = {name for name in one if one[name] is two[name]}
    assert shared == {f"net.1.candidates.{c}.{t}" for c in "ac" for t in ("weight", "bias")}


def test_files_of_the_stages_lie_beside_the_checkpoints(fit: Any, tmp_path: Path) -> None:
    search = chain()
    checkpoint = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    fit(search, max_epochs=3, enable_checkpointing=True, callbacks=[checkpoint])
    for i, size in enumerate(search.sizes):
        folder = tmp_path / f"stage-{i}"
        assert oneshot.Architecture.load(folder / "architecture.json") == size
        plain = oneshot.freeze(Task(), size)
        plain.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
        assert same(state(plain), state(search.network(i)))


def test_batch_statistics_belong_to_the_weights_of_a_stage(loader: Any, fit: Any) -> None:
    search = chain(norm=True)
    seen: list[Any] = []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            seen.append(state(oneshot.freeze(search, search.sizes[len(seen)])))

    fit(search, max_epochs=3, callbacks=[Watch()])
    assert [same(state(search.network(i)), seen[i]) for i in range(3)] == [True] * 3
    before = state(search.model)
    search.rank(search.sizes, loader(9), metric="val_loss", mode="min", progress=False)
    assert same(before, state(search.model))
    assert [same(state(search.network(i)), seen[i]) for i in range(3)] == [True] * 3


@pytest.mark.verifies("the explicit loss with the network of the stage before", "chain")
@pytest.mark.parametrize("seed", [0, 1])
def test_the_teacher_of_a_stage_is_the_network_before_it(seed: int, loader: Any, fit: Any) -> None:
    seen: list[tuple[int, Tensor, Tensor]] = []

    def loss(student: Tensor, teacher: Tensor, batch: Any) -> Tensor:
        seen.append((search._stage, teacher.clone(), batch[0]))
        return (student - teacher).square().mean()

    search = chain(seed, teacher="previous", distill=loss)
    original = copy.deepcopy(search.distillation.teacher.module)
    fit(search, max_epochs=3, limit_val_batches=0)
    assert [stage for stage, _, _ in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for stage, output, x in seen:
        teacher = original if stage == 0 else search.network(stage - 1).net
        with torch.no_grad():
            assert torch.equal(output, teacher(x))


def test_a_number_of_sizes_goes_down_in_equal_steps() -> None:
    def widths(n: int) -> list[Any]:
        return [dict(size) for size in chain(sizes=n).sizes]

    assert widths(1) == [{"width": 6, "act": "tanh"}]
    assert widths(2) == [{"width": 6, "act": "tanh"}, {"width": 2, "act": "skip"}]
    assert [size["width"] for size in widths(3)] == [6, 4, 2]
    assert chain(sizes=None).sizes == chain(sizes=2).sizes


def test_what_a_size_leaves_out_is_as_in_the_size_before() -> None:
    sizes = chain(sizes=[{}, {"act": "skip"}, {"w*": 4}]).sizes
    assert [dict(size) for size in sizes] == [
        {"width": 6, "act": "tanh"}, {"width": 6, "act": "skip"}, {"width": 4, "act": "skip"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ([], StrategyError, "0 sizes"),
        ([{"width": 4}, {"width": 4}], StrategyError, "there before"),
        ([{"width": 2}, {"width": 4}], StrategyError, "'width' at 4, the one before at 2"),
        ([{"depth": 2}], StrategyError, "names 'depth'"),
        ([{"width": 3}], ArchitectureError, "width"),
        (4, StrategyError, "the label with most choices has 3"),
        (0, StrategyError, "sizes=0"),
    ],
)
def test_what_makes_no_chain_is_refused_before_training(
    sizes: Any, error: Any, message: str, fit: Any
) -> None:
    with pytest.raises(error, match=message):
        fit(chain(sizes=sizes), max_epochs=9)


def test_a_stage_that_is_not_reached_is_refused_before_training(fit: Any) -> None:
    with pytest.raises(StrategyError, match="begins after 4 of 4 epochs"):
        fit(chain(epochs=2), max_epochs=4)
    for epochs in ([1, 2], 0, [1, -1, 1]):
        with pytest.raises(StrategyError, match="for 3 sizes"):
            fit(chain(epochs=epochs), max_epochs=9)
    with pytest.raises(StrategyError, match="max_epochs is not set"):
        begins_of(None, 3, -1)
    assert begins_of(None, 4, 10) == [0, 2.5, 5, 7.5]
    assert begins_of([2, 1, 5], 3, -1) == [0, 2, 3]


def test_a_cache_is_refused_where_the_teacher_changes(tmp_path: Path) -> None:
    with pytest.raises(StrategyError, match="changes with each stage"):
        chain(teacher="previous", teacher_cache=tmp_path)


def test_a_copy_of_a_chain_is_a_chain_of_its_own(fit: Any) -> None:
    search = chain()
    fit(search, max_epochs=3)
    twin = copy.deepcopy(search)
    assert same(state(twin.network(0)), state(search.network(0)))
