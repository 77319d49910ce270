"""A release whose answer is lost is made again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from django_celery_once import AlreadyQueued, LockUnavailable, follow_ups, releases
from django_celery_once.locks import Lock, open_store
from testproject.redis_server import RedisServer
from tests.guarded_tasks import report
from tests.locks.stores import lock
from tests.outages import caches_at
from tests.test_leases import wait_until


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "PAUSE", 0.05)


@pytest.fixture
def server(spare_redis_server: RedisServer) -> Iterator[RedisServer]:
    """Return the server that holds the locks of one test."""
    with override_settings(CACHES=caches_at(spare_redis_server)):
        yield spare_redis_server


def test_a_release_returns_the_last_record() -> None:
    """Free the lock at once where the store answers."""
    mine = lock()
    open_store("locks").acquire(mine, 60)
    last = releases.release_or_later(mine, 60)
    assert last is not None
    assert last.owner == mine.owner


def test_a_frozen_store_releases_when_it_wakes(server: RedisServer) -> None:
    """Free the lock of a task whose end the store could not hear."""
    mine = lock()
    open_store("locks").acquire(mine, 600)
    server.freeze()
    assert releases.release_or_later(mine, 60) is None
    server.thaw()
    wait_until(lambda: open_store("locks").inspect(mine.key) is None, "the late release")


def test_a_lost_acquire_leaves_no_lock(server: RedisServer) -> None:
    """Take back what a frozen store carried out after its caller had given up."""
    mine = lock()
    open_store("locks").acquire(lock("once:t:other"), 60)  # a connection is open
    server.freeze()
    with pytest.raises(LockUnavailable):
        open_store("locks").acquire(mine, 600)
    releases.release_later(mine, 600)
    server.thaw()
    deadline = time.monotonic() + 2
    wait_until(lambda: open_store("locks").inspect(mine.key) is None, "the key free again")
    while time.monotonic() < deadline:
        assert open_store("locks").inspect(mine.key) is None, "the lock came back"
        time.sleep(0.02)


def test_a_command_that_comes_after_its_release_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Release once more: a lost command may be carried out after the first answer."""
    mine, store, late = lock(), open_store("locks"), threading.Event()
    release = follow_ups.release

    def overtake(*args: Any, **options: Any) -> Lock | None:
        last = release(*args, **options)
        if not late.is_set():
            store.acquire(mine, 60)
            late.set()
        return last

    monkeypatch.setattr(follow_ups, "release", overtake)
    releases.release_later(mine, 60)
    assert late.wait(20)
    wait_until(lambda: store.inspect(mine.key) is None, "the key free again")


def test_another_ones_lock_is_left_alone(server: RedisServer) -> None:
    """Compare the token, however late."""
    mine, theirs = lock(), lock()
    open_store("locks").acquire(theirs, 600)
    releases.release_later(mine, 60)
    wait_until(lambda: not releases._releases._waiting, "the end of the tries")
    assert open_store("locks").inspect(mine.key) is not None


def test_it_gives_up_when_the_lock_is_gone_by_itself(server: RedisServer) -> None:
    """Try no longer than the lock would have lived."""
    server.kill()
    releases.release_later(lock(), 0.2)
    wait_until(lambda: releases._releases._thread is None, "the end of the thread")


@pytest.mark.django_db
def test_a_call_that_met_a_frozen_store_leaves_no_lock(server: RedisServer) -> None:
    """See it from the outside: an error now, and the next call is accepted."""
    report.delay("other")
    server.freeze()
    with pytest.raises(LockUnavailable):
        report.delay("a")
    server.thaw()

    def accepted() -> bool:
        try:
            report.delay("a")
        except AlreadyQueued:
            return False
        return True

    wait_until(accepted, "the next call accepted")


def test_what_waits_is_bounded(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the oldest of too many, and all that have outlived their locks."""
    monkeypatch.setattr(releases, "PAUSE", 2.0)
    monkeypatch.setattr(releases, "MOST", 20)
    monkeypatch.setattr(releases, "_releases", releases._Releases())
    server.kill()
    for number in range(releases.MOST + 5):
        releases.release_later(lock(f"once:t:{number}"), 1.0)
    assert len(releases._releases._waiting) == releases.MOST
    wait_until(lambda: releases._releases._thread is None, "the end of the thread")
    assert not releases._releases._waiting
