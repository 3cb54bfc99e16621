"""Saved networks: equal after loading, with this package and without it; or refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oneshot_core as oneshot
from oneshot_core.errors import CheckpointError, OneShotError, OutputError
from oneshot_plugins.elastic.extent import Extent
from oneshot_plugins.elastic.module import make_elastic
from oneshot_plugins.elastic.optional import make_optional
from oneshot_plugins.pretrained.originals import SavingError

from ...models import FOLDER, build, minilm, timm, torchvision
from .by_hand import bert_extents, llama_extents

HERE = Path(__file__).parent
NETS = "nets_of_a_user"


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with networks, under a name that the loader can import."""
    (tmp_path / f"{NETS}.py").write_text((HERE / "nets.py").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, NETS, raising=False)
    torch.manual_seed(0)
    return __import__(NETS)


def results(network: nn.Module, *args: Any, **kwargs: Any) -> list[Tensor]:
    network.eval()
    with torch.no_grad():
        result = network(*args, **kwargs)
    found = list(result.values()) if isinstance(result, dict) else [result]
    return [x for x in torch.utils._pytree.tree_leaves(found) if isinstance(x, Tensor)]


def require_equal(
    network: nn.Module, folder: Path, *args: Any, trust: Any = (), **kwargs: Any
) -> Any:
    """Compare what was saved with what is loaded, by us and by the file in the folder."""
    expected = results(network, *args, **kwargs)
    loaded = oneshot.load_network(folder, trust=trust)
    names: dict[str, Any] = {"__file__": str(folder / "load.py"), "__name__": "load"}
    exec(compile((folder / "load.py").read_text(), "load.py", "exec"), names)
    for other in (loaded, names["load"]()):
        found = results(other, *args, **kwargs)
        assert len(found) == len(expected) > 0
        assert all(map(torch.equal, expected, found))
        assert not other.training
        assert [name for name, _ in other.named_parameters()] == [
            name for name, _ in network.named_parameters()
        ]
    return loaded


def cut(network: Any) -> Any:
    """Take a block away, and make every size another one, as a frozen network does."""
    network.blocks = nn.ModuleList([network.blocks[0], network.blocks[2]])
    network.blocks[0].inner = nn.Linear(6, 5)
    network.blocks[0].outer = nn.Linear(5, 6)
    network.blocks[1].shape = (6, 9)
    network.norm.running_mean.normal_()
    return network


# --- equal ----------------------------------------------------------------------------------------


def test_a_network_of_the_users_own_comes_back_bit_for_bit(nets: Any, tmp_path: Path) -> None:
    network = cut(nets.net())
    network.table.weight.requires_grad_(False)
    folder = oneshot.save_network(network, tmp_path / "net", build=nets.net)
    loaded = require_equal(network, folder, torch.arange(7), trust=[f"{NETS}:net"])
    assert loaded.head.weight is loaded.table.weight
    assert [p.requires_grad for p in loaded.parameters()] == [
        p.requires_grad for p in network.parameters()
    ]
    assert loaded.blocks[1].shape == (6, 9)
    assert loaded.blocks[1].index == 2
    assert loaded.blocks[0].inner.out_features == 5
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["blocks"] == {"blocks": {"0": "0", "1": "2"}}
    assert recipe["attributes"] == {
        "blocks.0.inner": {"out_features": 5},
        "blocks.0.outer": {"in_features": 5},
        "blocks.1": {"shape": {"tuple": [6, 9]}},
    }
    assert recipe["tensors"]["head.weight"] == "table.weight"


@pytest.mark.parametrize(
    "way",
    [
        lambda nets: partial(nets.net, width=6, depth=3),
        lambda nets: (f"{NETS}:net", {"width": 6}),
        lambda nets: (nets.net, {"depth": 3}),
        lambda nets: f"{NETS}:net",
        lambda nets: (nets.Net, {"width": 6, "depth": 3}),
    ],
)
def test_the_original_can_be_named_in_many_ways(
    way: Callable[[Any], Any], nets: Any, tmp_path: Path
) -> None:
    network = cut(nets.net())
    folder = oneshot.save_network(network, tmp_path / "net", build=way(nets))
    require_equal(network, folder, torch.arange(7), trust=[f"{NETS}:net", f"{NETS}:Net"])


