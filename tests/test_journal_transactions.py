"""Rows are written outside the caller's transaction, whatever becomes of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import shared_task
from django.contrib.auth.models import AnonymousUser, User
from django.core.signals import request_finished
from django.db import DatabaseError, connection, transaction
from django.test import RequestFactory, override_settings

from django_celery_once import AlreadyQueued, journal
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.requester import Requester
from django_celery_once.signals import run_ended
from tests.duplicates import Clock, count, queue_twice, refuse, send, stop_clock, tables
from tests.sql import statements

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_clock(monkeypatch)


def test_commit_writes() -> None:
    """Inside a transaction nothing is written; its commit is followed by the row."""
    with transaction.atomic():
        User.objects.create_user("eva")
        with statements() as sql, suppress(AlreadyQueued):
            queue_twice()
        assert sql == []
        assert User.objects.count() == 1  # the next query works
    assert count() == 1
    assert User.objects.count() == 1


@pytest.mark.parametrize("signal", [request_finished, run_ended])
def test_rollback_keeps_the_row(signal: Any) -> None:
    """The caller's data goes, the row comes with the end of the request or task."""
    with suppress(AlreadyQueued), transaction.atomic():
        User.objects.create_user("eva")
        queue_twice()
    assert not User.objects.exists()
    signal.send_robust(sender=type(send))
    assert count() == 1


def test_savepoint_that_is_rolled_back() -> None:
    """A duplicate in an inner block that is rolled back is kept as well."""
    with transaction.atomic():
        User.objects.create_user("eva")
        with suppress(AlreadyQueued), transaction.atomic():
            User.objects.create_user("adam")
            queue_twice()
    assert [user.username for user in User.objects.all()] == ["eva"]
    run_ended.send_robust(sender=type(send))
    assert count() == 1


def test_the_next_duplicate_brings_the_last_one_along() -> None:
    """Where nothing signals an end, the next write does."""
    with suppress(ZeroDivisionError), transaction.atomic():
        refuse(1)
        raise ZeroDivisionError
    assert count() == 0
    refuse(2)
    assert count() == 2
    assert BlockedAttempt.objects.count() == 2


@shared_task(name="tests.journal_transactions.other")
def other() -> str:
    return "done"


def test_an_eager_run_does_not_write_into_the_callers_transaction() -> None:
    """A task run in place ends within the transaction, and the row must not go with it."""
    with suppress(ZeroDivisionError), transaction.atomic():
        refuse()
        with statements() as sql:
            assert other.apply().get() == "done"
        assert sql == []
        raise ZeroDivisionError
    run_ended.send_robust(sender=type(other))
    assert count() == 1


def test_who_asked_is_who_was_logged_in_then() -> None:
    """A view that logs out before its transaction ends was somebody's all the same."""
    request = RequestFactory().get("/")
    request.user = User.objects.create_user("eva")
    with transaction.atomic():
        refuse(requester=Requester("web", request=request))
        request.user = AnonymousUser()
    assert BlockedAttempt.objects.get().requester == "eva"


def test_broken_transaction() -> None:
    """A transaction that can only be rolled back hinders neither caller nor row."""
    with transaction.atomic():
        with pytest.raises(DatabaseError), transaction.atomic(savepoint=False):
            connection.cursor().execute("SELECT nonsense FROM nowhere")
        with pytest.raises(AlreadyQueued):
            queue_twice()
        transaction.set_rollback(True)
    run_ended.send_robust(sender=type(send))
    assert count() == 1


@pytest.fixture
def second_log(transactional_db: None) -> Iterator[None]:
    """Give the second database the journal's tables."""
    with tables("locks", there=True):
        yield


@pytest.mark.django_db(transaction=True, databases=["default", "locks"])
def test_a_database_of_its_own_needs_not_wait(second_log: None) -> None:
    """With ``LOG_DATABASE`` elsewhere, the row is there before the caller's transaction ends."""
    with (
        override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG_DATABASE": "locks"}),
        suppress(ZeroDivisionError),
        transaction.atomic(),
    ):
        refuse()
        assert BlockedDuplicate.objects.using("locks").count() == 1
        raise ZeroDivisionError
    assert BlockedDuplicate.objects.using("locks").count() == 1
    assert count() == 0


def test_an_event_loop_leaves_it_to_the_end_of_the_request() -> None:
    """In an event loop nothing is written and nothing is lost."""

    async def view() -> None:
        refuse()
        journal.write_now()
        run_ended.send_robust(sender=type(send))

    with statements() as sql:
        asyncio.run(view())
    assert sql == []
    journal.write_now()
    assert count() == 1


def test_no_connection_stays_behind_a_request() -> None:
    """What is written after Django has closed the request's connections is closed as well."""
    with transaction.atomic():
        refuse()
        transaction.set_rollback(True)
    connection.close()
    request_finished.send_robust(sender=None)
    assert connection.connection is None
    assert count() == 1


def test_the_end_of_the_process_writes_the_rest(clock: Clock) -> None:
    """A storm's last figure, and what a rollback left, are not lost at the exit."""
    for hits in range(1, 100):
        refuse(hits)
    with transaction.atomic():
        refuse(100)
        transaction.set_rollback(True)
    journal._write_the_rest()
    assert count() == 100


def test_the_end_of_a_test_run_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was noted in a test's database is not for the one that has taken its place."""
    with transaction.atomic():
        refuse()
        transaction.set_rollback(True)
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "NAME", "production")
        with statements() as sql:
            journal._write_the_rest()
    assert sql == []


def test_a_child_process_starts_with_an_empty_journal() -> None:
    """A forked process does not write what its parent is about to."""
    with transaction.atomic():
        refuse()
        transaction.set_rollback(True)
    child = os.fork()
    if not child:
        os._exit(3 if journal._journal else 0)
    _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert journal._journal
