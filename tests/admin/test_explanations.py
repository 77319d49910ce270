"""What the page of an incident tells in sentences: who, by what, why, and what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_celery_once.admin.explanations import advice, story
from django_celery_once.admin.holder import Holder, Standing
from django_celery_once.locks import Phase
from django_celery_once.models import BlockedDuplicate
from tests.admin.incidents import words
from tests.factories import NOON, make_lock

Outcome = BlockedDuplicate.Outcome
TODAY = datetime(2026, 5, 1, 15, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be the afternoon of that day."""
    monkeypatch.setattr(timezone, "now", lambda: TODAY)


def incident(**fields: Any) -> BlockedDuplicate:
    """Return the unsaved row of a report that was asked for at 12:00 and again at 12:03."""
    begin = datetime.fromtimestamp(NOON, UTC)
    given = {
        "task_name": "reports.send",
        "label": "May report",
        "held_since": begin,
        "rejections": 1,
        "first_rejection": begin + timedelta(minutes=3),
        "last_rejection": begin + timedelta(minutes=3),
        "last_requester": "eva",
    }
    return BlockedDuplicate(**{**given, **fields})


def ended(outcome: str) -> BlockedDuplicate:
    """Return the row of what ended at 12:04."""
    end = datetime.fromtimestamp(NOON, UTC) + timedelta(minutes=4)
    return incident(outcome=outcome, released_at=end)


ENDED = Holder(Standing.ENDED)


# ---- who was blocked, by what and why


def test_one_person() -> None:
    """Who asked again, for what, when, and why it was refused."""
    assert story(incident(), "ada") == (
        "eva asked for “May report” again at 12:03 and was blocked, because the request of 12:00 "
        "was still under way. That request was made by ada."
    )


def test_many_times() -> None:
    """How often, and who was the last."""
    assert story(incident(rejections=5), "eva") == (
        "“May report” was asked for 5 more times, last by eva at 12:03. Each time it was blocked, "
        "because the request of 12:00 was still under way. That request was made by eva."
    )


def test_nobody_in_particular() -> None:
    """Where no name is known, none is told."""
    assert story(incident(last_requester="", label="")) == (
        "Somebody who was not logged in asked for “reports.send” again at 12:03 and was blocked, "
        "because the request of 12:00 was still under way."
    )
    told = story(incident(last_requester="", rejections=2))
    assert "last by somebody who was not logged in at 12:03" in told


def test_another_day() -> None:
    """What was not today has its date."""
    told = story(incident(held_since=datetime(2026, 4, 30, 23, 59, tzinfo=UTC)))
    assert "at 12:03" in told
    assert "the request of 2026-04-30 23:59" in told


def test_the_clock_of_the_reader() -> None:
    """Hours and days are those of the current time zone."""
    with timezone.override("Asia/Tokyo"):
        assert "at 21:03" not in story(incident())  # there it is tomorrow already
        assert "at 2026-05-01 21:03" in story(incident())


# ---- what to do: how it ended


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.SUCCESS, "Nothing to do: the request of 12:00 succeeded at 12:04."),
        (
            Outcome.FAILURE,
            "The request of 12:00 failed at 12:04. Its lock is free: find out why it failed, then "
            "ask again.",
        ),
        (
            Outcome.IGNORED,
            "The request of 12:00 stopped at 12:04 by its own decision (Ignore). Its lock is free: "
            "ask again if it is still wanted.",
        ),
        (
            Outcome.REJECTED,
            "The request of 12:00 was turned away by its own task (Reject) at 12:04. Its lock is "
            "free: ask again if it is still wanted.",
        ),
        (
            Outcome.REVOKED,
            "The request of 12:00 was revoked, or expired, at 12:04. Its lock is free: ask again "
            "if it is still wanted.",
        ),
        (
            Outcome.KILLED,
            "The process that worked on the request of 12:00 was killed at 12:04. Its lock is "
            "free: ask again.",
        ),
        (
            Outcome.STARTED,
            "Nothing to do: a worker began with the request of 12:00 at 12:04. From then on, the "
            "next one was let through.",
        ),
        (
            Outcome.RELEASED,
            "Somebody released the lock of the request of 12:00 at 12:04. Ask again if it is "
            "still wanted.",
        ),
    ],
)
def test_each_outcome(outcome: str, told: str) -> None:
    """Each end has its advice."""
    assert advice(ended(outcome), ENDED) == told


