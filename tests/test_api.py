"""The table of contents: what ``import oneshot_core as oneshot`` offers."""

from __future__ import annotations

import importlib
import inspect

import pytest

import oneshot_core as oneshot


@pytest.mark.parametrize("name", oneshot.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name: str) -> None:
    value = getattr(oneshot, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)


def test_the_registry_stays_the_registry_after_its_module_was_imported() -> None:
    importlib.import_module("oneshot_core.discovery.registry")
    assert isinstance(oneshot.registry, oneshot.Registry)
    assert isinstance(oneshot.registry, oneshot.Registry)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        oneshot.serach  # noqa: B018


def test_dir_lists_what_is_not_loaded_yet() -> None:
    assert set(oneshot.__all__) <= set(dir(oneshot))
