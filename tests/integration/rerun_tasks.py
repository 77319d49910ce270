"""Tasks that run once more when they are asked for while they run."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from django_celery_once import QueueOnce
from tests.integration.app import app
from tests.integration.referee import count, events, note


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "on_duplicate": "rerun"})
def index(self: QueueOnce, name: str, value: int = 0, scene: str = "") -> int:
    """Return the value, after the first run has acted its scene."""
    return _index(self, name, value, scene)


@app.task(
    bind=True, base=QueueOnce, once={"keys": ["name"], "on_duplicate": "rerun"}, acks_late=True
)
def index_late(self: QueueOnce, name: str, value: int = 0, scene: str = "") -> int:
    """Do so, acknowledged after the run."""
    return _index(self, name, value, scene)


def _index(self: QueueOnce, name: str, value: int, scene: str) -> int:
    note(name, "start", self.request.id or "")
    if scene == "wait":
        _wait(name)
    elif scene == "fail":
        _wait(name)
        raise ValueError(name)
    elif scene == "kill":
        _wait(name)
        os.kill(os.getpid(), signal.SIGKILL)
    note(name, f"end {value}", self.request.id or "")
    return value


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "on_duplicate": "rerun"})
def look(self: QueueOnce, name: str) -> int:
    """Look at how many changes there are, and write it down at the end of some work."""
    seen = count(name)
    time.sleep(0.05)
    note(f"{name}-seen", str(seen), self.request.id or "")
    return seen


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"]})
def again(self: QueueOnce, name: str, times: int = 0, seconds: float = 0.0) -> Any:
    """Queue itself in its body, and go on for some time."""
    note(name, "start", self.request.id or "")
    if times:
        following = self.delay(name, times - 1, seconds)
        note(name, "queued", following.id)
    time.sleep(seconds)
    note(name, "end", self.request.id or "")
    return times


def _wait(name: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        happened = events(name)
        if happened.count("told") >= happened.count("start"):
            return
        time.sleep(0.05)
