"""What installed plugins do in a search: shapes of optimizer configurations, and being there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import StepLR

import oneshot_core as oneshot
from oneshot_core.errors import OptimizerConfigError, PluginLoadError
from oneshot_core.space import LayerChoice
from oneshot_plugins.strategies.darts import Darts

X = "oneshot-plugin-x"

PLUGIN = """
from oneshot_core.hookspecs import hookimpl

@hookimpl
def oneshot_optimizer_config(config):
    if type(config).__name__ != "Recipe":
        return None
    steps = {"scheduler": config.scheduler, "interval": "step"}
    return {"optimizer": config.optimizer, "lr_scheduler": steps}
"""


@dataclass
class Recipe:
    """A shape that Lightning does not know."""

    optimizer: Optimizer
    scheduler: Any


def as_recipe(optimizer: Optimizer) -> Any:
    return Recipe(optimizer, StepLR(optimizer, 2, 0.5))


def as_dict(optimizer: Optimizer) -> Any:
    steps = {"scheduler": StepLR(optimizer, 2, 0.5), "interval": "step"}
    return {"optimizer": optimizer, "lr_scheduler": steps}


SIX: dict[str, Callable[[Optimizer], Any]] = {
    "none": lambda optimizer: None,
    "bare": lambda optimizer: optimizer,
    "two-lists": lambda optimizer: ([optimizer], [StepLR(optimizer, 1)]),
    "dict": as_dict,
    "dicts": lambda optimizer: [as_dict(optimizer)],
    "list": lambda optimizer: [optimizer],
}


class Model(LightningModule):
    """One layer to choose, one to train; returns its optimizer in the shape it is told."""

    def __init__(self, shape: Callable[[Optimizer], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shape = shape
        self.first = LayerChoice([nn.Linear(6, 8)], label="first")
        self.second = nn.Linear(8, 3)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.second(self.first(batch[0])), batch[1])

    def configure_optimizers(self) -> Any:
        return self.shape(SGD(self.parameters(), lr=0.1, momentum=0.9))


class Shaped(Darts):
    """Returns the optimizer of its architecture parameters in the shape it is told."""

    shape: Callable[[Optimizer], Any]

    def configure_architecture_optimizers(self) -> Any:
        return type(self).shape(Adam(self.decisions.parameters(), lr=0.1))


@pytest.fixture
def plugin(fake_dist):
    def install(source: str = PLUGIN, name: str = X) -> None:
        module = name.replace("-", "_")
        fake_dist(name, entry_points={"main": module}, modules={f"{module}.py": source})

    return install


@pytest.fixture
def train(make_trainer, make_loader):
    """Train and return the weights; ``by`` is one of bare, loop or hand."""

    def run(shape: Callable[[Optimizer], Any], by: str) -> dict[str, Tensor]:
        model = Model(shape)
        module: LightningModule = model
        if by != "bare":
            module = search = oneshot.search(model, registry=oneshot.Registry(environ={}))
            if by == "hand":
                search.drive_manually()
        make_trainer().fit(module, make_loader())
        return {
            name.replace(".candidates", ""): value.clone()
            for name, value in model.state_dict().items()
        }

    return run


@pytest.mark.parametrize("by", ["loop", "hand"])
def test_a_shape_that_a_plugin_knows_trains_as_what_it_stands_for(plugin, train, by):
    plugin()
    expected = train(as_dict, "bare")
    trained = train(as_recipe, by)
    assert [v.tolist() for v in trained.values()] == [v.tolist() for v in expected.values()]
    assert trained["second.weight"].tolist() != Model(as_dict).second.weight.tolist()


@pytest.mark.filterwarnings("ignore:.*this fit will run with no optimizer")
@pytest.mark.parametrize("shape", SIX)
def test_the_six_shapes_never_reach_a_plugin(plugin, train, shape):
    plugin("from oneshot_core.hookspecs import hookimpl\n@hookimpl\n"
           "def oneshot_optimizer_config(config): raise AssertionError(config)\n")  # fmt: skip
    expected = train(SIX[shape], "bare")
    trained = train(SIX[shape], "loop")
    assert [v.tolist() for v in trained.values()] == [v.tolist() for v in expected.values()]


def test_a_strategys_optimizers_may_have_such_a_shape_too(plugin, make_trainer, make_loader):
    plugin()
    learned = []
    for shape in (as_dict, as_recipe):
        model = Model(as_dict)  # which sets the seed of the layers below
        model.first = LayerChoice([nn.Linear(6, 8), nn.Linear(6, 8)], label="first")
        Shaped.shape = staticmethod(shape)
        data, registry = make_loader(seed=2), oneshot.Registry(environ={})
        search = oneshot.search(model, Shaped, arch_dataloader=data, registry=registry)
        before = [p.tolist() for p in search.decisions.parameters()]
        make_trainer().fit(search, make_loader())
        learned.append([p.tolist() for p in search.decisions.parameters()])
        assert learned[-1] != before
    assert learned[0] == learned[1]


@pytest.mark.parametrize("source", [None, PLUGIN.replace("Recipe", "Another")])
def test_without_a_plugin_that_knows_it_the_error_is_lightnings(plugin, train, source):
    if source is not None:
        plugin(source)
    errors = []
    for by in ("bare", "loop"):
        with pytest.raises(Exception, match="Unknown configuration for model optimizers") as caught:
            train(as_recipe, by)
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]
    with pytest.raises(OptimizerConfigError, match="configure_optimizers of Model returned Recipe"):
        train(as_recipe, "hand")


@pytest.mark.parametrize("answer", ["False", "3", "config", "{'optimizer': 1}"])
@pytest.mark.parametrize("by", ["loop", "hand"])
def test_an_answer_of_no_known_shape_is_blamed_on_the_plugin(plugin, train, answer, by):
    plugin(PLUGIN.replace("Recipe", "Another"))
    plugin("from oneshot_core.hookspecs import hookimpl\n@hookimpl\n"
           f"def oneshot_optimizer_config(config): return {answer}\n",
           "oneshot-plugin-y")  # fmt: skip
    message = r"oneshot_optimizer_config of the plugin oneshot-plugin-y\.main, asked about a Recipe"
    with pytest.raises(OptimizerConfigError, match=message) as caught:
        train(as_recipe, by)
    assert "ONESHOT_DISABLE_PLUGINS" in str(caught.value)


def test_an_answer_of_a_wrapper_is_checked_as_well(plugin, train):
    plugin("from oneshot_core.hookspecs import hookimpl\n@hookimpl(wrapper=True)\n"
           "def oneshot_optimizer_config(config):\n    yield\n    return 3\n")  # fmt: skip
    with pytest.raises(OptimizerConfigError, match="asked about a Recipe, returned 3"):
        train(as_recipe, "loop")


def test_a_search_changes_no_model_while_a_required_plugin_is_missing(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[tool.oneshot.plugins]\nrequired = ["oneshot-plugin-x>=0.4"]\n')
    model = Model(as_dict)
    with pytest.raises(PluginLoadError, match=r"oneshot-plugin-x>=0\.4: no such plugin"):
        oneshot.search(model, registry=oneshot.Registry(environ={}, project=file))
    assert type(model.first) is LayerChoice
