"""Locks in Redis, or in Valkey: a hash under one key, one Lua script for each verb."""

from __future__ import annotations

import functools
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from django.core.cache.backends.base import BaseCache, default_key_func
from django.core.cache.backends.redis import RedisCache as DjangoRedisCache
from django.core.exceptions import ImproperlyConfigured
from django_redis.cache import RedisCache
from django_redis.exceptions import ConnectionInterrupted

from django_celery_once import keys
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import rights, wire
from django_celery_once.locks.base import Lock, Scan, Start, released
from django_celery_once.locks.records import (
    Place,
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
from django_celery_once.locks.time_outs import has_time_out

#: The set of the keys whose locks have follow-ups, each with its name.
_FOLLOWED = "once-followed"
_GLOB = re.compile(r"([*?\[\]\\])")


class RedisStore:
    """Locks in the Redis of a django-redis alias, or of Django's own ``RedisCache``.

    django-valkey's ``ValkeyCache`` is django-redis under other names, on a fork of redis-py.
    """

    def __init__(self, alias: str, cache: BaseCache) -> None:
        self.alias = alias
        self._cache = cache

    @staticmethod
    def serves(cache: BaseCache) -> bool:
        """Return whether a cache is one of the two Redis backends, or django-valkey's."""
        valkey = sys.modules.get("django_valkey.cache")
        return isinstance(cache, (RedisCache, DjangoRedisCache)) or (
            valkey is not None and isinstance(cache, valkey.ValkeyCache)
        )

    def waits_forever(self) -> bool:
        """Return whether no socket time-out is set; found out without connecting."""
        pool = self._primary().connection_pool
        return not has_time_out(pool.connection_kwargs, pool.connection_class)

    def address(self) -> tuple[object, ...]:
        """Return what tells the database from others; found out without connecting."""
        given = self._parameters()
        return tuple(given.get(name) for name in ("host", "port", "path", "db"))

    def user(self) -> str:
        """Return the name of the server's user; found out without connecting."""
        return str(self._parameters().get("username") or "default")

    def lacking(self) -> list[str]:
        """Return the rights that the server's user lacks, as an access list has them."""
        found = []
        with self._client("permissions") as client:
            for trial in rights.trials(self._names()):
                asked = client if trial.pattern else self._servers(client)[0]
                try:
                    asked.execute_command(*trial.words)
                except wire.errors("ResponseError") as error:
                    found.append(trial.lacks(str(error)))
        return list(dict.fromkeys(filter(None, found)))

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
        ended: float = 0.0,
    ) -> Lock | None:
        """Take the key or return the holder (``LockStore.acquire``)."""
        old = ("", "") if replacing is None else (replacing.token, replacing.run)
        beside = "follow" if follow else "instead" if lock.instead else ""
        how = (hits, beside, lock.call, f"{time.time():.3f}")
        who = (lock.owner, lock.token)
        words: list[str | int]
        words = [milliseconds(timeout), *old, *who, *how, *_end(replacing, ended)]
        place = self._place_of(lock)
        found = self._run(ACQUIRE, place, *words, *fields_of(lock), of=old[0])
        if found is None:
            return None
        holder = told(place, found)
        following = holder.follow_up
        if beside and following is not None and following.owner in (lock.owner, holder.owner):
            with self._client(lock.key) as client:
                client.sadd(self._followed(), f"{lock.key} {holder.name}")
        return holder

    def start(
        self, lock: Lock, lease: float, *, again: float | None = None, counted: bool = True
    ) -> tuple[Start, Lock | None]:
        """Begin a run under its lease (``LockStore.start``)."""
        place = self._place_of(lock)
        words = start_words(lock, lease, "start" if counted else "turn", again)
        return found_at_start(place, self._run(START, place, *words, of=lock.token))

    def renew(self, locks: Iterable[Lock], lease: float) -> list[tuple[Lock, Start]]:
        """Renew leases in one pipeline (``LockStore.renew``)."""
        locks, ms = list(locks), milliseconds(lease)
        renewed = self._run_many(
            RENEW, [(self._name(lock), (ms, lock.token, lock.run)) for lock in locks]
        )
        others = [lock for lock, done in zip(locks, renewed, strict=True) if not done]
        found = self._run_many(
            START, [(self._name(lock), start_words(lock, lease, "renew")) for lock in others]
        )
        said = (found_at_start((self.alias, "", ""), reply)[0] for reply in found)
        return [
            (lock, Start.MINE if done else next(said))
            for lock, done in zip(locks, renewed, strict=True)
        ]

    def release(self, lock: Lock, *, ended: float = 0.0) -> Lock | None:
        """Compare and delete (``LockStore.release``)."""
        if not lock.token:
            raise ValueError(f"releasing {lock.key} needs the token it was acquired with")
        token = os.urandom(8).hex()
        words, place = (lock.token, lock.run, token, *_end(lock, ended)), self._place_of(lock)
        found = self._run(RELEASE, place, *words, of=lock.token)
        return None if found is None else released(told(place, found), token)

    def forget(self, lock: Lock) -> None:
        """Delete what tells of an end (``LockStore.forget``)."""
        end = self._end_of(self._name(lock), lock.token)
        with self._client(lock.key) as client:
            if end:
                client.delete(end)

    def blocked(self) -> list[Lock]:
        """Look at the locks that have follow-ups (``LockStore.blocked``)."""
        with self._client(_FOLLOWED) as client:
            members = [text_of(member) for member in client.smembers(self._followed())]
            found = {each: self.inspect(*each.split(" ", 1)) for each in members}
            done = [each for each, held in found.items() if held is None or held.follow_up is None]
            if done:
                client.srem(self._followed(), *done)
        return [held for held in found.values() if held is not None and held.blocks]

    def shorten(self, lock: Lock, seconds: float) -> bool:
        """Compare and set the time left (``LockStore.shorten``)."""
        words = (lock.token, lock.run, milliseconds(seconds))
        return bool(self._run(SHORTEN, self._place_of(lock), *words))

    def force_release(self, key: str, name: str = "") -> Lock | None:
        """Delete whoever holds it (``LockStore.force_release``)."""
        place = self._place(key, name)
        found = self._run(RELEASE, place, "", "", "", *_end(None, 0))
        return None if found is None else told(place, found)

    def remember(self, lock: Lock, seconds: float) -> None:
        """Set the mark of a message that has ended (``LockStore.remember``)."""
        end = self._end_of(self._name(lock), lock.token)
        with self._client(lock.key) as client:
            if end:
                client.set(end, 1, px=milliseconds(seconds))

    def inspect(self, key: str, name: str = "") -> Lock | None:
        """Read one lock (``LockStore.inspect``)."""
        place = self._place(key, name)
        found = self._run(INSPECT, place)
        return None if found is None else told(place, found)

    def scan(self, prefix: str = "", limit: int = 1000, seconds: float = 1.5) -> Scan:
        """Walk the keys with SCAN (``LockStore.scan``)."""
        base = self.name_of(f"{keys.PREFIX}:")
        pattern = _literal(self.name_of(prefix or f"{keys.PREFIX}:")) + "*"
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
                yield lock_of((self.alias, key, text_of(name)), record, left)

    def _names(self) -> rights.Names:
        """Return a name of each kind that a key here has, and the pattern of them all."""
        name, token = self.name_of(f"{keys.PREFIX}:{uuid4().hex}"), uuid4().hex
        end, followed = self._end_of(name, token), self._followed()
        locks = _literal(self.name_of(f"{keys.PREFIX}:")) + "*"
        ends = f"{{{locks}" if end.startswith("{") and not name.startswith("{") else locks
        return rights.Names((name, locks), (end or name, ends), (followed, _literal(followed)))

    def _parameters(self) -> Mapping[str, Any]:
        """Return what connections are made with."""
        given: Mapping[str, Any] = self._primary().connection_pool.connection_kwargs
        return given

    def _servers(self, client: Any) -> list[Any]:
        """Return the clients of all servers that have locks."""
        return [client]

    def _end_of(self, name: str, token: str) -> str:
        """Return the key that is there while a message is known to have ended."""
        return f"{name}:ended:{token}"

    def _followed(self) -> str:
        """Return the name of the set of what has follow-ups: one for all tenants."""
        return default_key_func(_FOLLOWED, self._cache.key_prefix, self._cache.version)

    def _place(self, key: str, name: str) -> Place:
        return self.alias, key, name or self.name_of(key)

    def _place_of(self, lock: Lock) -> Place:
        return self._place(lock.key, lock.name)

    def _name(self, lock: Lock) -> str:
        return lock.name or self.name_of(lock.key)

    def _run(self, script: Script, place: Place, *words: str | int, of: str = "") -> Any:
        """Run a script on a lock; ``of``: the token of a message whose end it may ask for."""
        _alias, key, name = place
        end = self._end_of(name, of) if of else ""
        try:
            return wire.run(self._primary(), script, name, words, *([end] if end else []))
        except _failures() as error:
            raise self._unavailable(key, error) from error

    def _run_many(self, script: Script, calls: Sequence[tuple[str, wire.Words]]) -> list[Any]:
        if not calls:
            return []
        with self._client(f"{len(calls)} leases") as client:
            return wire.run_many(client, script, calls)

    @contextmanager
    def _client(self, key: str) -> Iterator[Any]:
        """Yield the primary's client; turn what it raises into ``LockUnavailable``."""
        client = None
        try:
            client = self._primary()
            yield client
        except Exception as error:
            if isinstance(error, _failures()) or (client is not None and wire.stumbled(error)):
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
                f"CACHES[{self.alias!r}] uses a ShardClient, which can't hold locks; "
                "name an alias with the default or the Sentinel client in "
                "DJANGO_CELERY_ONCE['CACHE']"
            )
        return client.get_client(write=True)


def _literal(name: str) -> str:
    """Return the pattern that a name alone fits."""
    return _GLOB.sub(r"\\\1", name)


def _end(lock: Lock | None, seconds: float) -> tuple[str, int]:
    return "1" if lock is not None and lock.copied else "", round(seconds * 1000)


def _failures() -> tuple[type[Exception], ...]:
    return (*wire.failures(), ConnectionInterrupted)


@functools.cache
def _is_sharded(kind: Any) -> bool:
    # Asked once for each kind, and by name: the clients' modules take their time to load.
    return any(each.__name__ == "ShardClient" for each in kind.__mro__)
