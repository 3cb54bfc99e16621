"""``oneshot freeze``: the plain network that a run chose."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from oneshot_core.files import whole_file

from .arguments import read_a_run, require_out, take_an_architecture
from .words import require_batches, require_jsonargparse

DESCRIPTION = """\
Write the weights of the network that a run chose: a state dict of the user's own class around
plain torch.nn. It prints the lines that load it.

Reads config.yaml, search.ckpt and architecture.json of RUN; imports the model and the data that
the configuration names. Writes one file. Trains nothing: with inherited weights and BatchNorm,
some training batches give the network statistics of its own."""


class FreezeCommand:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        read_a_run(parser, DESCRIPTION)
        take_an_architecture(parser)
        parser.add_argument(
            "--weights",
            choices=["inherit", "fresh"],
            default="inherit",
            help="those of the supernet, or new ones (default: inherit)",
        )
        parser.add_argument(
            "--calibration-batches",
            type=int,
            default=16,
            metavar="N",
            help="training batches for BatchNorm (default: 16; 0: statistics of the supernet)",
        )
        parser.add_argument("--out", type=Path, help="file to write (default: model.pt in RUN)")

    def run(self, args: argparse.Namespace) -> int:
        """Freeze, write, and say how to load it.

        Raises:
            RunError: the folder has not what is needed.
            FreezeError: new weights are asked for, and a module cannot be initialised.
        """
        require_jsonargparse()
        import torch

        import oneshot_core

        from .answers import other_of, source_of
        from .rebuild import chosen, load_run, network_of

        inherits = args.weights == "inherit"
        require_batches(args.calibration_batches)
        if args.out is not None:
            require_out(args.out)
        run = load_run(args.run_folder, "freeze", trained=inherits)
        architecture = chosen(run.folder, args.architecture)
        if inherits:
            network = network_of(run, architecture, args.calibration_batches)
        else:
            network = oneshot_core.freeze(run.search, architecture, weights="fresh")
        out = args.out or run.folder.path / "model.pt"
        with whole_file(out) as file:
            torch.save(network.state_dict(), file)
        source = args.architecture or run.folder.architecture
        print(f"written: {out}, {architecture}")
        print(f"  from {source_of(run.folder, args.architecture)}")
        print(*other_of(run.folder, architecture, "freeze"), "load it with", sep="\n")
        print(_lines(run, source, out))
        return 0


def _lines(run: Any, architecture: Path, out: Path) -> str:
    """Return the Python that makes the network and loads the weights."""
    home, _, name = run.model.class_path.rpartition(".")
    made = ", ".join(f"{key}={_literal(value)}" for key, value in run.model.init_args.items())
    lines = (
        "import torch",
        "import oneshot_core as oneshot",
        f"from {home} import {name}",
        f"architecture = oneshot.Architecture.load({str(architecture)!r})",
        f"network = oneshot.freeze({name}({made}), architecture)",
        f"network.load_state_dict(torch.load({str(out)!r}, weights_only=True))",
    )
    return "\n".join(f"  {line}" for line in lines)


def _literal(value: object) -> str:
    """Return plain data as Python has it; dots for what the configuration makes an object of."""
    plain = value is None or isinstance(value, (bool, int, float, str))
    return repr(value) if plain else "..."


command = FreezeCommand()
