"""Sentences for people: whose it is, since when, and never a name without leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.messages import INFO, WARNING
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy

from django_celery_once import AlreadyQueued
from django_celery_once.requester import Requester
from django_celery_once.wording import (
    STANDARD,
    Asker,
    Wording,
    ago,
    ahead,
    asker_of,
    seconds_since,
)

LABEL = "monthly report"
AGAIN = "You don't need to send it again."


@pytest.fixture(autouse=True)
def _english() -> Any:
    with translation.override("en"):
        yield


def duplicate(seconds: float = 0.0, by: str = "", label: str = "") -> AlreadyQueued:
    """Return a duplicate of a call that was accepted some seconds ago."""
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    return AlreadyQueued(30, task_id="id-1", since=since, requested_by=by, label=label)


def request_of(pk: int | None) -> HttpRequest:
    """Return a request of the user with this primary key, or of nobody."""
    request = RequestFactory().post("/")
    request.user = AnonymousUser() if pk is None else User(pk=pk)
    return request


@pytest.mark.parametrize(
    ("by", "user", "seconds", "expected"),
    [
        ("7", 7, 0, Asker.SELF),
        ("7", 7, 3600, Asker.SELF),
        ("7", 8, 0, Asker.ANOTHER),
        ("7", 8, 3600, Asker.ANOTHER),
        ("7", 77, 0, Asker.ANOTHER),
        ("", None, 0, Asker.UNKNOWN),
        ("7", None, 0, Asker.UNKNOWN),
        ("", 7, 0, Asker.UNKNOWN),
    ],
)
def test_who_asked_first(by: str, user: int | None, seconds: float, expected: Asker) -> None:
    """Compare logins; without any, nobody is known."""
    assert asker_of(duplicate(seconds, by), request_of(user)) is expected


@pytest.mark.parametrize("by", ["session", "cookie of a form"])
def test_visitors_are_known_by_their_browser(by: str) -> None:
    """Two who are not logged in are two people, unless they come with one session."""
    first, second, stranger, nobody = (request_of(None) for _each in range(4))
    for request, key in ((first, "a"), (second, "a"), (stranger, "b")):
        if by == "session":
            request.session = SessionStore(key * 32)
        else:
            request.COOKIES["csrftoken"] = key * 32
    visitor = Requester("web", request=first).visitor
    asked = AlreadyQueued(30, since=datetime.now(UTC), visitor=visitor)
    askers = [asker_of(asked, each) for each in (second, stranger, nobody, request_of(7))]
    assert askers == [Asker.SELF, *[Asker.UNKNOWN] * 3]
    assert asker_of(duplicate(), second) is Asker.UNKNOWN


def test_a_request_without_users_is_nobodys() -> None:
    """A site without logins, or a call outside a request, knows nobody."""
    assert asker_of(duplicate(60), RequestFactory().post("/")) is Asker.UNKNOWN
    assert asker_of(duplicate(60, by="7"), None) is Asker.UNKNOWN


@pytest.mark.parametrize(
    ("asker", "seconds", "expected"),
    [
        (Asker.SELF, 3, f"Your monthly report is already being prepared. {AGAIN}"),
        (
            Asker.SELF,
            250,
            f"Your monthly report is already being prepared (started 4 minutes ago). {AGAIN}",
        ),
        (Asker.ANOTHER, 250, "A colleague already asked for this monthly report 4 minutes ago."),
        (Asker.ANOTHER, 3, "A colleague already asked for this monthly report just now."),
        (
            Asker.UNKNOWN,
            250,
            f"This monthly report is already being prepared (started 4 minutes ago). {AGAIN}",
        ),
        (
            Asker.UNKNOWN,
            3,
            f"This monthly report is already being prepared (started just now). {AGAIN}",
        ),
    ],
)
def test_the_sentence(asker: Asker, seconds: float, expected: str) -> None:
    """Each makes sense on its own."""
    assert STANDARD.already_queued(duplicate(seconds), asker, label=LABEL) == expected


@pytest.mark.parametrize(
    ("asker", "expected"),
    [
        (Asker.SELF, f"Your report of May is already being prepared. {AGAIN}"),
        (Asker.ANOTHER, "A colleague already asked for this just now."),
        (Asker.UNKNOWN, f"This request is already being prepared (started just now). {AGAIN}"),
    ],
)
def test_a_label_of_the_task_is_its_askers(asker: Asker, expected: str) -> None:
    """A label may hold what another has typed: it is shown to that one only."""
    assert STANDARD.already_queued(duplicate(label="report of May"), asker) == expected


def test_somebody_can_be_named() -> None:
    """A name comes from the caller only."""
    told = STANDARD.already_queued(duplicate(), Asker.ANOTHER, label=LABEL, name="eva")
    assert told == "Eva already asked for this monthly report just now."


def test_levels() -> None:
    """One's own duplicate is information, another's a warning."""
    assert [asker.level for asker in Asker] == [INFO, WARNING, INFO]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "just now"),
        (9.9, "just now"),
        (10, "10 seconds ago"),
        (59.9, "59 seconds ago"),
        (60, "1 minute ago"),
        (299, "4 minutes ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86399, "23 hours ago"),
        (86400, "1 day ago"),
        (200000, "2 days ago"),
    ],
)
def test_how_long_ago(seconds: float, expected: str) -> None:
    """Say it as people do, with the plural of the number."""
    assert ago(seconds) == expected


def test_clocks_that_differ() -> None:
    """A call from the future, or of an unknown time, was made just now."""
    assert seconds_since(duplicate(-60)) == 0
    assert seconds_since(AlreadyQueued(5)) == 0


def test_every_sentence_can_be_another() -> None:
    """A project's own words take the place of ours, lazily translated ones as well."""
    words = Wording(
        own="Mine: %(label)s.",
        own_since=gettext_lazy("Mine: %(label)s, %(ago)s."),
        another="%(name)s's: %(label)s, %(ago)s.",
        another_without_label="%(name)s's, %(ago)s.",
        unknown="It: %(label)s.",
        unavailable="Sorry.",
    )
    late = duplicate(120)
    assert words.already_queued(duplicate(), Asker.SELF, label="x") == "Mine: x."
    assert words.already_queued(late, Asker.SELF, label="x") == "Mine: x, 2 minutes ago."
    assert words.already_queued(late, Asker.ANOTHER, label="x", name="Eva") == (
        "Eva's: x, 2 minutes ago."
    )
    assert words.already_queued(late, Asker.ANOTHER) == "A colleague's, 2 minutes ago."
    assert words.already_queued(late, Asker.UNKNOWN) == "It: request."
    assert words.lock_unavailable() == "Sorry."


