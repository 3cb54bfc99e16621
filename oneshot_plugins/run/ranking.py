"""Rank the architectures of a run, and write down what came of it."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningDataModule

import oneshot_core as oneshot
from oneshot_plugins.costs.sample import arguments_of, sample_tensor
from oneshot_plugins.ranking.evaluation import ALL_LIMIT

from .folder import RunError, RunFolder
from .settings import RankSettings
from .words import explained, require_batches


def rank(
    search: oneshot.BaseOneShotLightningModule,
    data: LightningDataModule | None,
    settings: RankSettings,
) -> oneshot.Ranking:
    """Score architectures as ``settings`` say; the model has the loaders if ``data`` is None.

    Raises:
        RunError: a setting has no meaning, or the user's code raises.
        RankingError: see ``search.rank``.
    """
    check(search, settings)
    assert settings.metric is not None
    method: Any = int(settings.method) if settings.method.isdecimal() else settings.method
    inputs = [sample_tensor(text) for text in settings.inputs]
    with explained("ranking", "rank"):
        loaders = data if data is not None else search.model.val_dataloader()
        return search.rank(
            method,
            loaders,
            metric=settings.metric,
            mode=settings.mode,
            budget=settings.budget,
            costs=settings.costs,
            inputs=inputs or None,
            train_dataloader=train_loader(search, data),
            calibration_batches=settings.calibration_batches,
            **settings.options,
        )


def check(search: oneshot.BaseOneShotLightningModule, settings: RankSettings) -> None:
    """Refuse what cannot be ranked, before anything is trained.

    Raises:
        RunError: a setting has no meaning.
        InspectionError: an input is none.
        UnknownComponentError: there is no such searcher or cost.
    """

    def refuse(what: str, expected: str, fix: str) -> None:
        raise RunError(what, expected=expected, fix=fix)

    method, budget = settings.method, settings.budget
    searcher = method != "all" and not method.isdecimal()
    if settings.metric is None:
        refuse(
            "there is no metric to rank by",
            "the name of one that validation_step logs",
            "--metric val_acc; rank.metric in a configuration",
        )
    if searcher:
        search.registry.load("searcher", method)
    if searcher and (budget is None or budget < 1):
        refuse(
            f"the searcher {method!r} has a budget of {budget}",
            "how many architectures it may score",
            "--budget 500; rank.budget in a configuration",
        )
    if not searcher and budget is not None:
        refuse(
            f"a budget of {budget} with the method {method!r}",
            "a searcher, such as evolution",
            "leave the budget out, or give the number as the method",
        )
    if method == "all" and search.space.size > ALL_LIMIT:
        refuse(
            f"all of {search.space.size:,} architectures are to be ranked",
            f"at most {ALL_LIMIT:,}",
            "--method evolution --budget 1000; rank.method and rank.budget in a configuration",
        )
    require_batches(settings.calibration_batches)
    for cost in settings.costs:
        search.registry.load("cost", cost)
    inputs = arguments_of(search, [sample_tensor(text) for text in settings.inputs] or None)
    if settings.costs and inputs is None:
        refuse(
            f"the costs {settings.costs} are asked for, and no inputs to measure them with",
            "what forward is called with, or example_input_array of the model",
            "--input 1x3x32x32; rank.inputs in a configuration",
        )


def train_loader(
    search: oneshot.BaseOneShotLightningModule, data: LightningDataModule | None
) -> Any:
    """Return training batches: of the last fit, else of the data module or the model."""
    if search.train_dataloader_of_fit is not None:
        return search.train_dataloader_of_fit
    if data is None:
        return search.model.train_dataloader()
    data.prepare_data()
    data.setup("fit")
    return data.train_dataloader()


def save(
    ranking: oneshot.Ranking, search: oneshot.BaseOneShotLightningModule, folder: RunFolder
) -> None:
    """Write the ranking. What the strategy itself prefers stays what the run chose.

    Where it prefers nothing, the run chooses the best of the ranking.
    """
    ranking.to_json(folder.ranking)
    ranking.to_csv(folder.table)
    if not folder.has_moved():
        ranking.best.save(folder.architecture)
    elif not folder.architecture.is_file():  # the search was stopped before its end
        search.export().save(folder.architecture)
