"""Leases are renewed until they are dropped, and a loss is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.test import override_settings

from django_celery_once import leases
from django_celery_once.leases import Lease
from django_celery_once.locks import Lock, Phase, Start, open_store
from testproject.redis_server import RedisServer
from tests.locks.stores import lock, running
from tests.outages import caches_at


def wait_until(true: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Wait for another thread or process, boundedly."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"never seen: {what}"
        time.sleep(0.01)


class Losses:
    """A callback that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def __call__(self, lost: Lock, retaken: bool) -> None:
        self.seen.append((lost.owner, retaken))


def started(seconds: float = 0.6, **fields: str) -> tuple[Lease, Losses]:
    """Return the lease of a run that has just begun, and what it loses."""
    losses = Losses()
    mine = running(lock(**fields))
    store = open_store("locks")
    store.acquire(replace(mine, run="", phase=Phase.QUEUED), 60)
    store.start(mine, seconds)
    return Lease(mine, seconds, seconds / leases.RENEWALS, losses), losses


def outlived(lease: Lease, seconds: float) -> None:
    """Watch the lock for some time, in which it must never be away."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert open_store("locks").inspect(lease.lock.key) is not None, "the lock lapsed"
        time.sleep(0.02)


def test_a_held_lease_does_not_lapse() -> None:
    """Keep the lock for several times its lease, and let it lapse once dropped."""
    lease, losses = started()
    leases.hold(lease)
    outlived(lease, 2)
    leases.drop(lease)
    store = open_store("locks")
    wait_until(lambda: store.inspect(lease.lock.key) is None, "the end of a dropped lease")
    assert losses.seen == []


def test_a_shorter_lease_is_renewed_in_time() -> None:
    """Wake the thread when a lease comes that is shorter than its pause."""
    long, _losses = started(60, key="once:t:long")
    short, _losses = started(0.6, key="once:t:short")
    leases.hold(long)
    leases.hold(short)
    outlived(short, 1.5)
    leases.drop(long)
    leases.drop(short)


def test_a_lock_that_is_gone_is_taken_back_and_told() -> None:
    """Notice a flushed store, and hold the key again."""
    lease, losses = started()
    leases.hold(lease)
    store = open_store("locks")
    store.force_release(lease.lock.key)
    wait_until(lambda: bool(losses.seen), "the loss")
    assert losses.seen == [(lease.lock.owner, True)]
    back = store.inspect(lease.lock.key)
    assert back is not None
    assert (back.owner, back.run) == (lease.lock.owner, lease.lock.run)
    assert lease.held
    leases.drop(lease)


def test_anothers_lock_is_left_alone_and_told_once() -> None:
    """Stop renewing when another task has the key."""
    lease, losses = started()
    store = open_store("locks")
    store.force_release(lease.lock.key)
    thief = lock(lease.lock.key)
    store.acquire(thief, 60)
    leases.hold(lease)
    wait_until(lambda: bool(losses.seen), "the loss")
    outlived(lease, 1)
    leases.drop(lease)
    assert losses.seen == [(lease.lock.owner, False)]
    assert not lease.held
    held = store.inspect(lease.lock.key)
    assert held is not None
    assert (held.owner, held.hits) == (thief.owner, 0)


def test_an_outage_is_survived(
    spare_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Go on renewing when the store is back, and take the lock that it forgot."""
    with override_settings(CACHES=caches_at(spare_redis_server)):
        lease, losses = started()
        leases.hold(lease)
        spare_redis_server.kill()
        wait_until(lambda: "renewing 1 leases again later" in caplog.text, "the outage")
        spare_redis_server.restart()
        wait_until(lambda: losses.seen == [(lease.lock.owner, True)], "the lock taken back")
        leases.drop(lease)


def test_the_thread_ends_with_the_last_lease() -> None:
    """Leave no thread behind in a process that runs nothing."""

    renewal = leases.Renewal()
    lease, _losses = started(0.3)
    before = set(threading.enumerate())
    renewal.add(lease)
    (thread,) = set(threading.enumerate()) - before
    renewal.remove(lease, settle=False)
    thread.join(10)
    assert not thread.is_alive()


def test_a_release_during_a_renewal_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free the lock for good although its renewal was on the way and took it back."""
    lease, losses = started()
    store = open_store("locks")
    released = threading.Event()
    original = type(store).renew

    def late(self: object, locks: list[Lock], seconds: float) -> object:
        leases.drop(lease)
        store.release(lease.lock)
        found = original(self, locks, seconds)  # type: ignore[arg-type]
        assert store.inspect(lease.lock.key) is not None, "the renewal should have taken it"
        released.set()
        return found

    monkeypatch.setattr(type(store), "renew", late)
    leases.hold(lease)
    assert released.wait(10)
    wait_until(lambda: store.inspect(lease.lock.key) is None, "the lock freed again")
    assert losses.seen == []


def test_a_lock_that_a_renewal_took_after_the_end_is_released() -> None:
    """Leave no lock behind where a renewal was under way when its run ended."""
    lease, losses = started(30)
    leases._renewal._note(lease, Start.TAKEN)
    assert open_store("locks").inspect(lease.lock.key) is None
    assert losses.seen == []
