"""Locks in Redis: a hash under one key, one Lua script for each verb."""

from __future__ import annotations

import inspect
import re
import secrets
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache as DjangoRedisCache
from django.core.exceptions import ImproperlyConfigured
from django_redis.cache import RedisCache
from django_redis.client import ShardClient
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import NoScriptError, RedisError

from django_celery_once import keys
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks.base import Lock, Phase, Scan, Start, released
from django_celery_once.locks.scripts import ACQUIRE, INSPECT, RELEASE, SHORTEN, START, Script

#: The set of the keys whose locks have follow-ups.
_FOLLOWED = "once-followed"
_OUTAGES = (RedisError, ConnectionInterrupted, OSError)
_GLOB = re.compile(r"([*?\[\]\\])")


class RedisStore:
    """Locks in the Redis of a django-redis alias, or of Django's own ``RedisCache``."""

    def __init__(self, alias: str, cache: BaseCache) -> None:
        self.alias = alias
        self._cache = cache

    @staticmethod
    def serves(cache: BaseCache) -> bool:
        """Return whether a cache is one of the two Redis backends."""
        return isinstance(cache, RedisCache | DjangoRedisCache)

    def waits_forever(self) -> bool:
        """Return whether no socket time-out is set; found out without connecting."""
        pool = self._primary().connection_pool
        given = pool.connection_kwargs
        if "socket_timeout" in given:
            return given["socket_timeout"] is None
        # redis-py 8 has a time-out by default, earlier versions have none.
        for kind in pool.connection_class.__mro__:
            known = inspect.signature(kind.__init__).parameters.get("socket_timeout")
            if known is not None:
                return known.default is None
        return True

    def address(self) -> tuple[object, ...]:
        """Return what tells the database from others; found out without connecting."""
        given = self._primary().connection_pool.connection_kwargs
        return tuple(given.get(name) for name in ("host", "port", "path", "db"))

    def server(self) -> dict[str, Any]:
        """Return what the server tells of itself (INFO), for people."""
        with self._client("INFO") as client:
            return dict(client.info())

    def acquire(
        self,
        lock: Lock,
        timeout: float,
        replacing: Lock | None = None,
        *,
        counted: bool = True,
        follow: bool = False,
    ) -> Lock | None:
        """Take the key or return the holder (``LockStore.acquire``)."""
        old = ("", "") if replacing is None else (replacing.token, replacing.run)
        how = (int(counted), "follow" if follow else "", lock.call, f"{time.time():.3f}")
        who = (lock.owner, lock.token)
        found = self._run(ACQUIRE, lock.key, _ms(timeout), *old, *who, *how, *_fields(lock))
        if found is None:
            return None
        holder = _lock(lock.key, *found)
        if follow and holder.follow_up is not None and holder.follow_up.owner == lock.owner:
            with self._client(lock.key) as client:
                client.sadd(self._name(_FOLLOWED), lock.key)
        return holder

    def start(
        self, lock: Lock, lease: float, *, again: bool = False, counted: bool = True
    ) -> tuple[Start, Lock | None]:
        """Begin a run under its lease (``LockStore.start``)."""
        mode = "again" if again else "start" if counted else "turn"
        arguments = _start_arguments(lock, lease, mode)
        return _start(lock.key, self._run(START, lock.key, *arguments))

    def renew(self, locks: Iterable[Lock], lease: float) -> list[tuple[Lock, Start]]:
        """Renew leases in one pipeline (``LockStore.renew``)."""
        locks = list(locks)
        with self._client(f"{len(locks)} leases") as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.script_load(START.text)
            for lock in locks:
                name = self._name(lock.key)
                pipeline.evalsha(START.sha, 1, name, *_start_arguments(lock, lease, "renew"))
            replies = pipeline.execute()[1:]
        return [
            (lock, _start(lock.key, reply)[0]) for lock, reply in zip(locks, replies, strict=True)
        ]

    def release(self, lock: Lock) -> Lock | None:
        """Compare and delete (``LockStore.release``)."""
        if not lock.token:
            raise ValueError(f"releasing {lock.key} needs the token it was acquired with")
        token = secrets.token_hex(8)
        found = self._run(RELEASE, lock.key, lock.token, lock.run, token)
        return None if found is None else released(_lock(lock.key, *found), token)

    def blocked(self) -> list[Lock]:
        """Look at the locks that have follow-ups (``LockStore.blocked``)."""
        with self._client(_FOLLOWED) as client:
            names = [_text(key) for key in client.smembers(self._name(_FOLLOWED))]
            found = {key: self.inspect(key) for key in names}
            done = [key for key, held in found.items() if held is None or held.follow_up is None]
            if done:
                client.srem(self._name(_FOLLOWED), *done)
        return [held for held in found.values() if held is not None and held.blocks]

    def shorten(self, lock: Lock, seconds: float) -> bool:
        """Compare and set the time left (``LockStore.shorten``)."""
        return bool(self._run(SHORTEN, lock.key, lock.token, lock.run, _ms(seconds)))

    def force_release(self, key: str) -> Lock | None:
        """Delete whoever holds it (``LockStore.force_release``)."""
        found = self._run(RELEASE, key, "", "", "")
        return None if found is None else _lock(key, *found)

    def inspect(self, key: str) -> Lock | None:
        """Read one lock (``LockStore.inspect``)."""
        found = self._run(INSPECT, key)
        return None if found is None else _lock(key, *found)

    def scan(self, prefix: str = "", limit: int = 1000, seconds: float = 1.5) -> Scan:
        """Walk the keys with SCAN (``LockStore.scan``)."""
        base = self._name(f"{keys.PREFIX}:")
        pattern = _GLOB.sub(r"\\\1", self._name(prefix or f"{keys.PREFIX}:")) + "*"
        deadline = time.monotonic() + seconds
        found: dict[str, Lock] = {}  # SCAN may name a key twice
        cursor, ended = 0, False
        with self._client(prefix or "SCAN") as client:
            while not ended and len(found) < limit and time.monotonic() < deadline:
                cursor, names = client.scan(cursor, match=pattern, count=1000, _type="hash")
                found.update((lock.key, lock) for lock in self._read(client, names, base))
                ended = not int(cursor)
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
            flat = [_text(part) for pair in fields.items() for part in pair]
            if "token" in flat[::2]:  # not freed by now, and not somebody else's hash
                key = f"{keys.PREFIX}:{_text(name)[len(base) :]}"
                yield _lock(key, flat, left)

    def _name(self, key: str) -> str:
        return str(self._cache.make_key(key))

    def _run(self, script: Script, key: str, *arguments: str | int) -> Any:
        with self._client(key) as client:
            name = self._name(key)
            try:
                return _evaluate(client, script, name, arguments)
            except Exception as error:
                if not _stumbled(error):
                    raise
                return _evaluate(client, script, name, arguments)

    @contextmanager
    def _client(self, key: str) -> Iterator[Any]:
        """Yield the primary's client; turn what it raises into ``LockUnavailable``."""
        client = None
        try:
            client = self._primary()
            yield client
        except Exception as error:
            if not isinstance(error, _OUTAGES) and (client is None or not _stumbled(error)):
                raise
            raise LockUnavailable(
                f"The lock store (cache {self.alias!r}) failed at {key}: {error}",
                alias=self.alias,
                key=key,
            ) from error

    def _primary(self) -> Any:
        # The caches' own methods would hide an outage (django-redis' IGNORE_EXCEPTIONS).
        if isinstance(self._cache, DjangoRedisCache):
            return self._cache._cache.get_client(write=True)
        client = self._cache.client  # type: ignore[attr-defined]
        if isinstance(client, ShardClient):
            raise ImproperlyConfigured(
                f"CACHES[{self.alias!r}] uses django-redis' ShardClient, which can't hold locks; "
                "name an alias with the default or the Sentinel client in "
                "DJANGO_CELERY_ONCE['CACHE']"
            )
        return client.get_client(write=True)


