"""Modules of a plugin that a frozen network holds as plain ``torch.fx`` graphs."""

from __future__ import annotations

from torch import fx, nn

from oneshot_core.errors import FreezeError


class GraphWhenFrozen(nn.Module):
    """Base of modules whose class a frozen network must not need.

    Who loads a frozen network has torch and the user's own classes, not the plugin that a model
    space came from. So freezing replaces such a module by a ``torch.fx.GraphModule`` that does
    what its ``forward`` does, with the same names of submodules and tensors. ``forward`` must
    therefore be traceable: no control flow that depends on tensors.
    """

    def when_frozen(self, path: str) -> fx.GraphModule:
        """Return a graph that computes what this module computes, sharing its parts.

        Args:
            path: where the module stands in the network, for messages.

        Raises:
            FreezeError: its ``forward`` cannot be traced.
        """
        name = type(self).__name__
        try:
            graph = _Tracer().trace(self)
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
        traced = fx.GraphModule(self, plain, class_name=name)
        traced.training = self.training
        return traced


class _Tracer(fx.Tracer):
    """Sees through modules that are to vanish, and through nothing else."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, GraphWhenFrozen)
