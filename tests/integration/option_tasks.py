"""Tasks that tell how they were called, with ``QueueOnce`` and without."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

from celery import Task

from django_celery_once import QueueOnce
from django_celery_once.header import NAME
from django_celery_once.locks import open_store
from tests.integration.app import app
from tests.integration.referee import note

#: What differs between any two messages, by name, also within their properties.
OWN = {
    *("id", "root_id", "parent_id", "correlation_id", "task"),
    *("delivery_tag", "origin", "expiration"),
}
#: What this app adds to a message and to a run.
ADDED = {NAME, "once_run"}


def _seen(what: Any) -> Any:
    """Return what a message or a part of it says, in words that compare."""
    if isinstance(what, dict):
        return {key: _seen(what[key]) for key in sorted(what.keys() - OWN - ADDED)} or "None"
    return repr(what)


def _tell(task: Any, name: str, thing: Any = None) -> str:
    """Note how a task was called; in its second run, where it is to have two."""
    if thing == "retry" and not task.request.retries:
        raise task.retry(countdown=0)
    note(name, json.dumps(_seen(vars(task.request))), task.request.id)
    return "looked"


@app.task(bind=True)
def plain_look(self: Task[Any, Any], name: str, thing: Any = None) -> str:
    """Tell how it was called."""
    return _tell(self, name, thing)


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "timeout": 60})
def look(self: QueueOnce, name: str, thing: Any = None) -> str:
    """Tell how it was called."""
    return _tell(self, name, thing)


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"]}, ignore_result=True)
def look_in_silence(self: QueueOnce, name: str) -> str:
    """Tell how it was called, and store no result."""
    return _tell(self, name)


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"]})
def fail(self: QueueOnce, name: str) -> None:
    """Fail."""
    raise ValueError(name)


@app.task
def on_error(request: Any, error: Any, traceback: Any, name: str) -> None:
    """Tell that a task failed."""
    note(name, "errback", request.id)


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"]})
def call_itself(self: QueueOnce, name: str, way: str = "") -> Any:
    """Run its own body once more within itself, then tell who holds the lock."""
    if way == "call":
        inner = call_itself(name)
    elif way == "apply":
        inner = call_itself.apply((name,)).get(disable_sync_subtasks=False)
    else:
        return "inner"
    lock = open_store("locks").inspect(self.once_key(name))
    return [inner, self.once_lock_held(), lock is not None and lock.owner == self.request.id]


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"]}, time_limit=1)
def outlive_limit(self: QueueOnce, name: str) -> None:
    """Tell whether the key is still taken when the pool begins to kill this run for its length."""

    def look(*_signal: Any) -> None:
        lock = open_store("locks").inspect(self.once_key(name))
        note(name, f"taken: {lock is not None}", self.request.id or "")

    signal.signal(signal.SIGTERM, look)
    note(name, "start", self.request.id or "")
    time.sleep(30)
