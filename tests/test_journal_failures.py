"""What cannot be written is logged, and never reaches the caller."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.test import override_settings

from django_celery_once import AlreadyQueued, incidents, journal
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from tests.duplicates import Clock, queue_twice, refuse, stop_clock, tables

pytestmark = [pytest.mark.django_db, pytest.mark.database]
real_transactions = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_clock(monkeypatch)


@contextmanager
def read_only() -> Iterator[None]:
    """Let the database refuse to write for the length of a block."""
    begin, end = {
        "sqlite": ("PRAGMA query_only = 1", "PRAGMA query_only = 0"),
        "postgresql": (
            "SET default_transaction_read_only = on",
            "SET default_transaction_read_only = off",
        ),
        "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION TRANSACTION READ WRITE"),
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(begin)
        try:
            yield
        finally:
            cursor.execute(end)


def unmigrated() -> Any:
    """Drop the journal's tables for the length of a block."""
    return tables("default", there=False)


@real_transactions
@pytest.mark.parametrize("failure", [unmigrated, read_only])
def test_a_failing_database_is_logged_once_a_minute(
    failure: Callable[[], Any], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets the duplicate and nothing else; the log says what to do, once."""
    caplog.set_level(logging.ERROR)
    with failure():
        with pytest.raises(AlreadyQueued):
            queue_twice()
        clock.now += incidents.COMPLAINT_PAUSE - 1
        refuse(2)  # fails again, quietly
        (complaint,) = caplog.records
        assert complaint.name == "django_celery_once.incidents"
        assert "Has 'manage.py migrate' run" in complaint.getMessage()
        assert complaint.exc_info is not None
        clock.now += incidents.LONGEST_PAUSE
        refuse(3)
        assert len(caplog.records) == 2
    clock.now += incidents.LONGEST_PAUSE
    refuse(4)
    figures = BlockedDuplicate.objects.values_list("rejections", flat=True)
    assert sorted(figures) == [1, 4]  # nothing was lost
    assert BlockedAttempt.objects.count() == 4


@real_transactions
def test_a_failing_database_after_the_commit(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller's commit stands, whatever becomes of the row."""
    with unmigrated():
        with transaction.atomic():
            User.objects.create_user("eva")
            with suppress(AlreadyQueued):
                queue_twice()
        assert User.objects.count() == 1
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == [
        "django_celery_once.incidents"
    ]


@pytest.mark.parametrize("hits", [1, 2])
@pytest.mark.parametrize("failing", [BlockedDuplicate, BlockedAttempt])
def test_a_failing_database_leaves_an_outer_transaction_usable(
    failing: type[Model], hits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a test's transaction, a failed write is taken back alone."""
    insert = QuerySet.bulk_create

    def fail(rows: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        with transaction.atomic(savepoint=False):
            if rows.model is failing:
                connection.cursor().execute("SELECT nonsense FROM nowhere")
            return insert(rows, *args, **kwargs)

    monkeypatch.setattr(QuerySet, "bulk_create", fail)
    refuse(hits)
    assert not connection.needs_rollback
    assert User.objects.count() == 0


@pytest.mark.parametrize("database", [5, "nowhere"])
def test_wrong_settings_do_not_reach_the_caller(database: object) -> None:
    """A wrong ``LOG_DATABASE`` is the checks' business and not the caller's."""
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG_DATABASE": database}):
        with pytest.raises(AlreadyQueued):
            queue_twice()
        journal.write_now()
