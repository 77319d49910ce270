"""What the admin knows of the locks held now, whatever the store can tell."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.utils.crypto import salted_hmac
from django.utils.translation import gettext, ngettext

from django_celery_once import live, registry
from django_celery_once.admin.moments import duration, from_epoch, to_the_second
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, Phase
from django_celery_once.record import record

#: Locks on one page.
SHOWN = 200


@record
class Holding:
    """A lock as people read it."""

    lock: Lock

    @property
    def what(self) -> str:
        """Return the developer's words for the call, or the task's name."""
        return self.lock.label or self.lock.task

    @property
    def since(self) -> str:
        """Return when the call was accepted."""
        return to_the_second(from_epoch(self.lock.since))

    @property
    def started(self) -> str:
        """Return when the run began, or nothing."""
        started = self.lock.started
        return to_the_second(from_epoch(started)) if started else ""

    @property
    def begins(self) -> str:
        """Return when the run may begin, or nothing where no time was set."""
        begins = self.lock.begins
        return to_the_second(from_epoch(begins)) if begins else ""

    @property
    def age(self) -> str:
        """Return how long the lock has been held."""
        return duration(time.time() - self.lock.since)

    @property
    def left(self) -> str:
        """Return how long it will be held if nothing happens."""
        return duration(self.lock.remaining)

    @property
    def silence(self) -> str:
        """Return how long ago the worker gave its last sign of life."""
        return duration(self.lock.silence)

    @property
    def phase(self) -> str:
        """Return where the task stands."""
        words = {
            Phase.RESERVED: gettext("reserved"),
            Phase.PLANNED: gettext("planned for %(moment)s") % {"moment": self.begins},
            Phase.QUEUED: gettext("queued"),
            Phase.RUNNING: gettext("running"),
            Phase.KEPT: gettext("ended, kept until its time is up"),
        }
        phase = words[self.lock.phase_now]
        if self.lock.follow_up is None or self.lock.follow_up.instead:
            return phase
        return gettext("%(phase)s; one run more follows") % {"phase": phase}

    @property
    def is_living(self) -> bool:
        """Return whether a living worker runs the task."""
        return live.is_living(self.lock)

    @property
    def is_lost(self) -> bool:
        """Return whether the worker that ran the task gives no sign of life."""
        return live.is_lost(self.lock)

    @property
    def mark(self) -> str:
        """Return what tells this lock, and this run of it, from any other.

        A page may show it: nobody can free a lock with it.
        """
        seen = f"{self.lock.token} {self.lock.run}"
        return salted_hmac(__name__, seen, algorithm="sha256").hexdigest()


@record
class Listing:
    """The locks that were found, the longest held first.

    ``complete`` is false where the search stopped early, ``listable`` where no store that
    answered can list its keys, and ``reachable`` where none did answer. Of several stores,
    ``missing`` are the aliases of those that did not answer and ``unlisted`` of those that can't
    list theirs; ``shows_cache`` says that locks are in several.
    """

    locks: tuple[Lock, ...] = ()
    complete: bool = True
    listable: bool = True
    reachable: bool = True
    missing: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    shows_cache: bool = False

    @property
    def shown(self) -> list[Holding]:
        """Return those held longest."""
        return [Holding(lock) for lock in self.locks[:SHOWN]]

    @property
    def cut(self) -> str:
        """Return that only some are shown, or nothing."""
        if len(self.locks) <= SHOWN:
            return ""
        return gettext("The %(count)d held longest are shown.") % {"count": SHOWN}

    @property
    def oldest(self) -> Holding | None:
        """Return the one held longest."""
        return Holding(self.locks[0]) if self.locks else None

    @property
    def lost(self) -> list[Holding]:
        """Return those whose worker gives no sign of life."""
        return [Holding(lock) for lock in self.locks if live.is_lost(lock)]

    @property
    def is_empty(self) -> bool:
        """Return whether there is no lock for certain."""
        told = self.complete and self.listable and self.reachable
        return told and not (self.locks or self.missing or self.unlisted)

    def sentences(self) -> Iterator[str]:
        """Yield what a reader must know of this list."""
        found = len(self.locks)
        if not self.reachable:
            yield gettext("The lock store can't be reached now, so nothing is known of its locks.")
        if not self.listable:
            yield gettext("The lock store can't list its locks. Ask for one by its key.")
        for alias in self.missing:
            yield gettext(
                "The lock store “%(cache)s” can't be reached now: its locks are missing here."
            ) % {"cache": alias}
        for alias in self.unlisted:
            yield gettext(
                "The lock store “%(cache)s” can't list its locks. Ask for one by its key."
            ) % {"cache": alias}
        if not self.complete:
            yield ngettext(
                "The first lock found; there may be more.",
                "The first %(count)d locks found; there may be more.",
                found,
            ) % {"count": found}


def read_listing(task: str = "", key: str = "") -> Listing:
    """Return the lock under ``key``, else those of ``task``, else all."""
    several = len(registry.aliases()) > 1
    if key:
        try:
            held = live.look_up(key)
        except LockUnavailable as error:
            return Listing(reachable=several, missing=(error.alias,) if several else ())
        return Listing(() if held is None else (held,), shows_cache=several)
    found = live.find(task)
    missing = tuple(error.alias for error in found.outages)
    if not found.listed and not found.unlisted:
        return Listing(reachable=False)
    if not found.listed:
        return Listing(listable=False, missing=missing)
    return Listing(
        found.locks,
        complete=not found.cut,
        missing=missing,
        unlisted=tuple(found.unlisted),
        shows_cache=several,
    )
