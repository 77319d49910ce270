"""Beat: what a process is known by as one, and what its scheduler drops of an entry."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery import signals

from django_celery_once import requester
from django_celery_once.options import read_options

logger = logging.getLogger(__name__)


def connect() -> None:
    """Know a beat when it starts, and look at its schedule."""
    for beat_starts in (signals.beat_init, signals.beat_embedded_init):
        beat_starts.connect(_be_beat, dispatch_uid="django_celery_once.beat")
    signals.beat_init.connect(_report_dropped, dispatch_uid="django_celery_once.schedule")


def _be_beat(**_signal: Any) -> None:
    requester.set_process_source("beat")


def _report_dropped(sender: Any, **_signal: Any) -> None:
    """Name the entries of ``beat_schedule`` whose ``once`` options the scheduler does not keep."""
    scheduler = sender.scheduler
    kept = scheduler.schedule
    for name, entry in sender.app.conf.beat_schedule.items():
        once = (dict(entry).get("options") or {}).get("once")
        if once and name in kept and not _same(once, (kept[name].options or {}).get("once")):
            logger.warning(
                "Entry %r of beat_schedule has the options once=%r, which %s does not keep: its "
                "calls have those of %s. Set them where the task is defined, or in "
                "DJANGO_CELERY_ONCE['TASKS'].",
                name,
                once,
                type(scheduler).__name__,
                kept[name].task,
            )


def _same(given: Mapping[str, Any], kept: Any) -> bool:
    """Return whether options say the same, also where a scheduler has made lists of tuples."""
    try:
        return read_options(given) == read_options(kept)
    except (TypeError, ValueError):
        return bool(given == kept)
