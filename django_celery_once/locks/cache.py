"""Locks in any other Django cache, through ``add``, ``get``, ``set`` and ``delete``.

Only ``add`` is atomic there. Between reading a record and writing or deleting it another
process may act, so promise 3 ("only the owner releases") has a window of one round trip.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from django.core.cache.backends.base import BaseCache

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks.base import Lock, Phase, Scan, Start, released

#: How often a key may be taken and freed again by others while one call asks for it.
ATTEMPTS = 5


class CacheStore:
    """Locks in Memcached, the database cache or the memory of one process."""

    def __init__(self, alias: str, cache: BaseCache) -> None:
        self.alias = alias
        self._cache = cache

    def name_of(self, key: str) -> str:
        """Return the name of a key in the cache (``LockStore.name_of``)."""
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
        with self._guarded(lock.key):
            for _attempt in range(ATTEMPTS):
                if self._add(replace(lock, call=""), timeout):
                    return None
                held = self._read(lock.key)
                if held is None:
                    continue
                if replacing is not None and _belongs(held, replacing):
                    self._write(_successor(held, lock), timeout)
                    if held.owner != lock.owner:
                        self._cache.set(_hits_key(lock.key), 0, math.ceil(timeout))
                    return None
                if held.token == lock.token:
                    return None
                held = self._hit(held, hits)
                return self._follow(held, lock, timeout) if follow else held
        # A cache that hides its outage refuses to add and shows nothing: no duplicate.
        raise self._unavailable(lock.key, "it neither takes the lock nor shows a holder")

    def start(
        self, lock: Lock, lease: float, *, again: bool = False, counted: bool = True
    ) -> tuple[Start, Lock | None]:
        """Begin a run under its lease (``LockStore.start``)."""
        with self._guarded(lock.key):
            found, held = self._start(lock, lease, again=again)
            if found is Start.ANOTHER and held is not None:
                counted = counted and held.owner != lock.owner
                held = self._hit(held, int(counted))
            if found is Start.ELSEWHERE and held is not None:
                held = replace(held, sent_back=True)
                self._write(held, max(held.remaining, 2 * lease))
            return found, held

    def renew(self, locks: Iterable[Lock], lease: float) -> list[tuple[Lock, Start]]:
        """Renew leases one after the other (``LockStore.renew``)."""
        with self._guarded("leases"):
            return [(lock, self._start(lock, lease)[0]) for lock in locks]

    def release(self, lock: Lock) -> Lock | None:
        """Compare, then delete (``LockStore.release``)."""
        if not lock.token:
            raise ValueError(f"releasing {lock.key} needs the token it was acquired with")
        with self._guarded(lock.key):
            held = self._read(lock.key)
            if held is None or not _belongs(held, lock):
                if held is not None and _follows(held, lock):
                    self._write(replace(held, follow_up=None), held.remaining)
                return None
            if held.follow_up is None:
                return self._delete(held)
            last = released(replace(held, hits=self._hits(held.key)), secrets.token_hex(8))
            following = last.follow_up
            assert following is not None  # noqa: S101
            self._write(following, following.remaining)
            self._cache.set(_hits_key(lock.key), 0, math.ceil(following.remaining))
            return last

    def blocked(self) -> list[Lock]:
        """Return none (``LockStore.blocked``)."""
        return []

    def shorten(self, lock: Lock, seconds: float) -> bool:
        """Compare, then set the time left (``LockStore.shorten``)."""
        with self._guarded(lock.key):
            held = self._read_own(lock)
            if held is not None:
                self._write(held, seconds)
            return held is not None

    def force_release(self, key: str) -> Lock | None:
        """Delete whoever holds it (``LockStore.force_release``)."""
        with self._guarded(key):
            held = self._read(key)
            return None if held is None else self._delete(held)

    def inspect(self, key: str) -> Lock | None:
        """Read one lock (``LockStore.inspect``)."""
        with self._guarded(key):
            held = self._read(key)
            return None if held is None else replace(held, hits=self._hits(key))

    def scan(self, prefix: str = "", limit: int = 1000, seconds: float = 1.5) -> Scan:
        """Say that this cache can't list its keys."""
        kind = type(self._cache).__name__
        raise NotImplementedError(f"CACHES[{self.alias!r}] ({kind}) can't list its keys")

    def _start(self, lock: Lock, lease: float, *, again: bool = False) -> tuple[Start, Lock | None]:
        for _attempt in range(ATTEMPTS):
            held = self._read(lock.key)
            if held is None:
                if self._add(replace(lock, lease=lease), lease):
                    return Start.TAKEN, None
                continue
            if lock.previous and held.token == lock.previous:
                held = replace(held, token=lock.token, run="")
            if held.token != lock.token:
                return self._meet(held, lock, lease), held
            elsewhere = held.run and held.run != lock.run
            if elsewhere and not (again and held.sent_back):
                return Start.ELSEWHERE, held
            mine = replace(
                held,
                phase=Phase.RUNNING,
                run=lock.run,
                started=lock.started,
                worker=lock.worker,
                lease=lease,
                sent_back=False,
                seen=0.0 if held.follow_up is None else time.time(),
                call="",
            )
            keeps = held.until == "expired" or held.follow_up is not None
            self._write(mine, max(lease, held.remaining) if keeps else lease)
            return Start.MINE, None
        raise self._unavailable(lock.key, "it neither takes the lock nor shows a holder")

    def _meet(self, held: Lock, lock: Lock, lease: float) -> Start:
        if not _follows(held, lock):
            return Start.ANOTHER
        if held.phase is Phase.RUNNING:
            self._write(held, max(held.remaining, 4 * lease))
        return Start.FOLLOWS

    def _follow(self, held: Lock, lock: Lock, timeout: float) -> Lock:
        following = held.follow_up
        if following is None:
            following = replace(lock, remaining=timeout)
        elif lock.call:
            following = replace(
                following,
                call=lock.call,
                label=lock.label or following.label,
                requester=lock.requester or following.requester,
            )
        held = replace(held, follow_up=following, seen=held.seen or time.time())
        running = held.phase is Phase.RUNNING
        self._write(held, max(held.remaining, timeout) if running else held.remaining)
        return held

    def _add(self, lock: Lock, timeout: float) -> bool:
        # Whole seconds: Memcached and the database cache cut fractions off.
        kept = math.ceil(timeout)
        if not self._cache.add(lock.key, _record(lock, timeout), kept):
            return False
        self._cache.set(_hits_key(lock.key), lock.hits, kept)
        return True

    def _write(self, lock: Lock, timeout: float) -> None:
        self._cache.set(lock.key, _record(lock, timeout), math.ceil(timeout))
        self._cache.touch(_hits_key(lock.key), math.ceil(timeout))

    def _delete(self, held: Lock) -> Lock:
        last = replace(held, hits=self._hits(held.key))
        self._cache.delete_many([held.key, _hits_key(held.key)])
        return last

    def _read(self, key: str) -> Lock | None:
        record = self._cache.get(key)
        if record is None:
            return None
        fields = dict(record)
        remaining = max(0.0, fields.pop("expires") - time.time())
        following = fields.pop("follow_up")
        if following is not None:
            following = Lock(**{**following, "phase": Phase(following["phase"])}, alias=self.alias)
        known = {**fields, "phase": Phase(fields["phase"]), "follow_up": following}
        return Lock(**known, remaining=remaining, alias=self.alias)

    def _read_own(self, lock: Lock) -> Lock | None:
        held = self._read(lock.key)
        if held is None or not _belongs(held, lock):
            return None
        return held

    def _hit(self, held: Lock, more: int) -> Lock:
        if not more:
            return replace(held, hits=self._hits(held.key))
        try:
            hits = self._cache.incr(_hits_key(held.key), more)
        except ValueError:  # the counter was dropped before its lock
            hits = held.hits + more
            self._cache.set(_hits_key(held.key), hits, math.ceil(held.remaining))
        return replace(held, hits=hits)

    def _hits(self, key: str) -> int:
        return int(self._cache.get(_hits_key(key), 0))

    @contextmanager
    def _guarded(self, key: str) -> Iterator[None]:
        try:
            yield
        except LockUnavailable:
            raise
        except Exception as error:
            # Each cache library has errors of its own; all mean that the answer is unknown.
            raise self._unavailable(key, str(error)) from error

    def _unavailable(self, key: str, why: str) -> LockUnavailable:
        return LockUnavailable(
            f"The lock store (cache {self.alias!r}) failed at {key}: {why}",
            alias=self.alias,
            key=key,
        )


def _belongs(held: Lock, lock: Lock) -> bool:
    return held.token == lock.token and (not held.run or lock.run in ("", held.run))


def _follows(held: Lock, lock: Lock) -> bool:
    return held.follow_up is not None and held.follow_up.token == lock.token


def _hits_key(key: str) -> str:
    return f"{key}:hits"


def _record(lock: Lock, timeout: float) -> dict[str, object]:
    record = asdict(lock)
    record["phase"] = lock.phase.value
    record["expires"] = time.time() + timeout
    if lock.follow_up is not None:
        record["follow_up"] = {**asdict(lock.follow_up), "phase": lock.follow_up.phase.value}
        del record["follow_up"]["alias"]
    del record["remaining"], record["previous"], record["alias"]
    return record


def _successor(held: Lock, lock: Lock) -> Lock:
    """Return the next lock on a key: the same task's goes on with what was said of it."""
    if held.owner != lock.owner:
        return replace(lock, follow_up=held.follow_up)
    return replace(
        lock,
        follow_up=held.follow_up,
        since=held.since,
        hits=held.hits,
        until=held.until,
        label=lock.label or held.label,
        requester=lock.requester or held.requester,
    )
