"""Tasks whose key depends on what they are called with, and where."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from celery import signals

from django_celery_once import QueueOnce
from tests.integration.app import app
from tests.integration.referee import events, note


@app.task(bind=True, base=QueueOnce, max_retries=None, once={"keys": ["name", "page"]})
def walk(
    self: QueueOnce, name: str, page: int, to: int = 0, seconds: float = 0.0, how: str = "args"
) -> int:
    """Work on a page, and go on to another one by a retry."""
    place = f"{name}-{page}"
    note(place, "start", self.request.id or "")
    until = time.monotonic() + seconds
    while time.monotonic() < until and "told" not in events(place):
        time.sleep(0.05)
    note(place, "end", self.request.id or "")
    if page == to:
        return page
    if how == "kwargs":
        raise self.retry(args=(name,), kwargs={"page": to, "to": to}, countdown=0)
    if how == "go on":
        self.retry(args=(name, to, to), countdown=0, throw=False)
        return -1
    raise self.retry(args=(name, to, to, seconds), kwargs={}, countdown=0)


_here = threading.local()


@signals.task_prerun.connect
def _enter(task: Any = None, **_signal: Any) -> None:
    _here.tenant = (task.request.headers or {}).get("tenant", "public")


def _in_tenant(name: str, *_more: Any) -> list[str]:
    """Return what a key is made of: the tenant is known where the task runs, and not before."""
    return [getattr(_here, "tenant", "public"), name]


def _act(task: Any, name: str, scene: str) -> str:
    note(name, "start", task.request.id or "")
    if scene == "kill" or (scene == "kill once" and events(name).count("start") == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    until = time.monotonic() + (60 if scene == "wait" else 0)
    while time.monotonic() < until and "told" not in events(name):
        time.sleep(0.05)
    note(name, "end", task.request.id or "")
    return str(_here.tenant)


@app.task(bind=True, base=QueueOnce, once={"key": _in_tenant})
def serve(self: QueueOnce, name: str, scene: str = "") -> str:
    """Work for the tenant that a header names."""
    return _act(self, name, scene)


@app.task(
    bind=True,
    base=QueueOnce,
    once={"key": _in_tenant},
    acks_late=True,
    reject_on_worker_lost=True,
)
def serve_late(self: QueueOnce, name: str, scene: str = "") -> str:
    """Do so, and come again when the process is lost."""
    return _act(self, name, scene)


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "on_duplicate": "join"})
def fetch(self: QueueOnce, name: str, scene: str = "", value: int = 42) -> int:
    """Return a value that several callers wait for, when it is told to."""
    note(name, "start", self.request.id or "")
    until = time.monotonic() + 30
    while time.monotonic() < until and "told" not in events(name):
        time.sleep(0.05)
    if scene == "fail":
        raise ValueError(name)
    return value


@app.task
def mail(value: int, name: str, to: str) -> None:
    """Tell somebody of a value."""
    note(name, f"mail {to} {value}", "")


@app.task
def complain(request: Any, error: Exception, traceback: Any, name: str, to: str) -> None:
    """Tell somebody of a failure."""
    note(name, f"complain {to} {type(error).__name__}", "")
