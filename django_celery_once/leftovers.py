"""The reservations made in a request or a task, to be freed at its end if nobody has used them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_celery_once.reservations import Reservation

_made: ContextVar[set[Reservation] | None] = ContextVar("django_celery_once_made", default=None)


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
    token = _made.set(mine)
    try:
        yield mine
    finally:
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


def forget() -> None:
    """Know of no reservation, as a new process or a new test begins."""
    _made.set(None)


os.register_at_fork(after_in_child=forget)
