"""Connections to Redis: the cache's own, one for each thread at most, and given back."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import valkey
from django.conf import settings
from django.core.cache import caches, close_caches
from django.test import Client, override_settings

from django_celery_once import leases
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.leases import Lease
from django_celery_once.locks import Start, open_store, wire
from testproject.redis_server import RedisServer
from tests.integration.workers import wait_until
from tests.locks.stores import lock, running

THREADS, ROUNDS = 6, 5

BACKENDS = {
    "django-redis": {
        "BACKEND": "django_redis.cache.RedisCache",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 2, "SOCKET_TIMEOUT": 2},
    },
    "django-valkey": {
        "BACKEND": "django_valkey.cache.ValkeyCache",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 2, "SOCKET_TIMEOUT": 2},
    },
    "django": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 2},
    },
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Return the name of a backend."""
    return str(request.param)


@pytest.fixture
def clients(backend: str, spare_redis_server: RedisServer) -> Iterator[Callable[[], set[str]]]:
    """Put the locks into a server of their own; return a function that tells its clients."""
    with locks_on(spare_redis_server, **BACKENDS[backend]), listed(spare_redis_server) as told:
        yield told


def locks_on(server: RedisServer, **cache: Any) -> override_settings:
    """Return settings whose locks are on a server, alone."""
    locks = {"LOCATION": server.url(), **cache}
    return override_settings(CACHES={**settings.CACHES, "locks": locks})


@contextmanager
def listed(server: RedisServer) -> Iterator[Callable[[], set[str]]]:
    """Yield a function that tells the addresses of a server's clients."""
    with redis.Redis.from_url(server.url()) as admin:
        own = str(admin.client_id())
        yield lambda: {each["addr"] for each in admin.client_list() if each["id"] != own}


def ask(name: object) -> Counter[str]:
    """Do what a request does: take a lock, refuse a duplicate, run, release.

    What comes after a step without an answer is left out: it may not find what that was to do.
    """
    store, mine = open_store("locks"), lock(f"once:t:{name}")
    answers: Counter[str] = Counter()
    steps: list[Callable[[], bool]] = [
        lambda: store.acquire(mine, 60) is None,
        lambda: store.acquire(lock(mine.key), 60) is not None,
        lambda: store.start(running(mine), 60)[0] is Start.MINE,
        lambda: store.release(mine) is not None or store.inspect(mine.key) is None,
    ]
    for step in steps:
        try:
            answers["good" if step() else "bad"] += 1
        except LockUnavailable:
            answers["unavailable"] += 1
            break
    return answers


def in_threads(work: Callable[[int], Any], at_the_end: Callable[[], Any] = int) -> list[Any]:
    """Do the work in threads, all at once; do something when it is done and they are there."""
    together, done = threading.Barrier(THREADS), threading.Barrier(THREADS + 1)
    leave = threading.Event()

    def begin(number: int) -> Any:
        together.wait(10)
        try:
            return work(number)
        finally:
            done.wait(60)
            leave.wait(60)

    with ThreadPoolExecutor(THREADS) as threads:
        results = threads.map(begin, range(THREADS))
        done.wait(60)
        try:
            at_the_end()
        finally:
            leave.set()
        return list(results)


def test_the_caches_own_connection_serves(clients: Callable[[], set[str]]) -> None:
    """Open no second one for the locks, whatever is asked of either."""
    caches["locks"].set("theirs", 1, 60)
    [address] = clients()
    store = open_store("locks")
    assert ask("one") == {"good": 4}
    store.renew([running(lock())], 60)
    store.scan()
    store.blocked()
    store.force_release(lock().key)
    caches["locks"].get("theirs")
    assert clients() == {address}


def test_a_thread_has_one_at_most(clients: Callable[[], set[str]]) -> None:
    """Stay within the number of threads, also when others have taken their places."""

    def count() -> None:  # the server may still close one of a thread that has ended
        wait_until(lambda: 1 <= len(clients()) <= THREADS, "no more connections than threads")

    for _round in range(ROUNDS):
        assert in_threads(ask, at_the_end=count) == [{"good": 4}] * THREADS
        gc.collect()  # the caches of threads that have ended
        wait_until(lambda: len(clients()) <= THREADS, "no more connections than threads")


