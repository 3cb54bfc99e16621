"""The bugs of the reference system, one by one: what it should have done, we do.

Numbers are those of the 43 bugs found in ``nni.nas.oneshot`` (2.10.1 and 3.0). Here are those
that concern walking, hooks, choices, decisions, supernet modules, layers with choices, freezing
and merging optimizers: 1, 4, 6, 8-18, 28, 32-40, 42, 43; and what section 2.5 says of freezing.

Left out, because there is nothing to test at this level:

- 2, 3, 5, 7, 26, 27: arguments of strategies and their schedules; tests of the strategies.
- 19-25, 29-31, 41: the training loop, checkpoints, several processes, Lightning's versions;
  tests of ``oneshot_core.lightning`` and the integration tests.

Others test some of these more thoroughly; here each has one test, so that none is forgotten.
"""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_lightning.core.optimizer import (
    _configure_optimizers,
    _configure_schedulers_automatic_opt,
)
from torch import Tensor, nn
from torch.optim import LBFGS, SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from oneshot_core import nn as onn
from oneshot_core.architecture import freeze
from oneshot_core.decision import Active, Decision, DecisionTable
from oneshot_core.errors import ArchitectureError
from oneshot_core.hooks import no_default_hook
from oneshot_core.model_space import ModelSpace
from oneshot_core.optimizers import merge_optimizers
from oneshot_core.space import Choice, InputChoice, LayerChoice, ParameterSpec, Repeat, choice
from oneshot_core.supernet import BaseSuperNetModule
from oneshot_core.traversal import traverse_and_mutate_submodules
from oneshot_plugins.elastic.supernet import ElasticLayer
from oneshot_plugins.strategies.uniform import UniformDecision
from oneshot_plugins.supernets.modules import MixedInput, MixedLayer, MixedRepeat


class Softmax(Decision):
    """All candidates with softmax weights: what DARTS does."""

    superposes = True

    def __init__(self, spec: ParameterSpec) -> None:
        super().__init__(spec)
        self.logits = nn.Parameter(torch.zeros(len(spec.candidates)))

    def probabilities(self) -> Tensor:
        return self.logits.softmax(0) * (self.spec.n_chosen or 1)

    def mixture(self) -> list[Active]:
        return [
            Active(c, p) for c, p in zip(self.spec.candidates, self.probabilities(), strict=True)
        ]


class Sampled(Softmax):
    """One path at a time: what SPOS and ProxylessNAS do."""

    superposes = False
    drawn: Choice | None = None

    def resample(self) -> Choice | None:
        self.drawn = self.draw_uniform()
        return self.drawn

    def mixture(self) -> list[Active]:
        drawn = self.spec.default if self.drawn is None else self.drawn
        return [Active(c) for c in self.spec.members(drawn)]


def search(root: nn.Module, decision: type[Decision] = Softmax) -> DecisionTable:
    """Mutate ``root`` in place; return its decisions."""
    table = DecisionTable(decision)
    classes = (MixedLayer, MixedInput, MixedRepeat, ElasticLayer)
    hooks = [*(cls.mutate for cls in classes), no_default_hook]
    traverse_and_mutate_submodules(root, hooks, {"decisions": table})
    return table


def layers(label: str | None = "x") -> LayerChoice:
    return LayerChoice([nn.Linear(2, 2), nn.Linear(2, 2)], label=label)


def test_probabilities_carry_a_gradient_into_a_penalty() -> None:
    """B1: the penalty was computed from plain floats and moved no architecture parameter."""
    table = search(nn.Sequential(layers()))
    expected_cost = (table["x"].probabilities() * torch.tensor([1.0, 5.0])).sum()
    expected_cost.backward()
    [logits] = table.parameters()
    assert logits.grad is not None
    assert logits.grad[0] < 0 < logits.grad[1]


@pytest.mark.parametrize("optimizer", [SGD, LBFGS])
def test_architecture_parameters_are_in_no_weight_optimizer(optimizer: Any) -> None:
    """B4: they were found in both, and LBFGS kept them even after a repair."""
    model = nn.Sequential(layers())
    table = search(model)
    built = optimizer(model.parameters(), lr=0.1)
    held = {p for group in built.param_groups for p in group["params"]}
    held |= set(getattr(built, "_params", ()))
    assert held.isdisjoint(table.parameters())
    assert len(held) == 4


def test_export_is_the_most_probable_choice_and_always_the_same() -> None:
    """B6: Proxyless and ENAS exported a random draw."""
    model = nn.Sequential(layers())
    table = search(model, Sampled)
    with torch.no_grad():
        next(table.parameters())[1] = 1
    exported = []
    for _ in range(20):
        model[0].resample({})
        exported.append(model[0].export({}))
    assert exported == [{"x": "1"}] * 20


