"""Django signals about locks. A receiver that raises is logged and changes nothing."""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import TYPE_CHECKING

from django.dispatch import Signal

from django_celery_once.record import record

if TYPE_CHECKING:
    from django_celery_once.locks.base import Lock
    from django_celery_once.requester import Known, Requester


@record
class Rejection:
    """One refused call. ``at`` is in epoch seconds, ``holder`` the lock it met.

    ``arguments`` are in words for people, as far as the setting ``LOG_ARGUMENTS`` allows.
    """

    task_name: str
    task_id: str
    holder: Lock
    policy: str
    at: float
    label: str
    requester: Requester | Known
    arguments: str = ""


class Outcome(StrEnum):
    """Why a lock was freed."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"
    REJECTED = "rejected"
    REVOKED = "revoked"
    KILLED = "killed"
    STARTED = "started"
    RELEASED = "released"
    WITHDRAWN = "withdrawn"


logger = logging.getLogger(__name__)

#: Sent after a duplicate was refused, with ``sender`` the task's class and ``rejection``.
duplicate_rejected = Signal()

#: Sent when a running task's lock was found gone or with another owner, with ``sender`` the
#: task's class, ``lock`` as it was held and ``retaken``: whether it could be taken back.
lock_lost = Signal()

#: Sent when a lock was freed, with ``sender`` the task's class, ``lock`` as it was last
#: (``lock.hits`` duplicates were refused in its time) and ``outcome``, why: a word of
#: ``Outcome``.
lock_released = Signal()

#: Sent when a call could not be queued at its commit, when its data is saved and its caller has an
#: answer, with ``sender`` the task's class, ``lock`` as it was reserved and the ``error``.
not_queued = Signal()

#: Sent by the worker after every task, whatever its class, outside the task's transactions.
run_ended = Signal()

#: Sent at the end of a worker's child process, which leaves without Python's exit functions.
process_ended = Signal()


def announce_rejection(sender: type, rejection: Rejection) -> None:
    """Log a refused duplicate and send ``duplicate_rejected``; never raise."""
    holder = rejection.holder
    logger.info(
        "Refused %s[%s] (%s): the same call is %s as [%s], accepted %.0f seconds ago; key %s",
        rejection.task_name,
        rejection.task_id,
        rejection.policy,
        holder.phase,
        holder.owner,
        max(0.0, rejection.at - holder.since),
        holder.key,
    )
    duplicate_rejected.send_robust(sender=sender, rejection=rejection)
