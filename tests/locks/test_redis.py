"""What only Redis does: one round trip each, plain errors, a bounded search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from redis.connection import AbstractConnection
from valkey import connection as valkey_connection

from django_celery_once import keys
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import LockStore, Start, open_store
from testproject.redis_server import RedisServer
from tests.locks.stores import lock, running

ALIASES = ["locks", "locks_django", "locks_valkey"]


@pytest.fixture(params=ALIASES)
def store(request: pytest.FixtureRequest) -> LockStore:
    """Return the store of a Redis alias."""
    return open_store(request.param)


@pytest.fixture
def admin(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Return a client of its own, to look at the server."""
    with redis.Redis.from_url(redis_server.url()) as client:
        yield client


def commands(admin: redis.Redis) -> int:
    """Return how many commands clients have sent; a script's own do not count."""
    stats = admin.info("commandstats")
    sent = {name: each["calls"] for name, each in stats.items()}
    inner = {"hmget", "hset", "hdel", "hgetall", "hincrby", "pexpire", "pttl", "del", "exists"}
    outside = {"info", "hello", "select", "client|setinfo", "client", "auth"}
    ignored = {f"cmdstat_{name}" for name in inner | outside}
    return sum(count for name, count in sent.items() if name not in ignored)


VERBS: list[tuple[str, Callable[[LockStore], Any]]] = [
    ("acquire, free", lambda store: store.acquire(lock("once:t:new"), 60)),
    ("acquire, refused", lambda store: store.acquire(lock(), 60)),
    ("start", lambda store: store.start(running(lock("once:t:start")), 60)),
    ("release", lambda store: store.release(lock())),
    ("shorten", lambda store: store.shorten(lock(), 60)),
    ("remember", lambda store: store.remember(lock(), 60)),
    ("force_release", lambda store: store.force_release("once:t:none")),
    ("inspect", lambda store: store.inspect(lock().key)),
]


@pytest.mark.parametrize(("name", "verb"), VERBS, ids=[name for name, _verb in VERBS])
def test_each_verb_is_one_command(
    store: LockStore, admin: redis.Redis, name: str, verb: Callable[[LockStore], Any]
) -> None:
    """Count on the server what a verb sends."""
    store.acquire(lock(), 600)
    verb(store)  # the scripts are loaded now
    before = commands(admin)
    verb(store)
    assert commands(admin) - before == 1, name


