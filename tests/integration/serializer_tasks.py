"""Tasks whose arguments and ends travel as messages and results."""

from __future__ import annotations

import time
from typing import Any

from django_celery_once import QueueOnce
from tests.integration.app import app
from tests.integration.referee import events, note
from tests.integration.tasks import play


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "timeout": 60})
def give_back(self: QueueOnce, name: str, thing: Any = None, scene: str = "") -> Any:
    """Return what it was given: at once, after a retry, or when it is told to."""
    note(name, "start", self.request.id or "")
    if scene == "retry" and not self.request.retries:
        raise self.retry(countdown=0.2)
    until = time.monotonic() + 30
    while scene == "wait" and "told" not in events(name) and time.monotonic() < until:
        time.sleep(0.05)
    note(name, "end", self.request.id or "")
    return thing


@app.task
def ask_for(name: str) -> None:
    """Ask for a call whose key is held."""
    play.apply_async((name,), queue="nobody-listens", expires=60)
