"""Checks of the options that tasks are given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_celery_once import conf as configuration
from django_celery_once.checks.messages import Message, message
from django_celery_once.conf import conf
from django_celery_once.definition import broken, definition_errors
from django_celery_once.options import did_you_mean
from django_celery_once.registry import (
    import_tasks,
    known_tasks,
    replaced_hooks,
    unguarded_tasks,
)
from django_celery_once.task import QueueOnce


def check_tasks(**_kwargs: Any) -> Iterator[Message]:
    """E010, E020: a task's options do not fit it, or nothing reads them."""
    try:
        import_tasks()
    except ImproperlyConfigured as error:
        yield message(checks.Error, "E010", f"{error}.", "Correct the task's once={…}.")
        return
    except Exception as error:
        yield message(
            checks.Warning,
            "W013",
            f"The tasks can't be checked, since importing them failed: {error!r}.",
            "A worker would fail in the same way; correct the module.",
        )
        return
    for problem in broken:
        yield message(checks.Error, "E010", f"{problem}.", "Correct the task's once={…}.")
    tasks = known_tasks()
    for task in tasks:
        yield from _check_task_settings(task)
        yield from _check_hooks(task)
    for name in sorted(task.name for task in unguarded_tasks()):
        yield message(
            checks.Error,
            "E020",
            f"{name} has once={{…}}, but no QueueOnce as its base: it is queued unguarded.",
            "Give it base=QueueOnce, or remove the options.",
        )
    yield from _check_names({task.name for task in tasks})


def _check_hooks(task: QueueOnce) -> Iterator[Message]:
    """E018: what takes a task's lock, or sees that a run died, is replaced."""
    for where, name in replaced_hooks(task):
        yield message(
            checks.Error,
            "E018",
            f"{where} sets {name!r} of {task.name}, which replaces what its lock needs.",
            f"Override {name!r} in a base class, on top of QueueOnce's own.",
        )


def _check_names(names: set[str]) -> Iterator[Message]:
    for pattern in conf.named_tasks():
        prefix = pattern.removesuffix("*")
        found = any(name.startswith(prefix) for name in names) if prefix != pattern else False
        if not found and pattern not in names:
            yield message(
                checks.Warning,
                "W014",
                f"{configuration.NAME}['TASKS'] names {pattern!r}, but no task with QueueOnce as "
                f"its base is called so{did_you_mean(pattern, sorted(names))}.",
                "Correct the name, or remove the entry.",
            )


def _check_task_settings(task: QueueOnce) -> Iterator[Message]:
    try:
        once = conf.task_options(task.name)
    except ImproperlyConfigured:
        return  # E001 says so
    for problem in definition_errors(type(task), once):
        where = f"{configuration.NAME}['TASKS'] for {task.name}"
        yield message(checks.Error, "E010", f"{where}: {problem}.", "Correct the option.")
