"""A form that is sent twice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

from celery import states
from celery.result import EagerResult, denied_join_result
from django.db import connections
from django.test import Client, TestCase

from django_celery_once.header import NAME
from django_celery_once.task import QueueOnce


class DoubleSubmit(NamedTuple):
    """The responses to a form that was sent twice."""

    first: Any
    second: Any


def double_submit(client: Client, url: str, data: Any = None, **options: Any) -> DoubleSubmit:
    """Post the same form twice, the second time while the first's task is still queued.

    ``options`` are those of ``client.post``, such as ``follow=True``. After each post, what the
    view wants done at the commit is done, since a ``TestCase`` never commits.

    With ``task_always_eager``, guarded tasks run after both posts, as if a worker then came by:
    what ``delay`` returns to the view is pending, and what the tasks raise with
    ``task_eager_propagates`` comes from here. Otherwise they are queued as ever, and the
    broker should be ``memory://``; a worker running beside the test may be faster than the
    second post.
    """
    with _runs_waiting():
        return DoubleSubmit(
            _post(client, url, data, options),
            _post(client, url, data, options),
        )


def _post(client: Client, url: str, data: Any, options: dict[str, Any]) -> Any:
    _rewind(data)
    with _committed():
        return client.post(url, data, **options)


def _rewind(data: Any) -> None:
    """Let the files in a form be sent again, and whole."""
    for value in data.values() if isinstance(data, dict) else ():
        for each in value if isinstance(value, list | tuple) else [value]:
            if hasattr(each, "seek"):
                each.seek(0)


@contextmanager
def _committed() -> Iterator[None]:
    """Do at the end what waits for the commit of a test's own transaction."""
    with ExitStack() as databases:
        for alias in connections:
            databases.enter_context(_committed_in(alias))
        yield


@contextmanager
def _committed_in(alias: str) -> Iterator[None]:
    before = len(connections[alias].run_on_commit)
    try:
        with TestCase.captureOnCommitCallbacks(using=alias, execute=True):
            yield
    finally:
        # As after a commit: who captures them as well shall not do them again.
        del connections[alias].run_on_commit[before:]


@contextmanager
def _runs_waiting() -> Iterator[None]:
    """Let guarded tasks that would run where they are called run at the end."""
    waiting: list[Callable[[], Any]] = []
    run = QueueOnce.apply

    def wait(task: QueueOnce, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        if NAME not in (options.get("headers") or {}):  # not from apply_async: no lock is held
            return run(task, args, kwargs, **options)
        waiting.append(functools.partial(run, task, args, kwargs, **options))
        return EagerResult(options["task_id"], None, states.PENDING, name=task.name)

    try:
        with mock.patch.object(QueueOnce, "apply", wait):
            yield
    finally:
        for each in waiting:
            with _committed(), denied_join_result():
                each()
