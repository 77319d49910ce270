"""What takes a key's place when it is released; the worker's side says how it is published."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django_celery_once.locks import Lock, open_store

logger = logging.getLogger(__name__)

Send = Callable[[Lock], None]

_send: Send | None = None


def install(send: Send) -> None:
    """Set how a call that has waited beside a lock is published."""
    global _send
    _send = send


def release(lock: Lock) -> Lock | None:
    """Release a lock and publish what is to follow it; return its last record.

    Raise ``LockUnavailable`` when the store can't be reached.
    """
    last = open_store(lock.alias).release(lock)
    if last is not None and last.follow_up is not None:
        send(last.follow_up)
    return last


def send(lock: Lock) -> None:
    """Publish the call of a follow-up that has its key now; never raise.

    One without a call has a message of its own on its way.
    """
    if not lock.call or _send is None:
        return
    try:
        _send(lock)
    except Exception:
        logger.exception(
            "%s[%s] could not be queued; the message that looks after it tries again",
            lock.task,
            lock.owner,
        )
