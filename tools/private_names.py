"""Write ``docs/private-names.md``: private names of other libraries that our code uses.

``python -m tools.private_names`` writes the page. ``tests/test_private_names.py`` fails when a
name is used that is not in :data:`NAMES`, and when one in it is no longer used.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from jsonargparse import ArgumentParser
from pytorch_lightning import LightningModule
from torch import nn
from torchmetrics import MeanMetric, MetricCollection

ROOT = Path(__file__).parent.parent
PACKAGES = ("oneshot_core", "oneshot_plugins")
_PRIVATE = re.compile(r"_[A-Za-z]\w*")
_SETTERS = {"setattr", "__setattr__", "setdefault"}
_ENDINGS = {"endswith", "removesuffix"}


class Name(NamedTuple):
    """A private name of another library.

    Attributes:
        home: ``"module:Class"`` or ``"module"`` of the installed library that has the name.
        risk: ``"high"`` where a search would train or score wrongly or not at all without it and
            the library changes such things often; ``"medium"`` where one feature would stop;
            ``"low"`` where the name has been the same for years.
        reason: what it is used for.
        test: ``file::function`` of the test that notices a change.
    """

    home: str
    risk: Literal["high", "medium", "low"]
    reason: str
    test: str


_TRAINER = "pytorch_lightning.trainer.trainer:Trainer"
_CONNECTOR = "pytorch_lightning.trainer.connectors.logger_connector"
_LOOPS = "pytorch_lightning.loops"
_MODULE = "pytorch_lightning:LightningModule"
_TORCH = "torch.nn:Module"
_LOGS = (
    "tests/lightning/test_isolation_of_architecture_step.py"
    "::test_values_logged_in_an_architecture_step_are_not_in_the_training_metrics"
)
_METRICS = (
    "tests/lightning/test_isolation_of_architecture_step.py"
    "::test_metrics_are_restored_with_their_count_and_lists"
)
_GROUPED = (
    "tests/lightning/test_isolation_of_architecture_step.py"
    "::test_metrics_of_a_collection_are_grouped_by_the_users_batches"
)
_SLOTS = (
    "tests/lightning/test_forwarding.py"
    "::test_every_private_slot_that_lightning_uses_is_accounted_for"
)
_SCORES = (
    "tests/plugins/ranking/test_evaluation.py::test_every_architecture_scores_as_its_frozen_network"
)
_ROWS = (
    "tests/lightning/test_rows.py"
    "::test_a_row_that_was_lost_after_its_checkpoint_is_logged_by_the_resumed_training"
)
_TREE = "tests/lightning/test_members.py::test_a_search_shows_the_tree_of_its_model"
_READS = (
    "tests/nn/test_nothing_wrong_in_silence.py"
    "::test_reads_of_tensors_and_sizes_are_those_of_the_layer_that_is_computed"
)
_WALK = (
    "tests/test_traversal.py::test_a_module_under_many_names_is_offered_once_and_replaced_under_all"
)
_FROZEN = "tests/test_architecture.py::test_shared_modules_and_weights_stay_shared"

_HOOKED = (
    "tests/plugins/pretrained/test_saving.py"
    "::test_what_plain_data_cannot_say_is_refused_and_nothing_written"
)
_LOADED = "tests/plugins/pretrained/test_saving.py::test_the_sentence_encoder_with_its_real_weights"

_RECURRENT = (
    "tests/plugins/elastic/test_equal_to_frozen.py"
    "::test_recurrent_layers_equal_their_frozen_networks_bit_for_bit"
)


def _slot(reason: str, home: str = _MODULE) -> Name:
    return Name(home, "medium", f"forwarded to the user's module: {reason}", _SLOTS)


def _metric(reason: str) -> Name:
    return Name("torchmetrics:Metric", "medium", reason, _METRICS)


def _table(reason: str, test: str = _TREE) -> Name:
    return Name(_TORCH, "low", reason, test)


NAMES: dict[str, Name] = {
    # Lightning: the loops
    "_AutomaticOptimization": Name(
        f"{_LOOPS}.optimization.automatic", "high",
        "its subclass calls the strategy's `search_step` for each batch",
        "tests/lightning/test_engine.py::test_what_is_relied_on_inside_lightning_is_there",
    ),
    "_EvaluationLoop": Name(
        f"{_LOOPS}.evaluation_loop", "high",
        "its subclass validates once for each architecture of a ranking", _SCORES,
    ),
    "_ResultCollection": Name(
        f"{_CONNECTOR}.result", "high", "takes what is logged in an architecture step", _LOGS
    ),
    "_results": Name(
        f"{_LOOPS}.training_epoch_loop", "high",
        "exchanged while nothing may be logged; read for the row that a checkpoint keeps", _LOGS,
    ),
    "_current_fx": Name(
        f"{_CONNECTOR}.logger_connector", "high", "put back after an architecture step", _LOGS
    ),
    "_logger_connector": Name(
        _TRAINER, "high", "the owner of `_current_fx`, and of the row that is logged next", _LOGS
    ),
    "_active_loop": Name(_TRAINER, "high", "the loop whose logged values are exchanged", _LOGS),
    "_batches_that_stepped": Name(
        f"{_LOOPS}.training_epoch_loop", "high", "the step under which a row is logged", _ROWS
    ),
    "_should_accumulate": Name(
        f"{_LOOPS}.fit_loop", "high", "tells whether a batch ends with a row",
        "tests/lightning/test_rows.py::test_gradients_that_accumulate_give_no_row",
    ),
    "_ddp_kwargs": Name(
        "pytorch_lightning.strategies:DDPStrategy", "medium",
        "settings of DDP that a search cannot be trained with are refused",
        "tests/lightning/test_ddp.py"
        "::test_sampling_with_a_static_graph_is_refused_before_training",
    ),
    "_on_before_batch_transfer": Name(
        _MODULE, "medium", "moves batches of the architecture step as the loops do",
        "tests/lightning/test_batches.py"
        "::test_batches_are_moved_through_the_users_hooks_and_the_precision",
    ),
    # Lightning: what it keeps on the module
    "_automatic_optimization": _slot("who steps the optimizers"),
    "_compiler_ctx": _slot("what `torch.compile` made of it"),
    "_current_fx_name": _slot("the hook that runs, under whose name values are logged"),
    "_device": _slot("the device", "lightning_fabric.utilities.device_dtype_mixin"),
    "_device_mesh": _slot("the mesh of devices"),
    "_dtype": _slot("the type of numbers", "lightning_fabric.utilities.device_dtype_mixin"),
    "_example_input_array": _slot("the example for graphs and exports"),
    "_fabric": _slot("the Fabric that runs it"),
    "_fabric_optimizers": _slot("the optimizers of that Fabric"),
    "_hparams": _slot("hyperparameters", "pytorch_lightning.core.mixins.hparams_mixin"),
    "_hparams_initial": _slot(
        "hyperparameters as they were first", "pytorch_lightning.core.mixins.hparams_mixin"
    ),
    "_hparams_name": _slot(
        "the argument they came in", "pytorch_lightning.utilities.parsing"
    ),
    "_log_hyperparams": _slot(
        "whether they are logged", "pytorch_lightning.core.mixins.hparams_mixin"
    ),
    "_metric_attributes": _slot("names of metrics"),
    "_param_requires_grad_state": _slot("what `toggle_optimizer` put aside"),
    "_strict_loading": _slot("whether a checkpoint must fit"),
    "_trainer": _slot("the Trainer"),
    # torch: modules
    "_modules": _table("submodules; `named_children()` hides a second name", _WALK),
    "_parameters": _table("parameters, shared with the user's module and cut for a choice"),
    "_buffers": _table("buffers, shared with the user's module"),
    "_flat_weights_names": Name(
        "torch.nn:LSTM", "medium", "the list of tensors that recurrent layers compute with",
        _RECURRENT,
    ),
    "_non_persistent_buffers_set": _table("shared with the user's module"),
    "_state_dict_hooks": _table("shared with the user's module"),
    "_state_dict_pre_hooks": _table("shared with the user's module"),
    "_load_state_dict_pre_hooks": _table("shared with the user's module"),
    "_load_state_dict_post_hooks": _table("shared with the user's module"),
    "_forward_hooks": _table("a saved network cannot hold hooks", _HOOKED),
    "_forward_pre_hooks": _table("a saved network cannot hold hooks", _HOOKED),
    "_backward_hooks": _table("a saved network cannot hold hooks", _HOOKED),
    "_backward_pre_hooks": _table("a saved network cannot hold hooks", _HOOKED),
    "_call_impl": Name(
        _TORCH, "medium", "its code in the stack tells that a module is being called", _READS
    ),
    "_compiled_call_impl": Name(
        _TORCH, "medium", "tells that `module.compile()` was called", "tests/lightning/"
        "test_guard.py::test_a_supernet_that_computes_something_else_is_found_and_the_module_is_named",
    ),
    "_orig_mod": Name(
        "torch._dynamo.eval_frame:OptimizedModule", "medium", "tells that a module is compiled",
        "tests/test_private_names.py::test_a_name_is_there_in_the_installed_library",
    ),
    "_reset_parameters": Name(
        "torch.nn:MultiheadAttention", "low", "starts attention anew",
        "tests/test_architecture.py"
        "::test_fresh_weights_are_new_repeatable_and_of_the_same_shape",
    ),
    "_ddp_params_and_buffers_to_ignore": Name(
        "torch.nn.parallel.distributed", "medium", "keeps decisions out of the buckets of DDP",
        "tests/lightning/test_ddp.py"
        "::test_architecture_parameters_are_equal_though_the_data_differ",
    ),
    "_BatchNorm": Name(
        "torch.nn.modules.batchnorm", "low", "the base of all layers with running statistics",
        "tests/plugins/ranking/test_evaluation.py::test_batchnorm_without_training_batches_is_refused",
    ),
    "_NormBase": Name(
        "torch.nn.modules.batchnorm", "low", "the base of norms that a vertex can cut",
        "tests/plugins/spaces/test_nasbench101.py"
        "::test_a_narrow_vertex_uses_the_first_channels_of_the_widest",
    ),
    "_Loss": Name(
        "torch.nn.modules.loss", "low", "losses are no part of what a network costs",
        "tests/test_private_names.py::test_a_name_is_there_in_the_installed_library",
    ),
    # torch: tensors
    "_base": Name(
        "torch:Tensor", "low", "tells that a parameter is a part of a larger one",
        "tests/nn/test_elastic.py::test_tied_weights_stay_tied_when_they_are_cut",
    ),
    "_version": Name(
        "torch:Tensor", "low", "tells that a check changed a tensor in place",
        "tests/test_private_names.py::test_a_name_is_there_in_the_installed_library",
    ),
    "_cdata": Name(
        "torch:UntypedStorage", "low", "tells whether two tensors share their memory",
        "tests/test_private_names.py::test_a_name_is_there_in_the_installed_library",
    ),
    "_C": Name(
        "torch", "low", "`DisableTorchFunctionSubclass`, which `torch.overrides` does not have",
        _READS,
    ),
    "_ConvNd": Name(
        "torch.nn.modules.conv", "low", "the tracer knows convolutions of every dimension",
        "tests/plugins/pretrained/test_trace.py"
        "::test_mobilenet_ties_depthwise_filters_and_squeeze_excite_to_what_they_scale",
    ),
    "_subclasses": Name(
        "torch", "medium", "the tracer runs a model on fake tensors of symbolic lengths",
        "tests/plugins/pretrained/test_trace.py"
        "::test_resnet18_has_one_size_for_each_stage_and_one_inside_each_block",
    ),
    "_dynamo": Name(
        "torch", "medium", "the tracer names the sources of symbolic lengths",
        "tests/plugins/pretrained/test_trace.py"
        "::test_resnet18_has_one_size_for_each_stage_and_one_inside_each_block",
    ),
    "_expr": Name(
        "torch.fx.experimental.sym_node:SymNode", "medium",
        "the tracer asks which symbol a length was made with",
        "tests/plugins/pretrained/test_trace.py"
        "::test_bert_has_one_hidden_size_heads_and_a_ffn_in_each_layer_and_a_pooler",
    ),
    "_pytree": Name(
        "torch.utils", "low", "looks for tensors in anything that a module takes or returns",
        "tests/plugins/costs/test_latency.py::test_on_another_device_a_copy_is_timed",
    ),
    "_python_dispatch": Name(
        "torch.utils", "low", "`TorchDispatchMode` counts bytes that are held",
        "tests/plugins/costs/test_counts.py"
        "::test_peak_memory_is_what_is_held_at_one_time_worked_out_by_hand",
    ),
    "_scaled_dot_product_flash_attention_for_cpu": Name(
        "torch.ops:aten", "medium", "the operations of fused attention on a CPU are counted",
        "tests/plugins/costs/test_counts.py"
        "::test_attention_costs_its_projections_and_both_products",
    ),
    # transformers
    "_attn_implementation": Name(
        "transformers.configuration_utils:PreTrainedConfig", "medium",
        "which attention a saved model uses; the config's own files do not say it",
        "tests/plugins/pretrained/test_saving.py::test_how_a_model_generates_and_attends_is_kept",
    ),
    "_is_hf_initialized": Name(
        "transformers.modeling_utils:PreTrainedModel", "low",
        "notes about loading, which are no difference of a saved network", _LOADED,
    ),
    "_weight_conversions": Name(
        "transformers.core_model_loading", "low",
        "notes about loading, which are no difference of a saved network", _LOADED,
    ),
    "_use_kernels": Name(
        "transformers.modeling_utils:PreTrainedModel", "low",
        "notes about loading, which are no difference of a saved network", _LOADED,
    ),
    # torchmetrics
    "_computed": _metric("put back after an architecture step"),
    "_update_count": _metric("put back after an architecture step"),
    "_forward_cache": _metric("put back after an architecture step"),
    "_is_synced": _metric("put back after an architecture step"),
    "_cache": _metric("put back after an architecture step"),
    "_defaults": _metric("the names of the states of a metric"),
    "_groups": Name("torchmetrics:MetricCollection", "medium", "which metrics share", _GROUPED),
    "_groups_checked": Name(
        "torchmetrics:MetricCollection", "medium", "whether that is known", _GROUPED
    ),
    "_state_is_copy": Name(
        "torchmetrics:MetricCollection", "medium", "whether states are copies", _GROUPED
    ),
    # others
    "_path": Name(
        "importlib_metadata:PathDistribution", "medium", "the folder of a distribution",
        "tests/test_metadata.py"
        "::test_of_two_copies_the_first_on_the_path_wins_and_the_other_is_reported",
    ),
    "_add_signature_parameter": Name(
        "jsonargparse:ArgumentParser", "medium",
        "changes a type hint before jsonargparse reads it",
        "tests/plugins/run/test_other_lightning.py"
        "::test_callbacks_of_ours_work_and_those_of_the_other_lightning_are_refused",
    ),
    "_getframe": Name(
        "sys", "low", "who reads a value or a layer: the user, or torch",
        "tests/nn/test_choices_in_torch_nn.py"
        "::test_a_layer_of_torch_nn_says_that_it_takes_no_choices",
    ),
}  # fmt: skip
"""What we rely on although it is private, in the order of the page."""

DOCUMENTED = {"_fields", "_asdict", "_replace", "_make"}
"""Begin with an underscore and are public all the same: the methods of named tuples."""


def used() -> dict[str, set[str]]:
    """Return private name of another library -> the packages of ours that use it."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for file in sorted(ROOT.joinpath(package).rglob("*.py")):
            place = "/".join(file.relative_to(ROOT).with_suffix("").parts[:2])
            for name in names_in(ast.parse(file.read_text(encoding="utf-8"))):
                found.setdefault(name, set()).add(place)
    return found


