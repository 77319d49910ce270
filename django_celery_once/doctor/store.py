"""Examinations of the lock store, by its verbs alone."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from django_celery_once.doctor.findings import Finding, ok, wrong
from django_celery_once.doctor.probe import SECONDS, probing, started
from django_celery_once.locks import LockStore, Start

#: The time-out that has to lapse, and for how long the doctor waits beyond it. Memcached
#: counts whole seconds, so that one of them may be over at once.
SHORT_SECONDS = 2.0
PATIENCE_SECONDS = 3.0
OTHER_CACHE = (
    "Name a cache in DJANGO_CELERY_ONCE['CACHE'] that keeps what it is given and that all "
    "processes share, such as Redis."
)


def examine_round_trip(store: LockStore) -> Finding:
    """Take, start, renew and release a lock, and time each."""
    times: list[str] = []
    with probing(store) as lock:
        run = started(lock)
        with _timed("acquire", times):
            holder = store.acquire(lock, SECONDS)
        with _timed("start", times):
            found, _holder = store.start(run, SECONDS)
        with _timed("renew", times):
            [(_lock, renewed)] = store.renew([run], SECONDS)
        with _timed("release", times):
            last = store.release(run)
        left = store.inspect(lock.key)
    if holder is not None:
        return wrong("A new key was refused as a duplicate.", OTHER_CACHE)
    if (found, renewed) != (Start.MINE, Start.MINE) or last is None:
        return wrong("The store forgot a lock that it had just taken.", OTHER_CACHE)
    if left is not None:
        return wrong("A lock was still there after its release.", OTHER_CACHE)
    return ok(f"A lock was taken, started, renewed and released: {', '.join(times)}.")


def examine_stranger(store: LockStore) -> Finding:
    """Try to release a lock with another token than its own."""
    with probing(store) as lock:
        store.acquire(lock, SECONDS)
        freed = store.release(replace(lock, token=uuid.uuid4().hex))
        held = store.inspect(lock.key)
    if freed is not None:
        return wrong("A lock was freed by a token that is not its own.", OTHER_CACHE)
    if held is None or held.token != lock.token:
        return wrong("A lock was gone a moment after it was taken.", OTHER_CACHE)
    return ok("A lock could not be released with another's token.")


def examine_expiry(store: LockStore) -> Finding:
    """Wait for a lock to lapse, and let another take the key."""
    with probing(store) as lock:
        store.acquire(lock, SHORT_SECONDS)
        taken = time.monotonic()
        if store.inspect(lock.key) is None:
            return wrong("A lock was gone a moment after it was taken.", OTHER_CACHE)
        lapsed = _wait(lambda: store.inspect(lock.key) is None)
        after = time.monotonic() - taken
        if not lapsed:
            return wrong(
                f"A lock with a time-out of {SHORT_SECONDS:g} s was still there after "
                f"{after:.1f} s.",
                "Let nothing between Django and the store change or drop time-outs.",
            )
        # The next owner also sweeps away what a store keeps of an expired entry.
        successor = replace(lock, owner=f"{lock.owner}-2", token=uuid.uuid4().hex)
        if store.acquire(successor, SECONDS) is not None:
            return wrong("The key of a lapsed lock could not be taken.", OTHER_CACHE)
    return ok(f"A lock with a time-out of {SHORT_SECONDS:g} s was gone after {after:.1f} s.")


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SHORT_SECONDS + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


@contextmanager
def _timed(verb: str, times: list[str]) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    times.append(f"{verb} {(time.perf_counter() - begun) * 1000:.1f} ms")
