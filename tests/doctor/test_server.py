"""What a server's INFO means for locks."""

from __future__ import annotations

from typing import Any

import pytest

from django_celery_once.doctor import server
from django_celery_once.doctor.findings import State
from django_celery_once.locks import open_store
from django_celery_once.locks.redis import RedisStore
from testproject.redis_server import RedisServer
from tests.outages import caches_at


@pytest.mark.parametrize(
    ("info", "state", "words"),
    [
        ({"redis_version": "3.2.12"}, State.WRONG, "Redis 3.2.12 is too old"),
        ({"redis_version": "4.0.14"}, State.WRONG, "too old"),
        ({"redis_version": "5.0.14"}, State.WARNING, "can't list them"),
        ({"redis_version": "6.0.0"}, State.OK, "Redis 6.0.0."),
        ({"redis_version": "8.2.1"}, State.OK, "Redis 8.2.1."),
        ({"redis_version": "255.255.255"}, State.OK, "Redis 255"),
        (
            {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.0.1"},
            State.OK,
            "Valkey 8.0.1, as Redis 7.2.4.",
        ),
        ({"redis_version": "unstable"}, State.NOT_EXAMINED, "does not tell"),
        ({}, State.NOT_EXAMINED, "does not tell"),
    ],
)
def test_version(info: dict[str, Any], state: State, words: str) -> None:
    """5.0 runs the scripts, 6.0 lists the locks; forks count by the Redis they speak."""
    found = server.examine_version(info)
    assert found.state is state
    assert words in found.seen


@pytest.mark.parametrize(
    ("policy", "limit", "state"),
    [
        ("noeviction", 0, State.OK),
        ("noeviction", 2_000_000, State.OK),
        ("allkeys-lru", 2_000_000, State.WRONG),
        ("allkeys-lru", 0, State.WARNING),
        ("volatile-lru", 2_000_000, State.WRONG),
        ("volatile-ttl", 2_000_000, State.WRONG),
        ("volatile-ttl", 0, State.WARNING),
        ("", 0, State.NOT_EXAMINED),
    ],
)
def test_eviction(policy: str, limit: int, state: State) -> None:
    """Locks have a time-out, so that volatile-* drops them, too, once memory is limited."""
    found = server.examine_eviction({"maxmemory_policy": policy, "maxmemory": limit})
    assert found.state is state
    assert bool(found.advice) is (state in (State.WRONG, State.WARNING))


def test_keys_that_were_dropped_already_are_told() -> None:
    """What happened says more than what may."""
    info = {"maxmemory_policy": "allkeys-lru", "maxmemory": 1, "evicted_keys": 12}
    assert "12 keys dropped since" in server.examine_eviction(info).seen


@pytest.mark.parametrize(
    ("info", "state", "words"),
    [
        ({"role": "master", "connected_slaves": 0}, State.OK, "without replicas"),
        ({"role": "master", "connected_slaves": 1}, State.OK, "of 1 replica;"),
        ({"role": "master", "connected_slaves": 2}, State.OK, "of 2 replicas;"),
        ({"role": "slave"}, State.WRONG, "is a replica"),
        ({}, State.NOT_EXAMINED, "role"),
    ],
)
def test_replication(info: dict[str, Any], state: State, words: str) -> None:
    """A replica takes no locks; a primary's replicas may lag."""
    found = server.examine_replication(info)
    assert found.state is state
    assert words in found.seen


@pytest.mark.parametrize(
    ("info", "state", "words"),
    [
        ({"aof_enabled": 1}, State.OK, "survive"),
        ({"aof_enabled": 0}, State.OK, "no append-only file"),
        ({}, State.NOT_EXAMINED, "does not tell"),
    ],
)
def test_persistence(info: dict[str, Any], state: State, words: str) -> None:
    """It is told, not judged."""
    found = server.examine_persistence(info)
    assert found.state is state
    assert words in found.seen


@pytest.mark.parametrize("alias", ["locks", "locks_django", "locks_valkey"])
def test_a_real_server_tells_all_that_is_asked(alias: str) -> None:
    """The names that are read are those of a real server."""
    store = open_store(alias)
    assert isinstance(store, RedisStore)
    info = store.server()
    examinations = [
        server.examine_version,
        server.examine_eviction,
        server.examine_replication,
        server.examine_persistence,
    ]
    assert [examine(info).state for examine in examinations] == [State.OK] * 4


def test_a_real_server_that_evicts(settings: Any) -> None:
    """volatile-lru under a limit, as the server itself tells it."""
    options = {"maxmemory": "3mb", "maxmemory-policy": "volatile-lru", "appendonly": "yes"}
    with RedisServer(options) as evicting:
        settings.CACHES = caches_at(evicting)
        store = open_store("locks")
        assert isinstance(store, RedisStore)
        info = store.server()
    assert server.examine_eviction(info).state is State.WRONG
    assert "maxmemory-policy is volatile-lru, maxmemory 3.00M" in server.examine_eviction(info).seen
    assert "survive" in server.examine_persistence(info).seen
