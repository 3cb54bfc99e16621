"""A network in a folder: its tensors, and a recipe of how its modules are made.

A frozen network consists of the user's own classes, and no config needs to be able to describe it:
the recipe says how the original is built, and what is different. The folder holds a file beside
them that loads the network without this package.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oneshot_core.errors import CheckpointError, OneShotError
from oneshot_core.files import cannot_write, whole_file, write_text

from .differences import INTERNAL, Differences, compare, tensors_of
from .originals import Original, SavingError, original_of, read_original
from .rebuilding import rebuild

__all__ = ["load_network", "save_network"]

FORMAT, VERSION = "oneshot-network", 1
TENSORS, RECIPE, LOADER = "model.safetensors", "recipe.json", "load.py"

_LOADER = '''\
"""Load the network in this folder: `from load import load`, then `network = load()`.

oneshot-core wrote this file and is not needed: torch, safetensors and {package} are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

{imported}


{rebuild}

def load(folder: Any = Path(__file__).parent) -> Any:
    """Return the network, in eval mode, on the CPU."""
    recipe = json.loads(Path(folder, "{recipe}").read_text(encoding="utf-8"))
    with torch.device(recipe["device"]):
        network = {made}
{generation}    return rebuild(network, recipe, load_file(Path(folder, "{tensors}")))
'''

_GENERATION = """\
    if "generation" in recipe["original"]:
        kind = type(network.generation_config)
        network.generation_config = kind.from_dict(recipe["original"]["generation"])
    for config in (vars(module).get("config") for module in network.modules()):
        for name, value in recipe["original"].get("changed", {}).items():
            if hasattr(config, name):
                setattr(config, name, value)
"""


def save_network(network: nn.Module, folder: str | PathLike[str], *, build: object = None) -> Path:
    """Write ``network`` into ``folder``: ``model.safetensors``, ``recipe.json`` and ``load.py``.

    The recipe says how the original is built, and what is different in ``network``: blocks that are
    gone, attributes, the shapes of tensors. It is found by building the original, without values
    where that is possible, and comparing module by module. Nothing is pickled. Each file is written
    whole or not at all; ``network`` and the random state are left as they are.

    Args:
        network: a plain module, such as :func:`oneshot_core.freeze` returns, or a part of one.
            Tied tensors stay tied, whether a parameter requires a gradient is kept.
        folder: made if it does not exist. Files of an earlier network are replaced.
        build: how the original is built. None for models of transformers, from their config, and
            for those of timm. Otherwise a function that can be imported and returns the module, a
            ``functools.partial`` of one with keyword arguments, its name
            ``"package.module:function"``, or a pair of the name and a dict of keyword arguments,
            all of them plain data.

    Returns:
        the folder.

    Raises:
        SavingError: the original cannot be built, or a difference cannot be written as plain data.
        OutputError: a file cannot be written.

    >>> import tempfile
    >>> folder = save_network(nn.ReLU(), tempfile.mkdtemp(), build="torch.nn:ReLU")
    >>> sorted(path.name for path in folder.iterdir())
    ['load.py', 'model.safetensors', 'recipe.json']
    """
    torch_files = _safetensors()
    original = original_of(network, build)
    original, device, found = _compared(network, original)
    names, tensors, without = _tensors(network)
    recipe: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "original": original.to_json(),
        "device": device,
        "blocks": found.blocks,
        "identities": found.identities,
        "attributes": found.attributes,
        "missing": found.missing,
        "tensors": names,
        "shapes": {key: list(tensor.shape) for key, tensor in tensors.items()},
        "without_gradient": without,
    }
    recipe["id"] = _identity(recipe)
    text = json.dumps(recipe, indent=1, allow_nan=False) + "\n"
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    with whole_file(path / TENSORS) as file:
        metadata = {"format": "pt", FORMAT: recipe["id"]}
        try:
            torch_files.torch.save_file(tensors, file.name, metadata=metadata)
            # safetensors puts a file of its own there, which others may not read.
            os.chmod(file.name, os.fstat(file.fileno()).st_mode & 0o777)
        except torch_files.SafetensorError as error:
            raise OSError(str(error)) from error
    write_text(path / RECIPE, text)
    write_text(path / LOADER, _loader(original))
    return path


def load_network(folder: str | PathLike[str], *, trust: Collection[str] = ()) -> nn.Module:
    """Return the network that :func:`save_network` wrote, in eval mode, on the CPU.

    Its results equal those of the network that was saved, in eval mode, bit for bit. The recipe
    names a function, which is imported and called with plain data; no other code is run. Because a
    function may do anything, only models of transformers, timm and torchvision are built unasked.

    Args:
        folder: as given to :func:`save_network`.
        trust: names of further functions that may be called, such as ``["my_package:build"]``.

    Raises:
        CheckpointError: a file is missing, damaged, of another save, or names a function that is
            not trusted.
        SavingError: the function cannot be imported.

    >>> import tempfile
    >>> folder = save_network(nn.ReLU(), tempfile.mkdtemp(), build="torch.nn:ReLU")
    >>> load_network(folder, trust=["torch.nn:ReLU"])
    ReLU()
    """
    torch_files = _safetensors()
    path = Path(folder)
    where = repr(str(path / RECIPE))
    recipe = _read_recipe(path / RECIPE)
    original = read_original(recipe["original"], where)
    original.require_trusted(trust, where)
    try:
        with torch_files.safe_open(path / TENSORS, "pt") as file:
            metadata, shapes = file.metadata() or {}, {}
            for key in file.keys():  # noqa: SIM118 (no mapping)
                shapes[key] = file.get_slice(key).get_shape()
    except (OSError, torch_files.SafetensorError) as error:
        raise _damaged(path / TENSORS, str(error)) from error
    if metadata.get(FORMAT) != recipe["id"] or shapes != recipe["shapes"]:
        raise _damaged(path / TENSORS, f"it does not belong to {RECIPE} beside it")
    tensors = torch_files.torch.load_file(path / TENSORS)
    try:
        network = original.build(recipe["device"])
        _require_harmless(network, recipe, where)
        rebuild(network, recipe, tensors)
        known = dict(tensors_of(network))
        whole = known.keys() == recipe["tensors"].keys()
    except OneShotError:
        raise
    except Exception as error:  # whatever the function or a setter of the module raises
        raise CheckpointError(
            f"the network that {where} describes cannot be built: {type(error).__name__}: {error}",
            expected="the versions of the packages that the network was saved with",
            fix=f"build it as {original.target!r} does, to see what is wrong",
        ) from error
    if not whole or any(tensor.is_meta for tensor in known.values()):
        raise _damaged(path / RECIPE, "it does not say what is in every tensor of the network")
    return network


def _compared(network: nn.Module, original: Original) -> tuple[Original, str, Differences]:
    """Return how and where the original is built, and what is different in ``network``.

    On "meta" it costs nothing. Some models cannot be built there, and a tensor that is a plain
    attribute has no value there; such models are built on the CPU.
    """
    unbuilt: SavingError | None = None
    different: SavingError | None = None
    for each in (original, original.with_one_head()):
        for device in ("meta", "cpu"):
            if each is None:
                continue
            try:
                built = each.build(device)
            except Exception as error:  # whatever the function raises
                unbuilt = unbuilt or _unbuilt(original, error)
                continue
            try:
                return each, device, compare(network, built)
            except SavingError as error:
                different = error
        if different is not None:
            raise different
    assert unbuilt is not None
    raise unbuilt


def _unbuilt(original: Original, error: Exception) -> SavingError:
    if isinstance(error, SavingError):
        return error
    failure = SavingError(
        f"the original cannot be built by {original.target!r}: {type(error).__name__}: {error}",
        expected="a function that builds the network as it was before anything was cut",
        fix="correct build=; for a config that does not allow the sizes that were chosen, name a "
        "function that builds the model from the config it had before",
    )
    failure.__cause__ = error
    return failure


def _tensors(network: nn.Module) -> tuple[dict[str, str], dict[str, Tensor], list[str]]:
    """Return the key of each name, the tensor of each key, and the keys without a gradient."""
    names: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    without = []
    keys: dict[int, str] = {}
    memory: set[int] = set()
    for name, tensor in tensors_of(network):
        names[name] = keys.setdefault(id(tensor), name)
        if names[name] != name:
            continue
        if tensor.is_meta or tensor.layout is not torch.strided or hasattr(tensor, "full_tensor"):
            raise SavingError(
                f"the tensor {name!r} is a {type(tensor).__name__} on {tensor.device.type!r}",
                expected="whole tensors with values",
                fix="load the weights, or gather what is sharded, before saving",
            )
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage()
        shared = storage.data_ptr() in memory or storage.nbytes() != value.nbytes
        memory.add(storage.data_ptr())
        tensors[name] = value.clone() if shared else value
        if isinstance(tensor, nn.Parameter) and not tensor.requires_grad:
            without.append(name)
    return names, tensors, without


def _loader(original: Original) -> str:
    imported, made = original.lines()
    return _LOADER.format(
        package=original.target.partition(":")[0].partition(".")[0],
        imported=imported,
        rebuild=inspect.getsource(rebuild),
        recipe=RECIPE,
        tensors=TENSORS,
        made=made,
        generation="" if original.config is None else _GENERATION,
    )


def _identity(recipe: Mapping[str, Any]) -> str:
    whole = {key: value for key, value in recipe.items() if key != "id"}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


_FORM: dict[str, Any] = {
    "original": dict,
    "blocks": {"": {"": str}},
    "identities": [str],
    "attributes": {"": dict},
    "missing": [str],
    "tensors": {"": str},
    "shapes": {"": [int]},
    "without_gradient": [str],
    "id": str,
}


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is no JSON: {error}") from error
    if not isinstance(recipe, dict) or recipe.get("format") != FORMAT:
        raise _damaged(path, "it is no recipe of a network")
    if recipe.get("version") != VERSION:
        raise CheckpointError(
            f"{str(path)!r} has the version {recipe.get('version')!r}",
            expected=f"version {VERSION}",
            fix="load it with the version of oneshot-core that wrote it, or with load.py beside it",
        )
    for key, form in _FORM.items():
        if not _has_form(recipe.get(key), form):
            raise _damaged(path, f"{key!r} is missing or of another form")
    if recipe.get("device") not in ("meta", "cpu") or recipe["id"] != _identity(recipe):
        raise _damaged(path, "it was changed after it was written")
    return recipe


def _has_form(value: object, form: Any) -> bool:
    if isinstance(form, dict):
        return isinstance(value, dict) and all(_has_form(v, form[""]) for v in value.values())
    if isinstance(form, list):
        return isinstance(value, list) and all(_has_form(v, form[0]) for v in value)
    return type(value) is form


def _require_harmless(network: nn.Module, recipe: Mapping[str, Any], where: str) -> None:
    """Refuse to set what is no plain attribute: properties run code, torch's dicts hold modules."""
    classes = {type(module) for module in network.modules()}
    for path, values in recipe["attributes"].items():
        for name in values:
            held = [getattr(kind, name, None) for kind in classes]
            if (
                not re.fullmatch(r"[^\W\d]\w*", name)
                or name.startswith("__")
                or name in INTERNAL
                or any(hasattr(type(value), "__set__") for value in held)
            ):
                raise CheckpointError(
                    f"{where} sets {name!r} of {path!r}, which is no attribute of plain data",
                    expected="numbers, texts and the like, as save_network writes them",
                    fix="do not use this folder; save the network again",
                )


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{str(path)!r} cannot be used: {why}",
        expected="a folder as oneshot.save_network writes it, whole and unchanged",
        fix="save the network again, or copy the whole folder again",
    )


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise SavingError(
            "safetensors is not installed",
            expected="safetensors, which writes tensors and nothing else",
            fix='pip install "oneshot-core[models]"',
        ) from error
    return safetensors