def test_a_renewal_is_one_pipeline(
    store: LockStore, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Send a thousand renewals at once."""
    held = [running(lock(f"once:t:{number}")) for number in range(1000)]
    assert {start for _lock, start in store.renew(held, 60)} == {Start.TAKEN}
    sent = []
    valkey = store.alias == "locks_valkey"
    kind: Any = valkey_connection.AbstractConnection if valkey else AbstractConnection
    send = kind.send_packed_command

    def count(connection: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(b"".join(command).count(b"EVALSHA"))
        return send(connection, command, *args, **kwargs)

    monkeypatch.setattr(kind, "send_packed_command", count)
    before = commands(admin)
    assert {start for _lock, start in store.renew(held, 60)} == {Start.MINE}
    assert [count for count in sent if count] == [1000]
    assert commands(admin) - before == 1001


def test_scripts_come_back_after_a_flush(store: LockStore, admin: redis.Redis) -> None:
    """Load a script again that the server forgot."""
    admin.script_flush()
    assert store.acquire(lock(), 60) is None
    assert store.acquire(lock(), 60) is not None


def test_keys_go_through_the_caches_own_prefix(redis_server: RedisServer) -> None:
    """Hold KEY_PREFIX and VERSION, so that tenants do not meet."""
    caches_of = settings_with(KEY_PREFIX="tenant", VERSION=3)
    with override_settings(CACHES=caches_of):
        store = open_store("locks")
        store.acquire(lock("once:t:k"), 60)
        assert [each.key for each in store.scan().locks] == ["once:t:k"]
    assert open_store("locks").inspect("once:t:k") is None
    with redis.Redis.from_url(redis_server.url(1)) as client:
        assert client.keys("*") == [b"tenant:3:once:t:k"]


def settings_with(location: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return CACHES with changes to the alias of the locks."""
    from django.conf import settings

    changed = {**settings.CACHES["locks"], **changes}
    if location:
        changed["LOCATION"] = location
    return {**settings.CACHES, "locks": changed}


def test_scan_finds_the_locks_of_a_task(store: LockStore) -> None:
    """List all locks, or one task's, and nothing else that lives there."""
    for name in ("a", "b"):
        store.acquire(lock(f"{keys.key_prefix('tests.report')}{name}"), 60)
    store.acquire(lock(f"{keys.key_prefix('tests.report2')}c"), 60)
    caches[store.alias].set("once:tests.report:no-lock", "text", 60)
    caches[store.alias].set("other", "text", 60)
    everything = store.scan()
    assert everything.complete
    assert {each.key for each in everything.locks} == {
        "once:tests.report:a",
        "once:tests.report:b",
        "once:tests.report2:c",
    }
    one = store.scan(keys.key_prefix("tests.report"))
    assert {each.key[-1] for each in one.locks} == {"a", "b"}


def test_a_hash_of_somebody_else_is_no_lock(store: LockStore, redis_server: RedisServer) -> None:
    """Leave alone what another program keeps under such a name, even if it is no text."""
    store.acquire(lock(), 60)
    database = 1 if store.alias == "locks" else 2
    with redis.Redis.from_url(redis_server.url(database)) as client:
        client.hset(":1:once:theirs", "field", "words")
        client.hset(b":1:once:\xff", b"\xff", b"\xfe")
    assert [each.key for each in store.scan().locks] == [lock().key]
    assert store.inspect("once:theirs") is None
    assert store.force_release("once:theirs") is None


def test_scan_takes_a_task_name_literally(store: LockStore) -> None:
    """Let no wildcard in a name match another task."""
    store.acquire(lock(f"{keys.key_prefix('tests.[ab]*')}x"), 60)
    store.acquire(lock(f"{keys.key_prefix('tests.a')}x"), 60)
    found = store.scan(keys.key_prefix("tests.[ab]*")).locks
    assert [each.key for each in found] == [f"{keys.key_prefix('tests.[ab]*')}x"]


def test_scan_is_bounded(store: LockStore) -> None:
    """Stop at the limit and say so."""
    store.renew([running(lock(f"once:t:{number}")) for number in range(50)], 60)
    found = store.scan(limit=10)
    assert len(found.locks) == 10
    assert not found.complete
    assert not store.scan(seconds=0).complete


def test_a_scan_reads_no_more_than_it_needs(store: LockStore, admin: redis.Redis) -> None:
    """Stop reading records soon after the limit, however many there are."""
    store.renew([running(lock(f"once:t:{number}")) for number in range(5000)], 60)
    admin.config_resetstat()
    assert len(store.scan(limit=100).locks) == 100
    assert admin.info("commandstats")["cmdstat_hgetall"]["calls"] < 2500


@pytest.mark.parametrize("ignore", [True, False])
def test_an_outage_is_not_a_duplicate(
    spare_redis_server: RedisServer, ignore: bool, redis_server: RedisServer
) -> None:
    """Raise for every verb when the server is gone, whatever the alias hides."""
    options = {"SOCKET_CONNECT_TIMEOUT": 0.5, "SOCKET_TIMEOUT": 0.5, "IGNORE_EXCEPTIONS": ignore}
    with override_settings(CACHES=settings_with(spare_redis_server.url(), OPTIONS=options)):
        store = open_store("locks")
        assert store.acquire(lock(), 60) is None
        spare_redis_server.kill()
        mine = lock()
        verbs: list[Callable[[], Any]] = [
            lambda: store.acquire(mine, 60),
            lambda: store.start(running(mine), 60),
            lambda: store.renew([running(mine)], 60),
            lambda: store.release(mine),
            lambda: store.force_release(mine.key),
            lambda: store.inspect(mine.key),
            lambda: store.scan(),
        ]
        for verb in verbs:
            with pytest.raises(LockUnavailable) as raised:
                verb()
            assert raised.value.alias == "locks"
            assert "'locks'" in str(raised.value)
            assert raised.value.__cause__ is not None


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        (
            "django_redis.cache.RedisCache",
            {"SOCKET_CONNECT_TIMEOUT": 0.3, "SOCKET_TIMEOUT": 0.3},
        ),
        (
            "django.core.cache.backends.redis.RedisCache",
            {"socket_connect_timeout": 0.3, "socket_timeout": 0.3},
        ),
    ],
)
def test_a_frozen_server_is_an_outage(
    spare_redis_server: RedisServer, backend: str, options: dict[str, float]
) -> None:
    """Give up at the alias's time-outs instead of waiting for a server that hangs."""
    changed = settings_with(spare_redis_server.url(), BACKEND=backend, OPTIONS=options)
    with override_settings(CACHES=changed):
        store = open_store("locks")
        store.acquire(lock(), 60)
        spare_redis_server.freeze()
        try:
            with pytest.raises(LockUnavailable):
                store.acquire(lock("once:t:other"), 60)
        finally:
            spare_redis_server.thaw()


