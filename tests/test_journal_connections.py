"""Connections to the journal's database: none is kept, none is waited for without bounds."""

from __future__ import annotations

import threading
import unittest
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.test import SimpleTestCase

from django_celery_once import incidents, journal, journal_thread
from django_celery_once.models import BlockedAttempt
from tests.duplicates import count, refuse, stop_clock
from tests.factories import make_lock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

#: How a server is told to end the connection of somebody else.
END = {
    "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s)"),
    "mysql": ("SELECT connection_id()", "KILL %s"),
}


def in_a_thread(what: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=what, args=args)
    thread.start()
    return thread


def test_a_process_without_requests_keeps_no_connection() -> None:
    """Nobody would close it; the row is there all the same when the caller is told."""
    connection.close()
    refuse()
    assert connection.connection is None
    assert count() == 1


def test_a_test_that_allows_no_database_gets_no_row(caplog: pytest.LogCaptureFixture) -> None:
    """No thread writes what Django forbids: outside its tests' databases is the project's own."""

    class Case(SimpleTestCase):
        def test_refused(self) -> None:
            refuse()

    connection.close()
    result = unittest.TestResult()
    unittest.TestSuite([Case("test_refused")]).run(result)
    assert (result.testsRun, result.errors) == (1, [])
    assert "to 'default' are not allowed in SimpleTestCase" in caplog.text
    assert count() == 0


def test_a_connection_that_the_server_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    """The row is there, late or wrong is nothing."""
    if connection.vendor not in END:
        pytest.skip("SQLite has no server that ends connections")
    own, end = END[connection.vendor]

    def execute(sql: str, *params: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchone() if cursor.description else None

    (number,) = execute(own)

    def end_it() -> None:
        execute(end, number)
        connection.close()

    in_a_thread(end_it).join()
    refuse()
    assert count() == 1
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


def test_callers_wait_for_no_connection_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go on while one thread waits, and its failure is one; the rows come later."""
    monkeypatch.setattr(journal_thread, "PATIENCE", 0.1)
    monkeypatch.setattr(incidents, "FAILURE_PAUSE", 0.2)
    tries: list[object] = []
    over = threading.Event()

    def connect(_connection: Any) -> None:
        tries.append(_connection)
        over.wait(30)
        raise OperationalError("couldn't get a connection")

    connection.close()
    with monkeypatch.context() as patch:
        # A pool that is exhausted, or a server that does not answer, can't be had on each database.
        patch.setattr(type(connections["default"]), "connect", connect)
        callers = [in_a_thread(refuse, hits) for hits in (1, 2, 3, 4)]
        for caller in callers:
            caller.join(20)
        assert not any(caller.is_alive() for caller in callers)
        assert len(tries) == 1
        over.set()
    journal._thread.join(30)
    assert count() == 4
    assert BlockedAttempt.objects.count() == 4


def test_one_failure_that_several_meet_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is left alone for as long as after any first failure."""
    stop_clock(monkeypatch)
    both = threading.Barrier(2)

    def fail(_incident: Any, _database: str) -> bool:
        both.wait(30)
        raise OperationalError("the server has gone away")

    monkeypatch.setattr(incidents.Incident, "write", fail)
    waiting = incidents.Incidents()
    waiting.note_release(make_lock(owner="one"), "success")
    first = in_a_thread(waiting.write)
    while waiting:
        first.join(0.01)  # it has not taken its incident yet
    waiting.note_release(make_lock(owner="two"), "success")
    waiting.write()
    first.join(30)
    assert len(waiting) == 2
    assert waiting.seconds_to_wait() == incidents.FAILURE_PAUSE
