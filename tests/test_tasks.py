"""The task for beat."""

from __future__ import annotations

import time

import pytest
from celery import current_app
from django.test import override_settings

from django_celery_once import tasks
from django_celery_once.models import BlockedDuplicate
from tests.factories import make_lock, make_rejection

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def seed(*days: float) -> None:
    """Write an incident for each age in days."""
    for number, age in enumerate(days):
        holder = make_lock(owner=f"holder-{number}")
        BlockedDuplicate.objects.record(
            make_rejection(holder=holder, at=time.time() - age * 86_400)
        )


def test_beat_knows_it_by_name() -> None:
    """Celery finds the task where it finds those of every app."""
    current_app.loader.import_default_modules()
    assert "django_celery_once.tasks.prune" in current_app.tasks


def test_it_prunes_by_the_setting() -> None:
    """Without arguments, what is older than ``LOG_RETENTION_DAYS`` goes."""
    seed(31, 29)
    assert tasks.prune.apply().get() == 1
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG_RETENTION_DAYS": 7}):
        assert tasks.prune.apply().get() == 1
    assert not BlockedDuplicate.objects.exists()


def test_it_prunes_by_its_arguments() -> None:
    """``days`` and ``batch`` may be given in beat's schedule."""
    seed(1, 2, 3, 4)
    assert tasks.prune.apply(kwargs={"days": 1.5, "batch": 1}).get() == 3
    assert tasks.prune.apply(kwargs={"days": 0}).get() == 1