def test_a_foreign_value_under_the_key_is_an_outage(store: LockStore) -> None:
    """Say which key can't be used, and take nobody's data for a lock."""
    mine = lock()
    caches[store.alias].set(mine.key, "something else", 60)
    with pytest.raises(LockUnavailable, match=mine.key):
        store.acquire(mine, 60)
    assert caches[store.alias].get(mine.key) == "something else"


def test_the_shard_client_is_refused(redis_server: RedisServer) -> None:
    """Say that locks can't be spread over servers by the client."""
    changed = settings_with(OPTIONS={"CLIENT_CLASS": "django_redis.client.ShardClient"})
    changed["locks"]["LOCATION"] = [redis_server.url()]
    with override_settings(CACHES=changed), pytest.raises(ImproperlyConfigured, match="ShardCl"):
        open_store("locks").acquire(lock(), 60)


def test_text_replies_are_understood() -> None:
    """Work with an alias whose client decodes its replies."""
    from django.conf import settings

    options = {**settings.CACHES["locks_django"]["OPTIONS"], "decode_responses": True}
    changed = {
        **settings.CACHES,
        "locks": {**settings.CACHES["locks_django"], "OPTIONS": options},
    }
    with override_settings(CACHES=changed):
        store = open_store("locks")
        mine = lock()
        store.acquire(mine, 60)
        held = store.inspect(mine.key)
        assert held is not None
        assert replace(held, remaining=0) == mine
        assert store.start(running(mine), 60)[0] is Start.MINE
        assert [each.owner for each in store.scan().locks] == [mine.owner]


def test_an_unknown_alias_is_named() -> None:
    """Say which setting names it and which aliases there are."""
    with pytest.raises(ImproperlyConfigured, match=r"in 'nowhere'.*CACHES .*locks_django"):
        open_store("nowhere")


def test_the_others_can_not_list_their_keys() -> None:
    """Say so instead of an empty list."""
    with pytest.raises(NotImplementedError, match="LocMemCache"):
        open_store("locks_locmem").scan()


def test_a_cache_that_hides_its_outage_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report no duplicate where a cache neither takes the lock nor shows a holder."""
    cache = caches["locks_locmem"]
    monkeypatch.setattr(cache, "add", lambda *_args, **_kwargs: False)
    with pytest.raises(LockUnavailable, match="neither takes the lock nor shows a holder"):
        open_store("locks_locmem").acquire(lock(), 60)


def test_time_left_is_never_negative(store: LockStore) -> None:
    """Show nothing below zero for a lock about to go."""
    mine = lock()
    store.acquire(mine, 0.001)
    deadline = time.monotonic() + 5
    while (held := store.inspect(mine.key)) is not None:
        assert held.remaining >= 0
        assert time.monotonic() < deadline