def test_no_outcome_is_without_advice() -> None:
    """Whoever adds an outcome is reminded of the sentence."""
    unknown = advice(ended(""), ENDED)
    assert all(advice(ended(each), ENDED) != unknown for each in Outcome.values)


@pytest.mark.parametrize("outcome", ["", "of a later version"])
def test_an_unknown_end(outcome: str) -> None:
    """An end without a known reason is said to be one."""
    assert advice(ended(outcome), ENDED) == (
        "The request of 12:00 ended at 12:04; how is not recorded. Its lock is free: ask again if "
        "nothing came of it."
    )


# ---- what to do: how it stands


def test_queued() -> None:
    """Nothing is wrong with a queue, unless nobody serves it."""
    lock = make_lock(remaining=3540.0)
    assert words(advice(incident(), Holder(Standing.QUEUED, lock))) == (
        "Wait: the request of 12:00 is queued for a worker, for its time or for another try. If "
        "the workers are idle, check that one of them serves its queue. Unless one begins with "
        "it, its lock is freed in 59 minutes."
    )


def test_running() -> None:
    """Whoever waits is told on whom."""
    lock = make_lock(phase=Phase.RUNNING, worker="celery@here", started=NOON + 60, remaining=50.0)
    assert advice(incident(), Holder(Standing.RUNNING, lock)) == (
        "Nothing to do but wait: the request of 12:00 has been running on celery@here since 12:01."
    )


def test_running_nobody_knows_where() -> None:
    """A lock without a worker's name is no puzzle."""
    lock = make_lock(phase=Phase.RUNNING, started=NOON + 60)
    told = advice(incident(), Holder(Standing.RUNNING, lock))
    assert "has been running on a worker since 12:01" in told


def test_silent() -> None:
    """A lock that nobody renews is to be released."""
    lock = make_lock(
        phase=Phase.RUNNING, worker="celery@here", started=NOON, lease=600.0, remaining=90.0
    )
    assert words(advice(incident(), Holder(Standing.SILENT, lock))) == (
        "The lock has no living worker; release it. The request of 12:00 was running on "
        "celery@here, whose last sign of life was 8 minutes ago. Left alone, the lock is freed in "
        "90 seconds."
    )


def test_gone() -> None:
    """What expired left no word."""
    assert advice(incident(), Holder(Standing.GONE)) == (
        "The lock of the request of 12:00 is gone without a word; probably it expired. Ask again "
        "if nothing came of it."
    )


def test_unreachable() -> None:
    """An outage is no end."""
    assert advice(incident(), Holder(Standing.UNREACHABLE)) == (
        "The lock store can't be reached, so nobody can tell how the request of 12:00 stands. "
        "Bring the store back first, then look here again."
    )


# ---- what its stored result says


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ("SUCCESS", "Nothing to do: the request of 12:00 succeeded, according to its stored"),
        ("FAILURE", "The request of 12:00 failed, according to its stored result. Find out why"),
        ("REVOKED", "The request of 12:00 was revoked, according to its stored result. Ask"),
        ("STARTED", "The lock of the request of 12:00 is gone without a word"),
        ("", "The lock of the request of 12:00 is gone without a word"),
    ],
)
def test_each_result(result: str, told: str) -> None:
    """A result tells what the lock could not."""
    assert advice(incident(), Holder(Standing.GONE), result).startswith(told)


def test_a_result_while_the_store_is_away() -> None:
    """It needs no lock store."""
    told = advice(incident(), Holder(Standing.UNREACHABLE), "SUCCESS")
    assert told.startswith("Nothing to do")


def test_an_end_is_known_better_than_a_result() -> None:
    """What the lock's end said is what is told."""
    assert "failed at 12:04" in advice(ended("failure"), ENDED, "SUCCESS")
    lock = make_lock(phase=Phase.RUNNING, worker="celery@here", started=NOON)
    assert "Nothing to do but wait" in advice(incident(), Holder(Standing.RUNNING, lock), "FAILURE")
