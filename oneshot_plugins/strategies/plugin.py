"""Offer the strategies to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, Conformance, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        _strategy(
            "random",
            "uniform:UniformSampling",
            "one uniformly drawn path for each batch, then ranking (SPOS)",
        ),
        _strategy(
            "darts",
            "darts:Darts",
            "all paths weighted by a softmax that is learned (DARTS, both orders)",
        ),
        _strategy(
            "gumbel",
            "gumbel:GumbelDarts",
            "all paths weighted by Gumbel-softmax draws whose scores are learned",
        ),
        _strategy(
            "snas",
            "gumbel:Snas",
            "as gumbel, weights and architecture learned on the same batches (SNAS)",
        ),
        _strategy(
            "gdas",
            "gdas:Gdas",
            "one drawn path, learned through its Gumbel-softmax (GDAS)",
        ),
        _strategy(
            "proxyless",
            "proxyless:Proxyless",
            "one drawn path, learned by comparing two behind binary gates (ProxylessNAS)",
        ),
        _strategy(
            "fbnet",
            "fbnet:Fbnet",
            "as gumbel, with the cost of the network in the loss (FBNet)",
        ),
        _strategy(
            "drnas",
            "drnas:DrNas",
            "all paths weighted by draws from learned Dirichlet distributions (DrNAS)",
        ),
        _strategy(
            "fair",
            "fair:FairSampling",
            "each candidate once in every step, then ranking (FairNAS)",
        ),
        _strategy(
            "sandwich",
            "sandwich:Sandwich",
            "largest, smallest and random paths, the largest teaching (BigNAS)",
        ),
        _strategy(
            "shrinking",
            "shrinking:ProgressiveShrinking",
            "the largest network first, smaller choices phase by phase (Once-for-All)",
        ),
        _strategy(
            "chain",
            "chain:Chain",
            "one size after another, each pruned from the one before and kept (Minitron)",
        ),
        _strategy(
            "enas",
            "enas:Enas",
            "paths drawn by a recurrent controller that is rewarded for good ones (ENAS)",
        ),
        Component(
            "search_method",
            "drive_manually",
            "oneshot_plugins.strategies.manual:ManualDriver",
            summary="train the weights under Lightning's manual optimization",
        ),
        Component(
            "search_method",
            "drive_own_step",
            "oneshot_plugins.strategies.own_step:OwnStep",
            summary="train the weights from a training_step of the strategy",
        ),
    ]


def _strategy(name: str, target: str, summary: str) -> Component:
    return Component("strategy", name, f"oneshot_plugins.strategies.{target}", summary=summary)


@hookimpl
def oneshot_conformance() -> Conformance:
    samples = "oneshot_plugins.strategies.samples:"
    return Conformance(
        samples={
            "strategy:darts": samples + "darts",
            "strategy:gumbel": samples + "gumbel",
            "strategy:snas": samples + "annealed",
            "strategy:gdas": samples + "annealed",
            "strategy:fbnet": samples + "fbnet",
            "strategy:drnas": samples + "drnas",
            "strategy:random": samples + "distilled",
            "strategy:fair": samples + "distilled",
            "strategy:sandwich": samples + "sandwich",
            "strategy:chain": samples + "chain",
            "strategy:shrinking": samples + "shrinking",
        }
    )
