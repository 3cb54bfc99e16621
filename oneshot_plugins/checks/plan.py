"""Which checks apply to which components. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from oneshot_core.discovery import MANIFEST, REGISTERED, Record, Registry
from oneshot_core.errors import UnknownComponentError
from oneshot_core.hookspecs import Conformance

from .case import Case, Check, Subject


def plan(
    names: Sequence[str],
    registry: Registry,
    checks: Callable[[], Sequence[Check]],
    declared: Conformance,
) -> list[Case]:
    """Return the cases for what ``names`` match: manifests, components, then pairs.

    Args:
        names: as for :func:`oneshot_core.testing.check`.
        registry: where they are looked up.
        checks: gives all checks; asked only after ``names`` were found, for it imports torch.
        declared: by the program.

    Raises:
        UnknownComponentError: a name matches nothing.
    """
    manifests = [*registry.manifests(), *registry.find(MANIFEST)]
    components = [r for r in registry.find() if r.kind != MANIFEST and r.state != "disabled"]
    for name in names:
        if not any(record.matches(name) for record in [*manifests, *components]):
            raise _unknown(name, registry, [*manifests, *components])
    known = checks()
    said = [*declarations(registry), (REGISTERED, declared)]

    def selected(record: Record) -> bool:
        return not names or any(record.matches(name) for name in names)

    def subject(record: Record, partner: Record | None = None) -> Subject:
        theirs = {record.provider} | ({partner.provider} if partner else set())
        return Subject(record, registry, merged(said, theirs), partner)

    def subjects() -> Iterator[tuple[Subject, tuple[str, ...]]]:
        for record in filter(selected, manifests):
            yield subject(record), ("packaging",)
        for record in filter(selected, components):
            scopes = ["component"]
            if record.usable:
                scopes.append(record.kind.replace("_", "-"))
            yield subject(record), tuple(scopes)
        for supernet in registry.ordered("supernet"):
            for strategy in registry.ordered("strategy"):
                if selected(supernet) or selected(strategy):
                    yield subject(supernet, strategy), ("cross",)
        for beside in registry.ordered("supernet", "space"):
            for hook in registry.ordered("mutation_hook"):
                if selected(beside) or selected(hook):
                    yield subject(beside, hook), ("cross-hook",)

    return [
        Case(check, each) for each, scopes in subjects() for check in known if check.scope in scopes
    ]


def declarations(registry: Registry) -> list[tuple[str, Conformance]]:
    """Return provider and declaration; those who cannot say it are left to a check of their own."""
    providers = {record.name: record.provider for record in registry.manifests()}
    found = []
    for implementation in registry.hook.oneshot_conformance.get_hookimpls():
        try:
            answer = implementation.function()
        except (Exception, SystemExit):
            continue
        if isinstance(answer, Conformance) and _well_formed(answer):
            found.append((providers[implementation.plugin_name], answer))
    return found


def _well_formed(declared: Conformance) -> bool:
    pairs = declared.expected_failures
    return (
        isinstance(declared.samples, Mapping)
        and isinstance(pairs, Mapping)
        and all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs)
    )


def merged(said: Iterable[tuple[str, Conformance]], theirs: set[str]) -> Conformance:
    """Return what counts for a subject, of all that was declared.

    Args:
        said: provider and declaration.
        theirs: the providers of the subject. What they, or the program, say about samples
            beats what others say; and only they can expect a failure.
    """
    said = sorted(said, key=lambda each: (each[0] in theirs, each[0] == REGISTERED))
    samples: dict[str, str] = {}
    failures: dict[tuple[str, str], str] = {}
    for provider, declared in said:
        samples |= declared.samples
        if provider in theirs or provider == REGISTERED:
            failures |= declared.expected_failures
    return Conformance(samples, failures)


def _unknown(name: str, registry: Registry, records: Iterable[Record]) -> UnknownComponentError:
    disabled = [r for r in registry.find(state="disabled") if r.matches(name)]
    if disabled:
        return UnknownComponentError(
            f"{name!r} is switched off: {disabled[0].reason}",
            expected="something that is in use",
            fix=f"{disabled[0].fix}",
        )
    providers = ", ".join(dict.fromkeys(record.provider for record in records))
    return UnknownComponentError(
        f"nothing that is installed is named {name!r}",
        expected=f"kind:name of a component, or one of {providers or '(none)'}",
        fix="see `oneshot plugins list --all`",
    )
