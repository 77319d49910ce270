"""Renewal of the locks of running tasks: one daemon thread in each process that runs any."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django_celery_once import follow_ups
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, Start, open_store

logger = logging.getLogger(__name__)

#: Renewals in the length of a lease, so that two may fail before it lapses.
RENEWALS = 3


@dataclass(eq=False, slots=True)
class Lease:
    """A running task's lock and how it is kept.

    ``seconds`` is the length of the lease, ``interval`` that of the pause between renewals.
    ``on_lost`` is called, with the lock and whether it could be taken back, when a renewal
    finds it gone. ``held`` is false once another has it. ``doubtful`` says that a renewal had
    no answer: a store that was frozen may carry it out when the run is long over.
    """

    lock: Lock
    seconds: float
    interval: float
    on_lost: Callable[[Lock, bool], None]
    held: bool = field(default=True, init=False)
    doubtful: bool = field(default=False, init=False)


class Renewal:
    """The leases of this process and the thread that renews them.

    The thread is started by the first lease and ends with the last. Celery offers no better
    place: the parent of a prefork pool must not have threads when it forks, and
    ``worker_process_init`` is not sent for the thread and gevent pools.
    """

    def __init__(self) -> None:
        self._leases: set[Lease] = set()
        self._shorter = threading.Condition()
        self._under_way = threading.Lock()
        self._interval = 0.0
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        """Renew ``lease`` from now on."""
        with self._shorter:
            self._leases.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._renew_until_empty, name="django-celery-once-leases", daemon=True
                )
                self._thread.start()
            elif lease.interval < self._interval:
                self._shorter.notify()

    def remove(self, lease: Lease, *, settle: bool) -> None:
        """Stop renewing ``lease``; ``settle``: not before a renewal under way has ended."""
        with self._shorter:
            self._leases.discard(lease)
        if settle:
            self._under_way.acquire()
            self._under_way.release()

    def _renew_until_empty(self) -> None:
        while leases := self._wait():
            try:
                with self._under_way:
                    self._renew([lease for lease in leases if lease in self._leases])
            except Exception:
                logger.exception("Renewing %d leases failed; trying again", len(leases))

    def _wait(self) -> list[Lease]:
        """Wait for the next renewal and return what to renew; nothing ends the thread."""
        with self._shorter:
            started = time.monotonic()
            while True:
                self._interval = min(
                    (lease.interval for lease in self._leases), default=self._interval
                )
                left = started + self._interval - time.monotonic()
                if left <= 0:
                    break
                self._shorter.wait(left)
            if not self._leases:
                self._thread = None
            return list(self._leases)

    def _renew(self, leases: list[Lease]) -> None:
        together: dict[tuple[str, float], list[Lease]] = {}
        for lease in leases:
            if lease.held:
                together.setdefault((lease.lock.alias, lease.seconds), []).append(lease)
        for (alias, seconds), group in together.items():
            try:
                found = open_store(alias).renew([lease.lock for lease in group], seconds)
            except LockUnavailable as error:
                logger.warning("%s; renewing %d leases again later", error, len(group))
                for lease in group:
                    lease.doubtful = True
                continue
            for lease, (_lock, start) in zip(group, found, strict=True):
                self._note(lease, start)

    def _note(self, lease: Lease, found: Start) -> None:
        if found is Start.MINE:
            return
        with self._shorter:
            ended = lease not in self._leases
            lease.held = found is Start.TAKEN
        if not ended:
            lease.on_lost(lease.lock, lease.held)
        elif lease.held:  # the run released it while its renewal was under way
            follow_ups.release(lease.lock)


_renewal = Renewal()


def _forget_parent() -> None:
    global _renewal
    _renewal = Renewal()


os.register_at_fork(after_in_child=_forget_parent)


def hold(lease: Lease) -> None:
    """Keep a running task's lock until ``drop``."""
    _renewal.add(lease)


def drop(lease: Lease, *, settle: bool = False) -> None:
    """Stop keeping it. Unless ``settle``, a renewal under way may still reach the store."""
    _renewal.remove(lease, settle=settle)
