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
from django_celery_once.signals import Rejection, duplicate_rejected
from tests.chaos.history import ENDED, TURNED_AWAY
from tests.chaos.setups import KINDS, NAMES, timeout_of
from tests.integration.app import app
from tests.integration.referee import note

#: Seconds after which a run that came too often, or a retry, ends.
LATER_RUN = 0.2
#: Seconds to sleep for a time limit that comes after one.
BEYOND_THE_LIMIT = 4.0


def _succeed(task: QueueOnce) -> str:
    return f"held: {task.once_lock_held()}"


def _fail(task: QueueOnce) -> None:
    raise ValueError("as told")


def _retry(task: QueueOnce) -> None:
    raise task.retry(countdown=1)


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


def _define(name: str) -> QueueOnce:
    kind, until = name.split("-")
    once = {"keys": ["name"], "until": until, "timeout": timeout_of(name)}
    options: dict[str, Any] = {"bind": True, "base": QueueOnce, "once": once, **KINDS[kind]}
    define: Any = app.task(name=f"chaos.{name}", **options)
    task: QueueOnce = define(_play)
    return task


#: The task of each key.
TASKS = {name: _define(name) for name in NAMES}


def _note_received(request: Any = None, **_signal: Any) -> None:
    if request.args and request.args[0] in TASKS:
        note(request.args[0], "received", request.id)


def _note_prerun(task_id: str = "", args: Any = (), **_signal: Any) -> None:
    if args and args[0] in TASKS:
        note(args[0], "prerun", task_id)


def _note_failure(task_id: str = "", args: Any = (), **_signal: Any) -> None:
    """Note an end, which no result tells of where that is ignored."""
    if args and args[0] in TASKS:
        note(args[0], ENDED, task_id)


def _note_success(sender: Any = None, **_signal: Any) -> None:
    """Note that of a run, or of what ended as another."""
    request = sender.request
    if request.args and request.args[0] in TASKS:
        note(request.args[0], ENDED, request.id)


def _note_turned_away(rejection: Rejection | None = None, **_signal: Any) -> None:
    """Note that a run met another's lock; callers tell of their duplicates themselves."""
    if rejection is not None and rejection.policy == "revoke":
        note(rejection.task_name.removeprefix("chaos."), TURNED_AWAY, rejection.task_id)


signals.task_received.connect(_note_received, weak=False, dispatch_uid="chaos.received")
signals.task_prerun.connect(_note_prerun, weak=False, dispatch_uid="chaos.prerun")
signals.task_failure.connect(_note_failure, weak=False, dispatch_uid="chaos.failure")
signals.task_success.connect(_note_success, weak=False, dispatch_uid="chaos.success")
duplicate_rejected.connect(_note_turned_away, weak=False, dispatch_uid="chaos.turned_away")
