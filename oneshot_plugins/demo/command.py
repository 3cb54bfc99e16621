"""``oneshot demo``: arguments, terminal output and files of the demo."""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneshot_core.errors import OneShotError
from oneshot_core.files import require_place

if TYPE_CHECKING:
    from rich.console import Console

    from .experiment import Experiment


class DemoError(OneShotError):
    """The demo cannot run as asked."""


class Demo:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        parser.description = (
            "Search 625 small networks for MNIST-1D: train a supernet, choose, freeze and "
            "retrain, beside baselines. Generates its data, needs one to two minutes on 2 CPU "
            "cores, and writes architecture.json, model.pt, demo.png and search.ckpt."
        )
        parser.add_argument("--seed", type=int, help="of everything random (default: 0)")
        parser.add_argument(
            "--strategy", choices=["random", "darts"], help="how to search (default: random)"
        )
        parser.add_argument(
            "--epochs",
            type=int,
            help="of the supernet; networks are retrained for a quarter of it "
            "(default: 240, darts 60)",
        )
        parser.add_argument(
            "--out", type=Path, default=Path("oneshot-demo"), help="folder (default: oneshot-demo)"
        )
        parser.add_argument(
            "--resume", action="store_true", help="go on with what Ctrl-C left in --out"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Run the demo.

        Returns:
            0; 130 after Ctrl-C.

        Raises:
            DemoError: the extra ``demo`` is not installed, or the arguments do not fit.
        """
        missing = [name for name in ("mnist1d", "matplotlib") if find_spec(name) is None]
        if missing:
            raise DemoError(
                f"the demo needs {' and '.join(missing)}",
                expected="the extra 'demo'",
                fix="pip install 'oneshot-core[demo]'",
            )
        from .training import one_thread, quiet

        with quiet(), one_thread():
            return _run(args)


def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from .experiment import Experiment, Interrupted
    from .training import Interrupt

    console = Console(highlight=False)
    out: Path = args.out
    require_place(out / "search.ckpt")
    checkpoint = out / "search.ckpt"
    seed, strategy, epochs = _settings(args, checkpoint)
    interrupt = Interrupt()
    experiment = Experiment(
        seed=seed, strategy=strategy, epochs=epochs, checkpoint=checkpoint, interrupt=interrupt
    )
    console.print(
        "[bold]MNIST-1D[/]: 3,200 signals to train, 800 to validate, 1,000 to test\n"
        f"[bold]Model space[/]: 4 positions x 5 operations = {len(experiment.space)} networks\n"
        f"[bold]Search[/]: {strategy}, {epochs} epochs, seed {seed} "
        "[dim](Ctrl-C stops after the epoch)[/]\n"
    )
    try:
        with interrupt.listening():
            out.mkdir(parents=True, exist_ok=True)
            _report(experiment, out, console, resume=args.resume)
    except Interrupted:
        console.print(
            f"\nStopped. The search is kept in {checkpoint}; go on with\n"
            f"  oneshot demo --resume --out {out}",
            soft_wrap=True,
        )
        return 130
    return 0


def _settings(args: argparse.Namespace, checkpoint: Path) -> tuple[int, str, int]:
    """Return seed, strategy and epochs: as asked for, or those of the run that is resumed."""
    if args.epochs is not None and args.epochs < 1:
        raise DemoError(f"--epochs {args.epochs}", expected="1 or more", fix="correct it")
    if not args.resume:
        strategy = args.strategy or "random"
        default = {"random": 240, "darts": 60}[strategy]
        return args.seed or 0, strategy, args.epochs or default
    if not checkpoint.is_file():
        raise DemoError(
            f"there is nothing to resume in {str(checkpoint.parent)!r}",
            expected=f"the file {checkpoint}",
            fix="leave --resume out, or name the folder with --out",
        )
    saved = _settings_of(checkpoint)
    for name, was in saved.items():
        asked = getattr(args, name)
        if asked is not None and asked != was:
            raise DemoError(
                f"--{name} {asked}, but the run in {str(checkpoint.parent)!r} has {name} {was}",
                expected="the same settings when resuming",
                fix=f"leave --{name} out",
            )
    return saved["seed"], saved["strategy"], saved["epochs"]


def _settings_of(checkpoint: Path) -> dict[str, Any]:
    """Return the settings that a run has written into its checkpoint."""
    from oneshot_core import AtomicCheckpointIO

    saved: Any = AtomicCheckpointIO().load_checkpoint(checkpoint).get("hyper_parameters")
    kinds = {"seed": int, "strategy": str, "epochs": int}
    if not isinstance(saved, dict) or {k: type(v) for k, v in saved.items()} != kinds:
        raise DemoError(
            f"{str(checkpoint)!r} was not written by the demo",
            expected="what an interrupted run of it left",
            fix="leave --resume out, or name another folder with --out",
        )
    return saved


def _report(experiment: Experiment, out: Path, console: Console, *, resume: bool) -> None:
    from rich.table import Table

    from oneshot_core import AtomicCheckpointIO

    from .figure import draw

    started = time.monotonic()
    search = experiment.search(resume=resume)
    ranking = experiment.rank(search) if experiment.strategy == "random" else None
    best = search.export()
    searched = time.monotonic() - started
    results = {"found": experiment.train(best, "retraining the winner")}
    results["random search"] = experiment.random_search()
    results["largest"] = experiment.train(experiment.largest(), "training the largest")

    best.save(out / "architecture.json")
    AtomicCheckpointIO().save_checkpoint(results["found"].net.state_dict(), out / "model.pt")
    draw(out / "demo.png", results, ranking=ranking, probabilities=search.export_probs())
    table = Table(title="\nEach network trained from scratch, tested on the official test set")
    table.add_column("network", no_wrap=True)
    table.add_column("operations", no_wrap=True)
    for name in ("params", "MACs", "test acc."):
        table.add_column(name, justify="right")
    for name, result in results.items():
        table.add_row(
            name,
            " ".join(map(str, result.architecture.values())),
            f"{result.parameters:,}",
            f"{result.macs:,}",
            f"{result.test:.1%}",
            style="bold" if name == "found" else "",
        )
    table.add_section()
    table.add_row("paper's CNN", "", "5,210", "", "94 %", style="dim")
    table.add_row("human", "", "", "", "96 %", style="dim")
    console.print(table)
    console.print(
        f"random search trained {experiment.random_search_size()} networks, which costs as much "
        f"as the search; the search took {searched:.0f} s, everything "
        f"{time.monotonic() - started:.0f} s\n",
        style="dim",
        soft_wrap=True,
    )
    console.print(
        f"[bold]{out / 'architecture.json'}[/]  the chosen architecture\n"
        f"[bold]{out / 'model.pt'}[/]  its trained weights, a plain state dict\n"
        f"[bold]{out / 'demo.png'}[/]  all of this in one picture",
        soft_wrap=True,
    )


demo = Demo()
