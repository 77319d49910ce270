"""The rows of blocked duplicates, and the statements that write them."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.signals import Rejection
from tests.factories import NOON, make_lock, make_rejection
from tests.sql import statements

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def record(*rejections: Rejection, attempts: Sequence[Rejection] | None = None) -> None:
    """Write rejections, the last one's count for all; each is an attempt of its own."""
    kept = rejections if attempts is None else attempts
    BlockedDuplicate.objects.record(rejections[-1], kept)


def incident() -> BlockedDuplicate:
    """Return the one row there is."""
    return BlockedDuplicate.objects.get()


def numbers() -> list[int]:
    """Return the numbers of the attempts kept."""
    return list(BlockedAttempt.objects.values_list("number", flat=True).order_by("number"))


def moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def test_first_duplicate() -> None:
    """The first refusal of an incident takes two inserts, and everything is there."""
    rejection = make_rejection(holder=make_lock(label="May report"))
    with statements() as sql:
        record(rejection)
    assert sql == ["INSERT", "INSERT"]
    row = incident()
    assert row.task_name == "reports.send"
    assert row.key == "once:reports.send:abc"
    assert row.label == "May report"
    assert row.holder_task_id == "holder-1"
    assert row.held_since == moment(NOON)
    assert row.rejections == 1
    assert row.first_rejection == row.last_rejection == moment(NOON + 1)
    assert row.last_requester == "script.py"
    assert row.released_at is None
    (attempt,) = row.attempts.all()
    assert attempt.number == 1
    assert attempt.at == moment(NOON + 1)
    assert (attempt.user, attempt.requester, attempt.source) == (None, "script.py", "other")
    assert (attempt.path, attempt.view_name) == ("", "")
    assert (attempt.policy, attempt.task_id) == ("raise", "refused-1")


def test_later_duplicates() -> None:
    """The second to the twentieth refusal take an update and an insert each."""
    record(make_rejection(1))
    for hits in range(2, 21):
        with statements() as sql:
            record(make_rejection(hits))
        assert sql == ["UPDATE", "INSERT"]
    assert incident().rejections == 20
    assert incident().last_rejection == moment(NOON + 20)
    assert incident().first_rejection == moment(NOON + 1)
    assert numbers() == list(range(1, 21))


def test_storm() -> None:
    """In a storm a refusal is one update."""
    record(make_rejection(1))
    with statements() as sql:
        record(make_rejection(1000), attempts=[])
    assert sql == ["UPDATE"]
    assert incident().rejections == 1000


def test_a_process_that_comes_second_may_write_first() -> None:
    """Where the row is missing, four statements make it."""
    with statements() as sql:
        record(make_rejection(2))
    assert sql == ["UPDATE", "INSERT", "INSERT"]
    record(make_rejection(1))
    assert incident().rejections == 2
    assert incident().last_rejection == moment(NOON + 2)
    assert numbers() == [1, 2]


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
def test_counts_are_exact_in_any_order(order: tuple[int, ...]) -> None:
    """Whoever writes last, the highest figure and the latest time stay."""
    for hits in order:
        record(make_rejection(hits))
    assert incident().rejections == 3
    assert incident().last_rejection == moment(NOON + 3)
    assert numbers() == [1, 2, 3]


def test_several_at_once() -> None:
    """What was waiting is written together, with the time of its first refusal."""
    waiting = [make_rejection(hits) for hits in (1, 2, 3)]
    with statements() as sql:
        record(*waiting)
    assert len(sql) == 3
    assert incident().rejections == 3
    assert incident().first_rejection == moment(NOON + 1)
    assert incident().last_rejection == moment(NOON + 3)


def test_each_holder_is_an_incident_of_its_own() -> None:
    """The same key held by another task is another row."""
    record(make_rejection(holder=make_lock(owner="holder-1")))
    record(make_rejection(holder=make_lock(owner="holder-2")))
    assert BlockedDuplicate.objects.count() == 2


def test_settle() -> None:
    """The end of a lock writes the last figure in one statement."""
    record(make_rejection(1))
    with statements() as sql:
        assert BlockedDuplicate.objects.settle(make_lock(hits=7), NOON + 60, "success")
    assert sql == ["UPDATE"]
    assert incident().rejections == 7
    assert incident().released_at == moment(NOON + 60)
    assert incident().get_outcome_display() == "the task succeeded"


def test_settle_never_counts_down() -> None:
    """A release that knows of fewer refusals does not lower the count."""
    record(make_rejection(5))
    BlockedDuplicate.objects.settle(make_lock(hits=4), NOON + 60)
    assert incident().rejections == 5


def test_settle_without_a_row_makes_none() -> None:
    """A lock that blocked nobody here leaves no row, and that is told."""
    assert not BlockedDuplicate.objects.settle(make_lock(hits=1), NOON)
    assert not BlockedDuplicate.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_many_processes_open_the_same_incident_at_once() -> None:
    """Writers that race for the first row all get through, without a deadlock."""
    writers, rounds = 6, 8
    errors: list[BaseException] = []
    together = threading.Barrier(writers)

    def write(number: int) -> None:
        try:
            for turn in range(rounds):
                holder = make_lock(owner=f"holder-{turn}", hits=number)
                together.wait(timeout=30)
                record(dataclasses.replace(make_rejection(number), holder=holder))
        except BaseException as error:
            errors.append(error)
            together.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=[n + 1]) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert BlockedDuplicate.objects.count() == rounds
    assert set(BlockedDuplicate.objects.values_list("rejections", flat=True)) == {writers}
    assert BlockedAttempt.objects.count() == writers * rounds


def test_a_failure_leaves_an_outer_transaction_usable() -> None:
    """Where somebody has a transaction open all the same, a failed write breaks it not."""
    with transaction.atomic():
        with pytest.raises(OverflowError):
            record(make_rejection(at=1e300))
        assert not BlockedDuplicate.objects.exists()
