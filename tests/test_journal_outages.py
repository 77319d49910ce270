"""A log database that is away: callers do not wait for it, and rows come when it is back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import RequestFactory, override_settings

from django_celery_once import AlreadyQueued, incidents, journal
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.requester import Known, Requester
from django_celery_once.signals import lock_released
from tests.duplicates import Clock, count, queue_twice, refuse, send, stop_clock, tables
from tests.factories import make_lock, make_rejection

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "locks"]),
    pytest.mark.database,
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_clock(monkeypatch)


@pytest.fixture
def _gone(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the log be in a database that can't be reached."""
    away = {"HOST": "127.0.0.1", "PORT": 1}
    if connection.vendor == "sqlite":
        away = {"NAME": "/nowhere/at/all.sqlite3"}
    log = connections["locks"]
    log.close()
    with (
        monkeypatch.context() as patch,
        override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG_DATABASE": "locks"}),
    ):
        for name, value in away.items():
            patch.setitem(log.settings_dict, name, value)
        yield
    log.close()


@pytest.fixture
def attempts_to_connect(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with every attempt to reach the log's database."""
    tried: list[str] = []
    log = connections["locks"]
    connect = log.connect

    def note() -> None:
        tried.append(log.alias)
        connect()

    monkeypatch.setattr(log, "connect", note)
    return tried


@pytest.mark.usefixtures("_gone")
def test_callers_do_not_wait_for_a_database_that_is_down(
    clock: Clock, attempts_to_connect: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The first refusal tries, the next ones leave it alone, for longer after each failure."""
    with pytest.raises(AlreadyQueued):
        queue_twice()
    for hits in range(1, 100):
        refuse(hits)
    assert len(attempts_to_connect) == 1
    tries = []
    for _second in range(200):
        clock.now += 1
        refuse(100)
        tries.append(len(attempts_to_connect))
    assert [second for second, each in enumerate(tries, 1) if each > ([1, *tries])[second - 1]] == [
        5,
        15,
        35,
        75,
        135,
        195,
    ]
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) <= 4


@contextmanager
def locked() -> Iterator[None]:
    """Let another connection lock the table, and this one give up soon."""
    table = BlockedDuplicate._meta.db_table
    lock, impatient, patient = {
        "sqlite": ("BEGIN IMMEDIATE", "PRAGMA busy_timeout = 50", "PRAGMA busy_timeout = 20000"),
        "postgresql": (
            f"BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE",
            "SET lock_timeout = '50ms'",
            "SET lock_timeout = 0",
        ),
        "mysql": (
            f"LOCK TABLES {table} WRITE",
            "SET SESSION lock_wait_timeout = 1",
            "SET SESSION lock_wait_timeout = 60",
        ),
    }[connection.vendor]
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute(lock)
            held.set()
            over.wait(30)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    with connection.cursor() as cursor:
        cursor.execute(impatient)
        try:
            yield
        finally:
            over.set()
            thread.join()
            cursor.execute(patient)


def test_a_locked_table(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A lock that outlasts the time-out is a failure as any other; the row comes afterwards."""
    caplog.set_level(logging.INFO)
    with locked():
        with pytest.raises(AlreadyQueued):
            queue_twice()
        assert User.objects.count() == 0  # the caller's next query works
        (complaint,) = [each for each in caplog.records if each.levelname == "ERROR"]
        assert "can't be written (incidents waiting: 1, dropped: 0). Has" in complaint.getMessage()
    clock.now += incidents.FAILURE_PAUSE
    journal.write_now()
    assert count() == 1
    assert caplog.messages[-1] == "Blocked duplicates are written again (incidents dropped: 0)"


def test_what_waited_is_written_with_what_came_since(clock: Clock) -> None:
    """Attempts, count and release of an outage are all there afterwards, once."""
    with tables("default", there=False):
        for hits in (1, 2):
            refuse(hits)
        clock.now += incidents.FAILURE_PAUSE
        refuse(3)
        lock_released.send_robust(sender=type(send), lock=make_lock(hits=7), outcome="success")
    clock.now += incidents.LONGEST_PAUSE
    journal.write_now()
    row = BlockedDuplicate.objects.get()
    assert (row.rejections, row.outcome) == (7, "success")
    assert list(row.attempts.values_list("number", flat=True)) == [1, 2, 3]
    assert not journal.has_something()


def test_a_thread_writes_when_the_database_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs to come by; the thread ends with its work and leaves no connection."""
    monkeypatch.setattr(incidents, "FAILURE_PAUSE", 0.2)
    with tables("default", there=False):
        refuse()
        thread = journal._thread
        assert thread.is_alive()
    thread.join(30)
    assert not thread.is_alive()
    assert count() == 1


@pytest.mark.usefixtures("_gone")
def test_no_more_than_so_many_wait(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest incidents are dropped, counted and reported."""
    monkeypatch.setattr(incidents, "MAX_WAITING", 10)
    for number in range(25):
        refuse(holder=make_lock(owner=f"holder-{number}"))
    clock.now += incidents.COMPLAINT_PAUSE
    journal.write_now()
    assert "(incidents waiting: 10, dropped: 15)" in caplog.messages[-1]
    connection.ensure_connection()
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks"}):
        clock.now += incidents.LONGEST_PAUSE
        journal.write_now()
    owners = set(BlockedDuplicate.objects.values_list("holder_task_id", flat=True))
    assert owners == {f"holder-{number}" for number in range(15, 25)}


@pytest.mark.usefixtures("_gone")
def test_requests_are_not_kept_while_it_is_away(clock: Clock) -> None:
    """What waits knows who asked, but holds on to no request."""
    request = RequestFactory().get("/reports/")
    request.user = User.objects.create_user("eva")
    refuse(requester=Requester("web", request=request))
    (waiting,) = journal._journal._waiting.values()
    (attempt,) = waiting.attempts
    assert isinstance(attempt.requester, Known)
    assert (attempt.requester.label, attempt.requester.path) == ("eva", "/reports/")
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks"}):
        clock.now += incidents.LONGEST_PAUSE
        journal.write_now()
    assert BlockedAttempt.objects.get().user == request.user


def test_one_unfit_incident_does_not_stop_the_others(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """What no database takes is dropped with a line of log; the rest is written."""
    with tables("default", there=False):
        refuse(1)
        journal._journal.note_rejection(make_rejection(holder=make_lock(owner="x"), at=1e300))
        refuse(1, holder=make_lock(owner="holder-2"))
    caplog.clear()
    clock.now += incidents.COMPLAINT_PAUSE
    journal.write_now()
    assert BlockedDuplicate.objects.count() == 2
    assert "don't fit the database and were dropped. Not said again for 60 seconds" in caplog.text
    assert not journal.has_something()


@pytest.mark.usefixtures("_gone")
def test_the_end_of_the_process_says_what_was_lost(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """At the exit there is one more try, and then a number."""
    refuse()
    journal._write_the_rest()
    assert caplog.messages[-1] == "Blocked duplicates were not written (incidents lost: 1)"
