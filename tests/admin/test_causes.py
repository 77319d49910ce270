"""The probable cause of an incident, from who asked when and from where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_celery_once.admin.causes import Cause, probable_cause
from django_celery_once.models import BlockedAttempt, BlockedDuplicate

BEGIN = datetime(2026, 5, 1, 12, tzinfo=UTC)


def attempt(seconds: float = 60, user: int | None = 1, **fields: Any) -> BlockedAttempt:
    """Return a refused call of a user's, so many seconds after the one that went through."""
    at = BEGIN + timedelta(seconds=seconds)
    return BlockedAttempt(at=at, user_id=user, **{"source": "web", **fields})


def cause(*attempts: BlockedAttempt, holder: int | None = 1, **options: Any) -> Cause:
    """Return the cause of an incident whose first call was a user's."""
    last = options.pop("last", max((each.at for each in attempts), default=BEGIN))
    incident = BlockedDuplicate(held_since=BEGIN, last_rejection=last, holder_user_id=holder)
    return probable_cause(incident, attempts, **options)


def test_a_double_click() -> None:
    """The same hand, within five seconds."""
    assert cause(attempt(0.3)) is Cause.DOUBLE_CLICK
    assert cause(attempt(0.3), attempt(5)) is Cause.DOUBLE_CLICK
    assert cause(attempt(0.3, user=None), holder=None) is Cause.DOUBLE_CLICK


def test_impatience() -> None:
    """The same person, later."""
    assert cause(attempt(5.1)) is Cause.IMPATIENCE
    assert cause(attempt(0.3), attempt(600)) is Cause.IMPATIENCE


def test_a_storm_is_no_double_click() -> None:
    """What was only counted came later than the attempts that were kept."""
    assert cause(attempt(0.3), last=BEGIN + timedelta(hours=1)) is Cause.IMPATIENCE


def test_two_people() -> None:
    """Another person than the first, however soon."""
    assert cause(attempt(0.3, user=2)) is Cause.TWO_PEOPLE
    assert cause(attempt(60), attempt(90, user=2)) is Cause.TWO_PEOPLE
    assert cause(attempt(60, user=2), attempt(90, user=3), holder=None) is Cause.TWO_PEOPLE


def test_two_people_who_are_deleted() -> None:
    """Their names are left."""
    attempts = [attempt(1, None, requester="eva"), attempt(2, None, requester="ada")]
    assert cause(*attempts, holder=None) is Cause.TWO_PEOPLE


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("beat", Cause.SCHEDULE),
        ("worker", Cause.TASK),
        ("command", Cause.PROGRAM),
        ("other", Cause.PROGRAM),
    ],
)
def test_each_source(source: str, expected: Cause) -> None:
    """What is no person is told from where it came."""
    attempts = [attempt(1, None, source=source), attempt(60, None, source=source)]
    assert cause(*attempts, holder=None) is expected


def test_several_sources() -> None:
    """People and a schedule have no one cause."""
    assert cause(attempt(), attempt(source="beat", user=None)) is Cause.MIXED


def test_nobody_knows() -> None:
    """Without names, hours apart, there is nothing to go by."""
    assert cause(attempt(60, user=None), holder=None) is Cause.UNKNOWN
    assert cause(attempt(60, user=1), holder=None) is Cause.UNKNOWN
    assert cause() is Cause.UNKNOWN


def test_a_source_of_a_later_version() -> None:
    """A word that is not known breaks no page."""
    assert cause(attempt(60, user=None, source="drone"), holder=None) is Cause.UNKNOWN


def test_a_stuck_lock() -> None:
    """Whoever asked, the lock is the trouble."""
    assert cause(attempt(0.3), stuck=True) is Cause.STUCK
    assert cause(attempt(source="beat"), stuck=True) is Cause.STUCK


@pytest.mark.parametrize("each", Cause)
def test_each_cause_ends_a_sentence(each: Cause) -> None:
    """They all stand behind "Probable cause:" and before a full stop."""
    assert each.label
    assert ":" not in each.label
    assert not each.label.endswith(".")
