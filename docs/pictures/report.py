"""Draw docs/pictures/report.png: search MNIST-1D, rank, retrain, and photograph the page.

Some minutes. Needs the extra ``demo`` and Chromium. The run folder is left in ``report-run``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from pytorch_lightning import Trainer, seed_everything

import oneshot_core as oneshot
from oneshot_core.cli import main
from oneshot_plugins.demo.data import in_order, shuffled
from oneshot_plugins.demo.experiment import BATCH, Experiment, Result
from oneshot_plugins.demo.training import Classifier, Interrupt, one_thread, quiet
from oneshot_plugins.spaces.chain import Chain1d

RUN = Path("report-run")
SEED, EPOCHS = 0, 60
OPTIONS = {"arc_learning_rate": 0.01, "weight_decay": 0.0}
SIZE = "1280,3000"


def search(experiment: Experiment) -> oneshot.BaseOneShotLightningModule:
    """Train the supernet and the architecture on halves of the training set; rank all networks."""
    from oneshot_plugins.run.recorder import RunRecorder

    seed_everything(SEED, verbose=False)
    data = experiment.data
    x, y = data.train
    half = len(x) // 2
    found = oneshot.search(
        Classifier(Chain1d()),
        "gdas",
        arch_dataloader=shuffled((x[half:], y[half:]), BATCH, SEED + 1),
        seed=SEED,
        **OPTIONS,
    )
    trainer = Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[RunRecorder(RUN, OPTIONS)],
    )  # fmt: skip
    validation = in_order(data.validation)
    trainer.fit(found, shuffled((x[:half], y[:half]), BATCH, SEED), validation)
    ranking = found.rank(
        "all",
        validation,
        metric="val_acc",
        costs=["macs", "parameters"],
        inputs=[data.test[0][:1]],
        calibration_batches=4,
    )
    ranking.to_json(RUN / "ranking.json")
    return found


def baselines(experiment: Experiment, chosen: oneshot.Architecture) -> None:
    """Train the chosen, the largest and two random networks from scratch, each for as long."""
    rng = torch.Generator().manual_seed(SEED)
    names = {"found by gdas": chosen, "largest": experiment.largest()}
    every = list(experiment.space.architectures())
    for index in range(2):
        drawn = int(torch.randint(len(every), (), generator=rng))
        names[f"random network {index + 1}"] = every[drawn]
    entries = [_entry(name, experiment.train(a, name)) for name, a in names.items()]
    entries.append({"name": "human", "values": {"test_acc": 0.96}})
    data = {"schema": "oneshot.baselines/1", "entries": entries}
    (RUN / "baselines.json").write_text(json.dumps(data, indent=2))


def _entry(name: str, result: Result) -> dict[str, object]:
    values = {"test_acc": result.test, "parameters": result.parameters, "macs": result.macs}
    return {
        "name": name, "seed": SEED, "values": values, "architecture": dict(result.architecture),
    }  # fmt: skip


def photograph(target: Path) -> None:
    """Open the page in Chromium and keep what it shows."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "no Chromium: apt-get install chromium"
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--hide-scrollbars", f"--user-data-dir={profile}", f"--window-size={SIZE}",
             f"--screenshot={target}", (RUN / "report.html").resolve().as_uri()],
            check=True,
        )  # fmt: skip


if __name__ == "__main__":
    with quiet(), one_thread():
        experiment = Experiment(
            seed=SEED,
            strategy="darts",
            epochs=EPOCHS,
            checkpoint=RUN / "search.ckpt",
            interrupt=Interrupt(),
        )
        baselines(experiment, search(experiment).export())
    main(["report", str(RUN), "--figures", str(RUN / "figures")])
    photograph(Path(__file__).parent / "report.png")
