"""What stores know of messages that have ended, on every cache that can hold locks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.core.cache import caches
from django.test import override_settings
from redis.crc import key_slot

from django_celery_once.locks import Lock, LockStore, Phase, Start, open_store
from django_celery_once.locks.cluster import ClusterStore
from django_celery_once.locks.redis import RedisStore
from tests.locks.stores import lock, running
from tests.locks.test_contract import found, store, wait_until

__all__ = ["store"]


def run(store: LockStore, *, copied: bool = False) -> Lock:
    """Hold a lock with the run of a message."""
    mine = lock()
    assert store.acquire(mine, 600) is None
    begun = replace(running(mine), copied=copied)
    assert store.start(begun, 60) == (Start.MINE, None)
    return begun


def copy_of(begun: Lock) -> Lock:
    """Return the lock that another run of the same message asks for."""
    return replace(begun, run="run-2")


def test_a_message_that_has_ended_begins_no_more(store: LockStore) -> None:
    """Say so to a copy, and leave the key free."""
    begun = run(store, copied=True)
    assert store.release(begun, ended=60) is not None
    for again in (None, 0.0):
        assert store.start(copy_of(begun), 60, again=again) == (Start.ENDED, None)
    assert store.inspect(begun.key) is None
    assert store.acquire(lock(), 60) is None


def test_a_copy_is_told_whoever_has_the_key(store: LockStore) -> None:
    """Leave the next holder's lock as it is, hits included."""
    begun = run(store, copied=True)
    store.release(begun, ended=60)
    other = lock()
    store.acquire(other, 60)
    assert store.start(copy_of(begun), 60) == (Start.ENDED, None)
    assert (found(store, begun.key).token, found(store, begun.key).hits) == (other.token, 0)


def test_what_has_no_copy_is_not_remembered(store: LockStore) -> None:
    """Keep nothing of a message that can't come again."""
    begun = run(store)
    store.release(begun, ended=60)
    assert store.start(copy_of(begun), 60) == (Start.TAKEN, None)


def test_what_may_come_again_by_right_is_not_remembered(store: LockStore) -> None:
    """Keep nothing where the message was rejected."""
    begun = run(store, copied=True)
    store.release(begun)
    assert store.start(copy_of(begun), 60) == (Start.TAKEN, None)


def test_an_end_can_be_forgotten(store: LockStore) -> None:
    """Let a message begin again that was to be carried on by another, which was not sent."""
    begun = run(store, copied=True)
    retry = lock(begun.key)
    assert store.acquire(retry, 60, begun, ended=60) is None
    assert store.start(copy_of(begun), 60) == (Start.ENDED, None)
    store.forget(begun)
    store.release(retry)
    assert store.start(copy_of(begun), 60) == (Start.TAKEN, None)


def test_a_copy_that_meets_the_first_makes_its_end_known(store: LockStore) -> None:
    """Remember it though the run knew of no copy, also past its renewals."""
    begun = run(store)
    assert store.start(copy_of(begun), 60)[0] is Start.ELSEWHERE
    assert store.renew([begun], 60) == [(begun, Start.MINE)]
    assert not found(store, begun.key).sent_back
    store.release(replace(begun, run=""), ended=60)
    assert store.start(copy_of(begun), 60, again=0.0) == (Start.ENDED, None)


def test_an_end_is_known_though_the_lock_was_lost(store: LockStore) -> None:
    """Remember it where another has the key by then."""
    begun = run(store, copied=True)
    store.force_release(begun.key)
    store.acquire(lock(), 60)
    assert store.release(begun, ended=60) is None
    assert store.start(copy_of(begun), 60) == (Start.ENDED, None)


def test_a_retry_ends_the_message_before_it(store: LockStore) -> None:
    """Let the next message in, and no copy of the last one."""
    begun = run(store, copied=True)
    retry = lock(owner=begun.owner)
    assert store.acquire(retry, 600, begun, ended=60) is None
    assert not found(store, begun.key).copied
    assert store.start(copy_of(begun), 60) == (Start.ENDED, None)
    assert store.start(running(retry), 60) == (Start.MINE, None)
    store.release(running(retry), ended=60)
    assert store.start(copy_of(begun), 60) == (Start.ENDED, None)


def test_a_message_put_back_has_not_ended(store: LockStore) -> None:
    """Let it begin again under its token."""
    begun = run(store, copied=True)
    back = replace(begun, run="", started=0.0, phase=Phase.QUEUED)
    assert store.acquire(back, 600, begun, ended=60) is None
    assert store.start(copy_of(begun), 60) == (Start.MINE, None)


def test_a_renewal_asks_for_no_end(store: LockStore) -> None:
    """Take a lock back that its run still believes in."""
    begun = run(store, copied=True)
    store.release(begun, ended=60)
    assert store.renew([begun], 60) == [(begun, Start.TAKEN)]


def test_an_end_is_forgotten_in_time(store: LockStore) -> None:
    """Keep it no longer than it is asked to be kept."""
    begun = run(store, copied=True)
    store.release(begun, ended=1)
    wait_until(lambda: store.start(copy_of(begun), 60)[0] is Start.TAKEN)


def test_an_end_is_no_lock(store: LockStore) -> None:
    """Show it in no list and under no key."""
    if not isinstance(store, RedisStore):
        pytest.skip("this cache lists nothing")
    begun = run(store, copied=True)
    store.release(begun, ended=60)
    assert store.scan().locks == ()


def test_a_lock_whose_message_has_expired_says_so(store: LockStore) -> None:
    """Tell whoever asks for the key, and count no duplicate of what runs no more."""
    expired = lock(grace=600)
    store.acquire(expired, 600)
    held = store.acquire(lock(), 600)
    assert held is not None
    assert (held.expired, held.hits) == (True, 0)
    fresh = lock(key="once:tests.report:fresh", grace=1)
    store.acquire(fresh, 600)
    held = store.acquire(lock(key=fresh.key), 600)
    assert held is not None
    assert (held.expired, held.hits) == (False, 1)


def test_a_run_does_not_expire(store: LockStore) -> None:
    """Forget of a run when its message would have expired, also where it is put back."""
    expired = lock(grace=600)
    store.acquire(expired, 600)
    begun = running(expired)
    store.start(begun, 60)
    assert not found(store, begun.key).expired
    store.acquire(replace(expired, grace=0.0), 600, begun)
    assert not found(store, begun.key).expired


@pytest.mark.parametrize(
    "prefix", ["", "{locks}", "a{locks}b", "{", "a{b", "{}", "a}b", "{}{x}", "}{locks}"]
)
def test_an_end_is_in_the_slot_of_its_lock(prefix: str) -> None:
    """Give a cluster two keys of one slot, or one key where no tag can say that."""
    with override_settings(CACHES={**caches.settings, "locks": _with_prefix(prefix)}):
        name = open_store("locks").name_of("once:tests.report:k")
    end = ClusterStore("locks", caches["locks"])._end_of(name, "token")
    assert end == "" or key_slot(end.encode()) == key_slot(name.encode())
    assert bool(end) == (prefix not in {"{}", "a}b", "{}{x}"})


def _with_prefix(prefix: str) -> dict[str, object]:
    return {**caches.settings["locks"], "KEY_PREFIX": prefix}
