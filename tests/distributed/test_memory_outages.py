"""What a full Redis does to locks, as ``docs/operations.md`` has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from django.test import override_settings

from django_celery_once import LockUnavailable
from django_celery_once.locks import Lock, LockStore, open_store
from testproject.redis_server import RedisServer
from tests.locks.stores import lock
from tests.outages import caches_at


@contextmanager
def full(policy: str) -> Iterator[tuple[LockStore, list[Lock]]]:
    """Take a hundred locks in a server whose memory somebody else then fills."""
    with (
        RedisServer({"maxmemory": "4mb", "maxmemory-policy": policy}) as server,
        override_settings(CACHES=caches_at(server)),
        redis.Redis.from_url(server.url(9)) as other,
    ):
        store = open_store("locks")
        taken = [lock(f"once:t:{number}") for number in range(100)]
        assert [store.acquire(each, 600) for each in taken] == [None] * 100
        for number in range(4000):
            try:
                other.set(f"page-{number}", "x" * 2000)
            except redis.exceptions.OutOfMemoryError:
                break
        yield store, taken


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl", "allkeys-lru"])
def test_an_evicting_server_drops_locks(policy: str) -> None:
    """Lose locks before their time under every policy but one, since each has a time-out."""
    with full(policy) as (store, taken):
        assert None in [store.inspect(each.key) for each in taken]


def test_a_full_server_that_evicts_nothing_is_an_outage() -> None:
    """Keep all locks, take no new one, and still refuse and free."""
    with full("noeviction") as (store, taken):
        assert None not in [store.inspect(each.key) for each in taken]
        with pytest.raises(LockUnavailable):
            store.acquire(lock("once:t:new"), 600)
        assert None not in [store.release(each) for each in taken]
