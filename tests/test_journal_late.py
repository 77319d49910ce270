"""Locks that are freed before anybody has written a row about them."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from celery import signals
from django.db import connection, connections, transaction

from django_celery_once import incidents, journal
from django_celery_once.models import BlockedDuplicate
from django_celery_once.signals import lock_released
from tests.duplicates import Clock, count, refuse, send, stop_clock
from tests.factories import make_lock, make_rejection
from tests.sql import statements

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def release(hits: int = 3) -> None:
    """Announce the end of a lock, as the worker does."""
    lock_released.send_robust(sender=type(send), lock=make_lock(hits=hits), outcome="success")


def write_elsewhere() -> None:
    """Write the row of another process' refusal."""
    BlockedDuplicate.objects.record(make_rejection(1), [make_rejection(1)])


def test_the_release_waits_for_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread tries again until the row is there, and ends."""
    monkeypatch.setattr(incidents, "SETTLE_PAUSES", (0.1,) * 300)
    release()
    thread = journal._thread
    assert thread.is_alive()
    write_elsewhere()
    thread.join(30)
    assert not thread.is_alive()
    row = BlockedDuplicate.objects.get()
    assert (row.outcome, row.rejections) == ("success", 3)
    assert row.released_at is not None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_clock(monkeypatch)


def test_a_few_tries_and_no_more(clock: Clock) -> None:
    """Where no row comes, the release is given up."""
    with statements() as sql:
        release()
        for _second in range(200):
            clock.now += 1
            journal.write_now()
    assert sql == ["UPDATE"] * (1 + len(incidents.SETTLE_PAUSES))
    assert not journal.has_something()
    assert not BlockedDuplicate.objects.exists()


def test_a_row_of_this_process_takes_the_release_along(clock: Clock) -> None:
    """A refusal that comes after the release is written with it, without another pause."""
    release()
    refuse(2)
    row = BlockedDuplicate.objects.get()
    assert (row.outcome, row.rejections) == ("success", 3)


def test_most_releases_need_no_thread() -> None:
    """Where the row is there, nothing is left behind."""
    write_elsewhere()
    release()
    assert not journal.has_something()


def test_the_end_of_a_workers_child_writes_the_rest(clock: Clock) -> None:
    """A child of the prefork pool leaves without Python's exit functions."""
    with transaction.atomic():
        refuse()
        transaction.set_rollback(True)
    release()
    signals.worker_process_shutdown.send(sender="worker", pid=os.getpid(), exitcode=0)
    assert count() == 3
    assert not journal.has_something()


def test_a_forked_child_has_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's thread is not there in the child, which starts one when it needs one."""
    monkeypatch.setattr(incidents, "SETTLE_PAUSES", (0.1,) * 300)
    release()
    connections.close_all()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            release()
            alive = journal._thread.is_alive()
            os._exit(0 if alive else 3)
        os._exit(4)
    _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_transaction_by_hand(clock: Clock) -> None:
    """With autocommit off, rows wait until the request, the task or the process ends."""
    transaction.set_autocommit(False)
    try:
        with statements() as sql:
            refuse()
        assert sql == []
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    journal.write_now()
    assert count() == 1
    assert connection.get_autocommit()
