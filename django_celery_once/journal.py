"""Refused duplicates -> rows, outside the caller's transaction and never in its way.

Rejections wait in this process, one entry for each incident, and are written where no
transaction of the caller's is open: at once, or after its commit, its request, its task. It
does not matter which thread writes them, since they have nothing to do with its own data.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_finished
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionDoesNotExist

from django_celery_once.conf import conf
from django_celery_once.incidents import Incidents
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

#: Shortest sleep of the thread that comes back for what has to wait, in seconds.
SHORTEST_SLEEP = 0.05

_journal = Incidents()
_thread: threading.Thread | None = None
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
    if not _in_event_loop():  # where the database is out of reach
        _journal.write()
        _come_back()


def has_something() -> bool:
    """Return whether anything waits to be written."""
    return bool(_journal)


def forget() -> None:
    """Drop what waits to be written, as a new process or a new test begins."""
    global _journal, _thread
    _journal, _thread = Incidents(), None


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
        # Django has closed the request's connections before: a new one must not stay.
        connections[conf.log_database].close_if_unusable_or_obsolete()


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
    if not _in_transaction(connection):
        write_now()
    elif connection.in_atomic_block:
        transaction.on_commit(write_now, using=conf.log_database, robust=True)


def _in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a caller's transaction is open; a ``TestCase``'s own is not a caller's."""
    blocks: list[Any] = connection.atomic_blocks
    by_hand = connection.connection is not None and not connection.autocommit and not blocks
    return by_hand or any(not block._from_testcase for block in blocks)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _come_back() -> None:
    """Let a thread write what has to wait, and end when nothing has.

    That is seldom: the database fails, or a lock was freed before its row was there.
    """
    global _thread
    if _journal.seconds_to_wait() is None or (_thread is not None and _thread.is_alive()):
        return
    _thread = threading.Thread(
        target=_write_later, args=[_journal], name="django-celery-once-journal", daemon=True
    )
    try:
        _thread.start()
    except RuntimeError:  # the interpreter ends: see _write_the_rest
        _thread = None


def _write_later(journal: Incidents) -> None:
    sleeping = threading.Event()
    while (seconds := journal.seconds_to_wait()) is not None:
        sleeping.wait(max(seconds, SHORTEST_SLEEP))
        if journal is not _journal or not _is_the_same_database():
            return
        journal.write()
        connections.close_all()  # this thread's own


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


os.register_at_fork(after_in_child=forget)
