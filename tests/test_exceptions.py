"""What a caller catches, also after it went through pickle or a result backend."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import pytest
from celery import states

from django_celery_once import AlreadyQueued, LockUnavailable
from django_celery_once.exceptions import CeleryOnceError
from tests.celery_app import app

SINCE = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def full() -> AlreadyQueued:
    """Return an exception with every field set."""
    return AlreadyQueued(
        12.5,
        task_name="reports.send",
        key="once:reports.send:abc",
        task_id="id-1",
        phase="running",
        since=SINCE,
        label="May report",
        requested_by="7",
        alias="locks",
        begins=SINCE,
        visitor="c" * 32,
    )


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_every_field(protocol: int) -> None:
    """A pickled exception comes back whole."""
    again = pickle.loads(pickle.dumps(full(), protocol))  # noqa: S301
    assert type(again) is AlreadyQueued
    assert vars(again) == vars(full())
    assert len(vars(again)) == 12
    assert str(again) == str(full())


def test_copy_keeps_every_field() -> None:
    """A copied exception is as good as the first."""
    assert vars(copy.copy(full())) == vars(full())


def test_json_result_backend_keeps_countdown_and_message() -> None:
    """What a JSON result backend returns can be caught, read and shown."""
    app.backend.store_result("json-1", full(), states.FAILURE)
    again = app.AsyncResult("json-1").result
    assert isinstance(again, AlreadyQueued)
    assert again.countdown == 12.5
    assert str(again) == full().message


def test_the_spelling_of_celery_once() -> None:
    """``AlreadyQueued(60)`` has a countdown and a sentence that makes sense."""
    error = AlreadyQueued(60)
    assert error.countdown == 60
    assert str(error) == "The task is already queued; its lock expires in 60 seconds."
    assert (error.task_name, error.since) == ("", None)


def test_message_says_who_holds_what() -> None:
    """The message names task, phase, holder, key and the time left."""
    assert str(full()) == (
        "reports.send is already running as task id-1; "
        "its lock once:reports.send:abc is renewed while it runs."
    )
    waiting = AlreadyQueued(12.5, task_name="reports.send", key="k", task_id="id", phase="queued")
    assert str(waiting) == (
        "reports.send is already queued as task id; its lock k has 12.5 seconds left."
    )


def test_own_message_wins() -> None:
    """A message that is given is not overwritten."""
    assert str(AlreadyQueued(1, "Come back later", task_name="reports.send")) == "Come back later"


def test_lock_unavailable_survives_pickle() -> None:
    """An outage keeps alias, key and message through pickle."""
    error = LockUnavailable(alias="locks", key="once:a:b")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert vars(again) == vars(error)
    assert str(again) == "The lock store (cache 'locks') can't be reached."


def test_an_outage_is_not_a_duplicate() -> None:
    """The two errors share their base and nothing else."""
    assert issubclass(AlreadyQueued, CeleryOnceError)
    assert issubclass(LockUnavailable, CeleryOnceError)
    assert not issubclass(LockUnavailable, AlreadyQueued)


def test_a_key_that_is_kept_says_so() -> None:
    """A call that has run, and may not again before its time is up."""
    error = AlreadyQueued(
        12.5, task_name="reports.send", key="once:reports.send:abc", task_id="id-1", phase="kept"
    )
    assert str(error) == (
        "reports.send has run as task id-1, and does so at most once in its time; its lock "
        "once:reports.send:abc is kept for 12.5 seconds more."
    )