def test_saving_and_loading_leave_network_and_random_state_alone(nets: Any, tmp_path: Path) -> None:
    network = cut(nets.net()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    folder = oneshot.save_network(network, tmp_path / "net", build=nets.net)
    oneshot.load_network(folder, trust=[f"{NETS}:net"])
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_precision_of_the_tensors_is_kept(
    dtype: torch.dtype, nets: Any, tmp_path: Path
) -> None:
    network = cut(nets.net()).to(dtype)
    folder = oneshot.save_network(network, tmp_path / "net", build=nets.net)
    loaded = require_equal(network, folder, torch.arange(7), trust=[f"{NETS}:net"])
    assert loaded.table.weight.dtype is dtype


def test_what_torch_keeps_twice_is_replaced_twice(nets: Any, tmp_path: Path) -> None:
    network = nets.recurrent()
    folder = oneshot.save_network(network, tmp_path / "net", build=nets.recurrent)
    require_equal(network, folder, torch.randn(5, 2, 3), trust=[f"{NETS}:recurrent"])


def test_an_original_with_tensors_as_plain_attributes_is_built_on_the_cpu(
    nets: Any, tmp_path: Path
) -> None:
    network = nets.with_constant()
    folder = oneshot.save_network(network, tmp_path / "net", build=nets.with_constant)
    assert json.loads((folder / "recipe.json").read_text())["device"] == "cpu"
    loaded = require_equal(network, folder, torch.ones(1, 2), trust=[f"{NETS}:with_constant"])
    assert torch.equal(loaded.constant, network.constant)
    with pytest.raises(SavingError, match="attribute 'constant' of 'the network'"):
        oneshot.save_network(nets.with_constant(3.0), tmp_path / "x", build=nets.with_constant)


def test_blocks_that_kept_their_names_and_identities_are_understood(
    nets: Any, tmp_path: Path
) -> None:
    network = nets.net()
    del network.blocks[1]
    network.blocks._modules = {"0": network.blocks[0], "2": network.blocks[1]}
    network.norm = nn.Identity()
    folder = oneshot.save_network(network, tmp_path / "net", build=nets.net)
    require_equal(network, folder, torch.arange(7), trust=[f"{NETS}:net"])
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["blocks"] == {"blocks": {"0": "0", "2": "2"}}
    assert recipe["identities"] == ["norm"]


def test_a_bias_that_is_gone_stays_gone(nets: Any, tmp_path: Path) -> None:
    network = nets.net()
    network.blocks[0].inner.bias = None
    folder = oneshot.save_network(network, tmp_path / "net", build=nets.net)
    loaded = require_equal(network, folder, torch.arange(7), trust=[f"{NETS}:net"])
    assert loaded.blocks[0].inner.bias is None


def test_a_later_network_takes_the_place_of_an_earlier_one(nets: Any, tmp_path: Path) -> None:
    oneshot.save_network(nets.net(), tmp_path / "net", build=nets.net)
    network = cut(nets.net())
    folder = oneshot.save_network(network, tmp_path / "net", build=nets.net)
    require_equal(network, folder, torch.arange(7), trust=[f"{NETS}:net"])
    assert sorted(p.name for p in folder.iterdir()) == [
        "load.py", "model.safetensors", "recipe.json",
    ]  # fmt: skip


# --- frozen networks of unmodified models ---------------------------------------------------------


def small_bert(**chosen: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Freeze a BERT with other sizes in each layer, which its config cannot describe."""
    built = build("bert")
    sizes, extents = bert_extents(built.model)
    layers = [f"encoder.layer.{i}" for i in range(3)]
    heads = sizes["heads"]
    follows = {"num_attention_heads": Extent.of(heads), "all_head_size": Extent.of(heads, 8)}
    choices = {size: [size.full // 2, size.full] for size in sizes.values()}
    choices[heads] = [3, 5, 6]
    attributes = {f"{path}.attention.self": follows for path in layers}
    make_elastic(built.model, extents, choices, attributes)
    make_optional(built.model, layers[1:], names=["second", "third"])
    values = {size.name: size.full for size in sizes.values()}
    given = {**values, "second": True, "third": True, **chosen}
    return oneshot.freeze(built.model, given), built.kwargs


def small_llama() -> tuple[nn.Module, dict[str, Any]]:
    """Freeze a Llama at half of its queries and of its feed-forward width."""
    built = build("llama")
    sizes, extents = llama_extents(built.model)
    kv, q = sizes["kv"], sizes["q"]
    choices = {size: [size.full] for size in sizes.values()}
    choices |= {kv: [1, 2], q: [1, 3], sizes["ffn"]: [40, 80]}
    follows = {"num_key_value_groups": Extent.of(q)}
    attributes = {f"model.layers.{i}.self_attn": follows for i in range(3)}
    make_elastic(built.model, extents, choices, attributes)
    return oneshot.freeze(built.model, {"kv": 1, "q": 1, "ffn": 40}), built.kwargs


def test_a_frozen_bert_with_a_size_of_its_own_in_each_layer(tmp_path: Path) -> None:
    network, kwargs = small_bert(hidden=24, heads=3, ffn0=40, ffn2=40, second=False)
    folder = oneshot.save_network(network, tmp_path / "bert")
    loaded = require_equal(network, folder, **kwargs)
    assert len(loaded.encoder.layer) == 2
    assert loaded.encoder.layer[0].attention.self.num_attention_heads == 3
    assert loaded.encoder.layer[1].intermediate.dense.out_features == 40
    assert json.loads((folder / "recipe.json").read_text())["device"] == "meta"


def test_heads_that_no_config_allows_are_written_as_differences(tmp_path: Path) -> None:
    """A BERT of 5 heads cannot be built from any config with 24 features, and yet it works."""
    network, kwargs = small_bert(hidden=24, heads=5)
    network.config.hidden_size, network.config.num_attention_heads = 24, 5
    with pytest.raises(ValueError, match="not a multiple"):
        type(network)(network.config)
    folder = oneshot.save_network(network, tmp_path / "bert")
    loaded = require_equal(network, folder, **kwargs)
    assert loaded.encoder.layer[0].attention.self.num_attention_heads == 5
    assert loaded.config.to_dict() == network.config.to_dict()


def test_a_frozen_llama_generates_the_same(tmp_path: Path) -> None:
    network, kwargs = small_llama()
    folder = oneshot.save_network(network, tmp_path / "llama")
    loaded = require_equal(network, folder, **kwargs)
    given = {"max_new_tokens": 5, "do_sample": False}
    expected = network.generate(kwargs["input_ids"], **given)
    assert torch.equal(loaded.generate(kwargs["input_ids"], **given), expected)


def test_how_a_model_generates_and_attends_is_kept(tmp_path: Path) -> None:
    built = build("llama")
    built.model.generation_config.top_k = 7
    built.model.set_attn_implementation("eager")
    folder = oneshot.save_network(built.model, tmp_path / "llama")
    loaded = require_equal(built.model, folder, **built.kwargs)
    assert loaded.generation_config.top_k == 7
    assert loaded.config._attn_implementation == "eager"


@pytest.mark.parametrize("name", ["t5", "gemma3", "gpt2", "dinov2"])
def test_unmodified_models_of_transformers_need_nothing_said(name: str, tmp_path: Path) -> None:
    built = build(name)
    folder = oneshot.save_network(built.model, tmp_path / name)
    require_equal(built.model, folder, *built.args, **built.kwargs)
    recipe = json.loads((folder / "recipe.json").read_text())
    assert (recipe["blocks"], recipe["identities"], recipe["attributes"]) == ({}, [], {})


@pytest.mark.slow
def test_a_resnet_and_a_vit_of_timm_come_back(tmp_path: Path) -> None:
    built = torchvision("resnet18", num_classes=10)
    built.model.layer3[0].conv1 = nn.Conv2d(128, 64, 3, stride=2, padding=1, bias=False)
    built.model.layer3[0].bn1 = nn.BatchNorm2d(64)
    built.model.layer3[0].conv2 = nn.Conv2d(64, 256, 3, padding=1, bias=False)
    del built.model.layer2[1]
    how = ("torchvision.models:resnet18", {"num_classes": 10})
    folder = oneshot.save_network(built.model, tmp_path / "resnet", build=how)
    require_equal(built.model, folder, *built.args)
    built = timm("vit_tiny_patch16_224")
    del built.model.blocks[3]
    folder = oneshot.save_network(built.model, tmp_path / "vit")
    loaded = require_equal(built.model, folder, *built.args)
    assert len(loaded.blocks) == 11


@pytest.mark.slow
def test_the_sentence_encoder_with_its_real_weights(tmp_path: Path) -> None:
    built = minilm()
    del built.model.encoder.layer[2]
    folder = oneshot.save_network(built.model, tmp_path / "minilm")
    require_equal(built.model, folder, **built.kwargs)


WITHOUT_US = """
import sys
sys.modules["oneshot_core"] = sys.modules["oneshot_plugins"] = None
sys.path[:0] = {paths!r}
import torch
from load import load
network, (inputs, expected) = load(), torch.load({data!r}, weights_only=True)
with torch.no_grad():
    result = network(**inputs) if isinstance(inputs, dict) else network(inputs)
result = result if isinstance(result, torch.Tensor) else result[0]
assert torch.equal(result, expected)
print("equal without us")
"""


def without_us(folder: Path, network: nn.Module, inputs: Any, paths: list[str]) -> None:
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else ((inputs,), {})
    torch.save((inputs, results(network, *args, **kwargs)[0]), folder.parent / "data.pt")
    code = WITHOUT_US.format(paths=[str(folder), *paths], data=str(folder.parent / "data.pt"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
    )
    assert "equal without us" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_file_in_the_folder_loads_the_network_without_this_package(
    nets: Any, tmp_path: Path
) -> None:
    network = cut(nets.net())
    folder = oneshot.save_network(network, tmp_path / "net", build=nets.net)
    without_us(folder, network, torch.arange(7), [str(tmp_path)])


@pytest.mark.slow
def test_a_frozen_bert_is_loaded_without_this_package(tmp_path: Path) -> None:
    network, kwargs = small_bert(hidden=24, heads=3, ffn1=40, third=False)
    folder = oneshot.save_network(network, tmp_path / "bert")
    without_us(folder, network, kwargs, [str(FOLDER / "language")])


# --- what cannot be said --------------------------------------------------------------------------


def add_hook(network: Any) -> None:
    network.norm.register_forward_hook(lambda *a: None)


def add_tensor(network: Any) -> None:
    network.norm.register_buffer("more", torch.ones(2))


def add_module(network: Any) -> None:
    network.more = nn.Linear(2, 2)


def other_class(network: Any) -> None:
    network.norm = nn.LayerNorm(6)


def other_function(network: Any) -> None:
    network.blocks[0].settings.scale = 0.25


def a_function(network: Any) -> None:
    network.blocks[0].index = lambda: 3


def own_forward(network: Any) -> None:
    network.forward = lambda x: x


def infinite(network: Any) -> None:
    network.norm.eps = float("inf")


def gone_attribute(network: Any) -> None:
    del network.blocks[0].shape


def parametrized(network: Any) -> None:
    nn.utils.parametrizations.weight_norm(network.blocks[0].inner)


def on_meta(network: Any) -> None:
    network.to("meta")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (add_hook, "'norm' has hooks, add_hook"),
        (add_tensor, r"no tensor 'norm\.more'"),
        (add_module, "modules \\['more'\\]"),
        (other_class, "'norm' is a LayerNorm"),
        (other_function, r"'settings' of 'blocks\.0'"),
        (a_function, r"'index' of 'blocks\.0'"),
        (own_forward, "'forward' of 'the network'"),
        (infinite, "'eps' of 'norm'"),
        (gone_attribute, r"'shape' of 'blocks\.0' is there only in the original"),
        (parametrized, "is a ParametrizedLinear"),
        (on_meta, "on 'meta'"),
    ],
)
def test_what_plain_data_cannot_say_is_refused_and_nothing_written(
    change: Any, word: str, nets: Any, tmp_path: Path
) -> None:
    network = nets.net()
    change(network)
    with pytest.raises(SavingError, match=word) as caught:
        oneshot.save_network(network, tmp_path / "net", build=nets.net)
    assert "\n  expected: " in str(caught.value)
    assert "\n  fix: " in str(caught.value)
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("how", "word"),
    [
        (None, "does not say how it is built"),
        (lambda: nn.ReLU(), "cannot be imported by name"),
        ("nothing.here:build", "cannot be imported"),
        ("no colon", "cannot be imported"),
        ("math:pi", "is a float"),
        (partial(nn.Linear, 2), "positional"),
        (("torch.nn:Linear", {"in_features": (2,)}), "JSON"),
        (f"{NETS}:no_module", "returned a int"),
        (f"{NETS}:fails", "ZeroDivisionError: on purpose"),
    ],
)
def test_an_original_that_cannot_be_built_is_refused(
    how: Any, word: str, nets: Any, tmp_path: Path
) -> None:
    with pytest.raises(SavingError, match=word):
        oneshot.save_network(nets.net(), tmp_path / "net", build=how)
    assert not (tmp_path / "net").exists()


def test_an_elastic_model_is_to_be_frozen_first(tmp_path: Path) -> None:
    built = build("bert")
    sizes, extents = bert_extents(built.model)
    make_elastic(built.model, extents, {size: [1, size.full] for size in sizes.values()})
    with pytest.raises(SavingError, match="freeze"):
        oneshot.save_network(built.model, tmp_path / "bert")


def test_a_folder_that_cannot_be_written_is_an_error(nets: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        oneshot.save_network(nets.net(), tmp_path / "file" / "net", build=nets.net)


# --- files of others ------------------------------------------------------------------------------


@pytest.fixture
def folder(nets: Any, tmp_path: Path) -> Path:
    return oneshot.save_network(cut(nets.net()), tmp_path / "net", build=nets.net)


def refuses(folder: Path, word: str, trust: Any = (f"{NETS}:net",)) -> None:
    with pytest.raises(OneShotError, match=word) as caught:
        oneshot.load_network(folder, trust=trust)
    assert isinstance(caught.value, CheckpointError)
    assert "\n  expected: " in str(caught.value)
    assert "\n  fix: " in str(caught.value)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a recipe as somebody would who knows how it is protected."""
    from safetensors.torch import load_file, save_file

    from oneshot_plugins.pretrained.saving import _identity

    path = folder / "recipe.json"
    recipe = json.loads(path.read_text())
    change(recipe)
    recipe["id"] = _identity(recipe)
    path.write_text(json.dumps(recipe))
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "model.safetensors", metadata={"oneshot-network": recipe["id"]})


def test_a_function_that_is_not_trusted_is_not_called(folder: Path) -> None:
    refuses(folder, f"names '{NETS}:net'", trust=())


def test_a_recipe_that_names_a_dangerous_function_runs_nothing(
    folder: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    for original in [
        {"target": "os:system", "kwargs": {"command": f"touch {mark}"}},
        {"target": "builtins:eval", "kwargs": {"source": f"open({str(mark)!r}, 'w')"}},
        {"target": "pathlib:Path.touch", "kwargs": {"self": str(mark)}},
        {"target": "transformers.utils.hub:cached_file", "kwargs": {}},
        {"target": "torchvision.models._utils:handle_legacy_interface", "kwargs": {}},
    ]:
        rewrite(folder, lambda recipe, o=original: recipe.update(original=o))
        if original["target"].startswith(("transformers", "torchvision")):
            build("bert") if original["target"][1] == "r" else torchvision("resnet18")
        refuses(folder, "to build the network with, which may do anything")
    assert not mark.exists()


@pytest.mark.parametrize(
    "kwargs",
    [
        {"model_name": "hf-hub:somebody/else"},
        {"model_name": "resnet18", "pretrained": True},
        {"model_name": "resnet18", "checkpoint_path": "/tmp/x"},
        {"model_name": "resnet18", "pretrained_cfg": {"url": "http://x"}},
    ],
)
def test_arguments_that_fetch_something_are_refused(kwargs: Any, folder: Path) -> None:
    rewrite(folder, lambda r: r.update(original={"target": "timm:create_model", "kwargs": kwargs}))
    refuses(folder, "which fetches something")


def test_a_config_that_names_code_of_others_is_refused(tmp_path: Path) -> None:
    folder = oneshot.save_network(build("bert").model, tmp_path / "bert")
    rewrite(folder, lambda r: r["original"]["config"].update(attn_implementation="kernels/evil"))
    refuses(folder, "attn_implementation='kernels/evil', which fetches something")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("__class__", 3),
        ("_modules", {"dict": {}}),
        ("_parameters", {"dict": {}}),
        ("a.b", 3),
        ("training", True),
    ],
)
def test_a_recipe_that_sets_more_than_attributes_is_refused(
    name: str, value: Any, folder: Path
) -> None:
    rewrite(folder, lambda r: r["attributes"].update({"norm": {name: value}}))
    refuses(folder, f"sets '{name}' of 'norm'")


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("tensors"),
        lambda r: r.update(blocks=[]),
        lambda r: r.update(blocks={"blocks": {"0": 3}}),
        lambda r: r.update(device="cuda"),
        lambda r: r.update(original=3),
        lambda r: r["original"].update(target="x"),
        lambda r: r["original"].update(more=3),
        lambda r: r.update(format="x"),
        lambda r: r.update(version=2),
        lambda r: r["blocks"].update(blocks={"0": "17"}),
        lambda r: r["tensors"].pop("norm.weight"),
        lambda r: r["tensors"].update({"norm.weight": "nothing"}),
        lambda r: r["tensors"].update({"no.such": "norm.weight"}),
        lambda r: r["shapes"].update({"norm.weight": [7]}),
        lambda r: r["attributes"].update({"no.such": {"a": 3}}),
        lambda r: r["attributes"].update({"norm": {"a": {}}}),
        lambda r: r["missing"].append("norm.weight"),
    ],
)
def test_a_recipe_of_another_form_is_refused(change: Any, folder: Path) -> None:
    rewrite(folder, change)
    refuses(folder, "recipe.json|model.safetensors")


