"""Calls that have waited for long, whose message is in a queue, at a worker or nowhere."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kombu import Queue

from django_celery_once.doctor import waiting
from django_celery_once.doctor.findings import Finding, State
from django_celery_once.locks import open_store
from tests.integration.app import app
from tests.integration.calls import lock_of, new_name
from tests.integration.tasks import play
from tests.integration.workers import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _one_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tasks, which the tests' other app has as well, belong to this one."""
    monkeypatch.setattr(waiting, "app_of", lambda _task: app)


def old_call(**options: Any) -> str:
    """Queue a call as if it had been half an hour ago; return its key."""
    name = new_name()
    play.apply_async((name, "sleep", 0.0), **options)
    lock, store = lock_of(play, name), open_store("locks")
    assert lock is not None
    long_ago = time.time() - 1800
    times = {"since": long_ago, "begins": long_ago}
    store._primary().hset(store.name_of(lock.key), mapping=times)  # type: ignore[attr-defined]
    return lock.key


def examine() -> Finding:
    (found,) = waiting.examine_waiting()
    return found


def purge() -> None:
    """Empty the queue."""
    with app.connection_for_write() as connection:
        for name in app.amqp.queues:
            Queue(name)(connection.default_channel).purge()


def test_a_purged_queue(any_broker: str) -> None:
    """Two calls have one message, then none; a call of just now is no matter."""
    play.delay(new_name())
    assert examine().state is State.OK
    purge()
    key = old_call()
    found = examine()
    assert found.state is State.WARNING
    assert f"messages wait in {app.conf.task_default_queue}, and no worker" in found.seen
    assert key in found.seen
    purge()
    other = old_call()
    found = examine()
    assert (found.state, "no message for 1 of them" in found.seen) == (State.WARNING, True)
    purge()
    found = examine()
    assert (found.state, ": no message is in the queues" in found.seen) == (State.WARNING, True)
    assert key in found.seen
    assert other in found.seen
    assert "release their keys" in found.advice


@pytest.mark.parametrize("worker", ["redis prefork"], indirect=True)
def test_a_message_that_a_worker_has(worker: object) -> None:
    """It is in no queue, and comes all the same."""
    key = old_call(countdown=600)

    def is_taken() -> bool:
        with app.connection_for_write() as connection:
            return not any(waiting._messages(connection, name) for name in app.amqp.queues)

    wait_until(is_taken, "the worker takes the message")
    assert examine().state is State.OK
    lock = open_store("locks").force_release(key)
    assert lock is not None
    app.control.revoke(lock.owner)


def test_a_broker_that_is_away(any_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell then."""
    old_call()
    purge()
    monkeypatch.setattr(waiting, "_look", fail)
    found = examine()
    assert (found.state, "can't be asked (away)" in found.seen) == (State.NOT_EXAMINED, True)


def fail(*_args: object) -> None:
    raise OSError("away")
