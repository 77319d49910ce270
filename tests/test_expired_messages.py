"""Calls whose message expires before a worker takes it: their key is to be had then."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from django_celery_once import AlreadyQueued
from django_celery_once.locks import Start, open_store
from django_celery_once.signals import Outcome, Rejection, lock_released
from tests.guarded_tasks import held, report
from tests.locks.stores import running

KEY = "ada@example.org"


@pytest.fixture
def released() -> Iterator[list[tuple[str, Outcome]]]:
    """Collect whose locks are freed, and why."""
    seen: list[tuple[str, Outcome]] = []

    def note(lock: Any, outcome: Outcome, **_signal: Any) -> None:
        seen.append((lock.owner, outcome))

    lock_released.connect(note)
    yield seen
    lock_released.disconnect(note)


def call(seconds: float, **options: Any) -> Any:
    """Queue a call that expires in so many seconds, or has."""
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return report.apply_async((KEY,), expires=expires, **options)


@pytest.mark.parametrize("policy", ["raise", "reject", "join", "wait"])
def test_the_next_call_is_accepted(
    released: list[tuple[str, Outcome]], rejections: list[Rejection], policy: str
) -> None:
    """Take the key of what runs no more, as if it had been revoked, and refuse nobody."""
    old = call(-1)
    new = report.apply_async((KEY,), once={"on_duplicate": policy})
    lock = held(report.once_key(KEY))
    assert (lock.owner, lock.hits) == (new.id, 0)
    assert (released, rejections) == ([(old.id, Outcome.REVOKED)], [])
    with pytest.raises(AlreadyQueued):
        report.delay(KEY)


def test_a_run_more_is_the_next_call() -> None:
    """Let a call that would follow take its place."""
    old = call(-1)
    new = report.apply_async((KEY,), once={"on_duplicate": "rerun"})
    assert new.id != old.id
    assert held(report.once_key(KEY)).owner == new.id


def test_a_reservation_is_accepted() -> None:
    """Take the key before there is a message, too."""
    call(-1)
    with report.reserve(KEY) as reserved:
        assert held(report.once_key(KEY)).owner == reserved.task_id


def test_a_key_that_is_kept_for_its_time_is_free() -> None:
    """Keep no key for a call that never ran."""
    call(-1, once={"until": "expired", "timeout": 600})
    assert report.delay(KEY).id


@pytest.mark.parametrize(
    "options", [{"expires": 600}, {"expires": 600, "countdown": 60}, {"expires": None}]
)
def test_what_may_still_run_keeps_its_key(options: dict[str, Any]) -> None:
    """Refuse duplicates until a message has expired."""
    report.apply_async((KEY,), **options)
    with pytest.raises(AlreadyQueued):
        report.delay(KEY)


def test_a_run_keeps_its_key_past_its_expiry() -> None:
    """Refuse duplicates of what has begun in time, also where its start was not seen."""
    call(-1)
    lock = held(report.once_key(KEY))
    store = open_store("locks")
    assert store.start(running(lock), 60) == (Start.MINE, None)
    with pytest.raises(AlreadyQueued):
        report.delay(KEY)
    assert store.release(replace(lock, run="none")) is None


def test_a_message_that_comes_too_late_runs_beside_nobody() -> None:
    """Find another at its key."""
    call(-1)
    old = held(report.once_key(KEY))
    new = report.delay(KEY)
    found, holder = open_store("locks").start(running(old), 60)
    assert holder is not None
    assert (found, holder.owner) == (Start.ANOTHER, new.id)
