"""Locks in Redis: a hash under one key, one Lua script for each verb."""

from __future__ import annotations

import functools
import inspect
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache as DjangoRedisCache
from django.core.exceptions import ImproperlyConfigured
from django_redis.cache import RedisCache
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisClusterException, RedisError

from django_celery_once import keys
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import wire
from django_celery_once.locks.base import Lock, Scan, Start, released
from django_celery_once.locks.records import (
    fields_of,
    found_at_start,
    lock_of,
    milliseconds,
    start_words,
    text_of,
    told,
)
from django_celery_once.locks.scripts import (
    ACQUIRE,
    INSPECT,
    RELEASE,
    RENEW,
    SHORTEN,
    START,
    Script,
)

#: The set of the keys whose locks have follow-ups.
_FOLLOWED = "once-followed"
_FAILURES = (RedisError, RedisClusterException, ConnectionInterrupted, OSError)
_GLOB = re.compile(r"([*?\[\]\\])")


class RedisStore:
    """Locks in the Redis of a django-redis alias, or of Django's own ``RedisCache``."""

    def __init__(self, alias: str, cache: BaseCache) -> None:
        self.alias = alias
        self._cache = cache

    @staticmethod
    def serves(cache: BaseCache) -> bool:
        """Return whether a cache is one of the two Redis backends."""
        return isinstance(cache, (RedisCache, DjangoRedisCache))

    def waits_forever(self) -> bool:
        """Return whether no socket time-out is set; found out without connecting."""
        pool = self._primary().connection_pool
        return not has_time_out(pool.connection_kwargs, pool.connection_class)

    def address(self) -> tuple[object, ...]:
        """Return what tells the database from others; found out without connecting."""
        given = self._primary().connection_pool.connection_kwargs
        return tuple(given.get(name) for name in ("host", "port", "path", "db"))

    def server(self) -> dict[str, Any]:
        """Return what the server tells of itself (INFO), for people."""
        with self._client("INFO") as client:
            return dict(client.info())

    def name_of(self, key: str) -> str:
        """Return the name of a key in Redis (``LockStore.name_of``)."""
        return str(self._cache.make_key(key))

    def acquire(
        self,
        lock: Lock,
        timeout: float,
        replacing: Lock | None = None,
        *,
        hits: int = 1,
        follow: bool = False,
    ) -> Lock | None:
        """Take the key or return the holder (``LockStore.acquire``)."""
        old = ("", "") if replacing is None else (replacing.token, replacing.run)
        how = (hits, "follow" if follow else "", lock.call, f"{time.time():.3f}")
        who = (lock.owner, lock.token)
        found = self._run(
            ACQUIRE, lock.key, milliseconds(timeout), *old, *who, *how, *fields_of(lock)
        )
        if found is None:
            return None
        holder = told(self.alias, lock.key, found)
        if follow and holder.follow_up is not None and holder.follow_up.owner == lock.owner:
            with self._client(lock.key) as client:
                client.sadd(self.name_of(_FOLLOWED), lock.key)
        return holder

    def start(
        self, lock: Lock, lease: float, *, again: bool = False, counted: bool = True
    ) -> tuple[Start, Lock | None]:
        """Begin a run under its lease (``LockStore.start``)."""
        mode = "again" if again else "start" if counted else "turn"
        arguments = start_words(lock, lease, mode)
        return found_at_start(self.alias, lock.key, self._run(START, lock.key, *arguments))

    def renew(self, locks: Iterable[Lock], lease: float) -> list[tuple[Lock, Start]]:
        """Renew leases in one pipeline (``LockStore.renew``)."""
        locks, ms = list(locks), milliseconds(lease)
        calls = [(lock.key, (ms, lock.token, lock.run)) for lock in locks]
        renewed = self._run_many(RENEW, calls)
        others = [lock for lock, done in zip(locks, renewed, strict=True) if not done]
        found = self._run_many(
            START, [(lock.key, start_words(lock, lease, "renew")) for lock in others]
        )
        said = (found_at_start(self.alias, "", reply)[0] for reply in found)
        return [
            (lock, Start.MINE if done else next(said))
            for lock, done in zip(locks, renewed, strict=True)
        ]

    def release(self, lock: Lock) -> Lock | None:
        """Compare and delete (``LockStore.release``)."""
        if not lock.token:
            raise ValueError(f"releasing {lock.key} needs the token it was acquired with")
        token = os.urandom(8).hex()
        found = self._run(RELEASE, lock.key, lock.token, lock.run, token)
        return None if found is None else released(told(self.alias, lock.key, found), token)

    def blocked(self) -> list[Lock]:
        """Look at the locks that have follow-ups (``LockStore.blocked``)."""
        with self._client(_FOLLOWED) as client:
            names = [text_of(key) for key in client.smembers(self.name_of(_FOLLOWED))]
            found = {key: self.inspect(key) for key in names}
            done = [key for key, held in found.items() if held is None or held.follow_up is None]
            if done:
                client.srem(self.name_of(_FOLLOWED), *done)
        return [held for held in found.values() if held is not None and held.blocks]

    def shorten(self, lock: Lock, seconds: float) -> bool:
        """Compare and set the time left (``LockStore.shorten``)."""
        return bool(self._run(SHORTEN, lock.key, lock.token, lock.run, milliseconds(seconds)))

    def force_release(self, key: str) -> Lock | None:
        """Delete whoever holds it (``LockStore.force_release``)."""
        found = self._run(RELEASE, key, "", "", "")
        return None if found is None else told(self.alias, key, found)

    def inspect(self, key: str) -> Lock | None:
        """Read one lock (``LockStore.inspect``)."""
        found = self._run(INSPECT, key)
        return None if found is None else told(self.alias, key, found)

    def scan(self, prefix: str = "", limit: int = 1000, seconds: float = 1.5) -> Scan:
        """Walk the keys with SCAN (``LockStore.scan``)."""
        base = self.name_of(f"{keys.PREFIX}:")
        pattern = _GLOB.sub(r"\\\1", self.name_of(prefix or f"{keys.PREFIX}:")) + "*"
        deadline = time.monotonic() + seconds
        found: dict[str, Lock] = {}  # SCAN may name a key twice
        ended = False
        with self._client(prefix or "SCAN") as client:
            for server in self._servers(client):
                cursor, ended = 0, False
                while not ended and len(found) < limit and time.monotonic() < deadline:
                    cursor, names = server.scan(cursor, match=pattern, count=1000, _type="hash")
                    found.update((lock.key, lock) for lock in self._read(server, names, base))
                    ended = not int(cursor)
                if not ended:
                    break
        complete = ended and len(found) <= limit
        return Scan(tuple(found.values())[:limit], complete)

    def _read(self, client: Any, names: Iterable[bytes | str], base: str) -> Iterator[Lock]:
        wanted = list(names)
        pipeline = client.pipeline(transaction=False)
        for name in wanted:
            pipeline.hgetall(name)
            pipeline.pttl(name)
        replies = pipeline.execute() if wanted else []
        for name, fields, left in zip(wanted, replies[::2], replies[1::2], strict=True):
            record = {text_of(field): text_of(value) for field, value in fields.items()}
            if "token" in record:  # not freed by now, and not somebody else's hash
                key = f"{keys.PREFIX}:{text_of(name)[len(base) :]}"
                yield lock_of(self.alias, key, record, left)

    def _servers(self, client: Any) -> list[Any]:
        """Return the clients of all servers that have locks."""
        return [client]

    def _run(self, script: Script, key: str, *words: str | int) -> Any:
        try:
            return wire.run(self._primary(), script, self.name_of(key), words)
        except _FAILURES as error:
            raise self._unavailable(key, error) from error

    def _run_many(self, script: Script, calls: Sequence[tuple[str, wire.Words]]) -> list[Any]:
        if not calls:
            return []
        with self._client(f"{len(calls)} leases") as client:
            named = [(self.name_of(key), words) for key, words in calls]
            return wire.run_many(client, script, named)

    @contextmanager
    def _client(self, key: str) -> Iterator[Any]:
        """Yield the primary's client; turn what it raises into ``LockUnavailable``."""
        client = None
        try:
            client = self._primary()
            yield client
        except Exception as error:
            if isinstance(error, _FAILURES) or (client is not None and wire.stumbled(error)):
                raise self._unavailable(key, error) from error
            raise

    def _unavailable(self, key: str, error: Exception) -> LockUnavailable:
        return LockUnavailable(
            f"The lock store (cache {self.alias!r}) failed at {key}: {str(error)[:300]}",
            alias=self.alias,
            key=key,
        )

    def _primary(self) -> Any:
        # The caches' own methods would hide an outage (django-redis' IGNORE_EXCEPTIONS).
        if isinstance(self._cache, DjangoRedisCache):
            return self._cache._cache.get_client(write=True)
        client = self._cache.client  # type: ignore[attr-defined]
        kind: Any = type(client)
        if _is_sharded(kind):
            raise ImproperlyConfigured(
                f"CACHES[{self.alias!r}] uses django-redis' ShardClient, which can't hold locks; "
                "name an alias with the default or the Sentinel client in "
                "DJANGO_CELERY_ONCE['CACHE']"
            )
        return client.get_client(write=True)


@functools.cache
def _is_sharded(kind: Any) -> bool:
    # Asked once for each kind: django-redis' clients are protocols, which take their time to
    # check, and their modules are not loaded before there is a client.
    from django_redis.client import ShardClient

    return bool(issubclass(kind, ShardClient))


def has_time_out(given: Mapping[str, Any], kind: Any) -> bool:
    """Return whether a kind of connection, with what it is given, has a socket time-out."""
    if "socket_timeout" in given:
        return given["socket_timeout"] is not None
    # redis-py 8 has a time-out by default, earlier versions have none.
    for each in kind.__mro__:
        known = inspect.signature(each.__init__).parameters.get("socket_timeout")
        if known is not None:
            return known.default is not None
    return False
