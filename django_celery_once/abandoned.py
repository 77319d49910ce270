"""Locks whose calls come to no end by themselves, freed by whoever meets them."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace

from django_celery_once import follow_ups
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, Phase
from django_celery_once.signals import Outcome, lock_released

logger = logging.getLogger(__name__)


def free_blocked(holder: Lock) -> None:
    """Release a lock which only waits for its follow-up; never raise.

    Its run is dead, or its reservation is over its time.
    """
    last = _release(holder, run=holder.run)
    if last is not None:
        words = "%s[%s] gave no sign of life for %.0f s; the next run of %s follows"
        silence = time.time() - holder.seen
        logger.warning(words, holder.task, holder.owner, silence, holder.key)
        reserved = holder.phase is Phase.RESERVED
        outcome = Outcome.WITHDRAWN if reserved else Outcome.KILLED
        lock_released.send_robust(sender=None, lock=last, outcome=outcome)


def free_expired(holder: Lock) -> None:
    """Release a lock whose message has expired before it ran; never raise.

    A broker that drops such a message tells nobody. A run that has begun meanwhile keeps its
    lock, which knows it by another name than that of the run that there is none of.
    """
    last = _release(holder, run=os.urandom(8).hex())
    if last is not None:
        logger.info("%s[%s] expired before it ran", holder.task, holder.owner)
        lock_released.send_robust(sender=None, lock=last, outcome=Outcome.REVOKED)


def _release(holder: Lock, run: str) -> Lock | None:
    try:
        return follow_ups.release(replace(holder, run=run))
    except LockUnavailable as error:
        logger.warning("%s; %s[%s] stays blocked", error, holder.task, holder.owner)
        return None
