"""What the rows of blocked duplicates hold: whose, from where, in which words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.test import RequestFactory, override_settings
from django.utils import timezone

from django_celery_once.models import BlockedDuplicate, incident_id
from django_celery_once.requester import Requester
from django_celery_once.signals import Rejection
from tests.factories import NOON, make_lock, make_rejection

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def record(*rejections: Rejection, attempts: Sequence[Rejection] | None = None) -> None:
    """Write rejections, the last one's count for all; each is an attempt of its own."""
    kept = rejections if attempts is None else attempts
    BlockedDuplicate.objects.record(rejections[-1], kept)


def incident() -> BlockedDuplicate:
    """Return the one row there is."""
    return BlockedDuplicate.objects.get()


def moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)


def test_values_are_made_to_fit() -> None:
    """Overlong values are cut, NULs and half surrogates replaced."""
    long = "x\0\ud83d" + "ä" * 600
    request = RequestFactory().get("/")
    request.path = long
    request.user = User(pk=7, username=long, is_active=True)
    lock = make_lock(owner=long, key=long, label=long)
    record(
        make_rejection(
            task_name=long,
            task_id=long,
            holder=lock,
            requester=Requester("web", request=request),
        )
    )
    row = incident()
    attempt = row.attempts.get()
    assert row.pk == incident_id(long, long)
    assert row.task_name == row.holder_task_id == attempt.task_id == "x?" + "ä" * 253
    assert row.key == row.label == row.last_requester == attempt.requester == "x?" + "ä" * 198
    assert attempt.path == "x?" + "ä" * 498


def test_characters_of_all_planes() -> None:
    """Emoji and right-to-left text are kept."""
    record(make_rejection(holder=make_lock(label="📄 דוח")))
    assert incident().label == "📄 דוח"


def web(user: Any) -> Requester:
    """Return the requester of a web call."""
    request = RequestFactory().get("/reports/")
    request.user = user
    return Requester("web", request=request)


def test_who_asked_on_the_web() -> None:
    """The user is linked and named, with the page."""
    user = User.objects.create_user("eva")
    record(make_rejection(requester=web(user)))
    attempt = incident().attempts.get()
    assert attempt.user == user
    assert (attempt.requester, attempt.source, attempt.path) == ("eva", "web", "/reports/")
    assert incident().last_requester == "eva"


def test_the_row_outlives_the_user() -> None:
    """Deleting a user keeps the row and the name."""
    user = User.objects.create_user("eva")
    record(make_rejection(requester=web(user)))
    user.delete()
    attempt = incident().attempts.get()
    assert (attempt.user, attempt.requester) == (None, "eva")


class Token:
    """A user that is no row of the users' table."""

    is_authenticated = True

    def __init__(self, pk: object) -> None:
        self.pk = pk

    def __str__(self) -> str:
        return "robot"


@pytest.mark.parametrize("pk", [None, "client-7"])
def test_users_of_another_kind(pk: object) -> None:
    """A user that is no row is named and not linked."""
    record(make_rejection(requester=web(Token(pk))))
    attempt = incident().attempts.get()
    assert (attempt.user_id, attempt.requester) == (None, "robot")


@pytest.mark.parametrize("policy", ["raise", "reject", "revoke"])
def test_every_policy_has_words(policy: str) -> None:
    """What is stored is a choice that has a label."""
    record(make_rejection(policy=policy))
    attempt = incident().attempts.get()
    assert attempt.policy == policy
    assert attempt.get_policy_display() != policy


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("web", "web page"),
        ("worker", "another task"),
        ("beat", "schedule"),
        ("command", "command"),
        ("other", "other program"),
    ],
)
def test_every_source_has_words(source: Any, words: str) -> None:
    """Where a call came from is a choice, and stands for who has no name."""
    record(make_rejection(requester=Requester(source)))
    assert str(incident().attempts.get()) == f"1. {words}"


def test_without_time_zones() -> None:
    """With ``USE_TZ = False`` times are those of ``TIME_ZONE``, whatever zone a view is in."""
    with (
        override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin"),
        timezone.override("Asia/Tokyo"),
    ):
        record(make_rejection(1))
        record(make_rejection(2))
        BlockedDuplicate.objects.settle(make_lock(hits=2), NOON)
        row = incident()
    noon = moment(NOON).astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None)
    assert (noon.hour, noon.microsecond) == (14, 250_000)
    assert row.held_since == row.released_at == noon
    assert row.last_rejection.tzinfo is None
    assert (row.last_rejection - noon).total_seconds() == 2


def test_incident_ids_do_not_collide() -> None:
    """Key and holder are kept apart; the same two give the same id."""
    assert incident_id("a", "b") == incident_id("a", "b")
    assert len({incident_id("a", "b"), incident_id("ab", ""), incident_id("b", "a")}) == 3


@pytest.mark.parametrize(
    ("label", "hits", "words"),
    [
        ("May report", 1, "May report: blocked 1 time"),
        ("", 2, "reports.send: blocked 2 times"),
    ],
)
def test_incident_in_words(label: str, hits: int, words: str) -> None:
    """An incident is told by its label, else by its task."""
    record(make_rejection(hits, holder=make_lock(label=label, hits=hits)))
    assert str(incident()) == words
