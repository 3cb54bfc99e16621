"""What installed plugins do in a search: mutation hooks, methods, shapes of optimizer configs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..discovery.registry import Registry, default_registry
from ..errors import OptimizerConfigError, PluginLoadError, UnknownComponentError
from ..hooks import MutationHook
from ..optimizers import Normalise, is_known_shape
from .host import Host


def plugin_hooks(registry: Registry) -> Iterator[MutationHook]:
    """Yield the installed mutation hooks in their order; a broken one is left out.

    Warns:
        RuntimeWarning: a plugin cannot be loaded. A choice that only it would have handled is
            refused by the walk.
    """
    for record in registry.ordered("mutation_hook", "supernet"):
        try:
            target: Any = registry.load(record.id)
        except PluginLoadError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
            continue
        yield target.mutate if record.kind == "supernet" else target


def search_method(name: str, registry: Registry) -> Callable[..., Any]:
    """Return the first installed function that does what ``search.NAME(...)`` does.

    Args:
        name: of the method. A component fits that has this name, or one that ends in a dot and
            this name, so that a plugin can come before ours by its priority.
        registry: asked first; then what is installed here is asked.

    Raises:
        UnknownComponentError: nobody offers it.
    """
    for asked in (registry, default_registry()):
        for record in asked.ordered("search_method"):
            if record.name.rpartition(".")[2] == name:
                found: Callable[..., Any] = asked.load(record.id)
                return found
    raise UnknownComponentError(
        f"no plugin in use offers search.{name}",
        expected="a component of the kind 'search_method', such as those of oneshot-core",
        fix="see `oneshot plugins list --all --kind search_method` for what is switched off",
    )


def hooks_in_order(search: Host, installed: Iterable[MutationHook]) -> list[MutationHook]:
    """Return the mutation hooks of a search in the order in which they are asked."""
    return [
        *search.mutation_hooks,
        *search.first_mutation_hooks(),
        *installed,
        *search.default_mutation_hooks(),
    ]


def options_of_hooks(search: Host) -> dict[str, object]:
    """Return what every mutation hook of a search gets as its last argument."""
    return {"decisions": search.decisions, **search.mutate_kwargs()}


def optimizer_shapes(registry: Registry) -> Normalise | None:
    """Return a function that asks the plugins about a shape; None if none of them has a say.

    The function raises OptimizerConfigError, naming the plugin, for an answer that is none of
    Lightning's six shapes either.
    """
    caller = registry.hook.oneshot_optimizer_config
    if not caller.get_hookimpls():
        return None

    def normalise(config: object) -> Any:
        answer = caller(config=config)
        if answer is None or is_known_shape(answer):
            return answer
        raise OptimizerConfigError(
            f"oneshot_optimizer_config of the plugin {_answering(caller, config)}, asked about a "
            f"{type(config).__name__}, returned {answer!r}",
            expected="one of Lightning's six shapes, or None for what is not its own",
            fix="tell its author, or switch the plugin off with ONESHOT_DISABLE_PLUGINS",
        )

    return normalise


def _answering(caller: Any, config: object) -> str:
    """Return the name of the plugin whose answer counted; the hook itself does not say."""
    for one in reversed(caller.get_hookimpls()):
        plain = not (one.wrapper or one.hookwrapper)
        if plain and one.function(*(config for _ in one.argnames)) is not None:
            return str(one.plugin_name)
    return "(a wrapper)"
