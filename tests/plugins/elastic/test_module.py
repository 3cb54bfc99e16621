"""What an elastic module is to others: itself, whole, and of the class that it was."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import oneshot_core as oneshot
from oneshot_core import DecisionTable, traverse_and_mutate_submodules
from oneshot_core.errors import LabelError, SpaceError, StrategyError, UnsupportedModuleError
from oneshot_plugins.checks.decisions import Drawn
from oneshot_plugins.costs.build import cost_table
from oneshot_plugins.elastic.classes import ElasticModule, ElasticSuperNetModule
from oneshot_plugins.elastic.extent import Size
from oneshot_plugins.elastic.module import make_elastic, restore

from .nets import Task, elastic_mlp, mlp, of, prefix, searched

SMALL = {"a": 2, "b": 3}
X = torch.linspace(-1, 1, 40).reshape(5, 8)


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.linspace(-1, 1, 64).reshape(8, 8)), 4)


def trainer(**options: Any) -> Trainer:
    return Trainer(
        **{
            "max_epochs": 2, "logger": False, "enable_checkpointing": False,
            "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu",
            **options,
        }
    )  # fmt: skip


# --- in place, and whole --------------------------------------------------------------------------


def test_modules_stay_the_same_objects_with_hooks_and_references_from_outside() -> None:
    net, table, choices = mlp()
    first, seen = net[0], []
    first.register_forward_hook(lambda *_: seen.append(1))
    assert make_elastic(net, table, choices) is net
    assert net[0] is first
    search = searched(net)
    assert search.model.net[0] is first
    assert isinstance(first, ElasticSuperNetModule)
    search.model(X)
    assert seen == [1]


def test_full_outputs_and_the_state_dict_are_those_of_the_plain_network_bit_for_bit() -> None:
    torch.manual_seed(0)
    net, table, choices = mlp()
    plain = copy.deepcopy(net)
    make_elastic(net, table, choices)
    assert torch.equal(net(X), plain(X))
    search = searched(net)
    with search.at({"a": 16, "b": 12}):
        assert torch.equal(search.model(X), plain(X))
    assert list(net.state_dict()) == list(plain.state_dict())
    assert all(map(torch.equal, net.state_dict().values(), plain.state_dict().values()))
    plain.load_state_dict(net.state_dict())
    net.load_state_dict(plain.state_dict())


def test_an_elastic_module_is_an_instance_of_its_class_and_frozen_of_exactly_that() -> None:
    search = searched(elastic_mlp())
    layer = search.model.net[0]
    assert isinstance(layer, nn.Linear)
    assert type(layer) is not nn.Linear
    frozen = oneshot.freeze(search, SMALL)
    assert {type(m).__module__.split(".")[0] for m in frozen.net.modules()} == {"torch"}
    assert type(frozen.net[0]) is nn.Linear
    assert (frozen.net[0].in_features, frozen.net[0].out_features) == (8, 2)
    assert set(vars(frozen.net[0])) == set(vars(nn.Linear(1, 1)))


def test_restoring_gives_the_plain_classes_back() -> None:
    net = elastic_mlp()
    wanted = net(X)
    assert restore(net) is net
    assert type(net[0]) is nn.Linear
    assert set(vars(net[0])) == set(vars(nn.Linear(1, 1)))
    assert torch.equal(net(X), wanted)
    with pytest.raises(SpaceError, match="follows the decisions of a search"):
        restore(searched(elastic_mlp()).model)


def test_reads_outside_of_a_pass_give_all_of_a_tensor_and_writes_reach_it() -> None:
    search = searched(elastic_mlp())
    layer = search.model.net[2]
    for decision in layer.decisions:
        decision.pin(decision.spec.candidates[0])
    assert layer.weight.shape == (12, 16)
    assert (layer.in_features, layer.out_features) == (16, 12)
    assert layer.weight is dict(layer.named_parameters())["weight"]
    nn.init.zeros_(layer.weight)
    assert bool((layer._parameters["weight"] == 0).all())
    layer.reset_parameters()
    assert bool((layer._parameters["weight"] != 0).all())
    torch.optim.SGD([layer.weight], 0.1)
    assert search.model.net[:3](X).shape == (5, 3)  # a pass is running


def test_reads_in_a_pass_give_the_part_as_a_parameter_would_be() -> None:
    search = searched(elastic_mlp())
    layer, seen = search.model.net[2], []

    def look(module: nn.Linear, *_: Any) -> None:
        seen.append((module.weight, module.in_features, module.out_features))

    layer.register_forward_pre_hook(look)
    for grad in (True, False):
        with torch.set_grad_enabled(grad), search.at(SMALL):
            search.model(X)
    for weight, inside, outside in seen:
        # Matrix products of inputs with three dimensions depend on both, also without gradients.
        assert weight.is_contiguous()
        assert weight.requires_grad
        assert (weight.shape, inside, outside) == ((3, 2), 2, 3)


def test_channels_last_stays_what_it_is_in_parts_and_in_frozen_layers() -> None:
    size = Size("size", 8)
    net = nn.Sequential(nn.Conv2d(4, 8, 3)).to(memory_format=torch.channels_last)
    search = searched(make_elastic(net, prefix(size, "0.weight", "0.bias"), {size: (4, 8)}))
    frozen = oneshot.freeze(search, {"size": 4})
    assert frozen.net[0].weight.is_contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 8, 8).to(memory_format=torch.channels_last)
    with search.at({"size": 4}):
        assert torch.equal(search.model(x), frozen(x))


# --- copies ---------------------------------------------------------------------------------------


def test_copies_and_pickles_compute_the_same_with_tensors_of_their_own() -> None:
    search = searched(elastic_mlp())
    with search.at(SMALL):
        wanted = search.model(X)
        copied = copy.deepcopy(search.model)
    bare = elastic_mlp()
    twins = (copied, pickle.loads(pickle.dumps(copied)))
    for twin in twins:
        assert torch.equal(twin(X), wanted)  # its decisions are copies, and pinned
        assert isinstance(twin.net[0], ElasticSuperNetModule)
    for twin in (copy.deepcopy(bare), pickle.loads(pickle.dumps(bare)), copy.copy(bare)):
        assert type(twin[0]) is type(bare[0])
        assert torch.equal(twin(X), bare(X))
        assert oneshot.ModelSpace(twin).fingerprint == oneshot.ModelSpace(bare).fingerprint
    with torch.no_grad():
        copied.net[0].weight.zero_()
    assert bool((search.model.net[0].weight != 0).any())


def test_another_one_of_its_class_is_a_plain_one() -> None:
    layer = elastic_mlp()[0]
    assert type(type(layer)(2, 3)) is nn.Linear
    blocks = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    oneshot_blocks = oneshot_optional(blocks)
    assert type(oneshot_blocks[:1]) is nn.Sequential


def oneshot_optional(blocks: nn.Sequential) -> nn.Sequential:
    from oneshot_plugins.elastic.optional import make_optional

    return make_optional(blocks, ["1"])


# --- torch's own tools ----------------------------------------------------------------------------


def test_functional_calls_gradients_vmap_and_checkpointing_take_the_parts() -> None:
    search = searched(elastic_mlp())
    frozen = oneshot.freeze(search, SMALL)
    weights = dict(search.model.named_parameters())
    with search.at(SMALL):
        assert torch.equal(torch.func.functional_call(search.model, weights, (X,)), frozen(X))
        torch.testing.assert_close(torch.vmap(search.model)(X), frozen(X))
        grads = torch.func.grad(
            lambda w: torch.func.functional_call(search.model, w, (X,)).square().sum()
        )(weights)
        again = checkpoint(search.model, X, use_reentrant=False)
        again.square().sum().backward()
    for name, weight in search.model.named_parameters():
        torch.testing.assert_close(weight.grad, grads[name])
    with search.at(SMALL), torch.inference_mode():
        assert torch.equal(search.model(X), frozen(X))


def test_a_frozen_network_can_be_exported() -> None:
    frozen = oneshot.freeze(searched(elastic_mlp()), SMALL)
    program = torch.export.export(frozen.net, (X,))
    assert {tuple(p.shape) for p in program.state_dict.values()} == {
        tuple(p.shape) for p in frozen.net.parameters()
    }


@pytest.mark.slow
def test_a_compiled_network_follows_its_sizes() -> None:
    torch._dynamo.reset()
    search = searched(elastic_mlp())
    compiled = torch.compile(search.model, backend="eager")
    with torch.no_grad():
        for architecture in ({"a": 2, "b": 3}, {"a": 5, "b": 7}, {"a": 16, "b": 12}):
            with search.at(architecture):
                assert torch.equal(compiled(X), oneshot.freeze(search, architecture)(X))


def test_reads_that_fail_are_not_answered_with_all_of_the_tensor() -> None:
    size = Size("size", 4)
    net = nn.Sequential(nn.Linear(2, 4))
    search = searched(make_elastic(net, prefix(size, "0.weight", "0.bias"), {size: (2, 4)}))
    decision = net[0].decisions[0]
    decision.active = lambda: [].wrong  # type: ignore[attr-defined,union-attr,operator]
    with pytest.raises(RuntimeError, match=r"weight cannot be read: 'list' object"):
        search.model(torch.ones(1, 2))


# --- what is tried too late -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: nn.utils.parametrizations.weight_norm(layer),
        lambda layer: nn.utils.parametrizations.spectral_norm(layer),
        lambda layer: nn.utils.prune.l1_unstructured(layer, "weight", 0.5),
        lambda layer: setattr(layer, "weight", nn.Parameter(torch.ones(2, 2))),
        lambda layer: setattr(layer, "weight", None),
        lambda layer: setattr(layer, "out_features", 3),
    ],
)
def test_changes_of_elastic_tensors_are_refused_and_say_the_order(change: Any) -> None:
    net = elastic_mlp()
    with pytest.raises(SpaceError, match=r"before|first"):
        change(net[0])


def test_a_tensor_of_the_same_shape_can_be_set() -> None:
    net = elastic_mlp()
    net[0].weight = nn.Parameter(torch.ones(16, 8))
    net[0].out_features = 16
    assert bool((net[0].weight == 1).all())
    search = searched(net)
    net[0]._parameters["weight"] = nn.Parameter(torch.ones(4, 8))  # past every check
    with search.at(SMALL), pytest.raises(StrategyError, match="was exchanged for one of"):
        search.model(X)


# --- searches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["random", "sandwich"])
def test_a_search_trains_saves_resumes_ranks_and_freezes(strategy: str, tmp_path: Path) -> None:
    def fresh() -> Any:
        torch.manual_seed(0)
        return oneshot.search(Task(elastic_mlp()), strategy, seed=0)

    whole, half = fresh(), fresh()
    trainer().fit(whole, loader(), loader())
    first = trainer(max_epochs=1)
    first.fit(half, loader(), loader())
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = fresh()
    trainer().fit(resumed, loader(), loader(), ckpt_path=tmp_path / "half.ckpt")
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    ranking = whole.rank("all", loader(), metric="loss")
    assert len(ranking) == 12
    small = oneshot.freeze(whole, ranking.best)
    with whole.at(ranking.best):
        assert torch.equal(whole.model.eval()(X), small.eval()(X))
    plain = Task(mlp()[0])
    plain.load_state_dict(torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"])


def test_a_bare_elastic_network_trains_like_the_plain_one() -> None:
    torch.manual_seed(0)
    net, table, choices = mlp()
    plain = copy.deepcopy(net)
    trainer().fit(Task(make_elastic(net, table, choices)), loader(), loader())
    trainer().fit(Task(plain), loader(), loader())
    assert all(map(torch.equal, net.parameters(), plain.parameters()))


def test_costs_are_those_of_the_frozen_networks() -> None:
    net = elastic_mlp()
    table = cost_table(net, "macs", inputs=[X])
    assert table.exact
    frozen = oneshot.freeze(net, SMALL)
    assert table.of(SMALL) == oneshot.registry.load("cost", "macs")(frozen, X)


def test_an_inspection_sees_the_choices_before_and_after_the_search() -> None:
    net = elastic_mlp()
    before = str(oneshot.inspect(Task(net), X))
    after = str(oneshot.inspect(searched(net), X))
    assert "12 architectures" in before
    assert "12 architectures" in after


# --- the walk -------------------------------------------------------------------------------------


def test_a_walk_that_fails_gives_every_class_back() -> None:
    root = nn.Sequential(elastic_mlp(), elastic_mlp())
    before = [type(module) for module in root.modules()]
    contents = [set(vars(module)) for module in root.modules()]

    def fail(module: nn.Module, name: str, memo: Any, options: Any) -> None:
        if name == "1.4":
            raise LabelError("enough")

    with pytest.raises(LabelError):
        traverse_and_mutate_submodules(
            root, [fail, ElasticSuperNetModule.mutate], {"decisions": DecisionTable(Drawn)}
        )
    assert [type(module) for module in root.modules()] == before
    assert [set(vars(module)) for module in root.modules()] == contents
    assert isinstance(root[0][0], ElasticModule)
    searched(root)


def test_a_hook_that_fails_after_it_has_exchanged_a_class_is_taken_back() -> None:
    root = nn.Sequential(elastic_mlp())

    def half(module: nn.Module, name: str, memo: Any, options: Any) -> None:
        if ElasticSuperNetModule.mutate(module, name, memo, options) is not None:
            raise LabelError("enough")

    with pytest.raises(LabelError):
        traverse_and_mutate_submodules(root, [half], {"decisions": DecisionTable(Drawn)})
    assert type(root[0][0]) is type(elastic_mlp()[0])
    assert "_decisions" not in vars(root[0][0])


def test_an_elastic_root_is_refused_by_the_walk_and_can_be_frozen() -> None:
    size = Size("size", 4)
    layer = make_elastic(nn.Linear(2, 4), prefix(size, "weight", "bias"), {size: (2, 4)})
    with pytest.raises(UnsupportedModuleError, match="root of the walk"):
        traverse_and_mutate_submodules(layer, [], {})
    assert oneshot.freeze(layer, {"size": 2}).out_features == 2


def test_two_networks_with_sizes_of_one_name_are_decided_together() -> None:
    search = searched(nn.Sequential(elastic_mlp(), nn.Linear(3, 8), elastic_mlp()))
    assert list(search.search_space_spec()) == ["a", "b"]
    with search.at(SMALL):
        assert torch.equal(search.model(X), oneshot.freeze(search, SMALL)(X))


def test_attributes_that_functions_compute_follow_and_are_frozen() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Linear(4, 8)
            self.scale = 8**-0.5
            self.shape = (8,)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.layer_norm(self.proj(x), self.shape) * self.scale

    size = Size("size", 8)
    net = make_elastic(
        nn.Sequential(Scaled()),
        prefix(size, "0.proj.weight", "0.proj.bias"),
        {size: (2, 8)},
        {"0": {"scale": lambda values: values.get(size, 8) ** -0.5, "shape": of(size)}},
    )
    search = searched(net)
    frozen = oneshot.freeze(search, {"size": 2})
    assert (frozen.net[0].scale, frozen.net[0].shape) == (2**-0.5, (2,))
    with search.at({"size": 2}):
        x = torch.randn(3, 4)
        assert torch.equal(search.model(x), frozen(x))
    assert net[0].scale == 8**-0.5  # no pass is running
