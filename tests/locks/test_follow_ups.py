"""What takes a key's place when it is released, on every cache that can hold locks."""

from __future__ import annotations

import time
from dataclasses import replace

from django_celery_once.locks import Lock, LockStore, Phase, Start
from django_celery_once.locks.redis import RedisStore
from tests.locks.stores import lock, running
from tests.locks.test_contract import found, store, wait_until

__all__ = ["store"]


def take(store: LockStore, lease: float = 60) -> Lock:
    """Hold a lock with a run."""
    mine = lock()
    assert store.acquire(mine, 600) is None
    run = running(mine)
    assert store.start(run, lease) == (Start.MINE, None)
    return run


def follow(store: LockStore, call: str = "", label: str = "May report") -> Lock:
    """Ask for a lock to follow the holder's."""
    following = lock(call=call, label=label)
    assert store.acquire(following, 300, follow=True) is not None
    return following


def test_a_free_key_is_taken_by_who_would_follow(store: LockStore) -> None:
    """Follow nobody, and keep no call."""
    mine = lock(call="words")
    assert store.acquire(mine, 600, follow=True) is None
    assert (found(store, mine.key).owner, found(store, mine.key).call) == (mine.owner, "")


def test_the_first_who_asks_follows(store: LockStore) -> None:
    """Tell those who come later who it is; count them all."""
    run = take(store)
    first = lock()
    holder = store.acquire(first, 300, follow=True)
    assert holder is not None
    assert holder.follow_up is not None
    assert (holder.owner, holder.follow_up.owner, holder.hits) == (run.owner, first.owner, 1)
    holder = store.acquire(lock(), 300, follow=True)
    assert holder is not None
    assert holder.follow_up is not None
    assert (holder.follow_up.owner, holder.hits) == (first.owner, 2)


def test_the_newest_call_is_kept(store: LockStore) -> None:
    """Keep the first one's place, the newest one's call and words."""
    run = take(store)
    first = follow(store, "old", "April report")
    follow(store, "new")
    follow(store)  # one without a call changes nothing
    held = found(store, run.key).follow_up
    assert held is not None
    assert (held.owner, held.token, held.since) == (first.owner, first.token, first.since)
    assert (held.call, held.label) == ("new", "May report")


def test_a_released_lock_goes_to_its_follow_up(store: LockStore) -> None:
    """Hand the key on at once, under a new token where the call has yet to be published."""
    run = take(store)
    first = follow(store, "words")
    last = store.release(run)
    assert last is not None
    assert last.follow_up is not None
    assert last.follow_up.call == "words"
    assert last.follow_up.previous == first.token
    held = found(store, run.key)
    assert (held.owner, held.phase, held.hits, held.run) == (first.owner, Phase.QUEUED, 0, "")
    assert held.token == last.follow_up.token != first.token
    assert held.follow_up is None
    assert 290 < held.remaining <= 300
    assert store.release(run) is None
    assert store.start(running(first), 60)[0] is Start.ANOTHER
    assert store.start(running(last.follow_up), 60) == (Start.MINE, None)
    assert found(store, run.key).call == ""


def test_a_message_of_its_own_keeps_its_token(store: LockStore) -> None:
    """Start with it when the key is its own."""
    run = take(store)
    following = follow(store)
    early = running(following)
    state, holder = store.start(early, 60)
    assert (state, holder and holder.owner) == (Start.FOLLOWS, run.owner)
    assert store.release(run) is not None
    assert store.start(early, 60) == (Start.MINE, None)


def test_a_follow_up_is_withdrawn(store: LockStore) -> None:
    """Take it back where its message could not be sent; the holder stays."""
    run = take(store)
    following = follow(store, "words")
    assert store.release(following) is None
    assert found(store, run.key).follow_up is None
    assert store.release(run) is not None
    assert store.inspect(run.key) is None


def test_a_lock_that_is_freed_by_force_is_free(store: LockStore) -> None:
    """People free a key whatever waits for it."""
    run = take(store)
    follow(store, "words")
    assert store.force_release(run.key) is not None
    assert store.inspect(run.key) is None


def test_a_follow_up_outlives_the_lease(store: LockStore) -> None:
    """Keep it for its own time where the worker has died, and tell that by its silence."""
    run = take(store, 1)
    follow(store, "words")
    held = found(store, run.key)
    assert 290 < held.remaining <= 300
    assert not held.blocks
    wait_until(lambda: found(store, run.key).blocks)
    assert store.renew([run], 1) == [(run, Start.MINE)]
    held = found(store, run.key)
    assert not held.blocks
    assert held.silence < 1
    assert held.remaining > 290


def test_the_follow_up_of_a_queued_call(store: LockStore) -> None:
    """Leave the time of a lock whose task was not begun, and keep who follows it."""
    mine = lock()
    store.acquire(mine, 100)
    following = follow(store, "words")
    assert found(store, mine.key).remaining <= 100
    store.start(running(mine), 1)
    held = found(store, mine.key)
    assert held.follow_up is not None
    assert held.follow_up.owner == following.owner
    assert held.remaining > 90
    assert abs(held.seen - time.time()) < 30


def test_a_retry_keeps_who_follows(store: LockStore) -> None:
    """Move it with the lock, also to another task."""
    run = take(store)
    following = follow(store, "words")
    retry = replace(lock(), owner=run.owner)
    assert store.acquire(retry, 60, replacing=run) is None
    another = lock()
    assert store.acquire(another, 60, replacing=retry) is None
    last = store.release(another)
    assert last is not None
    assert last.follow_up is not None
    assert last.follow_up.owner == following.owner


def test_blocked_locks_are_found(store: LockStore) -> None:
    """Name those whose run has died, where the cache has sets."""
    run = take(store, 2)
    follow(store, "words")
    assert store.blocked() == []
    wait_until(lambda: found(store, run.key).blocks)
    names = [each.key for each in store.blocked()]
    assert names == ([run.key] if isinstance(store, RedisStore) else [])
    store.release(run)
    assert store.blocked() == []


def test_a_message_that_looks_lengthens_a_running_lock_only(store: LockStore) -> None:
    """Let the lock of a call that is never begun, or has ended, lapse in its time."""
    mine = lock()
    store.acquire(mine, 10)
    early = running(follow(store, "words"))
    assert store.start(early, 60)[0] is Start.FOLLOWS
    assert found(store, mine.key).remaining <= 10
    store.start(running(mine), 5)
    assert store.start(early, 60)[0] is Start.FOLLOWS
    assert 230 < found(store, mine.key).remaining <= 240


def test_a_follow_up_does_not_expire(store: LockStore) -> None:
    """Know of no expiry of a message whose time begins when it has the key."""
    run = take(store)
    following = lock(grace=300)
    assert store.acquire(following, 300, follow=True) is not None
    store.release(run)
    assert found(store, run.key).owner == following.owner
    assert not found(store, run.key).expired