def _evaluate(client: Any, script: Script, name: str, arguments: Sequence[str | int]) -> Any:
    try:
        return client.evalsha(script.sha, 1, name, *arguments)
    except NoScriptError:
        return client.eval(script.text, 1, name, *arguments)


def _stumbled(error: Exception) -> bool:
    """Return whether redis-py met a connection that another thread has closed meanwhile.

    At the end of a request, django-redis' CLOSE_CONNECTION closes those of all threads, also
    where one waits for its answer; redis-py then fails on what is no longer there.
    """
    if isinstance(error, _OUTAGES):
        return False
    frames = [frame for frame, _line in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")).startswith("redis.")


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _fields(lock: Lock) -> list[str]:
    """Return the hash's fields and values, flat; empty ones take no room."""
    fields = [
        ("owner", lock.owner),
        ("token", lock.token),
        ("run", lock.run),
        ("phase", lock.phase.value),
        ("task", lock.task),
        ("since", f"{lock.since:.3f}"),
        ("started", f"{lock.started:.3f}" if lock.started else ""),
        ("worker", lock.worker),
        ("requester", lock.requester),
        ("label", lock.label),
        ("hits", str(lock.hits or "")),
        ("until", lock.until),
    ]
    return [part for name, value in fields if value for part in (name, value)]


def _start_arguments(lock: Lock, lease: float, mode: str) -> list[str | int]:
    started = f"{lock.started:.3f}"
    return [
        _ms(lease), mode, lock.owner, lock.token, lock.run, started, lock.worker,
        lock.previous, f"{time.time():.3f}", *_fields(lock)
    ]  # fmt: skip


def _start(key: str, reply: list[Any]) -> tuple[Start, Lock | None]:
    found = Start[_text(reply[0])]
    return found, (_lock(key, *reply[1]) if len(reply) > 1 else None)


def _lock(key: str, flat: Sequence[bytes | str], left: int) -> Lock:
    texts = [_text(part) for part in flat]
    fields = dict(zip(texts[::2], texts[1::2], strict=True))
    next_fields = {
        name.removeprefix("next."): text
        for name, text in fields.items()
        if name.startswith("next.")
    }
    held = _record(key, fields, left)
    if not next_fields:
        return held
    return replace(held, follow_up=_record(key, next_fields, int(next_fields["ttl"])))


def _record(key: str, fields: Mapping[str, str], left: int) -> Lock:
    return Lock(
        key=key,
        owner=fields["owner"],
        token=fields["token"],
        run=fields.get("run", ""),
        phase=Phase(fields["phase"]),
        task=fields.get("task", ""),
        since=float(fields["since"]),
        started=float(fields.get("started", 0)),
        worker=fields.get("worker", ""),
        requester=fields.get("requester", ""),
        label=fields.get("label", ""),
        hits=int(fields.get("hits", 0)),
        lease=float(fields.get("lease", 0)),
        sent_back="sent_back" in fields,
        until=fields.get("until", ""),
        remaining=max(0.0, int(left) / 1000),
        call=fields.get("call", ""),
        seen=float(fields.get("seen", 0)),
    )


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