def test_djangos_own_cache_closes_with_its_thread(spare_redis_server: RedisServer) -> None:
    """Leave no connection where each thread has a pool of its own."""
    server = spare_redis_server
    with locks_on(server, **BACKENDS["django"]), listed(server) as clients:
        in_threads(ask)
        gc.collect()
        wait_until(lambda: not clients(), "all connections closed")


def test_renewals_give_their_connection_back(clients: Callable[[], set[str]]) -> None:
    """End the thread that renews with the last lease, and its connection or its use of it."""
    store, mine = open_store("locks"), running(lock(alias="locks"))
    store.renew([mine], 60)
    before = clients()
    renewed = threading.Event()
    lease = Lease(mine, 60, 0.05, lambda _lock, _retaken: renewed.set())
    store.force_release(mine.key)  # its loss tells of the renewal
    leases.hold(lease)
    assert renewed.wait(10)
    assert len(clients()) <= 2, "this thread and the one that renews"
    leases.drop(lease)
    wait_until(lambda: not renewing(), "the end of the thread")
    for _again in range(3):
        store.inspect(mine.key)
    gc.collect()
    wait_until(lambda: len(clients()) <= len(before), "no connection but this thread's")


def renewing() -> bool:
    """Return whether the thread that renews lives."""
    return any(each.name == "django-celery-once-leases" for each in threading.enumerate())


@pytest.mark.django_db
def test_close_connection_closes(spare_redis_server: RedisServer) -> None:
    """Hold nothing after a request where django-redis is to close, and work in the next."""
    cache = BACKENDS["django-redis"]
    with (
        locks_on(spare_redis_server, **cache),
        override_settings(DJANGO_REDIS_CLOSE_CONNECTION=True),
        listed(spare_redis_server) as clients,
    ):
        for number in range(3):
            assert ask(number) == {"good": 4}
            wait_until(lambda: len(clients()) == 1, "no connection but this thread's")
            Client().get("/")  # its end is that of a request
            wait_until(lambda: not clients(), "the connection closed")


def test_close_connection_among_threads(spare_redis_server: RedisServer) -> None:
    """Outlive that the end of one request closes the connections of all others.

    What meets two of them at once is unavailable, and raises nothing else.
    """

    def serve(number: int) -> Counter[str]:
        answers: Counter[str] = Counter()
        for request in range(100):
            answers += ask(f"{number}-{request}")
            close_caches()
        return answers

    with (
        locks_on(spare_redis_server, **BACKENDS["django-redis"]),
        override_settings(DJANGO_REDIS_CLOSE_CONNECTION=True),
    ):
        answers: Counter[str] = sum(in_threads(serve), Counter())
    assert not answers["bad"], answers
    # How many meet two closings depends on the parser and on how threads take turns.
    assert answers["good"], answers


def test_a_call_waits_for_a_connection_and_not_for_ever(
    backend: str, spare_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that stays exhausted is an outage, and no call is taken for a duplicate."""
    options: dict[str, Any] = {"CONNECTION_POOL_KWARGS": {"max_connections": 1}}
    if backend == "django":
        options = {"max_connections": 1}
    cache = {**BACKENDS[backend], "OPTIONS": options}
    with locks_on(spare_redis_server, **cache):
        store = open_store("locks")
        pool = store._primary().connection_pool  # type: ignore[attr-defined]
        is_valkey = backend == "django-valkey"
        taken = pool.get_connection(*["EVALSHA"] * is_valkey)
        monkeypatch.setattr(wire, "PATIENCE", 0.05)
        with pytest.raises(LockUnavailable, match="'locks'") as raised:
            store.acquire(lock(), 60)
        error = valkey.ConnectionError if is_valkey else redis.ConnectionError
        assert isinstance(raised.value.__cause__, error)
        monkeypatch.setattr(wire, "PATIENCE", 60)
        monkeypatch.setattr("time.sleep", lambda _seconds: pool.release(taken))
        assert store.acquire(lock(), 60) is None
        assert store.acquire(lock(), 60) is not None


def test_a_bug_is_no_outage(spare_redis_server: RedisServer) -> None:
    """Raise an error of this program's, or of its settings, as what it is."""
    broken = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "localhost:6379"}
    with (
        override_settings(CACHES={**settings.CACHES, "locks": broken}),
        pytest.raises(ValueError, match="URL"),
    ):
        open_store("locks").acquire(lock(), 60)
