"""The project's settings and the log's database."""

from __future__ import annotations

import time

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings

from django_celery_once.doctor import project
from django_celery_once.doctor.findings import State
from django_celery_once.models import BlockedDuplicate
from tests.configurations import once
from tests.factories import make_lock, make_rejection

DAY = 86400
APP = "django_celery_once"


def block(days: float) -> None:
    """Keep a duplicate that was blocked so many days ago."""
    at = time.time() - days * DAY
    refused = make_rejection(at=at, holder=make_lock(owner=f"task-{days}", since=at))
    BlockedDuplicate.objects.record(refused, [refused])


def test_sound_settings() -> None:
    """The system checks find nothing."""
    assert [each.state for each in project.examine_settings()] == [State.OK]


def test_a_check_error_is_wrong_and_has_its_hint() -> None:
    """Its number, its words and its hint are told."""
    with once(CACHE="nowhere"):
        [found] = project.examine_settings()
    assert (found.state, found.seen[:5]) == (State.WRONG, "E002:")
    assert "See E002 in the README" in found.advice


def test_a_check_warning_is_a_warning() -> None:
    """The kill switch is worth a word."""
    with once(ENABLED=False):
        [found] = project.examine_settings()
    assert (found.state, found.seen[:5]) == (State.WARNING, "W011:")


def test_silenced_checks_are_not_told() -> None:
    """Who silenced a check knows."""
    silenced = override_settings(SILENCED_SYSTEM_CHECKS=[f"{APP}.W011"])
    with once(ENABLED=False), silenced:
        assert [each.state for each in project.examine_settings()] == [State.OK]


def test_checks_that_are_examined_live_are_told_once() -> None:
    """Locks in CACHES['default'] are the neighbours' examination."""
    with once(CACHE="default"):
        assert not [each for each in project.examine_settings() if "W008" in each.seen]


class OwnMiddleware:
    """No relation."""


def test_the_middleware_is_there_or_missing() -> None:
    """It is wanted also where no database has ATOMIC_REQUESTS."""
    assert project.examine_middleware().state is State.OK
    with override_settings(MIDDLEWARE=[f"{__name__}.OwnMiddleware"]):
        assert project.examine_middleware().state is State.WARNING


@pytest.mark.django_db
def test_all_migrations_are_applied() -> None:
    """Those of the log's database count."""
    assert project.examine_migrations().state is State.OK


@pytest.mark.django_db
def test_a_missing_migration_is_wrong() -> None:
    """It is named, with the command that applies it."""
    MigrationRecorder(connection).record_unapplied(APP, "0002_policies")
    found = project.examine_migrations()
    assert found.state is State.WRONG
    assert "0002_policies" in found.seen
    assert found.advice == f"python manage.py migrate {APP} --database default"


@pytest.mark.parametrize(
    "keys", [{"LOG": False}, {"LOG_DATABASE": "nowhere"}], ids=["no log", "no database"]
)
def test_without_a_log_its_database_is_not_examined(keys: dict[str, object]) -> None:
    """Not even asked."""
    with once(**keys):
        assert project.examine_migrations().state is State.NOT_EXAMINED
        assert project.examine_prune().state is State.NOT_EXAMINED


@pytest.mark.django_db
def test_no_old_rows() -> None:
    """What is younger than LOG_RETENTION_DAYS is not counted."""
    block(29)
    found = project.examine_prune()
    assert (found.state, found.seen[:23]) == (State.OK, "0 blocked duplicates ar")


@pytest.mark.django_db
def test_rows_of_today_may_wait_for_the_next_prune() -> None:
    """A daily prune leaves less than a day's rows."""
    block(30.5)
    found = project.examine_prune()
    assert found.state is State.OK
    assert found.seen.startswith("1 blocked duplicate is older than 30 days")


@pytest.mark.django_db
def test_overdue_rows_are_a_warning() -> None:
    """Nobody prunes."""
    block(30.5)
    block(32)
    found = project.examine_prune()
    assert found.state is State.WARNING
    assert found.seen.startswith("2 blocked duplicates are older")
    assert "once_prune" in found.advice


@pytest.mark.django_db
def test_the_retention_is_the_settings() -> None:
    """LOG_RETENTION_DAYS decides."""
    block(5)
    with once(LOG_RETENTION_DAYS=2):
        assert project.examine_prune().state is State.WARNING