def test_reduction_and_scale_survive_freezing() -> None:
    """B8: a mean of two was frozen to a sum, and the supernet had another scale than both."""
    ones = [torch.ones(1)] * 3
    for reduction, value in [("mean", 1.0), ("sum", 2.0)]:
        model = nn.Sequential(InputChoice(3, 2, reduction=reduction, label="x"))  # type: ignore[arg-type]
        search(model)
        assert model(ones).item() == pytest.approx(value)
        assert freeze(model, {"x": (0, 2)})(ones).item() == value


def test_a_prior_is_drawn_by() -> None:
    """B9: ``LayerChoice(weights=[0.99, 0.01])`` was accepted, and sampled 52 to 48."""
    model = nn.Sequential(LayerChoice([nn.ReLU(), nn.Tanh()], prior=[0.99, 0.01], label="x"))
    table = DecisionTable(UniformDecision)
    traverse_and_mutate_submodules(model, [MixedLayer.mutate], {"decisions": table})
    drawn = [model[0].resample({})["x"] for _ in range(2000)]
    assert drawn.count("0") / 2000 == pytest.approx(0.99, abs=0.01)
    with pytest.raises(TypeError, match="weights"):  # their word is refused, not ignored
        LayerChoice([nn.ReLU(), nn.Tanh()], weights=[0.99, 0.01])  # type: ignore[call-arg]


@pytest.mark.parametrize("decision", [Softmax, Sampled])
def test_depth_zero_takes_part(decision: type[Decision]) -> None:
    """B10: it was left out of the sum (0.667 of the input), or crashed when sampled."""
    model = nn.Sequential(Repeat(nn.Identity(), (0, 2), label="d"))
    table = search(model, decision)
    assert model(torch.ones(1)).item() == pytest.approx(1)
    table["d"].pin(0)
    assert model(torch.ones(1)).item() == 1
    assert freeze(model, {"d": 0})(torch.ones(1)).item() == 1