def names_in(tree: ast.AST) -> Iterator[str]:
    """Yield the private names of others in a file.

    A private name is an attribute, a string, a method, or a part of what is imported from another
    package. It is somebody else's if it is imported, if modules have it, if metrics and the like
    have it and it is not asked of ``self``, or if none of our files defines it.
    """
    nodes = [*ast.walk(tree)]
    endings = {part for node in nodes for part in _endings(node)}
    methods = {part for node in nodes if isinstance(node, ast.ClassDef) for part in node.body}
    for node in nodes:
        match node:
            case ast.ImportFrom(level=0, module=str(module)):
                yield from _foreign([module, *(alias.name for alias in node.names)])
            case ast.Import():
                for alias in node.names:
                    yield from _foreign([alias.name])
            case ast.FunctionDef(name=name) if node in methods and name in of_modules():
                yield name
            case ast.Attribute(attr=name) | ast.Constant(value=str(name)) if (
                _PRIVATE.fullmatch(name) and name not in DOCUMENTED and node not in endings
            ):
                of_self = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
                theirs = name in of_modules() or (name in of_others() and not of_self)
                if theirs or (name not in ours() and not name.startswith("_oneshot")):
                    yield name


def _foreign(names: list[str]) -> Iterator[str]:
    """Yield the private parts of dotted names, the first of which tells the package."""
    parts = [part for name in names for part in name.split(".")]
    if parts[0] not in {*PACKAGES, "__future__"}:
        yield from (part for part in parts if _PRIVATE.fullmatch(part))


