"""Calls of the tests' tasks, and what is seen of their locks."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

from kombu.exceptions import OperationalError

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.claims import alias_of
from django_celery_once.locks import Lock, LockStore, open_store
from tests.integration.referee import events
from tests.integration.workers import wait_until

_numbers = itertools.count()


def new_name(of: str = "call") -> str:
    """Return a name, and so a key, that no other call has."""
    return f"{of}-{os.getpid()}-{next(_numbers)}"


def lock_of(task: QueueOnce, name: str) -> Lock | None:
    """Return the lock that a call's key has now."""
    return _store_of(task).inspect(task.once_key(name))


def _store_of(task: QueueOnce) -> LockStore:
    return open_store(alias_of(task.once_options()))


def refused(task: QueueOnce, name: str) -> bool:
    """Ask for the call again; return whether it was refused as a duplicate.

    One that was let in, as after the end of a run, is taken back, also where the connection to
    its broker turns out to be dead.
    """
    try:
        let_in = task.apply_async((name,), queue="nobody-listens", expires=60)
    except AlreadyQueued:
        return True
    except OperationalError:
        return False
    lock = lock_of(task, name)
    if lock is not None and lock.owner == let_in.id:
        _store_of(task).release(lock)
    return False


def refused_until(task: QueueOnce, name: str, event: str, times: int) -> None:
    """Ask for the call until its runs have done something so often; never be let in."""
    deadline = time.monotonic() + 60
    while events(name).count(event) < times:
        let_in = not refused(task, name)
        assert not let_in or events(name).count(event) >= times, "a duplicate was let in"
        assert time.monotonic() < deadline, f"{event!r} of {name} never seen {times} times"
        time.sleep(0.1)


def refused_for(task: QueueOnce, name: str, seconds: float) -> None:
    """Ask for the call for some time; never be let in."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert refused(task, name), "a duplicate was let in"
        time.sleep(0.1)


def wait_for_event(name: str, event: str, times: int = 1, seconds: float = 20) -> None:
    """Wait until the call's runs have done something so many times."""
    wait_until(
        lambda: events(name).count(event) >= times, f"{event!r} of {name}, {times} times", seconds
    )


def wait_until_free(task: QueueOnce, name: str, seconds: float = 10) -> None:
    """Wait until nobody holds the call's key."""
    wait_until(lambda: lock_of(task, name) is None, f"the key of {name} free", seconds)


def value(result: Any, seconds: float = 20) -> Any:
    """Return what a task returned; raise what it raised."""
    return result.get(timeout=seconds, disable_sync_subtasks=False)
