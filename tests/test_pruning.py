"""Taking old incidents away, batch by batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import Max, Min
from django.test.utils import CaptureQueriesContext

from django_celery_once.models import BlockedAttempt, BlockedDuplicate, incident_id
from django_celery_once.pruning import prune
from tests.factories import make_lock, make_rejection
from tests.sql import statements

pytestmark = [pytest.mark.django_db, pytest.mark.database]

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def rows(count: int) -> Iterator[BlockedDuplicate]:
    """Return incidents one minute after another."""
    for number in range(count):
        at = BEGIN + timedelta(minutes=number)
        yield BlockedDuplicate(
            id=incident_id("key", f"holder-{number}"),
            task_name="reports.send",
            key="key",
            holder_task_id=f"holder-{number}",
            held_since=at,
            rejections=1,
            first_rejection=at,
            last_rejection=at,
        )


def seed(count: int, attempts: int = 0) -> None:
    """Write incidents, each with as many attempts."""
    incidents = BlockedDuplicate.objects.bulk_create(rows(count), batch_size=1000)
    BlockedAttempt.objects.bulk_create(
        (
            BlockedAttempt(
                incident=incident, number=number + 1, at=incident.first_rejection, source="other"
            )
            for incident in incidents
            for number in range(attempts)
        ),
        batch_size=1000,
    )


def before(minutes: int) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


@pytest.mark.django_db(transaction=True)
def test_no_transaction_takes_more_than_a_batch() -> None:
    """Tens of thousands of rows go in batches, each in a transaction of its own."""
    seed(20_000, attempts=1)
    taken: list[int] = []
    left = 20_000

    def look(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        nonlocal left
        if sql.startswith("SELECT"):  # a batch begins: the one before has been committed
            now = seen_from_outside()
            taken.append(left - now)
            left = now
        return execute(sql, params, many, context)

    with connection.execute_wrapper(look):
        pruned = prune(BlockedDuplicate.objects.filter(last_rejection__lt=before(15_500)), 1000)
    assert pruned == 15_500
    assert taken == [0, *[1000] * 15, 500]
    assert BlockedDuplicate.objects.count() == BlockedAttempt.objects.count() == 4_500
    assert BlockedDuplicate.objects.aggregate(Min("last_rejection"))["last_rejection__min"] == (
        before(15_500)
    )


def seen_from_outside() -> int:
    """Return how many rows another connection sees."""
    found: list[int] = []

    def look() -> None:
        found.append(BlockedDuplicate.objects.count())
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


def test_a_batch_is_three_statements() -> None:
    """Rows are chosen by the index and deleted by number, without loading the rest of them."""
    seed(30, attempts=3)
    with CaptureQueriesContext(connection) as captured:
        assert prune(BlockedDuplicate.objects.filter(last_rejection__lt=before(20)), 10) == 20
    sql = [query["sql"] for query in captured.captured_queries]
    words = [each.split()[0] for each in sql if each.split()[0] in {"SELECT", "DELETE", "INSERT"}]
    assert words == ["SELECT", "DELETE", "DELETE"] * 2 + ["SELECT"]
    assert not [each for each in sql if "label" in each]
    assert BlockedDuplicate.objects.aggregate(Max("last_rejection"), Min("last_rejection")) == {
        "last_rejection__max": before(29),
        "last_rejection__min": before(20),
    }


def test_many_at_the_same_moment() -> None:
    """A batch may end in the middle of incidents of one moment."""
    seed(25)
    BlockedDuplicate.objects.update(last_rejection=BEGIN)
    assert prune(BlockedDuplicate.objects.filter(last_rejection__lt=before(1)), 10) == 25


def test_nothing_to_prune() -> None:
    """Where nothing is old enough, one look tells."""
    seed(3)
    with statements() as sql:
        assert prune(BlockedDuplicate.objects.filter(last_rejection__lt=BEGIN), 10) == 0
    assert sql == ["SELECT"]


def test_a_batch_of_none_is_an_error() -> None:
    """A task in beat's schedule that could never delete anything says so."""
    seed(1)
    with pytest.raises(ValueError, match="batch must be 1 or more, not 0"):
        prune(BlockedDuplicate.objects.all(), 0)


def test_no_batch_begins_when_the_time_is_up() -> None:
    """Whoever waits for the answer gets it, and the rest stays for the next time."""
    seed(3)
    with statements() as sql:
        assert prune(BlockedDuplicate.objects.all(), 1, seconds=0) == 0
    assert sql == []
    assert prune(BlockedDuplicate.objects.all(), 1, seconds=600) == 3


def test_an_incident_that_goes_on_is_written_anew() -> None:
    """A refusal after the pruning of its incident makes the row again, with the full count."""
    lock = make_lock()
    BlockedDuplicate.objects.record(make_rejection(1), [make_rejection(1)])
    prune(BlockedDuplicate.objects.all(), 10)
    BlockedDuplicate.objects.record(make_rejection(2), [make_rejection(2)])
    assert BlockedDuplicate.objects.get(holder_task_id=lock.owner).rejections == 2
    assert BlockedAttempt.objects.get().number == 2
