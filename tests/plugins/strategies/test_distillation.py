"""Learning from a teacher: the loss against its equation, and what must not notice the teacher."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import oneshot_core as oneshot
from oneshot_core.errors import StrategyError
from oneshot_plugins.distillation import losses
from oneshot_plugins.distillation.cache import TeacherCache
from oneshot_plugins.distillation.losses import Distill, Match
from oneshot_plugins.strategies.fair import FairSampling
from oneshot_plugins.strategies.sandwich import Sandwich
from oneshot_plugins.strategies.shrinking import Phase, ProgressiveShrinking
from oneshot_plugins.strategies.uniform import UniformSampling

ce = nn.functional.cross_entropy


class Body(nn.Module):
    """A choice of layers and an elastic width, in float64: logits of three classes."""

    def __init__(self) -> None:
        super().__init__()
        width = oneshot.choice([2, 4, 6], label="width")
        self.stem = oneshot.nn.Linear(4, width)
        self.choice = oneshot.LayerChoice(
            {"tanh": nn.Tanh(), "relu": nn.ReLU(), "skip": nn.Identity()}, label="act"
        )
        self.head = oneshot.nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.choice(self.stem(x)))
        return out


class Task(pl.LightningModule):
    """Trains ``net``; its training_step returns a loss and nothing else."""

    def __init__(self, net: nn.Module | None = None, lr: float = 0.1) -> None:
        super().__init__()
        self.net = Body() if net is None else net
        self.lr = lr
        self.double()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return ce(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", ce(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def seeded(seed: int, make: Callable[[], Any] = Task) -> Any:
    torch.manual_seed(seed)
    return make()


def at(net: Any, path: Mapping[str, Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute a path by hand, in tensors of the supernet or of the bare model."""
    width = path["width"]
    stem = x @ net.stem.weight[:width].T + net.stem.bias[:width]
    act = {"tanh": torch.tanh, "relu": torch.relu, "skip": lambda t: t}[path["act"]]
    return stem, act(stem) @ net.head.weight[:, :width].T + net.head.bias


ORIGINAL = {"width": 6, "act": "tanh"}  # what the model computes before any search


def trained_by_hand(
    model: Any, paths: list[list[Any]], loader: Any, loss: Callable[..., Tensor]
) -> dict[str, Tensor]:
    """Train a plain copy of the tensors; ``loss(net, original, path, batch)`` for each path."""
    net, original = copy.deepcopy(model.net), copy.deepcopy(model.net).requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for batch, drawn in zip(loader, paths, strict=True):
        optimizer.zero_grad()
        sum(loss(net, original, path, batch) for path in drawn).backward()  # type: ignore[union-attr]
        optimizer.step()
    found: dict[str, Tensor] = net.state_dict()
    return found


def draws(search: Any, batches: int = 3) -> list[list[Any]]:
    found = []
    for index in range(batches):
        search.reseed("train", 0, index)
        several = isinstance(search, (FairSampling, Sandwich, ProgressiveShrinking))
        found.append(search.draw_paths() if several else [search.resample()])
    return found


def require_equal(search: Any, expected: Mapping[str, Tensor]) -> None:
    found = search.model.net.state_dict()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-10, atol=1e-13), name


def hinton(student: Tensor, teacher: Tensor, t: float = 1.0) -> Tensor:
    p, q = [(z / t).exp() / (z / t).exp().sum(1, keepdim=True) for z in (teacher, student)]
    return t**2 * (p * (p.log() - q.log())).sum(1).mean()


