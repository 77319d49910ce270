"""Which locks a command is about."""

from __future__ import annotations

from dataclasses import replace

from django.core.management.base import CommandError

from django_celery_once.live import Found, find
from django_celery_once.management.lock_command import BAD_USAGE

#: Where a search ends: the locks it holds in memory, and its time in seconds.
MOST_LOCKS = 100_000
MOST_SECONDS = 10.0


def locks_of(task: str = "") -> Found:
    """Return the locks of a task (``"reports.*"``: of all such tasks), or all; oldest first.

    Raise ``LockUnavailable`` where no cache that holds locks answers, and ``CommandError``
    where those that do can't list their keys.
    """
    prefix = task.removesuffix("*")
    found = find("" if prefix != task else task, MOST_LOCKS, MOST_SECONDS)
    if found.unlisted and not found.listed:
        raise CommandError(
            f"{'; '.join(found.unlisted.values())}. Ask for one lock by its key: "
            "once_locks --key KEY, once_release KEY. task.once_key(…) returns a call's key, and "
            "the admin shows that of each blocked duplicate.",
            returncode=BAD_USAGE,
        )
    if not found.listed:
        raise found.outages[0]
    locks = tuple(lock for lock in found.locks if lock.task.startswith(prefix))
    return replace(found, locks=locks)
