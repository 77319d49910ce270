"""The locks held now, for people: looking at them, and freeing one that was looked at."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from typing import Any

from django.conf import settings

from django_celery_once import follow_ups, registry
from django_celery_once.celery_apps import app_of, find_task
from django_celery_once.conf import conf
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.keys import PREFIX, key_prefix
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.record import record
from django_celery_once.signals import Outcome, lock_released

#: Locks that a search reads, and the seconds it takes: a person waits for the answer.
MOST_LOCKS = 5000
MOST_SECONDS = 1.0
#: Seconds to wait for a broker that does not answer.
BROKER_SECONDS = 4

#: What a key may look like. Under any other name lives another's data.
_KEY = re.compile(rf"{PREFIX}:[!-~]{{1,240}}")

logger = logging.getLogger(__name__)


@record
class Found:
    """The locks that a search has found.

    ``listed`` are the aliases of the caches that were searched, and ``cut`` says that this
    stopped early in one. ``outages`` are those of the caches that did not answer; ``unlisted``
    says of the aliases whose cache can't list its keys, why.
    """

    locks: tuple[Lock, ...] = ()
    listed: tuple[str, ...] = ()
    cut: bool = False
    outages: tuple[LockUnavailable, ...] = ()
    unlisted: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Return whether these are all the locks that there are."""
        return not (self.cut or self.outages or self.unlisted)


def find(task: str = "", limit: int = MOST_LOCKS, seconds: float = MOST_SECONDS) -> Found:
    """Return the locks held now, or those of a task, the longest held first.

    Look in every cache that holds locks; in each, stop after ``limit`` locks or ``seconds``.
    """
    found = Found()
    for alias in registry.aliases():
        try:
            scan = open_store(alias).scan(key_prefix(task) if task else "", limit, seconds)
        except LockUnavailable as error:
            found = replace(found, outages=(*found.outages, error))
        except NotImplementedError as error:
            found = replace(found, unlisted={**found.unlisted, alias: str(error)})
        else:
            found = replace(
                found,
                locks=(*found.locks, *scan.locks),
                listed=(*found.listed, alias),
                cut=found.cut or not scan.complete,
            )
    return replace(found, locks=tuple(sorted(found.locks, key=lambda lock: lock.since)))


def look_up(key: str, alias: str = "") -> Lock | None:
    """Return the lock under a key that a person typed, or ``None``.

    Look in the cache ``alias`` where it is known, else in every cache that holds locks. Raise
    ``LockUnavailable`` when there is none in those that answer, and one does not.
    """
    if not _KEY.fullmatch(key):
        return None
    outage = None
    for each in [alias] if alias in settings.CACHES else registry.aliases():
        try:
            lock = open_store(each).inspect(key)
        except LockUnavailable as error:
            outage = outage or error
            continue
        if lock is not None:
            return lock
    if outage is not None:
        raise outage
    return None


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
    store = open_store(seen.alias)
    held = store.inspect(seen.key, seen.name)
    if held is None or (held.token, held.run) != (seen.token, seen.run):
        return None
    last = follow_ups.release(seen)
    if last is not None:
        logger.warning(
            "%s freed the lock %s of %s[%s]%s",
            by,
            last.key,
            last.task,
            last.owner,
            f": {reason}" if reason else "",
        )
        sender = type(find_task(last.task))
        lock_released.send_robust(sender=sender, lock=last, outcome=Outcome.RELEASED)
    return last


@contextmanager
def broker_of(app: Any) -> Iterator[Any]:
    """Yield a connection of its own to an app's broker; raise what its client raises.

    Kombu would try for ever to reach one that is down.
    """
    with app.connection_for_write(connect_timeout=BROKER_SECONDS) as connection:
        connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
        yield connection


def revoke(lock: Lock) -> None:
    """Tell the workers to drop a lock's task, and to end it if it runs.

    Raise what the broker's client raises; one that does not answer is given up.
    """
    app = app_of(lock.task)
    with broker_of(app) as connection:
        running = lock.phase is Phase.RUNNING
        app.control.revoke(lock.owner, terminate=running, connection=connection)
