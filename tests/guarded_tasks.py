"""Guarded tasks for the tests, and a look at their locks."""

from __future__ import annotations

from celery import shared_task

from django_celery_once import QueueOnce
from django_celery_once.locks import Lock, open_store
from tests.celery_app import app


@shared_task(base=QueueOnce, name="tests.task.report")
def report(email: str, month: str = "May") -> str:
    return f"{email} {month}"


@shared_task(
    base=QueueOnce,
    name="tests.task.labelled",
    once={"keys": ["email"], "label": "{month} report", "timeout": 100},
)
def labelled(email: str, month: str) -> None: ...


@shared_task(bind=True, base=QueueOnce, name="tests.task.bound")
def bound(self: QueueOnce, email: str) -> bool:
    return self.once_lock_held()


class Report(QueueOnce):
    """A task written as a class."""

    name = "tests.task.Report"

    def run(self, email: str, month: str = "May") -> None: ...


app.register_task(Report())


def held(key: str) -> Lock:
    """Return the lock under a key; it must be there."""
    lock = open_store("locks").inspect(key)
    assert lock is not None
    return lock
