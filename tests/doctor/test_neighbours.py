"""Who else keeps data where the locks are."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.test import override_settings

from django_celery_once.doctor import neighbours
from django_celery_once.doctor.findings import Finding, State
from django_celery_once.locks import open_store
from tests.configurations import core

HERE = "redis://127.0.0.1:6399/4"
LOCKS = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": HERE}


@pytest.fixture(autouse=True)
def _celery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Celery a broker and a result backend elsewhere."""
    celery(monkeypatch)


def celery(
    monkeypatch: pytest.MonkeyPatch,
    broker: Any = "amqp://guest@127.0.0.1//",
    results: Any = "rpc://",
) -> None:
    """Let the settings of the only Celery app name these."""
    app = Celery("elsewhere", broker=broker, backend=results, set_as_current=False)
    monkeypatch.setattr(neighbours, "apps", lambda: [app])


def found(locks: dict[str, Any] = LOCKS, default: dict[str, Any] | None = None) -> Finding:
    """Examine locks in a cache beside a default one."""
    caches = {DEFAULT_CACHE_ALIAS: default or core("locmem.LocMemCache"), "locks": locks}
    with override_settings(CACHES=caches):
        return neighbours.examine_neighbours(open_store("locks"))


def test_a_database_of_their_own() -> None:
    """Nobody else is there."""
    assert found().state is State.OK


@pytest.mark.parametrize(
    "url",
    [
        HERE,
        "redis://localhost:6399/4",
        "redis://:secret@127.0.0.1:6399/4",
        "redis://user:p%40ss@127.0.0.1:6399/4?ssl_cert_reqs=none",
        "rediss://127.0.0.1:6399/4",
        "redis://127.0.0.1:6399?db=4",
        f"amqp://guest@127.0.0.1//;{HERE}",
        ["amqp://guest@127.0.0.1//", HERE],
    ],
)
def test_the_broker_is_there(url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its URL is spelled; no password is told."""
    celery(monkeypatch, broker=url)
    told = found()
    assert told.state is State.WARNING
    assert "with the Celery broker:" in told.seen
    assert "secret" not in told.seen


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6399/5",
        "redis://127.0.0.1:6399",
        "redis://127.0.0.1/4",
        "redis://nowhere.invalid:6399/4",
        "sentinel://127.0.0.1:6399/4",
        "memory://",
        "",
        None,
    ],
)
def test_the_broker_is_elsewhere(url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another database, port, host or transport."""
    celery(monkeypatch, broker=url)
    assert found().state is State.OK


def test_the_results_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result backend counts, too."""
    celery(monkeypatch, results=HERE)
    assert "with the Celery result backend:" in found().seen


def test_all_three_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence names every neighbour."""
    celery(monkeypatch, broker=HERE, results=HERE)
    told = found(default={**LOCKS, "LOCATION": "redis://localhost:6399/4"})
    assert "with CACHES['default'], the Celery broker and the Celery result backend:" in told.seen


@pytest.mark.parametrize(("broker", "database"), [("redis+socket", 4), ("socket", 4)])
def test_a_socket(broker: str, database: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a socket and a database's number make an address, too."""
    celery(monkeypatch, broker=f"{broker}:///run/redis.sock?virtual_host={database}")
    locks = {**LOCKS, "LOCATION": f"unix:///run/redis.sock?db={database}"}
    assert found(locks).state is State.WARNING
    celery(monkeypatch, broker=f"{broker}:///run/redis.sock")
    assert found(locks).state is State.OK


def test_locks_in_the_default_cache() -> None:
    """The alias itself is shared with the application."""
    with override_settings(CACHES={DEFAULT_CACHE_ALIAS: LOCKS}):
        told = neighbours.examine_neighbours(open_store(DEFAULT_CACHE_ALIAS))
    assert "with CACHES['default']:" in told.seen


@pytest.mark.parametrize(("other", "state"), [("a:1", State.WARNING), ("b:1", State.OK)])
def test_two_aliases_of_one_memcached(other: str, state: State) -> None:
    """Caches that are no Redis are compared by what the settings say."""
    backend = "memcached.PyMemcacheCache"
    locks, default = core(backend, LOCATION="a:1"), core(backend, LOCATION=other)
    assert found(locks, default).state is state


def test_sentinel_is_not_examined() -> None:
    """The address is Sentinel's to tell."""
    locks = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://primary/4",
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "SENTINELS": [("127.0.0.1", 26379)],
            "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool",
        },
    }
    with override_settings(
        DJANGO_REDIS_CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory"
    ):
        assert found(locks).state is State.NOT_EXAMINED


def test_a_sharded_default_cache_is_no_neighbour() -> None:
    """django-redis' ShardClient has no one address."""
    options = {"CLIENT_CLASS": "django_redis.client.ShardClient"}
    assert found(default={**LOCKS, "LOCATION": [HERE], "OPTIONS": options}).state is State.OK
