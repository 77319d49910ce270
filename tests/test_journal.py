"""From refused calls to rows: how many statements, and that the counts are exact."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import override_settings

from django_celery_once import AlreadyQueued, incidents, journal
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.signals import lock_released
from tests.duplicates import Clock, count, queue_twice, refuse, send, stop_clock
from tests.factories import make_lock
from tests.sql import statements

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_clock(monkeypatch)


def test_a_duplicate_leaves_a_row() -> None:
    """Outside transactions, the row is there when the caller gets the error."""
    with pytest.raises(AlreadyQueued) as error:
        queue_twice()
    row = BlockedDuplicate.objects.get()
    assert (row.rejections, row.task_name) == (1, "tests.duplicates.send")
    assert (row.key, row.holder_task_id) == (error.value.key, error.value.task_id)
    assert row.attempts.get().task_id != row.holder_task_id


def test_a_storm_costs_little(clock: Clock) -> None:
    """Twenty attempts are kept; then one update a second, however many calls are refused."""
    with statements() as sql:
        for hits in range(1, 21):
            refuse(hits)
    assert sql == ["INSERT", "INSERT", *["UPDATE", "INSERT"] * 19]
    with statements() as sql:
        for hits in range(21, 1021):
            refuse(hits)
    assert sql == []
    clock.now += incidents.STORM_PAUSE
    with statements() as sql:
        for hits in range(1021, 2021):
            refuse(hits)
    assert sql == ["UPDATE"]
    assert count() == 1021
    assert BlockedAttempt.objects.count() == incidents.KEPT_ATTEMPTS == 20


def test_the_release_writes_the_last_figure(clock: Clock) -> None:
    """What a storm left unwritten is written when the lock goes."""
    for hits in range(1, 100):
        refuse(hits)
    assert count() == 20
    lock_released.send_robust(sender=type(send), lock=make_lock(hits=150))
    assert count() == 150
    assert BlockedDuplicate.objects.get().released_at is not None


def test_the_figure_is_written_when_its_second_is_over(clock: Clock) -> None:
    """The end of a later request or task writes what a storm left."""
    for hits in range(1, 100):
        refuse(hits)
    journal.write_now()
    assert count() == 20
    clock.now += incidents.STORM_PAUSE
    journal.write_now()
    assert count() == 99


def test_one_storm_does_not_hold_back_another_incident(clock: Clock) -> None:
    """The pause is one of each incident."""
    for hits in range(1, 30):
        refuse(hits)
    refuse(1, holder=make_lock(owner="holder-2"))
    assert BlockedDuplicate.objects.count() == 2


def test_counts_are_exact_out_of_order(clock: Clock) -> None:
    """Threads may report their hits in any order."""
    for hits in (3, 30, 1, 2, 29):
        refuse(hits)
    clock.now += incidents.STORM_PAUSE
    journal.write_now()
    assert count() == 30
    assert BlockedAttempt.objects.count() == 3


def test_a_lock_that_blocked_nobody_costs_nothing() -> None:
    """Most locks refuse no call; their release writes nothing."""
    with statements() as sql:
        lock_released.send_robust(sender=type(send), lock=make_lock(hits=0))
    assert sql == []


def test_it_can_be_switched_off() -> None:
    """With ``LOG = False`` nothing is kept."""
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG": False}):
        with pytest.raises(AlreadyQueued), statements() as sql:
            queue_twice()
        lock_released.send_robust(sender=type(send), lock=make_lock(hits=1))
    assert sql == []
    journal.write_now()
    assert count() == 0


def test_in_a_test_case_rows_are_there_at_once() -> None:
    """The transaction that a test runs in is no caller's."""
    assert connection.in_atomic_block
    refuse()
    assert count() == 1
