"""Fixtures for pytest: ``pytest_plugins = ["django_celery_once.pytest_plugin"]`` in a conftest.

No entry point loads it, since it would import Celery in every run of pytest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def once_disabled() -> Iterator[None]:
    """Queue every task unguarded (``django_celery_once.testing.once_disabled``)."""
    from django_celery_once import testing

    with testing.once_disabled():
        yield


@pytest.fixture
def once_in_memory() -> Iterator[None]:
    """Keep locks in memory, empty at first (``django_celery_once.testing.once_in_memory``)."""
    from django_celery_once import testing

    with testing.once_in_memory():
        yield
