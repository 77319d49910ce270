"""Incidents that wait in this process for their rows, and come to them sooner or later.

While the database fails they are kept, at most ``MAX_WAITING`` of them, and it is left alone
for a while after every failure: callers must not wait for it. No count is lost with what is
dropped, since the lock counts, and its release tells.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, Error, IntegrityError
from django.utils.connection import ConnectionDoesNotExist

from django_celery_once.conf import conf
from django_celery_once.locks import Lock
from django_celery_once.models import BlockedDuplicate, incident_id
from django_celery_once.requester import Requester
from django_celery_once.signals import Rejection
from django_celery_once.tenants import in_schema

logger = logging.getLogger(__name__)

#: Attempts of an incident that are kept as rows of their own.
KEPT_ATTEMPTS = 20
#: Seconds between two writes of an incident's count in a storm.
STORM_PAUSE = 1.0
#: Seconds between two log lines about a log database that fails.
COMPLAINT_PAUSE = 60.0
#: Seconds that a database is left alone after its first failure, and at most.
FAILURE_PAUSE, LONGEST_PAUSE = 5.0, 60.0
#: Incidents kept while the database fails.
MAX_WAITING = 1000
#: Seconds to wait for a row whose lock is freed already: its writer's transaction is open.
SETTLE_PAUSES = (1.0, 4.0, 15.0, 60.0)

WAITING = (
    "Blocked duplicates can't be written (incidents waiting: %d, dropped: %d). Has 'manage.py "
    "migrate' run on the database that LOG_DATABASE names?"
)
UNFIT = "The blocked duplicates of incident %s don't fit the database and were dropped."


@dataclass(slots=True)
class Incident:
    """What is to be written about one holder of a key, not before ``not_before``.

    ``schema`` is where, in a database that has one for each tenant.
    """

    schema: str = ""
    last: Rejection | None = None
    attempts: list[Rejection] = field(default_factory=list)
    released: Lock | None = None
    released_at: float = 0.0
    outcome: str = ""
    tries: int = 0
    not_before: float = 0.0

    def add(self, rejection: Rejection, *, keep: bool) -> None:
        """Count up to a refused call, and keep it as an attempt if it is to be kept."""
        if self.last is None or self.last.holder.hits < rejection.holder.hits:
            self.last = rejection
        if keep:
            self.attempts.append(rejection)

    def write(self, database: str) -> bool:
        """Write it, each part once; return whether a release still waits for its row."""
        with in_schema(self.schema):
            return self._write(database)

    def _write(self, database: str) -> bool:
        incidents = BlockedDuplicate.objects.using(database)
        if self.last is not None:
            incidents.record(self.last, self.attempts)
            self.last, self.attempts = None, []
        if self.released is None:
            return False
        return not incidents.settle(self.released, self.released_at, self.outcome)

    def before(self, later: Incident) -> Incident:
        """Return this incident with what was noted ``later``."""
        merged = replace(later if later.released else self, last=self.last)
        merged.attempts = [*self.attempts, *later.attempts]
        if later.last is not None:
            merged.add(later.last, keep=False)
        return merged

    def without_requests(self) -> Incident:
        """Return it in plain words: what has to wait must not hold on to requests."""
        return replace(
            self,
            last=self.last and _in_words(self.last),
            attempts=[_in_words(each) for each in self.attempts],
        )


def _in_words(rejection: Rejection) -> Rejection:
    if isinstance(rejection.requester, Requester):
        return replace(rejection, requester=rejection.requester.known())
    return rejection


class Incidents:
    """The incidents that wait to be written, and when the last were."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: dict[UUID, Incident] = {}
        self._written: dict[UUID, float] = {}
        self._failures = 0
        self._rest_until = -inf
        self._complained = -inf
        self._dropped = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def unwritten(self) -> int:
        """Return how many have refused calls that are in no row."""
        with self._mutex:
            return sum(each.last is not None for each in self._waiting.values())

    def note_rejection(self, rejection: Rejection) -> None:
        """Add a refused call to its incident."""
        with self._mutex:
            incident = self._incident(rejection.holder)
            incident.add(rejection, keep=rejection.holder.hits <= KEPT_ATTEMPTS)
            incident.not_before = 0.0
            self._drop_oldest()

    def note_release(self, lock: Lock, outcome: str) -> None:
        """Add the end of an incident."""
        with self._mutex:
            incident = self._incident(lock)
            incident.released, incident.released_at = lock, time.time()
            incident.outcome = outcome
            self._drop_oldest()

    def is_due(self) -> bool:
        """Return whether there is something to write now."""
        with self._mutex:
            return bool(self._find_due(all_of_it=False))

    def write(self, *, all_of_it: bool = False) -> None:
        """Write what is due and never raise; a storm's counts wait for their turn."""
        failures = self._failures
        due = self._take_due(all_of_it=all_of_it)
        for position, (number, incident) in enumerate(due):
            try:
                if incident.write(conf.log_database):
                    self._wait_for_row(number, incident)
                self._recover()
            except Exception as error:
                if _fails_for_all(error):
                    self._wait_for_database(due[position:], failures)
                    self._complain(WAITING, len(self), self._dropped, error=error)
                    break
                self._complain(UNFIT, number, error=error)

    def seconds_to_wait(self) -> float | None:
        """Return when to write again, in seconds from now; ``None``: whenever something comes."""
        with self._mutex:
            if not self._waiting:
                return None
            if self._failures:
                moment = self._rest_until
            else:
                moment = min(
                    (each.not_before for each in self._waiting.values() if each.not_before),
                    default=0.0,
                )
        return max(0.0, moment - time.monotonic()) if moment else None

    def _incident(self, lock: Lock) -> Incident:
        number = incident_id(lock.key, lock.owner)
        return self._waiting.setdefault(number, Incident(schema=lock.schema))

    def _take_due(self, *, all_of_it: bool) -> list[tuple[UUID, Incident]]:
        now = time.monotonic()
        with self._mutex:
            self._written = {
                number: at for number, at in self._written.items() if now - at < STORM_PAUSE
            }
            due = self._find_due(all_of_it=all_of_it)
            for number, _incident in due:
                del self._waiting[number]
                self._written[number] = now
            return due

    def _find_due(self, *, all_of_it: bool) -> list[tuple[UUID, Incident]]:
        now = time.monotonic()
        if now < self._rest_until and not all_of_it:
            return []
        return [
            (number, incident)
            for number, incident in self._waiting.items()
            if all_of_it
            or incident.attempts
            or (incident.released and incident.not_before <= now)
            or (incident.last and now - self._written.get(number, -inf) >= STORM_PAUSE)
        ]

    def _wait_for_row(self, number: UUID, incident: Incident) -> None:
        if incident.tries == len(SETTLE_PAUSES):
            logger.debug("No row to say in that the lock of incident %s was freed", number)
            return
        incident.not_before = time.monotonic() + SETTLE_PAUSES[incident.tries]
        incident.tries += 1
        self._put_back([(number, incident)])

    def _wait_for_database(self, unwritten: Iterable[tuple[UUID, Incident]], failures: int) -> None:
        with self._mutex:
            if self._failures == failures:  # else another thread has met the same failure
                pause = min(LONGEST_PAUSE, FAILURE_PAUSE * 2**failures)
                self._failures = min(failures + 1, 10)
                self._rest_until = time.monotonic() + pause
        first, *others = [(number, each.without_requests()) for number, each in unwritten]
        # The one that failed goes to the end, so that it can't stand in the others' way.
        self._put_back([*others, first])

    def _put_back(self, incidents: Iterable[tuple[UUID, Incident]]) -> None:
        with self._mutex:
            for number, incident in incidents:
                later = self._waiting.pop(number, None)
                self._waiting[number] = incident if later is None else incident.before(later)
                self._written.pop(number, None)
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        while self._failures and len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self._dropped += 1

    def _recover(self) -> None:
        with self._mutex:
            failures, dropped = self._failures, self._dropped
            self._failures, self._dropped, self._rest_until = 0, 0, -inf
        if failures:
            logger.info("Blocked duplicates are written again (incidents dropped: %d)", dropped)

    def _complain(self, words: str, *details: object, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained >= COMPLAINT_PAUSE:
            self._complained = now
            logger.error(
                "%s Not said again for %d seconds",
                words % details,
                COMPLAINT_PAUSE,
                exc_info=error,
            )


def _fails_for_all(error: Exception) -> bool:
    """Return whether an error is the database's, and not that of one incident's data."""
    if isinstance(error, DataError | IntegrityError):
        return False
    return isinstance(error, Error | ImproperlyConfigured | ConnectionDoesNotExist)
