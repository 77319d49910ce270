"""Tasks to make chains, groups and chords of."""

from __future__ import annotations

from typing import Any

from celery import chain, group

from django_celery_once import QueueOnce
from tests.integration.app import app
from tests.integration.referee import note


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "timeout": 60})
def number(self: QueueOnce, name: str, value: int = 0) -> int:
    """Return a number; calls with one name are the same."""
    note(name, "ran", self.request.id or "")
    return value


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "on_duplicate": "join"})
def joining(self: QueueOnce, name: str, value: int = 0) -> int:
    """Return a number; a duplicate gets the same."""
    note(name, "ran", self.request.id or "")
    return value


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "on_duplicate": "join"})
def failing(self: QueueOnce, name: str) -> None:
    """Fail."""
    raise ValueError(name)


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"], "on_duplicate": "join"})
def retrying(self: QueueOnce, name: str) -> int:
    """Return how many retries there were: one."""
    note(name, "ran", self.request.id or "")
    if not self.request.retries:
        raise self.retry(countdown=2)
    return int(self.request.retries)


@app.task(bind=True)
def plain(self: Any, name: str, value: int) -> int:
    """Return a number, as often as asked to."""
    note(name, "ran", self.request.id or "")
    return value


@app.task(bind=True)
def collect(self: Any, values: Any, name: str) -> Any:
    """Return what came before."""
    note(name, "ran", self.request.id or "")
    return values


@app.task
def send_group(held: str, name: str) -> int:
    """Queue a group and a chain with a duplicate in each, from a task's body."""
    group(number.si(held, 1), number.si(name, 2)).delay()
    chain(number.si(held, 1), plain.si(f"{name}-behind", 2)).delay()
    return 7


@app.task(bind=True, base=QueueOnce, once={"keys": ["name"]})
def replaced(self: QueueOnce, name: str, held: str = "") -> Any:
    """Let a chord with a duplicate in it do the work."""
    return self.replace(group(number.si(held, 1), number.si(f"{name}-2", 2)) | collect.s(name))
