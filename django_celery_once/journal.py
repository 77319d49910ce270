"""Refused duplicates -> rows, outside the caller's transaction and never in its way.

Rejections wait in this process, one entry for each incident, and are written where no
transaction of the caller's is open: at once, or after its commit, its request, its task. It
does not matter which thread writes them, since they have nothing to do with its own data: where the
caller's has no connection, one of the journal's own does (``journal_thread``).
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import logging
import os
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_finished
from django.db import connections, transaction
from django.utils.connection import ConnectionDoesNotExist

from django_celery_once import transactions
from django_celery_once.conf import conf
from django_celery_once.incidents import Incidents
from django_celery_once.journal_thread import JournalThread
from django_celery_once.locks import Lock
from django_celery_once.requester import Requester
from django_celery_once.signals import (
    Rejection,
    duplicate_rejected,
    lock_released,
    process_ended,
    run_ended,
)

logger = logging.getLogger(__name__)

_journal = Incidents()
#: The database's name when something was noted last: a test's database ends before the
#: process does, and what waits then is not for the one that takes its place.
_database_name: object = None


def connect() -> None:
    """Keep the journal from now on."""
    name = "django_celery_once.journal"
    duplicate_rejected.connect(_on_rejection, dispatch_uid=name)
    lock_released.connect(_on_release, dispatch_uid=name)
    run_ended.connect(_write_outside_transaction, dispatch_uid=name)
    request_finished.connect(_on_request_finished, dispatch_uid=name)
    process_ended.connect(_write_the_rest, dispatch_uid=name)


def write_now(**_signal: Any) -> None:
    """Write what waits. The caller's transaction, if any, is over."""
    if _in_event_loop():  # where the database is out of reach
        return
    if _journal.is_due():
        if _may_write_here():
            _journal.write()
        else:
            _thread.write()
    if _journal.seconds_to_wait() is not None:
        _thread.run()


def has_something() -> bool:
    """Return whether anything waits to be written."""
    return bool(_journal)


def forget() -> None:
    """Drop what waits to be written, as a new process or a new test begins."""
    global _journal, _thread
    _thread.over = True
    _journal = Incidents()
    _thread = JournalThread(_journal, _is_the_same_database)


def _on_rejection(rejection: Rejection, **_signal: Any) -> None:
    if conf.log:
        if isinstance(rejection.requester, Requester):
            rejection = replace(rejection, requester=rejection.requester.seen())
        _journal.note_rejection(rejection)
        _write_outside_transaction()


def _on_release(lock: Lock, outcome: str = "", **_signal: Any) -> None:
    if conf.log and lock.hits:
        _journal.note_release(lock, outcome)
        _write_outside_transaction()


def _on_request_finished(**_signal: Any) -> None:
    if _journal:
        write_now()


def _write_outside_transaction(**_signal: Any) -> None:
    global _database_name
    if not _journal:
        return
    try:
        connection = connections[conf.log_database]
    except (ImproperlyConfigured, ConnectionDoesNotExist):
        write_now()  # which says so
        return
    _database_name = connection.settings_dict["NAME"]
    if not transactions.is_callers(connection):
        write_now()
    elif connection.in_atomic_block:
        transaction.on_commit(write_now, using=conf.log_database, robust=True)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _may_write_here() -> bool:
    """Return whether this thread has a connection to write on, and it is alive."""
    try:
        connection = connections[conf.log_database]
    except (ImproperlyConfigured, ConnectionDoesNotExist):
        return True  # which says so
    if connection.connection is None:
        # Django's test cases that allow no database say so to this thread's connection alone, and
        # give it back its method at their end.
        forbidden = vars(connection).get("connect")
        return forbidden is not None and not inspect.ismethod(forbidden)
    if not connection.in_atomic_block and not connection.is_usable():
        connection.close()  # it has ended in its sleep
        return False
    return True


def _is_the_same_database() -> bool:
    try:
        return bool(connections[conf.log_database].settings_dict["NAME"] == _database_name)
    except (ImproperlyConfigured, ConnectionDoesNotExist):
        return False


@atexit.register
def _write_the_rest(**_signal: Any) -> None:
    if _journal and _is_the_same_database():
        _journal.write(all_of_it=True)
        if lost := _journal.unwritten():
            logger.warning("Blocked duplicates were not written (incidents lost: %d)", lost)


_thread = JournalThread(_journal, _is_the_same_database)
os.register_at_fork(after_in_child=forget)