def test_tuple_kernels_lie_in_the_middle_of_a_kernel_that_holds_all() -> None:
    """B11: of {(1, 7), (7, 1)} a 7x1 kernel was built, (1, 7) was cut to 1x1, freezing failed."""
    kernel = choice([(1, 7), (7, 1)], label="kernel")
    padding = (kernel[0] // 2, kernel[1] // 2)
    model = nn.Sequential(onn.Conv2d(2, 3, kernel, padding=padding))
    before = model[0].weight.detach().clone()
    assert before.shape == (3, 2, 7, 7)
    table = search(model, Sampled)
    x = torch.randn(1, 2, 8, 8)
    for taken, part in {(1, 7): before[:, :, 3:4], (7, 1): before[..., 3:4]}.items():
        table["kernel"].pin(taken)
        frozen = freeze(model, {"kernel": taken})
        assert torch.equal(frozen[0].weight, part)
        assert torch.equal(frozen(x), model(x))
        assert model(x).shape == (1, 3, 8, 8)


def test_a_layer_without_values_is_the_plain_layer_and_keeps_its_weights() -> None:
    """B12: every ``Mutable*`` layer became a mixed operation, and was initialised anew."""
    model = nn.Sequential(onn.Linear(2, 2), onn.Linear(2, choice([1, 2], label="w")))
    before = {key: (value.data_ptr(), value.clone()) for key, value in model.state_dict().items()}
    assert type(model[0]) is nn.Linear
    search(model)
    assert type(model[0]) is nn.Linear
    after = model.state_dict()
    assert {k: v.data_ptr() for k, v in after.items()} == {k: p for k, (p, _) in before.items()}
    assert all(torch.equal(after[key], value) for key, (_, value) in before.items())


def test_mutation_keeps_the_weights() -> None:
    """B12: layers were built anew, and pre-trained weights lost."""
    model = nn.Sequential(nn.Linear(2, 2), layers(), Repeat(nn.Linear(2, 2), (1, 2)))
    before = {key: (value.data_ptr(), value.clone()) for key, value in model.state_dict().items()}
    search(model)
    after = model.state_dict()
    assert list(after) == list(before)
    for key, (pointer, value) in before.items():
        assert after[key].data_ptr() == pointer
        assert torch.equal(after[key], value)


def test_candidates_that_were_not_sampled_see_no_batch() -> None:
    """B13: they were run inside backward, which moved their batch norm statistics."""
    model = nn.Sequential(LayerChoice([nn.BatchNorm1d(2), nn.BatchNorm1d(2)], label="x"))
    table = search(model, Sampled)
    table["x"].adopt("0")
    model(torch.randn(4, 2, requires_grad=True)).sum().backward()
    seen = [int(norm.num_batches_tracked) for norm in model[0].candidates.values()]
    assert seen == [1, 0]


def test_a_choice_with_two_names_in_one_parent_is_replaced_under_both() -> None:
    """B14: the second name kept the raw choice, also after freezing."""
    model = nn.Module()
    model.one = model.two = layers()
    search(model)
    assert type(model.one) is MixedLayer
    assert model.one is model.two
    frozen = freeze(model, {"x": "0"})
    assert type(frozen.one) is nn.Linear
    assert frozen.one is frozen.two


def test_a_choice_in_two_parents_and_a_container_in_two_parents_stay_one() -> None:
    """B15: two wrappers around the same candidates, or a TypeError for the container."""
    choice, container = layers(), nn.Sequential(layers("y"))
    model = nn.Sequential(
        nn.Sequential(choice), nn.Sequential(choice), nn.ModuleList([container]), container
    )
    search(model)
    assert model[0][0] is model[1][0]
    assert model[2][0] is model[3]
    assert type(model[3][0]) is MixedLayer


def test_the_walk_goes_on_in_what_replaced_a_module() -> None:
    """B15 and section 2.1: it went on in the detached original and returned modules of that."""
    model = nn.Sequential(nn.Sequential(layers("old")))

    def swap(module: nn.Module, name: str, *_: Any) -> nn.Module | None:
        return nn.ModuleList([layers("new")]) if name == "0" else None

    table = DecisionTable(Softmax)
    with pytest.warns(RuntimeWarning, match="no supernet modules"):
        found = traverse_and_mutate_submodules(
            model, [swap, MixedLayer.mutate], {"decisions": table}
        )
    assert found == [model[0][0]]
    assert table.labels == ("new",)


class Uncopied(nn.Linear):
    copies = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Uncopied:
        type(self).copies += 1
        new = Uncopied(self.in_features, self.out_features)
        new.load_state_dict(self.state_dict())
        return new


def test_freezing_shares_nothing_and_copies_only_what_was_chosen_once() -> None:
    """B16: chosen candidates were aliased, and every level copied all that is below it."""
    inner: nn.Module = LayerChoice({"a": Uncopied(2, 2), "b": Uncopied(2, 2)}, label="x")
    for _ in range(3):
        inner = nn.Sequential(inner)
    search(inner)
    Uncopied.copies = 0
    frozen = freeze(inner, {"x": "a"})
    assert Uncopied.copies == 1
    shared = {p.data_ptr() for p in inner.parameters()} & {
        p.data_ptr() for p in frozen.parameters()
    }
    assert not shared


def sgd() -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


def test_merging_keeps_frequency_interval_and_the_rest_of_a_scheduler() -> None:
    """B17: ``frequency`` 8 was stepped 15 times in 15 batches."""
    optimizer = sgd()
    keys = {"interval": "step", "frequency": 8, "monitor": "loss", "strict": False, "name": "n"}
    config = {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 1), **keys}}
    _, schedulers, monitor = _configure_optimizers(merge_optimizers(config, sgd()))
    [parsed] = _configure_schedulers_automatic_opt(schedulers, monitor)
    assert {key: getattr(parsed, key) for key in keys} == keys


def test_merging_keeps_what_a_plateau_scheduler_watches() -> None:
    """B18 and the lost outer ``monitor``: it was stepped without its metric."""
    optimizer = sgd()
    plateau = ReduceLROnPlateau(optimizer)
    config = {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "val_loss"}
    _, schedulers, monitor = _configure_optimizers(merge_optimizers(config, sgd()))
    [parsed] = _configure_schedulers_automatic_opt(schedulers, monitor)
    assert parsed.reduce_on_plateau
    assert parsed.monitor == "val_loss"


