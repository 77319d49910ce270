"""What a worker's main process sees to beside its messages."""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import signals
from django.core import checks

from django_celery_once import abandoned, look, registry
from django_celery_once.conf import conf
from django_celery_once.locks import open_store

logger = logging.getLogger(__name__)

#: What our checks' messages begin their ids with.
OURS = "django_celery_once."


def connect() -> None:
    """Hear of the start of every worker."""
    name = "django_celery_once.watch"
    signals.celeryd_after_setup.connect(report_problems, dispatch_uid=name)
    signals.worker_ready.connect(_watch, dispatch_uid=name)
    signals.celeryd_init.connect(_answer_the_doctor, dispatch_uid=name)


def report_problems(**_signal: Any) -> None:
    """Log the errors that the system checks find (``celeryd_after_setup``).

    Celery runs all checks before it imports the tasks, unless it is told to skip them, and then
    starts whatever they say, without a word of it.
    """
    if os.environ.get(registry.SKIP_CHECKS):
        return
    for message in checks.run_checks(tags=[checks.Tags.caches]):
        ours = str(message.id).startswith(OURS)
        if ours and message.is_serious() and not message.is_silenced():
            words = "The worker starts with a wrong set-up (%s): %s %s"
            logger.error(words, message.id, message.msg, message.hint)


def _answer_the_doctor(**_signal: Any) -> None:
    look.register()


def _watch(sender: Any = None, **_signal: Any) -> None:
    """Look regularly for follow-ups whose run is dead."""
    sender.timer.call_repeatedly(conf.lease, _free_blocked)


def _free_blocked() -> None:
    for alias in registry.users():
        try:
            for lock in open_store(alias).blocked():
                abandoned.free_blocked(lock)
        except Exception:
            # The worker's event loop must go on; the next round may have more luck.
            words = "Could not look for follow-ups of dead runs in cache %r"
            logger.warning(words, alias, exc_info=True)
