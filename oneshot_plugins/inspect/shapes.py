"""Try every choice, one at a time, and see whether its outputs fit.

A choice is tried where it stands, on the inputs that it got in a pass at a known architecture. If
it returns the same form as there, the rest of the network cannot tell. Only if not, the whole
network is run. So the time grows with the number of candidates, not with its product with the size
of the network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from torch import nn

from oneshot_core.model_space import ModelSpace
from oneshot_core.space import Choice
from oneshot_plugins.costs.sizes import listed

from .choices import branches_of
from .feed import form_of
from .probe import Call, Probe, condensed, located
from .report import Finding


@dataclass(frozen=True)
class _Known:
    """An architecture that runs, and how it called the modules of one label."""

    architecture: dict[str, Choice]
    calls: dict[nn.Module, list[Call]]


class ShapeCheck:
    """Tries choices with one probe, and confirms failures with another.

    Args:
        space: of the model.
        probe: runs the default architecture.
        confirm: returns a probe with data, if ``probe`` has none; None if there is no other.
        superposed: returns a probe that weights all candidates.

    Attributes:
        problems: choices with which the network cannot run.
        warnings: choices whose outputs differ, and what could not be tried.
    """

    def __init__(
        self,
        space: ModelSpace,
        probe: Probe,
        confirm: Callable[[], Probe | None],
        superposed: Callable[[], Probe],
    ) -> None:
        self.space = space
        self.probe = probe
        self.confirm = confirm
        self.superposed = superposed
        self.problems: list[Finding] = []
        self.warnings: list[Finding] = []
        self.at: dict[str, list[str]] = {}
        for path, module in probe.modules.items():
            for label in module.search_space_spec():
                self.at.setdefault(label, []).append(path)
        self.known: dict[str, _Known] = {}
        self.queue: deque[str] = deque()
        self.only_with_data: dict[str, list[Choice]] = {}
        self.outputs: dict[str, list[Choice]] = {}
        self.normal = ""

    def run(self, output: object) -> None:
        """Try everything.

        Args:
            output: what the default architecture returned, which the probe has just run.
        """
        self.normal = form_of(output)
        self._enter(self.space.default())
        while self.queue:
            self._check(self.queue.popleft())
        self._report()

    def _enter(self, architecture: dict[str, Choice]) -> None:
        """Remember what the last pass showed about labels that were not active before."""
        new = [label for label in architecture if label not in self.known]
        for label in new:
            modules = [self.probe.modules[path] for path in self.at.get(label, ())]
            calls: dict[nn.Module, list[Call]] = {
                module: list(self.probe.calls[module])
                for module in modules
                if module in self.probe.calls
            }
            self.known[label] = _Known(architecture, calls)
        self.queue += new

    def _check(self, label: str) -> None:
        known = self.known[label]
        if not known.calls:
            if self.at.get(label):
                self.warnings.append(
                    Finding(
                        "never-called",
                        f"the choice {label!r} at {self.at[label][0]!r} was not called in the "
                        "forward pass",
                        (label,),
                        self.at[label][0],
                    )
                )
            return
        base = known.architecture
        forms: dict[nn.Module, dict[Choice, str]] = {
            module: {base[label]: _joined(tuple(call.form for call in calls))}
            for module, calls in known.calls.items()
        }
        for choice in map(_choice, listed(self.space.specs[label])):
            if choice == base[label]:
                continue
            architecture = self.space.nearest({label: choice}, like=base)
            if architecture is not None and architecture.get(label) == choice:
                self._try(label, choice, architecture, known, forms)
        self._compare(label, known, forms)

    def _try(
        self,
        label: str,
        choice: Choice,
        architecture: dict[str, Choice],
        known: _Known,
        forms: dict[nn.Module, dict[Choice, str]],
    ) -> None:
        self.probe.pin(architecture)
        both = architecture.keys() & known.architecture.keys()
        alone = all(architecture[k] == known.architecture[k] for k in both if k != label)
        try:
            for module, calls in known.calls.items():
                forms[module][choice] = _joined(self.probe.repeat(module, calls))
        except Exception:
            # Elsewhere the label may give this one other inputs: only the network can tell.
            alone = False
        same = all(
            len({by.get(choice), by[known.architecture[label]]}) == 1 for by in forms.values()
        )
        if not (alone and same):
            self.probe.pin(architecture)
            try:
                output = form_of(self.probe.run())
            except Exception:
                self._failed(label, choice, architecture, known, forms)
                return
            if output != self.normal:
                self.outputs.setdefault(f"{label}\n{output}", []).append(choice)
        self._enter(architecture)

    def _failed(
        self,
        label: str,
        choice: Choice,
        architecture: dict[str, Choice],
        known: _Known,
        forms: dict[nn.Module, dict[Choice, str]],
    ) -> None:
        probe = self.probe
        other = self.confirm()
        if other is not None:
            other.pin(architecture)
            probe = other
        where = located(probe.root, probe.run)
        if where is None:  # with data it runs
            self.only_with_data.setdefault(label, []).append(choice)
            return
        at, error = where
        path = self.at[label][0]
        message = f"{label} = {_shown(choice)} at {path!r}"
        for module, by in forms.items():
            usual = by[known.architecture[label]]
            if by.get(choice, usual) != usual:
                path = next(p for p in self.at[label] if self.probe.modules[p] is module)
                message = (
                    f"{label} = {_shown(choice)} at {path!r} returns {by[choice]}, where "
                    f"{_shown(known.architecture[label])} returns {usual}; the network then"
                )
                break
        self.problems.append(
            Finding(
                "candidate-fails",
                f"{message} fails at {at or 'the model itself'!r}: {condensed(error)}",
                (label,),
                path,
                choice,
                at,
                f"let every candidate of {label!r} take and return what the others do, or rule it "
                "out by oneshot.constrain",
            )
        )

    def _compare(
        self, label: str, known: _Known, forms: Mapping[nn.Module, Mapping[Choice, str]]
    ) -> None:
        """Say where candidates give different outputs for the same inputs and cannot be added."""
        for path in self.at[label]:
            module = self.probe.modules[path]
            by = forms.get(module, {})
            if len(set(by.values())) < 2:
                continue
            branches, gates = branches_of(module, path)
            if not (branches.get(label) or gates) and self._adds_up(path, known.calls[module]):
                continue
            usual = known.architecture[label]
            failed = {p.choice for p in self.problems if p.labels == (label,)}
            others = [c for c, form in by.items() if form != by[usual] and c not in failed]
            if not others:
                continue
            self.warnings.append(
                Finding(
                    "outputs-differ",
                    f"the candidates of {label!r} at {path!r} cannot be added up by a strategy "
                    f"that weights them: {_shown(usual)} returns {by[usual]}, "
                    f"{_shown(others[0])} returns {by[others[0]]}",
                    (label,),
                    path,
                    others[0],
                    fix="return the same shape from every candidate, or use a strategy that draws",
                )
            )

    def _adds_up(self, path: str, calls: list[Call]) -> bool:
        probe = self.superposed()
        module = probe.modules.get(path)
        if module is None:  # refused when it was mutated; strategies are asked by themselves
            return True
        probe.pin({})
        try:
            probe.repeat(module, calls)
        except Exception:
            return False
        return True

    def _report(self) -> None:
        for key, choices in self.outputs.items():
            label, _, output = key.partition("\n")
            self.warnings.append(
                Finding(
                    "network-output",
                    f"with {label} = {', '.join(map(_shown, choices))} the network returns "
                    f"{output} instead of {self.normal}",
                    (label,),
                    self.at[label][0],
                    choices[0],
                )
            )
        for label, some in self.only_with_data.items():
            self.warnings.append(
                Finding(
                    "needs-data",
                    f"{label} = {', '.join(map(_shown, some))} runs with data only, not on the "
                    "meta device",
                    (label,),
                    self.at[label][0],
                    some[0],
                )
            )
        missed = [label for label in self.space.specs if label not in self.known]
        if missed:
            self.warnings.append(
                Finding(
                    "not-tried",
                    f"not tried, since no single change makes them decide anything: "
                    f"{', '.join(map(repr, missed))}",
                    tuple(missed),
                )
            )


def _choice(value: object) -> Choice:
    return cast(Choice, value)


def _joined(forms: tuple[str, ...]) -> str:
    return " and ".join(dict.fromkeys(forms))


def _shown(choice: Choice) -> str:
    return "+".join(map(str, choice)) if isinstance(choice, tuple) else str(choice)