# --- losses, each against its equation --------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_is_the_divergence_of_the_softened_distributions(seed: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    expected = 0.0
    for s, t in zip(student, teacher, strict=True):
        p = [math.exp(x / temperature) for x in t.tolist()]
        q = [math.exp(x / temperature) for x in s.tolist()]
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 5
    found = Match("kl", temperature=temperature)(student, teacher, None, "net")
    assert found.item() == pytest.approx(temperature**2 * expected, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_other_losses_are_their_equations(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 4, 7, 3, generator=generator, dtype=torch.float64)
    mse = ((student - teacher) ** 2).sum() / student.numel()
    norms = (student**2).sum(2).sqrt() * (teacher**2).sum(2).sqrt()
    cosine = (1 - (student * teacher).sum(2) / norms).mean()
    along = (1 - (student * teacher).sum(1) / (
        (student**2).sum(1).sqrt() * (teacher**2).sum(1).sqrt())).mean()  # fmt: skip
    labels = teacher.exp() / teacher.exp().sum(2, keepdim=True)
    cross = -(labels * (student - student.exp().sum(2, keepdim=True).log())).sum(2).mean()
    for match, expected in [
        (Match("mse"), mse),
        (Match("cosine"), cosine),
        (Match("cosine", dim=1), along),
        (Match("soft_cross_entropy"), cross),
    ]:
        assert torch.allclose(match(student, teacher, None, "net"), expected, rtol=1e-12)


def test_a_loss_of_equal_outputs_has_no_gradient() -> None:
    for name in losses.LOSSES:
        student = torch.randn(4, 3, dtype=torch.float64).requires_grad_()
        Match(name)(student, student.detach(), None, "net").backward()
        assert student.grad is not None
        assert student.grad.abs().max() < 1e-12, name


# --- whole fits, against the explicit loss ----------------------------------------------------


@pytest.mark.verifies("the explicit loss with a frozen original, by hand", "random")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("own", [None, 0.0, 0.5])
def test_a_random_path_learns_from_the_original(
    seed: int, own: float | None, loader: Any, fit: Any
) -> None:
    distill = Distill(Match("kl", temperature=2.0), weight=0.7, own=own)
    search = UniformSampling(seeded(seed), teacher="original", distill=distill, seed=seed)

    def loss(net: Any, original: Any, path: Any, batch: Any) -> Tensor:
        student, teacher = at(net, path, batch[0])[1], at(original, ORIGINAL, batch[0])[1]
        share = 1.0 if own is None else own
        return share * ce(student, batch[1]) + 0.7 * hinton(student, teacher, 2.0)

    expected = trained_by_hand(search.model, draws(search), loader(1), loss)
    fit(search)
    require_equal(search, expected)


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        pytest.param(FairSampling, {}, id="fair", marks=pytest.mark.verifies(
            "the explicit sum with a teacher", "fair")),
        pytest.param(Sandwich, {"n_random": 1}, id="sandwich"),
        pytest.param(
            ProgressiveShrinking, {"phases": [Phase(1, {"*": None})], "n_paths": 2}, id="shrinking"
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", [3, 4])
def test_all_paths_of_a_step_learn_from_the_original(
    strategy: Any, options: Any, seed: int, loader: Any, fit: Any
) -> None:
    search = strategy(seeded(seed), teacher="original", seed=seed, **options)
    calls: list[int] = []
    search.distillation.teacher.module.register_forward_hook(lambda *_: calls.append(1))

    def loss(net: Any, original: Any, path: Any, batch: Any) -> Tensor:
        student, teacher = at(net, path, batch[0])[1], at(original, ORIGINAL, batch[0])[1]
        return ce(student, batch[1]) + hinton(student, teacher)

    search.trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False,
                                enable_progress_bar=False, accelerator="cpu")  # fmt: skip
    expected = trained_by_hand(search.model, draws(search), loader(1), loss)
    fit(search)
    require_equal(search, expected)
    assert len(calls) == 3, "the teacher is asked once for all paths of a step"


@pytest.mark.parametrize("seed", [0, 1])
def test_hidden_states_are_compared_where_they_are_named(seed: int, loader: Any, fit: Any) -> None:
    distill: Any = {"net": "kl", "net.stem": Match("mse", weight=0.5, prefix=True)}
    search = UniformSampling(seeded(seed), teacher="original", distill=distill, seed=seed)

    def loss(net: Any, original: Any, path: Any, batch: Any) -> Tensor:
        stem, student = at(net, path, batch[0])
        other, teacher = at(original, ORIGINAL, batch[0])
        hidden = ((stem - other[:, : path["width"]]) ** 2).mean()
        return ce(student, batch[1]) + hinton(student, teacher) + 0.5 * hidden

    expected = trained_by_hand(search.model, draws(search), loader(1), loss)
    fit(search)
    require_equal(search, expected)


def test_the_largest_teaches_at_a_path_as_through_a_function(loader: Any, fit: Any) -> None:
    """In-place distillation is one concept: the outputs of path 0 are the teacher's."""

    def logits(model: Any, batch: Any) -> Any:
        return model.net(batch[0])

    states = []
    for options in (
        {"distill": logits},
        {"teacher": "largest", "distill_at": logits},
        {"teacher": "largest"},
    ):
        search = Sandwich(seeded(0), seed=2, **options)
        fit(search)
        states.append(search.model.state_dict())
    for state in states[1:]:
        assert all(torch.equal(value, states[0][name]) for name, value in state.items())


def test_a_loss_of_the_users_gets_outputs_and_batch(fit: Any) -> None:
    seen: list[Any] = []

    class Dicts(Body):
        def forward(self, x: Tensor) -> Any:
            return {"out": super().forward(x)}

    class Reads(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": ce(self.net(batch[0])["out"], batch[1]), "more": 1}

    def loss(student: Any, teacher: Any, batch: Any) -> Tensor:
        seen.append((student["out"].requires_grad, teacher["out"].requires_grad, len(batch)))
        return (student["out"] - teacher["out"]).abs().mean()

    fit(
        UniformSampling(Reads(Dicts()), teacher="original", distill=loss, seed=0),
        limit_val_batches=0,
    )
    assert seen == [(True, False, 2)] * 3


def test_of_several_calls_in_a_step_the_mean_counts(loader: Any, fit: Any) -> None:
    class Twice(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return ce(self.net(batch[0]), batch[1]) + ce(self.net(2 * batch[0]), batch[1])

    search = UniformSampling(seeded(0, Twice), teacher="original", seed=0)

    def loss(net: Any, original: Any, path: Any, batch: Any) -> Tensor:
        total: Any = 0
        for x in (batch[0], 2 * batch[0]):
            student, teacher = at(net, path, x)[1], at(original, ORIGINAL, x)[1]
            total = total + ce(student, batch[1]) + hinton(student, teacher) / 2
        return total

    expected = trained_by_hand(search.model, draws(search), loader(1), loss)
    fit(search)
    require_equal(search, expected)


def test_another_network_teaches_under_its_own_paths(fit: Any) -> None:
    other = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    distill: Any = {"net": "kl", "net.stem": Match("cosine", teacher="0", prefix=True)}
    search = oneshot.search(Task(), "random", teacher=other, distill=distill, seed=0)
    before = copy.deepcopy(other.state_dict())
    fit(search)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    assert not any(p.requires_grad for p in other.parameters())


def test_gradients_accumulate_as_without_a_teacher(loader: Any, fit: Any) -> None:
    search = FairSampling(seeded(0), teacher="original", seed=0)
    net, original = copy.deepcopy(search.model.net), copy.deepcopy(search.model.net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for batch, paths in zip(loader(1), draws(search), strict=True):
        for path in paths:
            student = at(net, path, batch[0])[1]
            teacher = at(original, ORIGINAL, batch[0])[1].detach()
            ((ce(student, batch[1]) + hinton(student, teacher)) / 3).backward()
    optimizer.step()
    fit(search, accumulate_grad_batches=3)
    require_equal(search, net.state_dict())


# --- outputs and shapes -----------------------------------------------------------------------


def test_the_compared_tensor_is_found_in_mappings_and_tuples() -> None:
    x = torch.randn(2, 3)
    assert Match("mse").select(x, "net") is x
    assert Match("mse").select((x, None), "net") is x
    assert Match("kl").select({"loss": None, "logits": x}, "net") is x
    assert Match("mse").select({"last_hidden_state": x}, "net") is x
    assert Match("mse", item="pooled").select({"pooled": x}, "net") is x
    assert Match("mse", item=1).select((None, x), "net") is x
    with pytest.raises(StrategyError, match=r"a dict with \['a', 'b'\]"):
        Match("mse").select({"a": x, "b": x}, "'net'")
    with pytest.raises(StrategyError, match="no item 'c'"):
        Match("mse", item="c").select({"a": x}, "'net'")
    with pytest.raises(StrategyError, match="int64"):
        Match("mse").select(torch.ones(2, dtype=torch.long), "'net'")


def test_a_narrower_student_is_refused_by_name_unless_it_is_a_prefix() -> None:
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 8)
    with pytest.raises(StrategyError, match=r"'net.body' has the shape \(2, 3, 5\)") as error:
        Match("mse")(student, teacher, None, "'net.body'")
    assert "prefix=True" in str(error.value)
    found = Match("mse", prefix=True)(student, teacher, None, "'net.body'")
    assert torch.allclose(found, ((student - teacher[..., :5]) ** 2).mean())
    for wrong in (torch.randn(2, 2, 8), torch.randn(1, 3, 5), torch.randn(2, 3, 4)):
        with pytest.raises(StrategyError, match="has the shape"):
            Match("mse", prefix=True)(student, wrong, None, "'net.body'")


def test_half_precision_outputs_are_compared_in_float32(loader: Any) -> None:
    student, teacher = torch.randn(2, 64, 10).bfloat16()
    expected = losses.kl(student.float(), teacher.float())
    assert torch.equal(Match("kl")(student, teacher, None, "net"), expected)


def test_under_autocast_the_teacher_computes_in_the_same_precision(fit: Any) -> None:
    seen: list[Any] = []

    def loss(student: Any, teacher: Any, batch: Any) -> Tensor:
        seen.append((student.dtype, teacher.dtype))
        return (student - teacher).square().mean()

    class Casts(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return ce(self.net(batch[0].float()), batch[1])

    search = UniformSampling(Casts().float(), teacher="original", distill=loss, seed=0)
    fit(search, precision="bf16-mixed", limit_val_batches=0)
    assert set(seen) == {(torch.bfloat16, torch.bfloat16)}


def test_the_teacher_follows_the_precision_of_the_trainer(fit: Any) -> None:
    search = UniformSampling(Task().float(), teacher="original", seed=0)
    before = search.distillation.teacher.fingerprint
    fit(search)  # 64-true
    assert {p.dtype for p in search.distillation.teacher.module.parameters()} == {torch.float64}
    assert search.distillation.teacher.fingerprint == before


# --- nobody notices the teacher ---------------------------------------------------------------


def test_the_teacher_is_no_part_of_the_search(loader: Any, fit: Any) -> None:
    plain = UniformSampling(Task(), seed=0)
    search = UniformSampling(Task(), teacher="original", seed=0)
    teacher = search.distillation.teacher.module  # type: ignore[union-attr]
    held = {id(p) for p in teacher.parameters()}
    trainer = fit(search)
    assert search.state_dict().keys() == plain.state_dict().keys()
    assert not held & {id(p) for _, p in search.named_parameters()}
    assert not set(teacher.modules()) & set(search.modules())
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    assert not held & {id(p) for group in groups for p in group["params"]}
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not search.model.net._forward_hooks
    assert not search.model.net._forward_pre_hooks
    twin = copy.deepcopy(search)
    assert twin.distillation.teacher is search.distillation.teacher  # type: ignore[union-attr]


def test_a_weight_of_nothing_trains_as_without_a_teacher(fit: Any) -> None:
    """Neither dropout of the student nor BatchNorm notices that a teacher was called."""

    class Noisy(Body):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm1d(3), nn.Dropout(0.3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.drop(self.norm(super().forward(x)))
            return out

    states = []
    for options in ({}, {"teacher": "original", "distill": Distill("mse", weight=0.0)}):
        torch.manual_seed(0)
        search = FairSampling(Task(Noisy()), seed=0, **options)  # type: ignore[arg-type]
        torch.manual_seed(1)
        fit(search)
        states.append(search.state_dict())
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], rtol=1e-12, atol=1e-14), name


@pytest.mark.parametrize("strategy", ["random", "fair", "sandwich"])
def test_an_interrupted_search_goes_on_exactly(
    strategy: str, loader: Any, fit: Any, tmp_path: Any
) -> None:
    def build() -> Any:
        return oneshot.search(seeded(5), strategy, teacher="original", seed=0)

    through = build()
    fit(through, max_epochs=2)
    fit(build(), max_epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    rest = build()
    fit(rest, max_epochs=2, ckpt_path=str(tmp_path / "half.ckpt"))
    for name, value in through.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_a_resume_with_another_original_is_refused(fit: Any, tmp_path: Any) -> None:
    first = UniformSampling(seeded(1), teacher="original", seed=0)
    fit(first).save_checkpoint(tmp_path / "half.ckpt")
    other = UniformSampling(seeded(2), teacher="original", seed=0)
    with pytest.raises(StrategyError, match="not the one of the checkpoint") as error:
        fit(other, max_epochs=2, ckpt_path=str(tmp_path / "half.ckpt"))
    assert "from_pretrained" in str(error.value)
    only = UniformSampling.load_from_checkpoint(tmp_path / "half.ckpt", model=seeded(2))
    assert torch.equal(only.model.net.stem.weight, first.model.net.stem.weight)


# --- refused before training, or by name ------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": "largest"}, "teacher='largest'"),
        ({"teacher": "best"}, "teacher='best'"),
        ({"distill": "kl"}, "distill is given, and no teacher"),
        ({"distill_at": "net"}, "distill_at is given, and no teacher"),
        ({"teacher": "original", "distill": "l1"}, "loss='l1'"),
        ({"teacher": "original", "distill": {}}, "distill={}"),
        ({"teacher": "original", "distill_at": "body"}, "distill_at names 'body'"),
        ({"teacher": "original", "distill": {"head": "kl"}}, "'head', which is not inside"),
        ({"teacher": "original", "distill": Distill("kl", weight=-1)}, "distill="),
    ],
)
def test_senseless_options_are_refused(options: Any, message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        oneshot.search(Task(), "random", **options)


def test_a_teacher_that_is_trained_itself_is_refused_and_stays_trainable() -> None:
    task = Task()
    with pytest.raises(StrategyError, match="shares 4 parameters"):
        oneshot.search(task, "random", teacher=task.net)
    assert all(p.requires_grad for p in task.parameters())


def test_a_module_inside_of_a_candidate_is_refused_before_training(fit: Any) -> None:
    body = Body()
    body.choice = oneshot.LayerChoice({"a": nn.Sequential(nn.Tanh()), "b": nn.ReLU()}, label="act")
    search = UniformSampling(
        Task(body), teacher="original", distill={"net.choice.candidates.a.0": "mse"}, seed=0
    )
    with pytest.raises(StrategyError, match="a candidate, or inside of one"):
        fit(search)


def test_a_path_that_the_teacher_lacks_is_refused_before_training(fit: Any) -> None:
    search = UniformSampling(Task(), teacher=nn.Linear(4, 3).double(),
                             distill={"net.stem": "mse"}, seed=0)  # fmt: skip
    with pytest.raises(StrategyError, match="names 'stem'"):
        fit(search)


def test_a_module_that_the_step_does_not_call_is_refused(fit: Any) -> None:
    class Around(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return ce(self.net.forward(batch[0]), batch[1])

    with pytest.raises(StrategyError, match="does not call 'net'"):
        fit(UniformSampling(Around(), teacher="original", seed=0))


def test_a_module_that_writes_to_its_input_is_refused(fit: Any) -> None:
    class Writes(Body):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(2))

    with pytest.raises(StrategyError, match="changes its input in place"):
        fit(UniformSampling(Task(Writes()), teacher="original", seed=0))


def test_inputs_that_differ_between_paths_are_refused_where_the_largest_teaches(fit: Any) -> None:
    class Augments(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return ce(self.net(batch[0] + torch.randn_like(batch[0])), batch[1])

    with pytest.raises(StrategyError, match="other inputs in each path"):
        fit(Sandwich(Augments(), teacher="largest", seed=0))
    fit(Sandwich(Augments(), teacher="original", seed=0))


def test_a_module_that_optimizes_manually_is_refused_only_with_a_teacher(fit: Any) -> None:
    class Manual(Task):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(ce(self.net(batch[0]), batch[1]))
            optimizer.step()

    fit(UniformSampling(Manual(), seed=0))
    with pytest.raises(StrategyError, match="optimizes manually"):
        fit(UniformSampling(Manual(), teacher="original", seed=0))


@pytest.mark.filterwarnings("ignore:.*returned `None`.*")
def test_a_batch_that_the_user_skips_trains_nothing(fit: Any) -> None:
    class Skips(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None

    for strategy in (UniformSampling, FairSampling, Sandwich):
        search = strategy(Skips(), teacher="original", seed=0)
        before = copy.deepcopy(search.model.state_dict())
        fit(search, limit_val_batches=0)
        assert all(torch.equal(v, before[k]) for k, v in search.model.state_dict().items())


# --- the cache ----------------------------------------------------------------------------------


class Numbered(Dataset[Any]):
    """Yields the index of each sample; ``noise`` changes the inputs each time."""

    def __init__(self, noise: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(24, 4, generator=generator, dtype=torch.float64)
        self.y = (self.x[:, 0] > 0).long()
        self.noise = noise

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        x = self.x[i] + self.noise * torch.randn(4, dtype=torch.float64)
        return {"index": i, "x": x, "y": self.y[i]}


class OfDicts(Task):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return ce(self.net(batch["x"]), batch["y"])


def batches(noise: float = 0.0) -> DataLoader[Any]:
    return DataLoader(Numbered(noise), batch_size=8, shuffle=True,
                      generator=torch.Generator().manual_seed(0))  # fmt: skip


def cached(folder: Any, **options: Any) -> Any:
    distill: Any = {"net": "kl", "net.stem": Match("mse", prefix=True)}
    given = {"teacher": "original", "distill": distill, "seed": 0, "teacher_cache": folder}
    search = UniformSampling(seeded(0, OfDicts), **{**given, **options})
    search.asked = []  # type: ignore[attr-defined]
    search.distillation.teacher.module.register_forward_hook(  # type: ignore[union-attr]
        lambda *_: search.asked.append(1)
    )
    return search


def test_each_sample_is_asked_for_once_and_training_is_the_same(fit: Any, tmp_path: Any) -> None:
    plain, search, again = cached(None), cached(tmp_path), cached(tmp_path)
    for each in (plain, search, again):
        fit(each, batches(), max_epochs=3, limit_val_batches=0)
    assert (len(plain.asked), len(search.asked), len(again.asked)) == (9, 3, 0)
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, search.state_dict()[name], rtol=1e-10, atol=1e-13), name
        assert torch.equal(search.state_dict()[name], again.state_dict()[name]), name


def test_float16_takes_a_quarter_of_float64_and_is_read_as_it_was_used(
    fit: Any, tmp_path: Any
) -> None:
    sizes, states = [], []
    for dtype in (None, "float16", "float16"):
        settings: Any = TeacherCache(tmp_path / str(dtype), dtype=dtype)  # type: ignore[arg-type]
        search = cached(settings)
        fit(search, batches(), max_epochs=2, limit_val_batches=0)
        sizes.append(sum(p.stat().st_size for p in (tmp_path / str(dtype)).glob("*.bin")))
        states.append(search.state_dict())
    assert sizes[0] == 4 * sizes[1] == 4 * sizes[2] == 24 * (6 + 3) * 8
    for name, value in states[1].items():
        assert torch.equal(value, states[2][name]), name
        assert torch.allclose(value, states[0][name], atol=1e-3), name


def test_outputs_of_another_teacher_are_refused(fit: Any, tmp_path: Any) -> None:
    fit(cached(tmp_path), batches(), limit_val_batches=0)
    other = UniformSampling(seeded(7, OfDicts), teacher="original", teacher_cache=tmp_path)
    with pytest.raises(StrategyError, match="holds outputs with teacher"):
        fit(other, batches(), limit_val_batches=0)
    with pytest.raises(StrategyError, match="holds outputs with outputs"):
        fit(cached(tmp_path, distill="kl"), batches(), limit_val_batches=0)
    with pytest.raises(StrategyError, match="holds outputs with dtype"):
        fit(cached(TeacherCache(tmp_path, dtype="float16")), batches(), limit_val_batches=0)


def test_data_that_change_are_refused(fit: Any, tmp_path: Any) -> None:
    with pytest.raises(StrategyError, match="no random augmentation"):
        fit(cached(tmp_path), batches(noise=0.1), max_epochs=2, limit_val_batches=0)


def test_keys_are_the_index_in_a_batch_or_what_the_user_says(fit: Any, tmp_path: Any) -> None:
    search = UniformSampling(Task(), teacher="original", teacher_cache=tmp_path / "a", seed=0)
    with pytest.raises(StrategyError, match="finds no index"):
        fit(search)
    cache = TeacherCache(tmp_path / "b", key=lambda batch: [f"s{i}" for i in batch[0][:, 0]])
    fit(UniformSampling(Task(), teacher="original", teacher_cache=cache, seed=0))
    assert len(list((tmp_path / "b").glob("part-*"))) == 2


def test_what_a_kill_has_cut_off_is_computed_again(fit: Any, tmp_path: Any) -> None:
    first = cached(tmp_path)
    fit(first, batches(), limit_val_batches=0)
    (index,) = tmp_path.glob("*.jsonl")
    text = index.read_text()
    assert json.loads(text.splitlines()[0])["is"][0][:2] == ["", "float64"]
    index.write_text(text[:-20])
    data = index.with_suffix(".bin")
    data.write_bytes(data.read_bytes()[:-8])
    again = cached(tmp_path)
    fit(again, batches(), limit_val_batches=0)
    assert len(again.asked) == 1
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_outputs_that_have_no_row_for_each_sample_are_refused(fit: Any, tmp_path: Any) -> None:
    def whole(student: Any, teacher: Any, batch: Any) -> Tensor:
        return (student[0] - teacher[0]).square().mean()

    class Tuples(Body):
        def forward(self, x: Tensor) -> Any:
            return (super().forward(x),)

    class OfTuples(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return ce(self.net(batch["x"])[0], batch["y"])

    search = UniformSampling(
        OfTuples(Tuples()), teacher="original", distill=whole, teacher_cache=tmp_path, seed=0
    )
    with pytest.raises(StrategyError, match="cannot be kept sample by sample"):
        fit(search, batches(), limit_val_batches=0)
