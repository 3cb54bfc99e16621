"""Offer the supernet module of elastic layers and the rules that cut them to the registry."""

from __future__ import annotations

from oneshot_core.hookspecs import Component, Conformance, hookimpl


@hookimpl
def oneshot_components() -> list[Component]:
    return [
        Component(
            "supernet",
            "elastic-layer",
            "oneshot_plugins.elastic.supernet:ElasticLayer",
            summary="layers of oneshot.nn: run the active part of shared weights",
            handles=("oneshot_plugins.elastic.layer:MutableLayer",),
        ),
        Component(
            "supernet",
            "elastic-module",
            "oneshot_plugins.elastic.classes:ElasticSuperNetModule",
            summary="modules of make_elastic: are the modules of the sizes that are decided",
            handles=("oneshot_plugins.elastic.classes:ElasticModule",),
        ),
        _rule("linear", "LinearRule", "Linear"),
        _rule("conv", "ConvRule", "Conv1d", "Conv2d", "Conv3d"),
        _rule(
            "conv-transpose",
            "TransposedConvRule",
            "ConvTranspose1d",
            "ConvTranspose2d",
            "ConvTranspose3d",
        ),
        _rule(
            "batch-norm",
            "BatchNormRule",
            "BatchNorm1d",
            "BatchNorm2d",
            "BatchNorm3d",
            "SyncBatchNorm",
            "InstanceNorm1d",
            "InstanceNorm2d",
            "InstanceNorm3d",
        ),
        _rule("group-norm", "ChannelsRule", "GroupNorm"),
        _rule("layer-norm", "TrailingNormRule", "LayerNorm", "RMSNorm"),
        _rule("embedding", "EmbeddingRule", "Embedding"),
        _rule("prelu", "PReLURule", "PReLU"),
        _rule("attention", "AttentionRule", "MultiheadAttention"),
    ]


@hookimpl
def oneshot_conformance() -> Conformance:
    made = "oneshot_plugins.elastic.samples"
    return Conformance(
        samples={
            "oneshot_plugins.elastic.layer:MutableLayer": f"{made}:layers",
            "oneshot_plugins.elastic.classes:ElasticModule": f"{made}:modules",
            "elastic:linear": f"{made}:linear",
            "elastic:conv": f"{made}:convolutions",
            "elastic:conv-transpose": f"{made}:transposed",
            "elastic:batch-norm": f"{made}:batch_norms",
            "elastic:group-norm": f"{made}:group_norms",
            "elastic:layer-norm": f"{made}:trailing_norms",
            "elastic:embedding": f"{made}:embeddings",
            "elastic:prelu": f"{made}:prelus",
            "elastic:attention": f"{made}:attentions",
        }
    )


def _rule(name: str, cls: str, *layers: str) -> Component:
    return Component(
        "elastic",
        name,
        f"oneshot_plugins.elastic.rules:{cls}",
        summary=f"cut and superpose {', '.join(layers)}",
        handles=tuple(f"torch.nn:{layer}" for layer in layers),
    )
