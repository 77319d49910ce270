"""What a test expects of duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django_celery_once.celery_apps import apps
from django_celery_once.conf import NAME, conf
from django_celery_once.exceptions import AlreadyQueued
from django_celery_once.signals import Rejection, duplicate_rejected
from django_celery_once.task import QueueOnce


@contextmanager
def assert_once_rejected(
    task: QueueOnce | None = None, *, count: int | None = None
) -> Iterator[list[Rejection]]:
    """Fail with ``AssertionError`` unless duplicates of ``task`` are refused in the block.

    Without a ``task``, those of any task count; without a ``count``, one or more will do, and
    0 means that there must be none. Their policy does not matter, nor in which thread or view
    they are refused. Yield the list of the rejections seen so far.

    Like ``assertRaises``, it ends the block at an ``AlreadyQueued`` of ``task`` that leaves it,
    and goes on after it. Other exceptions pass.
    """
    seen: list[Rejection] = []
    others: list[Rejection] = []

    def note(rejection: Rejection, **_signal: Any) -> None:
        wanted = task is None or rejection.task_name == task.name
        (seen if wanted else others).append(rejection)

    left = None
    duplicate_rejected.connect(note, weak=False)
    try:
        yield seen
    except AlreadyQueued as duplicate:
        if task is not None and duplicate.task_name != task.name:
            raise
        left = duplicate
    finally:
        duplicate_rejected.disconnect(note)
    if len(seen) != count if count is not None else not seen:
        raise AssertionError(_explain(task, count, seen, others)) from left


def _explain(
    task: QueueOnce | None,
    count: int | None,
    seen: Sequence[Rejection],
    others: Sequence[Rejection],
) -> str:
    name = "any task" if task is None else task.name
    wanted = "at least 1" if count is None else count
    lines = [f"Refused duplicates of {name}: expected {wanted}, saw {len(seen)}"]
    lines += [
        f"- {each.task_name}[{each.task_id}] ({each.policy}): [{each.holder.owner}] held "
        f"{each.holder.key}"
        for each in [*seen, *others]
    ]
    if len(seen) < (count or 1):
        lines += _reasons(apps() if task is None else [task.app])
    return "\n".join(lines)


def _reasons(apps: Sequence[Any]) -> Iterator[str]:
    """Yield why a duplicate may not have been one."""
    if not conf.enabled:
        yield f"{NAME}['ENABLED'] is False: nothing is refused."
    if any(app.conf.task_always_eager for app in apps):
        yield (
            "task_always_eager is on: a call has run, and its key is free, when it returns. Use "
            "double_submit(), or task.reserve() to keep the key."
        )
