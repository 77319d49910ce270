"""The fixtures for pytest."""

from __future__ import annotations

import pytest

from django_celery_once.conf import conf
from django_celery_once.testing import assert_once_rejected
from tests.guarded_tasks import report

pytest_plugins = ["django_celery_once.pytest_plugin"]


def queue_twice() -> None:
    """Queue a task, and once more."""
    report.delay("a")
    report.delay("a")


@pytest.mark.usefixtures("once_disabled")
def test_without_locks() -> None:
    """Refuse nothing."""
    with assert_once_rejected(count=0):
        queue_twice()


@pytest.mark.django_db
@pytest.mark.parametrize("number", range(2))
@pytest.mark.usefixtures("once_in_memory")
def test_with_locks_in_memory(number: int) -> None:
    """Refuse duplicates of this test alone."""
    with assert_once_rejected(report, count=1):
        queue_twice()


def test_with_neither() -> None:
    """Change nothing for a test that asks for no fixture."""
    assert (conf.enabled, conf.cache) == (True, "locks")
