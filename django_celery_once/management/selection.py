"""Which locks a command is about."""

from __future__ import annotations

from django.core.management.base import CommandError

from django_celery_once.live import find
from django_celery_once.locks import Scan
from django_celery_once.management.lock_command import BAD_USAGE

#: Where a search ends: the locks it holds in memory, and its time in seconds.
MOST_LOCKS = 100_000
MOST_SECONDS = 10.0


def locks_of(task: str = "") -> Scan:
    """Return the locks of a task (``"reports.*"``: of all such tasks), or all; oldest first.

    Raise ``CommandError`` where the store can't list its keys.
    """
    prefix = task.removesuffix("*")
    try:
        found = find("" if prefix != task else task, MOST_LOCKS, MOST_SECONDS)
    except NotImplementedError as error:
        raise CommandError(
            f"{error}. Ask for one lock by its key: once_locks --key KEY, once_release KEY. "
            "task.once_key(…) returns a call's key, and the admin shows that of each blocked "
            "duplicate.",
            returncode=BAD_USAGE,
        ) from error
    locks = tuple(lock for lock in found.locks if lock.task.startswith(prefix))
    return Scan(locks, found.complete)
