"""``oneshot export``: the plain network that a run chose, for other programs."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from .arguments import read_a_run, require_out, take_an_architecture
from .folder import RunError
from .words import LONGEST, explained, require_jsonargparse

if TYPE_CHECKING:
    from torch import nn

DESCRIPTION = """\
Write the network that a run chose so that it runs without its code: as ONNX (--out net.onnx) or
as a program of torch.export (--out net.pt2), which torch.export.load reads.

Reads config.yaml, search.ckpt and architecture.json of RUN; imports the model and the data that
the configuration names. Writes one file. Trains nothing; calls the network with a sample input.
The batch size is that of the sample unless --dynamic-batch is given."""


class ExportCommand:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        read_a_run(parser, DESCRIPTION)
        parser.add_argument(
            "--out",
            type=Path,
            metavar="FILE",
            help="file to write, .onnx or .pt2 (default: net.pt2 in RUN)",
        )
        parser.add_argument(
            "--input",
            metavar="SHAPE",
            action="append",
            default=[],
            help="what forward is called with, such as 2x3x32x32 or 2x8:int64; once for each "
            "argument (default: example_input_array of the model)",
        )
        parser.add_argument(
            "--dynamic-batch",
            action="store_true",
            help="let the first size of every input be any; take 2 or more for the sample",
        )
        take_an_architecture(parser)
        parser.add_argument(
            "--state",
            type=Path,
            metavar="FILE",
            help="state dict of the network, such as after training it alone (default: the weights "
            "of the supernet)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Export.

        Raises:
            RunError: the folder has not what is needed, or the network cannot be exported.
        """
        require_jsonargparse()
        from .answers import other_of, source_of
        from .rebuild import chosen, load_run

        run = load_run(args.run_folder, "export", trained=args.state is None)
        out = args.out or run.folder.path / "net.pt2"
        _require_format(out)
        require_out(out)
        architecture = chosen(run.folder, args.architecture)
        network = _network(run, architecture, args.state)
        with explained(f"exporting to {out.suffix}", "export"):
            _write(network.eval(), _inputs(run.search, args.input), out, args.dynamic_batch)
        lines = [f"  from {source_of(run.folder, args.architecture)}"]
        lines += other_of(run.folder, architecture, "export")
        print(f"written: {out}, {architecture}", *lines, sep="\n")
        return 0


def _require_format(out: Path) -> None:
    if out.suffix not in (".onnx", ".pt2"):
        raise RunError(
            f"--out {out}",
            expected="a file name that ends in .onnx or .pt2",
            fix="--out net.onnx, or --out net.pt2",
        )
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if out.suffix == ".onnx" and missing:
        raise RunError(
            f"export to ONNX needs {' and '.join(missing)}",
            expected="the extra 'onnx'",
            fix="pip install 'oneshot-core[onnx]', or --out net.pt2",
        )


def _network(run: Any, architecture: Any, state: Path | None) -> nn.Module:
    import torch

    import oneshot_core

    from .rebuild import CALIBRATION_BATCHES, network_of

    if state is None:
        return network_of(run, architecture, CALIBRATION_BATCHES)
    network: nn.Module = oneshot_core.freeze(run.search, architecture)
    try:
        network.load_state_dict(torch.load(state, map_location="cpu", weights_only=True))
    except OSError:
        raise
    except Exception as error:  # of pickle, zip files, and torch's own
        why = shorten(str(error), LONGEST, placeholder=" ...").rstrip(".")
        raise RunError(
            f"{str(state)!r} cannot be loaded: {type(error).__name__}: {why}",
            expected=f"a state dict of the network {architecture}, by torch.save",
            fix="name such a file, or the --architecture that it is of, or leave --state out",
        ) from error
    return network


def _inputs(search: Any, shapes: list[str]) -> tuple[Any, ...]:
    from oneshot_plugins.costs.sample import arguments_of, sample_tensor

    inputs = arguments_of(search, [sample_tensor(shape) for shape in shapes] or None)
    if inputs is None:
        raise RunError(
            f"{type(search.model).__name__} does not say what it is called with",
            expected="example_input_array, or --input",
            fix="--input 2x3x32x32",
        )
    return inputs


def _write(network: nn.Module, inputs: tuple[Any, ...], out: Path, dynamic: bool) -> None:
    import torch

    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in inputs) if dynamic else None
    if out.suffix == ".onnx":
        torch.onnx.export(network, inputs, out, dynamo=True, dynamic_shapes=shapes, verbose=False)
    else:
        torch.export.save(torch.export.export(network, inputs, dynamic_shapes=shapes), out)


command = ExportCommand()
