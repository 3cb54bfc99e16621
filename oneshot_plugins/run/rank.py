"""``oneshot rank``: score the architectures of a run."""

from __future__ import annotations

import argparse

from .arguments import read_a_run
from .words import require_jsonargparse

DESCRIPTION = """\
Score architectures with the weights of the supernet that a run has trained, best first.

Reads config.yaml and search.ckpt of RUN; imports the model and the data that the configuration
names. Writes ranking.json, which holds the best one, and ranking.csv into RUN; architecture.json
only where the strategy itself prefers no architecture. Trains nothing: costs one pass over the
validation data for each architecture."""


class RankCommand:
    """The command; see :mod:`oneshot_core.cli`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""
        read_a_run(parser, DESCRIPTION)
        parser.add_argument(
            "--metric",
            help="what validation_step logs and architectures are compared by (default: that "
            "of the configuration)",
        )
        parser.add_argument("--mode", choices=["max", "min"], help="what is better (default: max)")
        parser.add_argument(
            "--method",
            help="all, a number of random ones, or a searcher (`oneshot plugins list --kind "
            "searcher`) with a --budget (default: all)",
        )
        parser.add_argument("--budget", type=int, help="how many a searcher may score")
        parser.add_argument(
            "--costs",
            nargs="+",
            metavar="COST",
            help="report these costs, too (`oneshot plugins list --kind cost`)",
        )
        parser.add_argument(
            "--input",
            dest="inputs",
            metavar="SHAPE",
            action="append",
            help="what costs call the network with, such as 1x3x32x32; once for each argument "
            "(default: example_input_array of the model)",
        )
        parser.add_argument(
            "--calibration-batches",
            type=int,
            metavar="N",
            help="training batches for BatchNorm (default: 16)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Rank, write and print.

        Raises:
            RunError: the folder has not what is needed, another process writes into it, or an
                argument has no meaning.
            RankingError: nothing can be scored as asked.
        """
        require_jsonargparse()
        from dataclasses import fields, replace

        from .answers import told
        from .lock import held
        from .ranking import rank, save
        from .rebuild import load_run

        run = load_run(args.run_folder, "rank")
        given = {f.name: getattr(args, f.name, None) for f in fields(run.ranking)}
        settings = replace(run.ranking, **{k: v for k, v in given.items() if v is not None})
        with held(run.folder):
            ranking = rank(run.search, run.data, settings)
            save(ranking, run.search, run.folder)
        print(ranking)
        print(f"written: {run.folder.ranking}, {run.folder.table}")
        print(told(run.folder))
        return 0


command = RankCommand()
