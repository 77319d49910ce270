"""Locks for people: finding them, telling the dead from the living, freeing what was seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.cache import caches
from kombu.exceptions import OperationalError

from django_celery_once import live
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, LockStore, Phase, open_store
from django_celery_once.signals import lock_released
from testproject.redis_server import RedisServer
from tests.celery_app import app
from tests.locks.stores import lock, running
from tests.outages import caches_at

KEY = "once:tests.report:k"


@pytest.fixture(params=["locks", "locks_locmem"])
def store(request: pytest.FixtureRequest, settings: Any) -> LockStore:
    """Return a store that lists its locks, and one that does not."""
    settings.DJANGO_CELERY_ONCE = {"CACHE": request.param, "LOG": False}
    return open_store(request.param)


@pytest.fixture
def released() -> Iterator[list[tuple[Lock, str]]]:
    """Return what ``lock_released`` told."""
    found: list[tuple[Lock, str]] = []

    def note(lock: Lock, outcome: str, **_signal: Any) -> None:
        found.append((lock, outcome))

    lock_released.connect(note)
    yield found
    lock_released.disconnect(note)


def hold(store: LockStore, key: str = KEY, **fields: Any) -> Lock:
    """Put a lock into the store and return its record."""
    assert store.acquire(lock(key, **fields), 600) is None
    return seen(store, key)


def seen(store: LockStore, key: str = KEY) -> Lock:
    """Return the record of a lock that is there."""
    found = store.inspect(key)
    assert found is not None
    return found


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the module logged."""
    return [each.message for each in caplog.records if each.name == live.__name__]


# ---- finding


def test_those_held_longest_come_first() -> None:
    """All locks are found, in order of age."""
    for since in (300.0, 100.0, 200.0):
        hold(open_store("locks"), f"once:t:{since}", since=since)
    found = live.find()
    assert found.complete
    assert [each.since for each in found.locks] == [100.0, 200.0, 300.0]


def test_the_locks_of_a_task() -> None:
    """Another task's are left out, also where its name begins alike."""
    for name in ("tests.report", "tests.report2"):
        hold(open_store("locks"), f"once:{name}:k", task=name)
    assert [each.task for each in live.find("tests.report").locks] == ["tests.report"]


def test_a_search_is_bounded() -> None:
    """It says where it stopped early."""
    for number in range(5):
        hold(open_store("locks"), f"once:t:{number}")
    found = live.find(limit=2)
    assert (len(found.locks), found.complete) == (2, False)
    assert not live.find(seconds=0).complete


def test_a_key_that_is_held(store: LockStore) -> None:
    """The lock under a key is found in every store."""
    held = hold(store)
    found = live.look_up(KEY)
    assert found is not None
    assert found.owner == held.owner
    assert live.look_up(f"{KEY}-other") is None


@pytest.mark.parametrize(
    "key", ["", "other", "once:", "once:a b", "once:ü", "\0", "once:" + "x" * 241]
)
def test_what_is_no_key(store: LockStore, key: str) -> None:
    """Nothing else of the cache is read."""
    if key == "other":
        caches[store.alias].set(key, {"no": "lock"}, 60)
    assert live.look_up(key) is None


def test_an_outage(settings: Any, spare_redis_server: RedisServer) -> None:
    """A search says so where the store is away, looking and freeing raise."""
    settings.CACHES = caches_at(spare_redis_server)
    held = hold(open_store("locks"))
    spare_redis_server.kill()
    assert [error.alias for error in live.find().outages] == ["locks"]
    with pytest.raises(LockUnavailable):
        live.look_up(KEY)
    with pytest.raises(LockUnavailable):
        live.free(held, by="ada")


# ---- the dead and the living


def test_a_queued_task_is_neither_alive_nor_lost(store: LockStore) -> None:
    """No worker has begun it."""
    held = hold(store)
    assert not live.is_living(held)
    assert not live.is_lost(held)


@pytest.mark.parametrize(("silence", "lives"), [(0, True), (60, True), (61, False), (6000, False)])
def test_a_worker_is_lost_after_a_lease(silence: float, lives: bool) -> None:
    """A worker lives that was heard of within ``LEASE``, however long its lock is kept."""
    held = lock(phase=Phase.RUNNING, lease=7200, remaining=7200 - silence)
    assert live.is_living(held) is lives
    assert live.is_lost(held) is not lives


# ---- freeing


def test_what_was_seen_is_freed(
    store: LockStore, released: list[tuple[Lock, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """The key is free; the signal and the log say why, and who did it."""
    held = hold(store)
    store.acquire(lock(KEY), 600)
    with caplog.at_level(logging.WARNING, "django_celery_once.live"):
        last = live.free(held, by="ada", reason="stuck")
    assert last is not None
    assert (last.owner, last.hits) == (held.owner, 1)
    assert store.inspect(KEY) is None
    assert [(each.owner, outcome) for each, outcome in released] == [(held.owner, "released")]
    assert logged(caplog) == [
        f"ada freed the lock {KEY} of tests.report[{held.owner}]: stuck",
    ]


def test_a_lock_without_a_reason_is_freed(
    store: LockStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A program has no reason to give."""
    held = hold(store)
    assert live.free(held, by="ada") is not None
    assert logged(caplog) == [f"ada freed the lock {KEY} of tests.report[{held.owner}]"]


def test_another_lock_stays(store: LockStore, released: list[tuple[Lock, str]]) -> None:
    """A successor's lock is not the one that was seen."""
    first = hold(store)
    store.release(first)
    second = hold(store)
    assert live.free(first, by="ada") is None
    assert seen(store).owner == second.owner
    store.release(second)
    assert live.free(second, by="ada") is None
    assert released == []


def test_a_run_that_was_not_seen_stays(store: LockStore) -> None:
    """A task that began since, or begins again, keeps its lock."""
    queued = hold(store)
    store.start(running(queued, "first"), 60)
    assert live.free(queued, by="ada") is None
    first = seen(store)
    assert live.free(replace(first, run="second"), by="ada") is None
    assert live.free(first, by="ada") is not None


# ---- revoking


@pytest.mark.parametrize(("phase", "terminate"), [(Phase.QUEUED, False), (Phase.RUNNING, True)])
def test_a_task_is_revoked(phase: Phase, terminate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that runs is ended, one that waits is dropped."""
    sent = []
    monkeypatch.setattr(
        app.control, "broadcast", lambda command, **options: sent.append((command, options))
    )
    live.revoke(lock(owner="task-id", phase=phase))
    [(command, options)] = sent
    assert command == "revoke"
    assert options["arguments"]["task_id"] == "task-id"
    assert options["arguments"]["terminate"] is terminate


def test_a_revoke_reaches_the_broker() -> None:
    """The message is published on a connection of its own."""
    live.revoke(lock())


def test_a_broker_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away is given up instead of being tried for ever."""
    for url in ("redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"):
        monkeypatch.setattr(app.conf, "broker_write_url", url)
        with pytest.raises(OperationalError, match="refused"):
            live.revoke(lock())
