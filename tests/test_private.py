"""What this app uses of others without their promise; each fails clearly when it moves."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context, Task
from celery.worker.request import Request
from django.contrib.messages.storage.base import BaseStorage
from django.core.cache import caches
from django.db import transaction
from django.test import RequestFactory

from django_celery_once.definition import NO_BODY
from django_celery_once.request import OnceRequest


def test_celery_has_the_hooks_of_a_request() -> None:
    """Call ``reject`` and ``on_failure`` as ``OnceRequest`` expects."""
    for name in ("reject", "on_failure"):
        theirs = inspect.signature(getattr(Request, name))
        ours = inspect.signature(getattr(OnceRequest, name))
        assert list(ours.parameters) == list(theirs.parameters), f"Request.{name} has changed"
    for name in ("request_dict", "task"):
        assert isinstance(inspect.getattr_static(Request, name), property), f"Request.{name}"
    assert Request.acknowledged is False


def test_celery_finds_the_request_class_by_its_path() -> None:
    """Give the class as ``Task.Request`` does."""
    assert Task.Request == "celery.worker.request:Request"


def test_celery_calls_before_start() -> None:
    """Run the guard in the hook that may end a run."""
    assert list(inspect.signature(Task.before_start).parameters) == [
        "self",
        "task_id",
        "args",
        "kwargs",
    ]
    assert Task.run.__module__ == NO_BODY


def test_celery_hands_custom_headers_to_the_run_and_to_its_retry() -> None:
    """Find a message's own headers in ``request.headers``."""
    context = Context({"id": "x", "once": {"key": "k"}, "retries": 0})
    assert context.headers is not None
    assert context.headers["once"] == {"key": "k"}
    assert context.as_execution_options()["headers"]["once"] == {"key": "k"}


def test_celery_knows_the_task_that_runs() -> None:
    """Ask the application for the current task."""
    assert Celery(set_as_current=False).current_task is None


def test_kombu_names_its_transports_and_redis_its_visibility() -> None:
    """Know how long a message of a lost worker may stay away."""
    from kombu.transport.redis import Channel

    app = Celery(broker="redis://localhost", set_as_current=False)
    with app.connection_for_read() as connection:
        assert connection.transport_cls == "redis"
    assert Channel.visibility_timeout == 3600


def test_djangos_redis_cache_gives_its_client() -> None:
    """Reach the connection pool of Django's own Redis cache."""
    cache: Any = caches["locks_django"]
    assert cache._cache.get_client(write=True).ping()


def test_djangos_caches_tell_how_much_they_hold() -> None:
    """Read the limit that check W005 compares."""
    cache: Any = caches["locks_db"]
    assert cache._max_entries == 300
    assert cache.cache_model_class._meta.db_table


def test_djangos_messages_wait_in_a_list() -> None:
    """Take back the success message of a form that turned out a duplicate."""
    storage: Any = BaseStorage(RequestFactory().get("/"))
    storage.add(20, "queued")
    assert [message.message for message in storage._queued_messages] == ["queued"]


@pytest.mark.django_db
def test_django_marks_the_transaction_of_a_test() -> None:
    """Tell a ``TestCase``'s own transaction from a caller's."""
    [block] = transaction.get_connection().atomic_blocks
    assert block._from_testcase


@pytest.mark.django_db
def test_django_forgets_the_callbacks_of_a_rollback() -> None:
    """Tell a call that waits for its commit from one that was rolled back."""

    def callback() -> None: ...

    connection = transaction.get_connection()
    with transaction.atomic():
        transaction.on_commit(callback, robust=True)
        assert [each[1] for each in connection.run_on_commit] == [callback]
        transaction.set_rollback(True)
    assert connection.run_on_commit == []
