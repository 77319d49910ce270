"""What a full Redis does to locks, as ``docs/operations.md`` has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from django.test import override_settings

from django_celery_once import LockUnavailable
from django_celery_once.locks import Lock, LockStore, Start, open_store
from testproject.redis_server import RedisServer
from tests.locks.stores import lock, running
from tests.outages import caches_at


@contextmanager
def full(policy: str) -> Iterator[tuple[LockStore, list[Lock]]]:
    """Take a hundred locks, half of them running, in a server that somebody else then fills."""
    with (
        RedisServer({"maxmemory": "4mb", "maxmemory-policy": policy}) as server,
        override_settings(CACHES=caches_at(server)),
        redis.Redis.from_url(server.url(9)) as other,
    ):
        store = open_store("locks")
        taken = [lock(f"once:t:{number}") for number in range(100)]
        assert [store.acquire(each, 600) for each in taken] == [None] * 100
        taken[:50] = [running(each) for each in taken[:50]]
        assert {store.start(each, 600)[0] for each in taken[:50]} == {Start.MINE}
        for size in (2000, 200, 20):  # to the last byte
            fill(other, size)
        other.config_set("maxmemory", "3mb")  # what idle buffers give back makes no room
        yield store, taken


def fill(client: redis.Redis, size: int) -> None:
    """Write values of so many bytes until no more are taken, or for long enough to evict."""
    for number in range(4000):
        try:
            client.set(f"page-{size}-{number}", "x" * size)
        except redis.exceptions.OutOfMemoryError:
            return


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl", "allkeys-lru"])
def test_an_evicting_server_drops_locks(policy: str) -> None:
    """Lose locks before their time under every policy but one, since each has a time-out."""
    with full(policy) as (store, taken):
        assert None in [store.inspect(each.key) for each in taken]


def test_a_full_server_that_evicts_nothing_is_an_outage() -> None:
    """Keep all locks, let nobody in, renew what runs, and free."""
    with full("noeviction") as (store, taken):
        assert None not in [store.inspect(each.key) for each in taken]
        for key in ("once:t:new", taken[0].key, taken[-1].key):
            with pytest.raises(LockUnavailable):
                store.acquire(lock(key), 600)
        with pytest.raises(LockUnavailable):
            store.start(running(taken[-1]), 600)
        assert {found for _lock, found in store.renew(taken[:50], 600)} == {Start.MINE}
        assert None not in [store.release(each) for each in taken]
