"""The lock store, by its verbs: what is proven, and what a broken store looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import redis

from django_celery_once.doctor import store as examinations
from django_celery_once.doctor.findings import Finding, State
from django_celery_once.doctor.probe import TASK, probing
from django_celery_once.keys import key_prefix
from django_celery_once.locks import Lock, LockStore, Start, open_store
from django_celery_once.locks.cache import CacheStore
from testproject.redis_server import RedisServer

ALL = [
    examinations.examine_round_trip,
    examinations.examine_stranger,
    examinations.examine_expiry,
]


class Broken(CacheStore):
    """A store in memory that breaks one promise, as an unfit cache would."""

    def __init__(self, promise: str) -> None:
        sound = open_store("locks_locmem")
        assert isinstance(sound, CacheStore)
        super().__init__(sound.alias, sound._cache)
        self.promise = promise

    def acquire(
        self,
        lock: Lock,
        timeout: float,
        replacing: Lock | None = None,
        *,
        hits: int = 1,
        follow: bool = False,
        ended: float = 0.0,
    ) -> Lock | None:
        """Refuse a free key, or forget that a lock must lapse."""
        if self.promise == "free keys are free":
            return lock
        kept = 60 if self.promise == "locks lapse" else timeout
        return super().acquire(lock, kept, replacing, hits=hits, follow=follow)

    def start(
        self, lock: Lock, lease: float, *, again: float | None = None, counted: bool = True
    ) -> tuple[Start, Lock | None]:
        """Forget what was taken."""
        if self.promise == "locks are kept":
            self.force_release(lock.key)
        return super().start(lock, lease, again=again, counted=counted)

    def release(self, lock: Lock, *, ended: float = 0.0) -> Lock | None:
        """Delete blindly, or only say so."""
        held = self.inspect(lock.key)
        if self.promise == "only the owner releases":
            return self.force_release(lock.key)
        return held if self.promise == "released is gone" else super().release(lock)


@pytest.mark.parametrize("examine", ALL, ids=lambda each: each.__name__)
@pytest.mark.parametrize("alias", ["locks", "locks_django", "locks_valkey", "locks_locmem"])
def test_a_sound_store_is_ok(alias: str, examine: Callable[[LockStore], Finding]) -> None:
    """Each proof succeeds, says what was seen and asks for nothing."""
    found = examine(open_store(alias))
    assert (found.state, found.advice) == (State.OK, "")


def test_the_round_trip_is_timed() -> None:
    """Each verb has its milliseconds."""
    seen = examinations.examine_round_trip(open_store("locks")).seen
    assert seen.count(" ms") == 4


@pytest.mark.parametrize(
    ("promise", "examine", "words"),
    [
        ("free keys are free", examinations.examine_round_trip, "refused as a duplicate"),
        ("locks are kept", examinations.examine_round_trip, "forgot a lock"),
        ("released is gone", examinations.examine_round_trip, "still there after its release"),
        ("only the owner releases", examinations.examine_stranger, "not its own"),
        ("locks lapse", examinations.examine_expiry, "was still there after 5"),
    ],
)
def test_a_broken_promise_is_wrong(
    promise: str, examine: Callable[[LockStore], Finding], words: str
) -> None:
    """The promise that is broken is told, with what to do."""
    found = examine(Broken(promise))
    assert found.state is State.WRONG
    assert words in found.seen
    assert found.advice


def fail_half_way(store: LockStore) -> None:
    """Take the probe and fail."""
    with probing(store) as lock:
        store.acquire(lock, 600)
        raise RuntimeError(f"held: {store.inspect(lock.key) is not None}")


def test_the_probe_is_gone_whatever_happens(redis_server: RedisServer) -> None:
    """An examination that fails half-way leaves no key."""
    with pytest.raises(RuntimeError, match="held: True"):
        fail_half_way(open_store("locks"))
    with redis.Redis.from_url(redis_server.url(1)) as client:
        assert client.keys() == []


def test_the_probe_takes_no_task_s_key() -> None:
    """Two doctors at a time do not meet, and no task is called so."""
    store = open_store("locks")
    with probing(store) as one, probing(store) as other:
        assert one.key.startswith(key_prefix(TASK))
        assert replace(one, key="", owner="", token="", since=0) == replace(
            other, key="", owner="", token="", since=0
        )
        assert one.key != other.key
