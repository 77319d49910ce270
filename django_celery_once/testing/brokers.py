"""No message of a test for a worker that waits at a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from django_celery_once.celery_apps import apps
from django_celery_once.task import QueueOnce

#: The transport whose messages stay in this process.
MEMORY = "memory"


@contextmanager
def kept_in_memory() -> Iterator[None]:
    """Let the guarded tasks of this process' Celery apps be sent to no broker but ``memory://``."""
    with ExitStack() as patches:
        for app in apps():
            send = partial(_send, app, app.send_task)
            patches.enter_context(patch.object(app, "send_task", send))
        yield


def _send(app: Any, send: Any, name: str, *args: Any, **options: Any) -> Any:
    if isinstance(app.tasks.get(name), QueueOnce):
        with app.connection_for_write() as connection:
            if connection.transport.driver_type != MEMORY:
                raise RuntimeError(
                    f"A test would send {name} to {connection.as_uri()}, where a worker may take "
                    "it. Set CELERY_BROKER_URL = 'memory://' in the settings of your tests, or say "
                    "once_in_memory(real_broker=True)"
                )
    return send(name, *args, **options)
