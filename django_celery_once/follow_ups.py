"""What takes a key's place when it is released; the worker's side says how it is published."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, open_store
from django_celery_once.tenants import in_schema

logger = logging.getLogger(__name__)

Send = Callable[[Lock], None]

_send: Send | None = None


def install(send: Send) -> None:
    """Set how a call that has waited beside a lock is published."""
    global _send
    _send = send


def release(lock: Lock, *, ended: float = 0.0) -> Lock | None:
    """Release a lock and publish what is to follow it; return its last record.

    ``ended`` says so of its message, in seconds (``LockStore.release``). Raise
    ``LockUnavailable`` when the store can't be reached.
    """
    last = open_store(lock.alias).release(lock, ended=ended)
    if last is not None and last.follow_up is not None:
        send(last.follow_up)
    return last


def send(lock: Lock) -> None:
    """Publish the call of a follow-up that has its key now; never raise.

    One without a call has a message of its own on its way. One that runs instead has none that
    looks after it: where it can't be published, its key is free.
    """
    if not lock.call or _send is None:
        return
    try:
        with in_schema(lock.schema):
            _send(lock)
    except Exception:
        then = "its key is free" if lock.instead else "the message that looks after it tries again"
        logger.exception("%s[%s] could not be queued; %s", lock.task, lock.owner, then)
        if lock.instead:
            _give_back(lock)


def _give_back(lock: Lock) -> None:
    try:
        open_store(lock.alias).release(lock)
    except LockUnavailable as error:
        logger.warning("%s; the key of %s[%s] lapses by itself", error, lock.task, lock.owner)
