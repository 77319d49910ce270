"""How commands speak of locks: in words, in a table, in JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django_celery_once.live import is_living, is_lost
from django_celery_once.locks import Lock, Phase

MINUTE, HOUR, DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``90 s``, ``4 min``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < 2 * MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def plain(text: str) -> str:
    """Return text that can't write over the terminal; labels hold what users typed."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def age(lock: Lock) -> float:
    """Return the seconds since the call was accepted."""
    return max(0.0, time.time() - lock.since)


def phase(lock: Lock) -> str:
    """Return where the task stands, and for how long nothing was heard of a dead worker."""
    if is_lost(lock):
        return f"running, no sign of life for {duration(lock.silence)}"
    if lock.phase_now is Phase.PLANNED:
        return f"planned for {_moment(lock.begins)}"
    return lock.phase.value


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines with aligned columns; the last one is as long as it likes."""
    lines = [headings, *([plain(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths[-1] = 0
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def as_json(lock: Lock) -> dict[str, Any]:
    """Return what scripts may know of a lock; its token and run are its owner's alone."""
    running, following = lock.phase is Phase.RUNNING, lock.follow_up
    return {
        "key": lock.key,
        "cache": lock.alias,
        "task": lock.task,
        "label": lock.label,
        "task_id": lock.owner,
        "phase": lock.phase_now.value,
        "since": _moment(lock.since),
        "begins": _moment(lock.begins) if lock.begins else None,
        "age_seconds": round(age(lock), 3),
        "started": _moment(lock.started) if running else None,
        "remaining_seconds": round(lock.remaining, 3),
        "worker": lock.worker,
        "living": is_living(lock) if running else None,
        "silent_seconds": round(lock.silence, 3) if running else None,
        "requested_by": lock.requester,
        "duplicates_refused": lock.hits,
        "followed_by": following.owner if following and not following.instead else None,
    }


def _moment(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds")
