"""Offer the model spaces to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, Conformance, hookimpl

_SPACES = {
    "mnist1d-chain": (
        "chain:Chain1d",
        "chains",
        "four positions, five one-dimensional operations each: 625 networks",
    ),
    "nas-bench-201": (
        "nasbench201:NasBench201",
        "nas_bench_201",
        "cells of five operations on six edges: 15,625 networks",
    ),
    "nas-bench-101": (
        "nasbench101:NasBench101",
        "nas_bench_101",
        "cells that are graphs of up to seven vertices and nine edges: 1,293,208 networks",
    ),
    "mobilenet-v3": (
        "mobilenetv3:MobileNetV3",
        "mobilenet_v3",
        "kernels, expansions and depths of Once-for-All: 2.2e19 networks",
    ),
    "proxyless-nas": (
        "proxylessnas:ProxylessNas",
        "proxyless_nas",
        "21 inverted residual blocks of six kinds: 2.2e17 networks",
    ),
    "shufflenet": (
        "shufflenet:ShuffleNet",
        "shufflenets",
        "20 ShuffleNetV2 blocks of four kinds, as Single Path One-Shot: 4**20 networks",
    ),
    "autoformer": (
        "autoformer:AutoFormer",
        "autoformers",
        "vision transformers: width, depth, heads and hidden widths",
    ),
    "darts": (
        "cell_spaces:Darts",
        "darts",
        "DARTS: four nodes of two distinct inputs, seven operations",
    ),
    "enas": ("cell_spaces:Enas", "enas", "ENAS micro: five nodes, five operations, loose ends"),
    "nasnet": (
        "cell_spaces:NasNet",
        "nasnet",
        "NASNet: five nodes, thirteen operations, loose ends",
    ),
    "amoebanet": (
        "cell_spaces:AmoebaNet",
        "amoebanet",
        "AmoebaNet: five nodes, eight operations, loose ends",
    ),
    "pnas": ("cell_spaces:Pnas", "pnas", "PNAS: one cell of five nodes, eight operations"),
}
"""Name -> target, function of samples, summary."""


@hookimpl
def oneshot_components() -> list[Component]:
    spaces = [
        Component("space", name, f"oneshot_plugins.spaces.{target}", summary=summary)
        for name, (target, _, summary) in _SPACES.items()
    ]
    rule = Component(
        "elastic",
        "tokens",
        "oneshot_plugins.spaces.autoformer:TokensRule",
        summary="cut and superpose the class token and position embedding of AutoFormer",
        handles=(
            "oneshot_plugins.spaces.autoformer:ClassToken",
            "oneshot_plugins.spaces.autoformer:PositionEmbedding",
        ),
    )
    cell = Component(
        "supernet",
        "nas-bench-101-cell",
        "oneshot_plugins.spaces.nasbench101:MixedNasBench101Cell",
        summary="NasBench101Cell: run the cell that is drawn",
        handles=("oneshot_plugins.spaces.nasbench101:NasBench101Cell",),
    )
    return [*spaces, cell, rule]


@hookimpl
def oneshot_conformance() -> Conformance:
    made = "oneshot_plugins.spaces.samples"
    return Conformance(
        samples={
            **{f"space:{name}": f"{made}:{samples}" for name, (_, samples, _) in _SPACES.items()},
            "oneshot_plugins.spaces.nasbench101:NasBench101Cell": f"{made}:nas_bench_101_cells",
            "elastic:tokens": f"{made}:token_layers",
        }
    )
