"""Locks in any other Django cache, through ``add``, ``get``, ``set`` and ``delete``.

Only ``add`` is atomic there. Between reading a record and writing or deleting it another
process may act, so promise 3 ("only the owner releases") has a window of one round trip.
"""

from __future__ import annotations

import copy
import math
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from django.core.cache.backends.base import BaseCache

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks.base import Lock, Phase, Scan, Start, released
from django_celery_once.locks.values import (
    belongs,
    end_name,
    follows,
    hits_name,
    is_dead,
    lock_of,
    record_of,
    successor,
)

#: How often a key may be taken and freed again by others while one call asks for it.
ATTEMPTS = 5


class CacheStore:
    """Locks in Memcached, the database cache or the memory of one process."""

    def __init__(self, alias: str, cache: BaseCache) -> None:
        self.alias = alias
        self._named = cache
        self._cache = _by_name(cache)

    def name_of(self, key: str) -> str:
        """Return the name of a key in the cache (``LockStore.name_of``)."""
        return str(self._named.make_key(key))

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
        with self._guarded(lock.key):
            if ended and replacing is not None and replacing.token != lock.token:
                self._remember(replacing, ended)
            for _attempt in range(ATTEMPTS):
                if self._add(replace(lock, call="", instead=False), timeout):
                    return None
                held = self._read(self._name(lock))
                if held is None:
                    continue
                if replacing is not None and belongs(held, replacing):
                    self._write(successor(held, lock), timeout)
                    if held.owner != lock.owner:
                        self._cache.set(hits_name(self._name(lock)), 0, math.ceil(timeout))
                    return None
                if held.token == lock.token:
                    return None
                held = self._hit(held, hits)
                return self._refuse(held, lock, timeout, replacing, follow=follow)
        # A cache that hides its outage refuses to add and shows nothing: no duplicate.
        raise self._unavailable(lock.key, "it neither takes the lock nor shows a holder")

    def start(
        self, lock: Lock, lease: float, *, again: float | None = None, counted: bool = True
    ) -> tuple[Start, Lock | None]:
        """Begin a run under its lease (``LockStore.start``)."""
        with self._guarded(lock.key):
            if self._cache.get(end_name(self._name(lock), lock.token)) is not None:
                return Start.ENDED, None
            found, held = self._start(lock, lease, again=again)
            if found is Start.ANOTHER and held is not None:
                counted = counted and held.owner != lock.owner
                held = self._hit(held, int(counted))
            if found is Start.ELSEWHERE and held is not None:
                held = replace(held, sent_back=held.sent_back or time.time(), copied=True)
                self._write(held, max(held.remaining, 2 * lease))
            return found, held

    def renew(self, locks: Iterable[Lock], lease: float) -> list[tuple[Lock, Start]]:
        """Renew leases one after the other (``LockStore.renew``)."""
        with self._guarded("leases"):
            return [(lock, self._start(lock, lease)[0]) for lock in locks]

    def release(self, lock: Lock, *, ended: float = 0.0) -> Lock | None:
        """Compare, then delete (``LockStore.release``)."""
        if not lock.token:
            raise ValueError(f"releasing {lock.key} needs the token it was acquired with")
        with self._guarded(lock.key):
            if ended:
                self._remember(lock, ended)
            held = self._read(self._name(lock))
            if held is None or not belongs(held, lock):
                if held is not None and follows(held, lock):
                    self._write(replace(held, follow_up=None), held.remaining)
                return None
            if held.follow_up is None:
                return self._delete(held)
            last = released(replace(held, hits=self._hits(held)), secrets.token_hex(8))
            following = last.follow_up
            assert following is not None  # noqa: S101
            self._write(replace(following, instead=False), following.remaining)
            self._cache.set(hits_name(held.name), 0, math.ceil(following.remaining))
            return last

    def forget(self, lock: Lock) -> None:
        """Delete what tells of an end (``LockStore.forget``)."""
        with self._guarded(lock.key):
            self._cache.delete(end_name(self._name(lock), lock.token))

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

    def force_release(self, key: str, name: str = "") -> Lock | None:
        """Delete whoever holds it (``LockStore.force_release``)."""
        with self._guarded(key):
            held = self._read(name or self.name_of(key))
            return None if held is None else self._delete(held)

    def remember(self, lock: Lock, seconds: float) -> None:
        """Set the mark of a message that has ended (``LockStore.remember``)."""
        with self._guarded(lock.key):
            self._cache.set(end_name(self._name(lock), lock.token), 1, math.ceil(seconds))

    def inspect(self, key: str, name: str = "") -> Lock | None:
        """Read one lock (``LockStore.inspect``)."""
        with self._guarded(key):
            held = self._read(name or self.name_of(key))
            return None if held is None else replace(held, hits=self._hits(held))

    def scan(self, prefix: str = "", limit: int = 1000, seconds: float = 1.5) -> Scan:
        """Say that this cache can't list its keys."""
        kind = type(self._cache).__name__
        raise NotImplementedError(f"CACHES[{self.alias!r}] ({kind}) can't list its keys")

    def _start(
        self, lock: Lock, lease: float, *, again: float | None = None
    ) -> tuple[Start, Lock | None]:
        for _attempt in range(ATTEMPTS):
            held = self._read(self._name(lock))
            if held is None:
                if self._add(replace(lock, lease=lease), lease):
                    return Start.TAKEN, None
                continue
            if lock.previous and held.token == lock.previous:
                held = replace(held, token=lock.token, run="")
            if held.token != lock.token:
                return self._meet(held, lock, lease), held
            elsewhere = held.run and held.run != lock.run
            if elsewhere and not is_dead(held, again):
                return Start.ELSEWHERE, held
            mine = replace(
                held,
                phase=Phase.RUNNING,
                run=lock.run,
                started=lock.started,
                worker=lock.worker,
                lease=lease,
                copied=held.copied or lock.copied,
                sent_back=0.0,
                seen=0.0 if held.follow_up is None else time.time(),
                call="",
            )
            keeps = held.until == "expired" or held.follow_up is not None
            self._write(mine, max(lease, held.remaining) if keeps else lease)
            return Start.MINE, None
        raise self._unavailable(lock.key, "it neither takes the lock nor shows a holder")

    def _meet(self, held: Lock, lock: Lock, lease: float) -> Start:
        if not follows(held, lock):
            return Start.ANOTHER
        if held.phase is Phase.RUNNING:
            self._write(held, max(held.remaining, 4 * lease))
        return Start.FOLLOWS

    def _refuse(
        self, held: Lock, lock: Lock, timeout: float, replacing: Lock | None, *, follow: bool
    ) -> Lock:
        if lock.instead:
            return self._stand_by(held, lock, timeout, replacing)
        return self._follow(held, lock, timeout) if follow else held

    def _follow(self, held: Lock, lock: Lock, timeout: float) -> Lock:
        following = held.follow_up
        if following is None or following.instead:
            following = replace(
                lock, remaining=timeout, grace=0.0, begins=0.0 if lock.call else lock.begins
            )
        elif lock.call:
            following = replace(following, call=lock.call, label=lock.label, **lock.asked_by)
        held = replace(held, follow_up=following, seen=held.seen or self._heard_of(held))
        running = held.phase is Phase.RUNNING
        self._write(held, max(held.remaining, timeout) if running else held.remaining)
        return held

    def _stand_by(self, held: Lock, lock: Lock, timeout: float, replacing: Lock | None) -> Lock:
        known = held.follow_up
        own = replacing is not None and follows(held, replacing)
        unsure = known is not None and known.instead and not known.call and bool(lock.call)
        if held.phase is not Phase.RESERVED or not (own or unsure or known is None):
            return held
        following = replace(lock, owner=held.owner, remaining=timeout, grace=0.0)
        held = replace(held, follow_up=following, seen=held.seen or self._heard_of(held))
        self._write(held, held.remaining + timeout)
        return held

    def _heard_of(self, held: Lock) -> float:
        """Return when the holder was heard of last; a reservation is, until its time is over."""
        return time.time() + (held.remaining if held.phase is Phase.RESERVED else 0.0)

    def _remember(self, lock: Lock, seconds: float) -> None:
        held = self._read(self._name(lock))
        if lock.copied or (held is not None and held.token == lock.token and held.copied):
            self.remember(lock, seconds)

    def _add(self, lock: Lock, timeout: float) -> bool:
        # Whole seconds: Memcached and the database cache cut fractions off.
        kept, name = math.ceil(timeout), self._name(lock)
        if not self._cache.add(name, record_of(lock, timeout), kept):
            return False
        self._cache.set(hits_name(name), lock.hits, kept)
        return True

    def _write(self, lock: Lock, timeout: float) -> None:
        name = self._name(lock)
        self._cache.set(name, record_of(lock, timeout), math.ceil(timeout))
        self._cache.touch(hits_name(name), math.ceil(timeout))

    def _delete(self, held: Lock) -> Lock:
        last = replace(held, hits=self._hits(held))
        self._cache.delete_many([held.name, hits_name(held.name)])
        return last

    def _name(self, lock: Lock) -> str:
        return lock.name or self.name_of(lock.key)

    def _read(self, name: str) -> Lock | None:
        record = self._cache.get(name)
        return None if record is None else lock_of(self.alias, name, record)

    def _read_own(self, lock: Lock) -> Lock | None:
        held = self._read(self._name(lock))
        if held is None or not belongs(held, lock):
            return None
        return held

    def _hit(self, held: Lock, more: int) -> Lock:
        if not more or held.expired:
            return replace(held, hits=self._hits(held))
        try:
            hits = self._cache.incr(hits_name(held.name), more)
        except ValueError:  # the counter was dropped before its lock
            hits = held.hits + more
            self._cache.set(hits_name(held.name), hits, math.ceil(held.remaining))
        return replace(held, hits=hits)

    def _hits(self, held: Lock) -> int:
        return int(self._cache.get(hits_name(held.name), 0))

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


def _by_name(cache: BaseCache) -> BaseCache:
    """Return a cache with another's connections which takes names for keys."""
    getattr(cache, "_cache", None)  # Memcached's client, which is to be one for both
    plain = copy.copy(cache)
    plain.key_func = lambda name, _prefix, _version: name
    return plain
