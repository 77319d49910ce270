"""Stores to test, and locks to put into them."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

from django_celery_once.locks import Lock, Phase

_numbers = itertools.count()


def lock(key: str = "once:tests.report:k", **fields: Any) -> Lock:
    """Return a lock of a task and message of its own."""
    number = next(_numbers)
    made = Lock(
        key=key,
        owner=f"task-{number}",
        token=f"token-{number}",
        task="tests.report",
        since=round(time.time(), 3),
        label="May report",
        requester="7",
        alias="locks",
    )
    return replace(made, **fields)


def running(of: Lock, run: str = "run-1") -> Lock:
    """Return the lock as a run of its message holds it."""
    return replace(
        of, run=run, phase=Phase.RUNNING, started=round(time.time(), 3), worker="celery@here"
    )
