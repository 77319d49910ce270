"""Pruning in the admin: asked first, bounded, logged, and only with its permission."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.db import DatabaseError, connection, transaction
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from django_celery_once.admin import prune
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from tests.admin import people
from tests.factories import make_lock, make_rejection

pytestmark = [pytest.mark.django_db, pytest.mark.database]

APP = "admin:django_celery_once_blockedduplicate"
LIST = f"{APP}_changelist"


def pruner() -> Client:
    """Return the browser of staff who may look at incidents and delete old ones."""
    return people.staff("view_blockedduplicate", "delete_blockedduplicate")


def seed(*ages: float) -> None:
    """Write an incident with an attempt for each age in days."""
    for number, days in enumerate(ages):
        rejection = make_rejection(holder=make_lock(owner=f"holder-{number}"))
        BlockedDuplicate.objects.record(rejection, [rejection])
        at = timezone.now() - timedelta(days=days)
        BlockedDuplicate.objects.filter(holder_task_id=f"holder-{number}").update(last_rejection=at)


def ask(client: Client, days: Any = 30, **more: str) -> Any:
    return client.post(reverse(f"{APP}_prune"), {"days": days, **more}, follow=True)


def told(response: Any) -> list[str]:
    return [str(each) for each in response.context["messages"]]


def left() -> int:
    return BlockedDuplicate.objects.count()


def test_only_what_is_old_goes_and_it_is_logged() -> None:
    """The first answer counts, the second deletes; attempts go with their incidents."""
    seed(1, 31, 40)
    client = pruner()
    question = ask(client).content.decode()
    assert "2 blocked duplicates are older than 30 days." in question
    assert "There are still more" not in question
    assert left() == 3
    assert told(ask(client, confirmed="yes")) == ["Deleted 2 blocked duplicates."]
    assert (left(), BlockedAttempt.objects.count()) == (1, 1)
    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.action_flag) == ("clerk", DELETION)
    assert entry.object_repr == "Blocked duplicates older than 30 days"
    assert entry.get_change_message() == "Deleted 2 blocked duplicates."
    assert client.get(reverse("admin:index")).status_code == 200  # which shows the entry


def test_nothing_is_old_enough() -> None:
    """Say so, offer another number of days, log nothing."""
    seed(1)
    client = pruner()
    response = ask(client)
    assert "No blocked duplicates are older than 30 days." in response.content.decode()
    assert 'name="days" value="30"' in response.content.decode()
    assert told(ask(client, confirmed="yes")) == ["Deleted 0 blocked duplicates."]
    assert (left(), LogEntry.objects.count()) == (1, 0)


def test_the_page_begins_with_the_setting() -> None:
    """The days are those of ``LOG_RETENTION_DAYS``, or what a link asks for."""
    client = pruner()
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG_RETENTION_DAYS": 7}):
        assert 'value="7"' in client.get(reverse(f"{APP}_prune")).content.decode()
    assert 'value="1.5"' in client.get(reverse(f"{APP}_prune") + "?days=1.5").content.decode()


@pytest.mark.parametrize("days", ["", "-1", "ten", "inf", "nan"])
def test_days_that_are_none(days: str) -> None:
    """The field says what is wrong with it; nothing goes."""
    seed(40)
    response = ask(pruner(), days, confirmed="yes")
    assert response.context["form"].errors["days"]
    assert "Please correct the error below." in response.content.decode()
    assert left() == 1


def test_more_days_than_there_were() -> None:
    """An age before all calendars finds nothing."""
    seed(40)
    assert "No blocked duplicates" in ask(pruner(), "1e12").content.decode()


def test_fractions_of_days() -> None:
    """Days need not be whole, and are shown as they were given."""
    seed(2)
    assert "is older than 1.5 days" in ask(pruner(), "1.5").content.decode()
    assert told(ask(people.superuser(), "1.5", confirmed="yes")) == ["Deleted 1 blocked duplicate."]


def test_the_question_counts_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions are not counted before somebody is asked."""
    monkeypatch.setattr(prune, "COUNTED", 2)
    seed(31, 32, 33)
    question = ask(pruner()).content.decode()
    assert "2 blocked duplicates are older" in question
    assert "There are still more" in question


def test_one_request_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left when the time is up is offered again."""
    monkeypatch.setattr(prune, "MOST_SECONDS", 0)
    seed(31, 32)
    response = ask(pruner(), 31.5, confirmed="yes")
    assert response.redirect_chain[0][0] == reverse(f"{APP}_prune") + "?days=31.5"
    assert told(response)[1].startswith("More are left")
    assert 'value="31.5"' in response.content.decode()


def test_a_database_that_fails(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """No error page: the log has the reason, and the page says what is known."""
    seed(31)

    def fail(*_args: Any) -> int:
        raise DatabaseError("read-only")

    monkeypatch.setattr(prune, "prune", fail)
    response = ask(pruner(), confirmed="yes")
    assert told(response) == ["The database failed. What was deleted until then stays deleted."]
    assert "read-only" in caplog.text
    assert left() == 1


@contextmanager
def atomic_requests() -> Iterator[None]:
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        yield
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_around_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also under ``ATOMIC_REQUESTS`` each batch is committed by itself."""
    seed(31)
    seen: list[bool] = []

    def look(*_args: Any) -> int:
        seen.append(transaction.get_connection().in_atomic_block)
        return 0

    monkeypatch.setattr(prune, "prune", look)
    with atomic_requests():
        ask(pruner(), confirmed="yes")
    assert seen == [False]


@pytest.mark.parametrize(
    "who",
    [
        people.anonymous,
        people.customer,
        people.viewer,
        people.releaser,
        lambda: people.staff("delete_blockedduplicate"),
    ],
)
def test_who_may_not(who: Any) -> None:
    """Neither a link nor the page, and a forged POST does nothing."""
    seed(31)
    client = who()
    address = reverse(f"{APP}_prune")
    for response in (client.get(address), client.post(address, {"days": 1, "confirmed": "yes"})):
        assert response.status_code in {302, 403}
    assert left() == 1
    assert address not in client.get(reverse(LIST)).content.decode()


@pytest.mark.parametrize("who", [pruner, people.editor, people.superuser])
def test_who_may(who: Any) -> None:
    """The list has a link to the page, and still no way to delete a single row."""
    seed(31)
    client = who()
    page = client.get(reverse(LIST)).content.decode()
    assert reverse(f"{APP}_prune") in page
    assert client.get(reverse(f"{APP}_prune")).status_code == 200
    incident = BlockedDuplicate.objects.get()
    assert client.post(reverse(f"{APP}_delete", args=[incident.pk])).status_code == 403
    assert told(ask(client, confirmed="yes")) == ["Deleted 1 blocked duplicate."]


def test_a_token_is_needed() -> None:
    """Another site's form can't delete anything."""
    seed(31)
    client = pruner()
    client.handler.enforce_csrf_checks = True
    address = reverse(f"{APP}_prune")
    assert client.post(address, {"days": 1, "confirmed": "yes"}).status_code == 403
    assert left() == 1
