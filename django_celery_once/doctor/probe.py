"""A lock of the doctor's own, which is gone when the examination is over."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.keys import key_prefix
from django_celery_once.locks import Lock, LockStore, Phase

TASK = "once_doctor"
#: Seconds after which a store forgets a lock that could not be released.
SECONDS = 60
#: What the second process' answer begins with; settings may write lines of their own.
MARK = "once_doctor: "


@contextmanager
def probing(store: LockStore) -> Iterator[Lock]:
    """Yield a lock that nobody holds yet; free its key at the end, whatever happened."""
    name = uuid.uuid4().hex
    lock = Lock(
        key=f"{key_prefix(TASK)}{name}",
        owner=f"{TASK}-{name}",
        token=uuid.uuid4().hex,
        task=TASK,
        since=time.time(),
        alias=store.alias,
    )
    try:
        yield lock
    finally:
        # A store that has gone away meanwhile forgets the lock by itself.
        with suppress(LockUnavailable):
            store.force_release(lock.key)


def started(lock: Lock) -> Lock:
    """Return a lock as a run of its message holds it."""
    return replace(
        lock, run=uuid.uuid4().hex, phase=Phase.RUNNING, started=time.time(), worker=TASK
    )