def test_seeded_draws_repeat_whatever_else_draws() -> None:
    """B28: draws came from the operating system; seeding had no effect."""
    drawn = []
    for noise in (0, 1):
        table = search(nn.Sequential(layers("x"), layers("y"), layers("z")), Sampled)
        torch.manual_seed(noise)
        steps = []
        for batch in range(8):
            table.reseed(3, "epoch", 0, batch)
            torch.rand(noise)
            steps.append([decision.resample() for decision in table])
        drawn.append(steps)
    assert drawn[0] == drawn[1]
    assert len({tuple(step) for step in drawn[0]}) > 1


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: nn.Linear(2, 2, bias=False), id="linear-without-bias"),
        pytest.param(lambda: nn.BatchNorm1d(2, affine=False), id="batch-norm-without-weights"),
        pytest.param(
            lambda: nn.BatchNorm1d(2, track_running_stats=False), id="batch-norm-without-statistics"
        ),
        pytest.param(
            lambda: nn.LayerNorm(2, elementwise_affine=False), id="layer-norm-without-weights"
        ),
    ],
)
def test_layers_without_some_of_their_parameters_run_and_freeze(
    make: Callable[[], nn.Module],
) -> None:
    """B32, B33: freezing failed on ``bias=False``, forward on ``affine=False``."""
    model = nn.Sequential(LayerChoice([make(), nn.Identity()], label="x"))
    table = search(model)
    x = torch.randn(4, 2)
    model(x)
    table["x"].pin("0")
    frozen = freeze(model, {"x": "0"}).eval()
    assert torch.equal(frozen(x), model.eval()(x))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda w: onn.Linear(2, w, bias=False), id="linear-without-bias"),
        pytest.param(
            lambda w: nn.Sequential(
                nn.Unflatten(1, (2, 1)), onn.Conv1d(2, w, 1, bias=False), onn.BatchNorm1d(w)
            ),
            id="convolution-without-bias-and-norm",
        ),
        pytest.param(
            lambda w: nn.Sequential(onn.Linear(2, w), onn.BatchNorm1d(w, affine=False)),
            id="batch-norm-without-weights",
        ),
        pytest.param(
            lambda w: nn.Sequential(
                onn.Linear(2, w), onn.BatchNorm1d(w, track_running_stats=False)
            ),
            id="batch-norm-without-statistics",
        ),
        pytest.param(
            lambda w: nn.Sequential(onn.Linear(2, w), onn.LayerNorm(w, elementwise_affine=False)),
            id="layer-norm-without-weights",
        ),
        pytest.param(lambda w: onn.Linear(2, w, bias=choice([True, False], label="b")), id="maybe"),
    ],
)
def test_layers_with_choices_and_without_some_parameters_run_and_freeze(
    make: Callable[[Any], nn.Module],
) -> None:
    """B32, B33: None was put into the state dict, and cutting None failed in forward."""
    model = nn.Sequential(make(choice([2, 4], label="w")))
    table = search(model)
    x = torch.randn(4, 2)
    model(x)
    for architecture in ModelSpace(model).architectures():
        for label, taken in architecture.items():
            table[label].pin(taken)
        frozen = freeze(model, architecture).eval()
        assert torch.equal(frozen(x), model.eval()(x))


@pytest.mark.parametrize("decision", [Softmax, Sampled])
def test_the_eps_of_a_layer_norm_may_be_chosen(decision: type[Decision]) -> None:
    """B34: documented as supported, rejected by the constructor."""
    model = nn.Sequential(onn.LayerNorm(3, eps=choice([1e-5, 1.0], label="eps")))
    table = search(model, decision)
    x = torch.randn(2, 3)
    outputs = []
    for eps in (1e-5, 1.0):
        table["eps"].pin(eps)
        outputs.append(model(x))
        torch.testing.assert_close(outputs[-1], nn.functional.layer_norm(x, (3,), eps=eps))
    table["eps"].unpin()
    if decision is Softmax:
        torch.testing.assert_close(model(x), (outputs[0] + outputs[1]) / 2)


def test_labels_may_hold_dots() -> None:
    """B35: they crashed as keys of a ``ParameterDict``."""
    width = choice([1, 2], label="stage.1.width")
    model = nn.Sequential(layers("stage.1.op"), nn.Sequential(layers(None)), onn.Linear(2, width))
    table = search(model)
    assert table.labels == ("stage.1.op", "1.0", "stage.1.width")
    assert freeze(model, {"stage.1.op": "0", "1.0": "1", "stage.1.width": 1})
    search_again = DecisionTable(Softmax)
    for decision in table:
        search_again.decide(decision.spec, path="")
    search_again.load_state_dict(table.state_dict())


@pytest.mark.parametrize("decision", [Softmax, Sampled])
def test_any_subset_of_inputs_may_be_chosen(decision: type[Decision]) -> None:
    """B36: documented, then refused by the sampling module."""
    model = nn.Sequential(InputChoice(3, None, reduction="mean", label="x"))
    table = search(model, decision)
    model[0].resample({})
    assert model([torch.ones(1)] * 3).item() == pytest.approx(1)
    assert len(list(table["x"].spec.choices())) == 7
    assert freeze(model, model[0].export({}))([torch.ones(1)] * 3).item() == 1


