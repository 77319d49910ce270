"""The request that went through: how it stands now."""

from __future__ import annotations

import logging
from enum import Enum, auto
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, models
from django.utils.translation import gettext as _

from django_celery_once import live
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, Phase
from django_celery_once.models import BlockedDuplicate
from django_celery_once.record import record

logger = logging.getLogger(__name__)

RESULTS = "django_celery_results"


class Standing(Enum):
    """How the task behind an incident stands."""

    ENDED = auto()
    RESERVED = auto()
    """It waits for its transaction to commit."""
    PLANNED = auto()
    """It is queued for a time to come."""
    QUEUED = auto()
    RUNNING = auto()
    SILENT = auto()
    """It runs as far as the lock knows, but no worker gives a sign of life."""
    KEPT = auto()
    """It has ended; its key is kept until its time is up."""
    GONE = auto()
    """Its lock is not there any more, and nobody has said why."""
    UNREACHABLE = auto()
    """The lock store does not answer."""


@record
class Holder:
    """What is known now of the request that went through; ``lock`` while it has one."""

    standing: Standing
    lock: Lock | None = None


def look_up(incident: BlockedDuplicate) -> Holder:
    """Ask the lock store for the holder of an incident, unless its end is known."""
    if incident.released_at is not None:
        return Holder(Standing.ENDED)
    try:
        lock = live.look_up(incident.key)
    except (LockUnavailable, ImproperlyConfigured):
        logger.warning("The lock %s can't be looked up", incident.key, exc_info=True)
        return Holder(Standing.UNREACHABLE)
    if lock is None or lock.owner != incident.holder_task_id:
        return Holder(Standing.GONE)
    if lock.phase is Phase.RUNNING:
        return Holder(Standing.RUNNING if live.is_living(lock) else Standing.SILENT, lock)
    return Holder(Standing[lock.phase_now.name], lock)


def holder_name(incident: BlockedDuplicate) -> str:
    """Return words for the person who made the request that went through, or nothing."""
    number = incident.holder_user_id
    if number is None:
        return ""
    # Not incident.holder_user, which would look in the database of the log.
    user = get_user_model()._base_manager.filter(pk=number).first()
    return _("user %(id)s (deleted)") % {"id": number} if user is None else str(user)


def find_result(task_id: str) -> Any:
    """Return django-celery-results' row of a task; ``None`` without that app or such a row."""
    if not apps.is_installed(RESULTS):
        return None
    results: models.Manager[Any] = apps.get_model(RESULTS, "TaskResult")._default_manager
    try:
        return results.filter(task_id=task_id).first()
    except DatabaseError:
        logger.warning("The result of %s can't be looked up", task_id, exc_info=True)
        return None
