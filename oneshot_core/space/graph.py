"""Modules of a plugin that a frozen network holds as plain ``torch.fx`` graphs."""

from __future__ import annotations

from torch import fx, nn

from ..errors import FreezeError


class GraphWhenFrozen(nn.Module):
    """Base of modules whose class a frozen network must not need.

    Who loads a frozen network has torch and the user's own classes, not the plugin that a model
    space came from. So freezing replaces such a module by a ``torch.fx.GraphModule`` that does
    what its ``forward`` does, with the same names of submodules and tensors. ``forward`` must
    therefore be traceable: no control flow that depends on tensors.
    """


class _Tracer(fx.Tracer):
    """Sees through modules that are to vanish, and through nothing else."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, GraphWhenFrozen)


def as_graph(module: GraphWhenFrozen, path: str) -> fx.GraphModule:
    """Return a graph that computes what ``module`` computes, sharing its parts.

    Raises:
        FreezeError: its ``forward`` cannot be traced.
    """
    name = type(module).__name__
    try:
        graph = _Tracer().trace(module)
    except Exception as error:
        raise FreezeError(
            f"the {name} at {path!r} cannot be turned into a graph: {type(error).__name__}: "
            f"{error}",
            expected="a forward without control flow that depends on tensors",
            fix="rewrite forward, or tell the author of the plugin it comes from",
        ) from error
    for node in graph.nodes:
        node.type = None  # annotations are text in many modules, and pickle looks for its name
    plain = fx.Graph()  # that of a tracer names its class, which is ours, when it is pickled
    plain.output(plain.graph_copy(graph, {}))
    traced = fx.GraphModule(module, plain, class_name=name)
    traced.training = module.training
    return traced