def test_a_frozen_network_is_plain_torch() -> None:
    """B37: frozen operations were the framework's own classes."""
    last = onn.Linear(2, choice([1, 2], label="w"))
    model = nn.Sequential(layers("a"), Repeat(nn.Linear(2, 2), (1, 2), label="d"), last)
    search(model)
    frozen = freeze(model, {"a": "0", "d": 2, "w": 1})
    assert type(frozen[2]) is nn.Linear
    assert {type(module).__module__.split(".")[0] for module in frozen.modules()} == {"torch"}


def test_one_sampled_path_costs_one_forward_pass() -> None:
    """B38: every weight step paid for all candidates."""
    calls: list[str] = []

    class Noted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            calls.append("forward")
            return super().forward(x)

    model = nn.Sequential(LayerChoice([Noted(2, 2) for _ in range(4)], label="x"))
    search(model, Sampled)
    model(torch.ones(1, 2)).sum().backward()
    assert calls == ["forward"]


def test_a_missing_choice_inside_a_chosen_branch_is_noticed() -> None:
    """B39: the result of the nested validation was thrown away."""
    model = nn.Sequential(Repeat(lambda i: layers(f"block{i}"), (0, 2), label="depth"))
    space = ModelSpace(model)
    assert space.validate({"depth": 1, "block0": "0"})
    with pytest.raises(ArchitectureError, match="'block0' is not decided"):
        space.validate({"depth": 1})


@pytest.mark.parametrize("decision", [Softmax, Sampled])
def test_candidates_take_keyword_arguments_and_several_inputs(decision: type[Decision]) -> None:
    """B40: exactly one positional argument was passed on."""

    class Add(nn.Module):
        def forward(self, x: Tensor, y: Tensor, *, times: int = 1) -> Tensor:
            return (x + y) * times

    model = nn.Module()
    model.choice = LayerChoice([Add(), Add()])
    assert model.choice(torch.ones(1), torch.ones(1), times=3).item() == 6
    search(model, decision)
    assert model.choice(torch.ones(1), torch.ones(1), times=3).item() == pytest.approx(6)


def test_importing_neither_warns_nor_writes() -> None:
    """B42: the import warned about new names in ``torch.nn`` and wrote a file beside itself."""
    code = (
        "import torch, warnings; warnings.simplefilter('error')\n"
        "import builtins, os\n"
        "plain = builtins.open\n"
        "def refuse(file, mode='r', *a, **k):\n"
        "    assert not set(mode) & set('wax+'), file\n"
        "    return plain(file, mode, *a, **k)\n"
        "builtins.open = refuse\n"
        "import oneshot_core.architecture, oneshot_core.optimizers\n"
        "import oneshot_plugins.supernets.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_walk_does_what_its_documentation_says() -> None:
    """B43: default order and return type were documented wrongly."""
    parameters = inspect.signature(traverse_and_mutate_submodules).parameters
    assert list(parameters)[:4] == ["root_module", "hooks", "mutate_kwargs", "topdown"]
    assert parameters["topdown"].default is True
    assert traverse_and_mutate_submodules(nn.Sequential(), []) == []


def test_hooks_are_told_the_whole_path() -> None:
    """Section 2.1: they were given the last part of it, so that no message could say where."""
    names: list[str] = []
    model = nn.Sequential(nn.Sequential(nn.ReLU()))
    traverse_and_mutate_submodules(model, [lambda module, name, *_: names.append(name)])
    assert names == ["0", "0.0"]


def test_a_replacement_that_is_empty_counts() -> None:
    """Section 2.1: an empty ``Sequential`` is falsy, and was taken for no replacement."""
    empty, model = nn.Sequential(), nn.Sequential(nn.ReLU())
    with pytest.warns(RuntimeWarning):
        traverse_and_mutate_submodules(model, [lambda *_: (empty, False)])
    assert model[0] is empty


def test_walking_twice_is_walking_once() -> None:
    """Section 2.1: the second walk raised "dangling mutables"."""
    model = nn.Sequential(layers(), nn.Sequential(Repeat(layers("y"), (0, 1), label="d")))
    search(model)
    before = list(model.named_modules())
    table = search(model)
    assert list(model.named_modules()) == before
    assert len(table) == 0, "nothing was left to decide anew"
    assert all(isinstance(model[i], (BaseSuperNetModule, nn.Sequential)) for i in range(2))
    assert copy.deepcopy(model)(torch.ones(1, 2)).shape == (1, 2)
