"""One task that ends in every way a task can end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from celery.exceptions import Ignore, Reject
from django.contrib.auth.models import Group
from django.db import transaction

from django_celery_once import AlreadyQueued, QueueOnce
from tests.integration.app import app
from tests.integration.referee import events, note


def _sleep(task: QueueOnce, name: str, seconds: float) -> str:
    time.sleep(seconds)
    return f"held: {task.once_lock_held()}"


def _sleep_through(task: QueueOnce, name: str, seconds: float) -> str:
    """Sleep on through SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(name, "deaf", task.request.id or "")
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.05)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return "slept through"


def _wait_until_told(task: QueueOnce, name: str, seconds: float) -> str:
    """Run until the test has seen what it wants to see meanwhile."""
    until = time.monotonic() + seconds
    while "told" not in events(name) and time.monotonic() < until:
        time.sleep(0.05)
    return f"held: {task.once_lock_held()}"


def _kill_once(task: QueueOnce, name: str, seconds: float) -> str:
    """Kill this process in the first run."""
    if events(name).count("start") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def _exit(task: QueueOnce, name: str, seconds: float) -> None:
    raise SystemExit(1)


def _exit_once(task: QueueOnce, name: str, seconds: float) -> str:
    """End this run's body as a whole process ends."""
    if events(name).count("start") == 1:
        raise SystemExit(1)
    return "survived"


def _fail(task: QueueOnce, name: str, seconds: float) -> None:
    raise ValueError(name)


def _fail_once(task: QueueOnce, name: str, seconds: float) -> str:
    """Fail in the first run."""
    if events(name).count("start") == 1:
        raise ValueError(name)
    return "survived"


def _retry(task: QueueOnce, name: str, seconds: float) -> str:
    if not task.request.retries:
        raise task.retry(countdown=seconds)
    return "retried"


def _retry_and_go_on(task: QueueOnce, name: str, seconds: float) -> str:
    if not task.request.retries:
        task.retry(countdown=seconds, throw=False)
    return "went on"


def _give_up(task: QueueOnce, name: str, seconds: float) -> None:
    raise task.retry(countdown=0, max_retries=1)


def _ignore(task: QueueOnce, name: str, seconds: float) -> None:
    raise Ignore


def _reject(task: QueueOnce, name: str, seconds: float) -> None:
    raise Reject("no", requeue=False)


def _reject_first(task: QueueOnce, name: str, seconds: float) -> str:
    """Have the first run's message rejected."""
    if events(name).count("start") == 1:
        raise Reject("elsewhere", requeue=False)
    return "survived"


def _reject_once(task: QueueOnce, name: str, seconds: float) -> str:
    if events(name).count("start") == 1:
        raise Reject("later", requeue=True)
    return "done"


def _replace_same(task: QueueOnce, name: str, seconds: float) -> Any:
    return task.replace(play.si(name, "wait_until_told", seconds))


def _replace_other(task: QueueOnce, name: str, seconds: float) -> Any:
    return task.replace(play.si(f"{name}-other", "wait_until_told", seconds))


def _retry_when_told(task: QueueOnce, name: str, seconds: float) -> str:
    """Wait until the test has frozen the lock store, then retry."""
    if not task.request.retries:
        while "frozen" not in events(name):
            time.sleep(0.05)
        raise task.retry(countdown=seconds)
    return "retried"


@contextmanager
def _transaction() -> Iterator[None]:
    """Open a transaction that keeps nobody out before it writes, as a server's does.

    SQLite's would: a journal that waited for it would stop a gevent worker with all its tasks.
    """
    connection = transaction.get_connection()
    connection.ensure_connection()
    mode = patch.object(connection, "transaction_mode", "DEFERRED", create=True)
    with mode, transaction.atomic():
        yield


def _queue_next(task: QueueOnce, name: str, seconds: float) -> Any:
    """Queue another call at the commit."""
    with _transaction():
        return play.delay_on_commit(f"{name}-next", "sleep", seconds).id


def _reserve_next(task: QueueOnce, name: str, seconds: float) -> None:
    """Reserve for another call, and fail before its transaction commits."""
    with _transaction():
        play.delay_on_commit(f"{name}-next", "sleep", seconds)
        note(name, "reserved", task.request.id or "")
        time.sleep(seconds)
        raise ValueError(name)


