"""Refused calls to order, and the clock of the journal that writes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery import shared_task
from django.db import connections

from django_celery_once import QueueOnce, incidents
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.signals import announce_rejection
from tests.factories import NOON, make_rejection


@shared_task(base=QueueOnce, name="tests.duplicates.send", once={"keys": ["email"]})
def send(email: str) -> None: ...


def refuse(hits: int = 1, **fields: Any) -> None:
    """Announce a refused call, as the task does."""
    announce_rejection(type(send), make_rejection(hits, **fields))


def queue_twice() -> None:
    """Queue a task, and once more: raise ``AlreadyQueued``."""
    send.delay("eva@example.com")
    send.delay("eva@example.com")


def count() -> int:
    """Return the rejections of the one incident there is, 0 without one."""
    found = BlockedDuplicate.objects.values_list("rejections", flat=True)
    assert len(found) <= 1
    return sum(found)


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def stop_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the journal's clock, which stands still from now on."""
    stopped = Clock()
    times = SimpleNamespace(monotonic=stopped.monotonic, time=lambda: NOON + 100)
    monkeypatch.setattr(incidents, "time", times)
    return stopped


@contextmanager
def tables(alias: str, *, there: bool) -> Iterator[None]:
    """Create or drop the journal's tables for the length of a block."""
    models = [BlockedDuplicate, BlockedAttempt]

    def create() -> None:
        with connections[alias].schema_editor() as editor:
            for model in models:
                editor.create_model(model)

    def drop() -> None:
        with connections[alias].schema_editor() as editor:
            for model in reversed(models):
                editor.delete_model(model)

    begin, end = (create, drop) if there else (drop, create)
    begin()
    try:
        yield
    finally:
        end()