def test_a_recipe_that_was_changed_by_hand_is_refused(folder: Path) -> None:
    path = folder / "recipe.json"
    path.write_text(path.read_text().replace('"out_features": 5', '"out_features": 4'))
    refuses(folder, "changed after it was written")


@pytest.mark.parametrize(
    "text", ["", "{", "3", "[]", "{}", "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000, "\0", "é"]
)
def test_a_recipe_that_is_something_else_is_refused(text: str, folder: Path) -> None:
    (folder / "recipe.json").write_bytes(text.encode("latin-1"))
    refuses(folder, "recipe.json")


def test_tensors_that_are_cut_short_or_of_another_save_are_refused(
    folder: Path, nets: Any, tmp_path: Path
) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for part in (b"", whole[:4], whole[:100], whole[:-1], b"\xff" * 50, whole + b"x"):
        path.write_bytes(part)
        refuses(folder, "model.safetensors")
    other = oneshot.save_network(nets.net(), tmp_path / "other", build=nets.net)
    path.write_bytes((other / "model.safetensors").read_bytes())
    refuses(folder, r"does not belong to recipe\.json")
    path.unlink()
    refuses(folder, "model.safetensors")
    (folder / "recipe.json").unlink()
    refuses(folder, "recipe.json")


def test_the_loader_is_short_and_names_neither_pickle_nor_this_package(folder: Path) -> None:
    text = (folder / "load.py").read_text()
    code = text.split('"""', 2)[2]
    assert len(text.splitlines()) < 75
    assert not any(word in code for word in ("pickle", " eval(", "exec(", "oneshot"))


def test_whoever_may_read_the_recipe_may_read_the_tensors(tmp_path: Path, nets: Any) -> None:
    folder = oneshot.save_network(nets.net(), tmp_path / "net", build=nets.net)
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1
