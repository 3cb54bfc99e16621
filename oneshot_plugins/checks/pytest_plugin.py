"""``pytest --oneshot-conformance DIST``: the checks as tests, without any test code.

pytest loads this in every run of everybody who has oneshot-core installed, so without the
option it only offers the fixture ``oneshot_registry``, and it imports neither torch nor Lightning
nor any plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from oneshot_core.errors import ConformanceError, UnknownComponentError

if TYPE_CHECKING:
    from oneshot_core.discovery import Registry

    from .case import Case

OPTION = "--oneshot-conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.getgroup("oneshot", "oneshot-core").addoption(
        OPTION,
        action="append",
        default=[],
        metavar="DIST",
        dest="oneshot_conformance",
        help="check the components of this distribution, or this kind:name; may be repeated",
    )


@pytest.fixture
def oneshot_registry() -> Registry:
    """An empty registry of the test's own, which nothing that is installed gets into.

    Register in it what the test is about, and pass it on as ``registry=``.
    """
    from oneshot_core.discovery import Registry

    return Registry(entry_points=False)


@pytest.hookimpl(tryfirst=True)  # before others select and sort, so that -k and -m work on ours
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add one item for each check of each component."""
    names: list[str] = config.getoption("oneshot_conformance")
    if not names:
        return
    from .kit import cases

    try:
        found = cases(*names)
    except UnknownComponentError as error:
        raise pytest.UsageError(str(error)) from error
    parent = Checks.from_parent(session, name=OPTION.strip("-"), nodeid=OPTION.strip("-"))
    items += [CaseItem.from_parent(parent, name=str(case), case=case) for case in found]


class Checks(pytest.Collector):
    """Where the items hang in the tree of tests."""

    def collect(self) -> list[pytest.Item]:
        """Return nothing: the items are added after all files are collected."""
        return []


class CaseItem(pytest.Item):
    """One check of one component.

    Args:
        case: what is run.
        **kwargs: of :class:`pytest.Item`.
    """

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        """Run the check."""
        from .suite import report

        report(self.case)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what happened, what was expected and the fix; there is no line of test code."""
        if isinstance(excinfo.value, ConformanceError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Return where this is, for headings."""
        return OPTION, None, self.name