def test_a_template_can_take_the_place_of_the_sentences() -> None:
    """A template's text is HTML, in which values are escaped once."""
    words = Wording(template="web/duplicate.html")
    told = words.already_queued(duplicate(120), Asker.SELF, label="R&D report")
    assert told == (
        '<a href="/tasks/id-1/">Your R&amp;D report is already being prepared (started 2 minutes '
        "ago). You don&#x27;t need to send it again.</a> SELF 2 minutes ago"
    )
    assert hasattr(told, "__html__")


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (0.2, "in 1 second"),
        (60, "in 60 seconds"),
        (61, "in 2 minutes"),
        (3600, "in 60 minutes"),
        (3601, "in 2 hours"),
        (86400, "in 24 hours"),
        (86401, "in 2 days"),
    ],
)
def test_when_it_can_be_had_again(left: float, expected: str) -> None:
    """Rounded up: nobody is to come too early."""
    assert ahead(left) == expected


@pytest.mark.parametrize("asker", Asker)
def test_what_is_reserved(asker: Asker) -> None:
    """Nothing is promised: it may be rolled back."""
    reserved = AlreadyQueued(50, phase="reserved", since=datetime.now(UTC))
    assert STANDARD.already_queued(reserved, asker, label=LABEL) == (
        "This monthly report is being submitted right now. If nothing comes of that, please send "
        "it again."
    )


@pytest.mark.parametrize(
    ("asker", "words"),
    [
        (Asker.SELF, f"Your monthly report is already planned (for {{}}). {AGAIN}"),
        (
            Asker.ANOTHER,
            "A colleague already asked for this 5 hours ago; it is planned (for {}).",
        ),
        (Asker.UNKNOWN, f"This monthly report is already planned (for {{}}). {AGAIN}"),
    ],
)
@pytest.mark.parametrize("today", [True, False])
def test_what_is_planned(asker: Asker, words: str, today: bool) -> None:
    """Nobody prepares it before its time, which is told in the zone of the reader."""
    now = datetime.now(UTC)
    begins = now.replace(hour=23, minute=30) if today else datetime(2030, 5, 1, 21, 30, tzinfo=UTC)
    planned = AlreadyQueued(
        90000, phase="planned", since=now - timedelta(hours=5), label="x", begins=begins
    )
    with timezone.override(UTC):
        told = STANDARD.already_queued(planned, asker, label=LABEL)
    assert told == words.format("11:30 p.m." if today else "May 1, 2030, 9:30 p.m.")


@pytest.mark.parametrize("asker", Asker)
def test_what_was_made_already(asker: Asker) -> None:
    """Nothing is under way any more: say when to ask again."""
    kept = AlreadyQueued(250, phase="kept", since=datetime.now(UTC) - timedelta(minutes=4))
    assert STANDARD.already_queued(kept, asker, label=LABEL) == (
        "This monthly report was already made (asked for 4 minutes ago). "
        "You can ask for it again in 5 minutes."
    )
