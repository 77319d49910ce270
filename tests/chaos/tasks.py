"""Short tasks with every kind of end, which tell the referee what they do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from celery import signals
from celery.exceptions import Ignore

from django_celery_once import QueueOnce
from tests.integration.app import app
from tests.integration.referee import note

#: Seconds that a lock stays with a task that no worker runs.
TIMEOUT = 20.0
#: Seconds after which a run that came too often, or a retry, ends.
LATER_RUN = 0.2
#: Seconds to sleep for a time limit that comes after one.
BEYOND_THE_LIMIT = 4.0


def _succeed(task: QueueOnce) -> str:
    return f"held: {task.once_lock_held()}"


def _fail(task: QueueOnce) -> None:
    raise ValueError("as told")


def _retry(task: QueueOnce) -> None:
    raise task.retry(countdown=0.5)


def _ignore(task: QueueOnce) -> None:
    raise Ignore


def _exit(task: QueueOnce) -> None:
    raise SystemExit(1)


#: What the first run of a task does in the end. Those that come after it succeed.
ENDINGS: dict[str, Callable[[QueueOnce], Any]] = {
    "success": _succeed,
    "failure": _fail,
    "retry": _retry,
    "ignore": _ignore,
    "exit": _exit,
    "soft": _succeed,
    "hard": _succeed,
}
#: What a call with these endings is published with.
LIMITS = {"soft": {"soft_time_limit": 1}, "hard": {"time_limit": 1}}


def _play(task: QueueOnce, name: str, ending: str, seconds: float) -> Any:
    task_id = task.request.id or ""
    with _noted(name, task_id, ending) as later:
        time.sleep(LATER_RUN if later else seconds)
    return _succeed(task) if later else ENDINGS[ending](task)


@contextmanager
def _noted(name: str, task_id: str, ending: str) -> Iterator[bool]:
    """Note a run's start and, before its ending is acted, its end."""
    outcome = ending
    try:
        note(name, "start", task_id)
        later = _count_run(task_id) > 1
        outcome = "success" if later else ending
        yield later
    finally:
        note(name, f"end:{outcome}", task_id)


def _count_run(task_id: str) -> int:
    with redis.Redis.from_url(os.environ["INTEGRATION_REFEREE"]) as client:
        return int(client.incr(f"runs:{task_id}"))


_ONCE = {"keys": ["name"], "timeout": TIMEOUT}


@app.task(bind=True, base=QueueOnce, once=_ONCE)
def early(self: QueueOnce, name: str, ending: str, seconds: float) -> Any:
    """End as told; acknowledged before it runs."""
    return _play(self, name, ending, seconds)


@app.task(bind=True, base=QueueOnce, once=_ONCE, acks_late=True)
def late(self: QueueOnce, name: str, ending: str, seconds: float) -> Any:
    """End as told; acknowledged after it ran."""
    return _play(self, name, ending, seconds)


@app.task(bind=True, base=QueueOnce, once=_ONCE, acks_late=True, reject_on_worker_lost=True)
def stubborn(self: QueueOnce, name: str, ending: str, seconds: float) -> Any:
    """End as told; run again where its child was lost."""
    return _play(self, name, ending, seconds)


#: The keys that callers fight for.
TASKS: dict[str, QueueOnce] = {
    "early-1": early,
    "early-2": early,
    "late-1": late,
    "late-2": late,
    "stubborn-1": stubborn,
}


def _note_received(request: Any = None, **_signal: Any) -> None:
    if request.args and request.args[0] in TASKS:
        note(request.args[0], "received", request.id)


def _note_prerun(task_id: str = "", args: Any = (), **_signal: Any) -> None:
    if args and args[0] in TASKS:
        note(args[0], "prerun", task_id)


signals.task_received.connect(_note_received, weak=False, dispatch_uid="chaos.received")
signals.task_prerun.connect(_note_prerun, weak=False, dispatch_uid="chaos.prerun")