SCENES: dict[str, Callable[[QueueOnce, str, float], Any]] = {
    "sleep": _sleep,
    "sleep_through": _sleep_through,
    "wait_until_told": _wait_until_told,
    "kill_once": _kill_once,
    "exit": _exit,
    "exit_once": _exit_once,
    "fail": _fail,
    "fail_once": _fail_once,
    "retry": _retry,
    "retry_when_told": _retry_when_told,
    "retry_and_go_on": _retry_and_go_on,
    "give_up": _give_up,
    "ignore": _ignore,
    "reject": _reject,
    "reject_first": _reject_first,
    "reject_once": _reject_once,
    "replace_same": _replace_same,
    "replace_other": _replace_other,
    "queue_next": _queue_next,
    "reserve_next": _reserve_next,
}


def _play(task: QueueOnce, name: str, scene: str, seconds: float) -> Any:
    note(name, "start", task.request.id or "")
    try:
        return SCENES[scene](task, name, seconds)
    finally:
        note(name, "end", task.request.id or "")


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "timeout": 60})
def play(self: QueueOnce, name: str, scene: str = "sleep", seconds: float = 0.0) -> Any:
    """Act a scene; acknowledged before it runs."""
    return _play(self, name, scene, seconds)


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "timeout": 60}, acks_late=True)
def play_late(self: QueueOnce, name: str, scene: str = "sleep", seconds: float = 0.0) -> Any:
    """Act a scene; acknowledged after it ran."""
    return _play(self, name, scene, seconds)


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "unlock_before_run": True})
def play_unlocked(self: QueueOnce, name: str, scene: str = "sleep", seconds: float = 0.0) -> Any:
    """Act a scene with only the queue guarded."""
    return _play(self, name, scene, seconds)


@app.task(
    bind=True,
    base=QueueOnce,
    once={"keys": ["name"], "timeout": 60},
    acks_late=True,
    reject_on_worker_lost=True,
)
def play_until_done(self: QueueOnce, name: str, scene: str = "sleep", seconds: float = 0.0) -> Any:
    """Act a scene again where its worker was lost."""
    return _play(self, name, scene, seconds)


@app.task(
    bind=True,
    base=QueueOnce,
    once={"keys": ["name"], "timeout": 60},
    retry_on_worker_lost=True,
    default_retry_delay=2,
)
def play_retried(self: QueueOnce, name: str, scene: str = "sleep", seconds: float = 0.0) -> Any:
    """Retry a scene whose worker was lost (Celery 5.7)."""
    return _play(self, name, scene, seconds)


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "timeout": 60}, rate_limit="30/m")
def play_limited(self: QueueOnce, name: str, scene: str = "sleep", seconds: float = 0.0) -> Any:
    """Act a scene every other second."""
    return _play(self, name, scene, seconds)


@app.task(
    bind=True,
    base=QueueOnce,
    once={"keys": ["name"], "timeout": 60},
    autoretry_for=(ValueError,),
    retry_kwargs={"countdown": 2, "max_retries": 1},
)
def play_again(self: QueueOnce, name: str, scene: str = "sleep", seconds: float = 0.0) -> Any:
    """Retry a scene by itself."""
    return _play(self, name, scene, seconds)


class CarelessTask(QueueOnce):
    """Hooks that call no super."""

    def after_return(self, *args: Any, **kwargs: Any) -> None: ...

    def on_failure(self, *args: Any, **kwargs: Any) -> None: ...

    def on_success(self, *args: Any, **kwargs: Any) -> None: ...

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        return self.app.send_task(self.name, args, kwargs, **options)


@app.task(bind=True, base=CarelessTask, once={"keys": ["name"], "timeout": 60})
def play_carelessly(self: QueueOnce, name: str, scene: str = "sleep", seconds: float = 0.0) -> Any:
    """Act a scene under a class that forgets to call super."""
    return _play(self, name, scene, seconds)


@app.task(bind=True, base=QueueOnce, once={"timeout": 60})
def play_with(self: QueueOnce, name: str, *things: Any, **named: Any) -> str:
    """Change the arguments it was given; all of them make its key."""
    note(name, "start", self.request.id or "")
    for thing in things:
        if isinstance(thing, list | dict):
            thing.clear()
    named.clear()
    note(name, "end", self.request.id or "")
    return f"held: {self.once_lock_held()}"


@app.task
def ask_twice(name: str, keep: bool) -> None:
    """Save a group and ask twice for a call, in one transaction; keep it where asked to."""
    with transaction.atomic():
        Group.objects.create(name=name)
        play.apply_async((name,), queue="nobody-listens", expires=60)
        try:
            play.apply_async((name,), queue="nobody-listens", expires=60)
        except AlreadyQueued:
            if not keep:
                raise
