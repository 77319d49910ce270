"""The locks held now, for people: looking at them, and freeing one that was looked at."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from celery import current_app

from django_celery_once import follow_ups
from django_celery_once.conf import conf
from django_celery_once.keys import PREFIX, key_prefix
from django_celery_once.locks import Lock, Phase, Scan, open_store
from django_celery_once.signals import Outcome, lock_released

#: Locks that a search reads, and the seconds it takes: a person waits for the answer.
MOST_LOCKS = 5000
MOST_SECONDS = 1.0
#: Seconds to wait for a broker that does not answer.
BROKER_SECONDS = 4

#: What a key may look like. Under any other name lives another's data.
_KEY = re.compile(rf"{PREFIX}:[!-~]{{1,240}}")

logger = logging.getLogger(__name__)


def find(task: str = "", limit: int = MOST_LOCKS, seconds: float = MOST_SECONDS) -> Scan:
    """Return the locks held now, or those of a task, the longest held first.

    Stop after ``limit`` locks or ``seconds``. Raise ``LockUnavailable`` when the store can't
    be reached and ``NotImplementedError`` when it can't list its keys.
    """
    scan = open_store(conf.cache).scan(key_prefix(task) if task else "", limit, seconds)
    return replace(scan, locks=tuple(sorted(scan.locks, key=lambda lock: lock.since)))


def look_up(key: str) -> Lock | None:
    """Return the lock under a key that a person typed, or ``None``.

    Raise ``LockUnavailable`` when the store can't be reached.
    """
    return open_store(conf.cache).inspect(key) if _KEY.fullmatch(key) else None


def is_living(lock: Lock) -> bool:
    """Return whether a worker that gave a sign of life within ``LEASE`` runs the task."""
    return lock.phase is Phase.RUNNING and lock.silence <= conf.lease


def is_lost(lock: Lock) -> bool:
    """Return whether the task began to run and its worker gives no sign of life."""
    return lock.phase is Phase.RUNNING and not is_living(lock)


def free(seen: Lock, *, by: str, reason: str = "") -> Lock | None:
    """Free a lock for a person; return its last record.

    ``None``: it is not the lock that was ``seen`` any more (freed, begun, or another's), and
    nothing was done. Raise ``LockUnavailable`` when the store can't be reached.
    """
    store = open_store(conf.cache)
    held = store.inspect(seen.key)
    if held is None or (held.token, held.run) != (seen.token, seen.run):
        return None
    last = follow_ups.release(conf.cache, seen)
    if last is not None:
        logger.warning(
            "%s freed the lock %s of %s[%s]%s",
            by,
            last.key,
            last.task,
            last.owner,
            f": {reason}" if reason else "",
        )
        task = current_app.tasks.get(last.task)
        lock_released.send_robust(sender=type(task), lock=last, outcome=Outcome.RELEASED)
    return last


def revoke(lock: Lock) -> None:
    """Tell the workers to drop a lock's task, and to end it if it runs.

    Raise what the broker's client raises; one that does not answer is given up.
    """
    with current_app.connection_for_write(connect_timeout=BROKER_SECONDS) as connection:
        # Kombu would try for ever to reach a broker that is down.
        connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
        running = lock.phase is Phase.RUNNING
        current_app.control.revoke(lock.owner, terminate=running, connection=connection)