def _endings(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the texts in a node that are ends of words, and no names."""
    if isinstance(node, ast.JoinedStr):
        yield from node.values
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in _ENDINGS:
        yield from (part for argument in node.args for part in ast.walk(argument))


@cache
def of_modules() -> frozenset[str]:
    """Return the private names of modules, of which our classes are subclasses."""
    made = LightningModule(), nn.Module()
    names = {name for thing in made for name in {*vars(thing), *dir(thing)}}
    return frozenset(filter(_PRIVATE.fullmatch, names))


@cache
def of_others() -> frozenset[str]:
    """Return private names of other classes that our files may define for themselves."""
    made = MeanMetric(), MetricCollection([]), ArgumentParser()
    names = {name for thing in made for name in {*vars(thing), *dir(thing)}}
    # Looked up by torch and by us, and defined by neither of their classes.
    names |= {"_ddp_params_and_buffers_to_ignore", "_path"}
    return frozenset(filter(_PRIVATE.fullmatch, names))


@cache
def ours() -> frozenset[str]:
    """Return the names that our files define: functions, classes, variables, attributes."""
    found: set[str] = set()
    for package in PACKAGES:
        for file in ROOT.joinpath(package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                found.update(_defined(node))
    return frozenset(found)


def _defined(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called)) if called in _SETTERS:
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
            yield name
        case ast.Subscript(slice=ast.Constant(value=str(name)), ctx=ast.Store()):
            yield name
        case ast.Subscript(
            value=ast.Attribute(attr="__dict__"), slice=ast.Constant(value=str(name))
        ):
            yield name


# --- the page -------------------------------------------------------------------------------------

PAGE = ROOT / "docs/private-names.md"

INTRODUCTION = """# Private names of other libraries

*Written by `python -m tools.private_names` from the source and from its list; change those.*

A name that begins with an underscore may change with any release of the library that has it. This
page lists every such name that our code uses, with the test that notices a change.
`tests/test_private_names.py` finds the names in the source. It fails for one that is not listed,
for one in the list that is no longer used, and for one that the installed library does not have.

The risk is *high* where a search would train or score wrongly, or not at all, and where the library
changes such things often. It is *medium* where one feature would stop. It is *low* where the name
has stayed the same for years.
"""

_RISKS = ("high", "medium", "low")


def page() -> str:
    """Return the page.

    Raises:
        KeyError: the list has a name that is not used.
    """
    places = used()
    parts = [INTRODUCTION]
    for risk in _RISKS:
        head = ("name", "of", "used for", "used in", "noticed by")
        rows = [head, ("---",) * len(head)]
        for name, entry in NAMES.items():
            if entry.risk == risk:
                file, _, test = entry.test.partition("::")
                where = ", ".join(f"`{place}`" for place in sorted(places[name]))
                of = entry.home.replace(":", ".")
                cells = (f"`{name}`", f"`{of}`", entry.reason, where, f"`{test}` in `{file}`")
                rows.append(cells)
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        parts.append(f"## Risk: {risk}\n\n{table}")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
