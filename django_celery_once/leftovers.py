"""What a request or a task has reserved and queued: it must not meet that as another's.

Reservations that nobody has used are freed at its end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from django_celery_once import places, requester
from django_celery_once.places import Place

if TYPE_CHECKING:
    from django_celery_once.reservations import Reservation

_made: ContextVar[set[Reservation] | None] = ContextVar("django_celery_once_made", default=None)
#: The tasks of a request that could not be queued at their commits.
_failed: ContextVar[list[str] | None] = ContextVar("django_celery_once_failed", default=None)
_queued: ContextVar[dict[str, Place | None] | None] = ContextVar(
    "django_celery_once_queued", default=None
)


def here() -> set[Reservation]:
    """Return the unused reservations of this request, task or thread, to add to and take from."""
    made = _made.get()
    if made is None:
        _made.set(made := set())
    return made


@contextmanager
def collected() -> Iterator[set[Reservation]]:
    """Collect the reservations that are made in a block, such as a request, and are not used."""
    mine: set[Reservation] = set()
    token, failures = _made.set(mine), _failed.set([])
    try:
        yield mine
    finally:
        _failed.reset(failures)
        _made.reset(token)


def free(reservations: Iterable[Reservation]) -> None:
    """Free those that no open transaction will publish; never raise."""
    for reservation in list(reservations):
        if not reservation.waits:
            reservation.free()


def free_here() -> None:
    """Free what a task that has ended left behind; never raise."""
    free(_made.get() or ())


def free_abandoned() -> None:
    """Free the reservations of transactions that were rolled back; never raise.

    A caller that tries again after a rollback, as after a deadlock, must not meet itself.
    """
    if made := _made.get():
        free([each for each in made if each.abandoned])


def note_failed(task_id: str) -> None:
    """Note that a call could not be queued at its commit, if anybody collects here."""
    failed = _failed.get()
    if failed is not None:
        failed.append(task_id)


def have_failed() -> bool:
    """Return whether one of those that are collected here could not be queued at its commit."""
    return bool(_failed.get())


def own(task_id: str) -> Reservation | None:
    """Return the unused reservation for a task that this request, or else this process, made.

    A test may have made one outside the request that its client sends.
    """
    made = (each for each in _made.get() or () if each.made_in is requester.bound())
    return next((each for each in made if each.task_id == task_id), None)


@contextmanager
def noting_queued() -> Iterator[dict[str, Place | None]]:
    """Note the ids of the tasks that are queued in a block, and where."""
    queued: dict[str, Place | None] = {}
    token = _queued.set(queued)
    try:
        yield queued
    finally:
        _queued.reset(token)


def note_queued(task_id: str) -> None:
    """Note that a task has been queued, if anybody wants to know."""
    queued = _queued.get()
    if queued is not None:
        queued[task_id] = places.here()


def forget() -> None:
    """Know of no reservation, as a new process or a new test begins."""
    _made.set(None)


os.register_at_fork(after_in_child=forget)
