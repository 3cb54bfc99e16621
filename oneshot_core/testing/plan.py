"""Which checks apply to which components. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .._records import MANIFEST, Record
from .._registry import Registry
from ..errors import UnknownComponentError
from ..hookspecs import Conformance
from .case import Case, Check, Subject


def plan(
    names: Sequence[str], registry: Registry, checks: Sequence[Check], declared: Conformance
) -> list[Case]:
    """Return the cases for what ``names`` match: manifests, components, then pairs.

    Raises:
        UnknownComponentError: a name matches nothing.
    """
    manifests = [*registry.manifests(), *registry.find(MANIFEST)]
    components = [r for r in registry.find() if r.kind != MANIFEST and r.state != "disabled"]
    for name in names:
        if not any(record.matches(name) for record in [*manifests, *components]):
            raise _unknown(name, [*manifests, *components])
    declared = merged([*declarations(registry), declared])

    def selected(record: Record) -> bool:
        return not names or any(record.matches(name) for name in names)

    def subjects() -> Iterator[tuple[Subject, tuple[str, ...]]]:
        for record in filter(selected, manifests):
            yield Subject(record, registry, declared), ("packaging",)
        for record in filter(selected, components):
            scopes = ["component"]
            if record.usable:
                scopes.append(record.kind.replace("_", "-"))
            yield Subject(record, registry, declared), tuple(scopes)
        for supernet in registry.ordered("supernet"):
            for strategy in registry.ordered("strategy"):
                if selected(supernet) or selected(strategy):
                    yield Subject(supernet, registry, declared, strategy), ("cross",)

    return [
        Case(check, subject)
        for subject, scopes in subjects()
        for check in checks
        if check.scope in scopes
    ]


def declarations(registry: Registry) -> Iterator[Conformance]:
    """Yield what plugins declare; those that cannot say it are left to a check of their own."""
    for implementation in registry.hook.oneshot_conformance.get_hookimpls():
        try:
            answer = implementation.function()
        except Exception:
            continue
        if isinstance(answer, Conformance):
            yield answer


def merged(declared: Iterable[Conformance]) -> Conformance:
    """Return all declarations as one; of two for one thing the later counts."""
    samples: dict[str, str] = {}
    failures: dict[tuple[str, str], str] = {}
    for each in declared:
        samples |= each.samples
        failures |= each.expected_failures
    return Conformance(samples, failures)


def _unknown(name: str, records: Iterable[Record]) -> UnknownComponentError:
    providers = ", ".join(dict.fromkeys(record.provider for record in records))
    return UnknownComponentError(
        f"nothing that is installed is named {name!r}.\n"
        f"  expected: kind:name of a component, or one of {providers or '(none)'}\n"
        "  fix: see `oneshot plugins list --all`"
    )
