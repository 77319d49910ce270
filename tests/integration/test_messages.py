"""What a message may look like, and what may become of it on its way."""

from __future__ import annotations

import datetime as dt
import inspect
import subprocess
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.claims import new_lock
from django_celery_once.header import NAME, Header
from django_celery_once.locks import open_store
from tests.integration.app import app
from tests.integration.calls import lock_of, new_name, refused, value, wait_until_free
from tests.integration.referee import events
from tests.integration.tasks import play, play_with
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def worker(any_broker: str, folder: Path) -> Iterator[Worker]:
    """Return a prefork worker on every broker."""
    with Worker(folder) as started:
        yield started


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    "thing",
    [
        (1, 2),
        uuid.UUID(int=7),
        dt.datetime(2026, 5, 1, 12, 0, tzinfo=dt.UTC),
        dt.date(2026, 5, 1),
        Decimal("1.50"),
        {1: "one", "nested": [(1, 2)]},
        ["mutable"],
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_arguments_that_change_on_the_way_free_the_lock(thing: Any) -> None:
    """Use the caller's key, whatever JSON and the body make of the arguments."""
    name = new_name()
    result = play_with.delay(name, thing, named=thing)
    assert value(result) == "held: True"
    key = play_with.once_key(name, thing, named=thing)
    wait_until(lambda: open_store("locks").inspect(key) is None, "the key free")


def send_raw(name: str, body: object, **properties: Any) -> str:
    """Take the lock of a call, and publish a message of our own making for it."""
    lock = new_lock(play.once_key(name), play.name, f"raw-{name}")
    open_store("locks").acquire(lock, 60)
    headers = {
        "lang": "py",
        "task": play.name,
        "id": lock.owner,
        "root_id": lock.owner,
        "group": None,
        NAME: Header(lock.key, lock.token).as_message(play.name, lock.owner),
    }
    with app.producer_pool.acquire() as producer:
        producer.publish(
            body,
            headers=headers,
            routing_key=app.conf.task_default_queue,
            correlation_id=lock.owner,
            **{"serializer": "json", **properties},
        )
    return lock.owner


@pytest.mark.usefixtures("worker")
def test_keyword_arguments_that_are_no_mapping_free_the_lock() -> None:
    """Free the key of a task that fails before its body."""
    name = new_name()
    send_raw(name, [[name], ["no", "mapping"], {}])
    wait_until_free(play, name)
    assert events(name) == []


def test_an_undecodable_body_is_bounded_by_the_timeout(worker: Worker) -> None:
    """Leave the lock to its time-out where no hook fires, and work on."""
    name = new_name()
    send_raw(name, b"{broken", serializer=None, content_type="application/json",
             content_encoding="utf-8")  # fmt: skip
    wait_until(lambda: "decode" in worker.text(), "the complaint about the message")
    lock = lock_of(play, name)
    assert lock is None or lock.remaining <= 60
    assert value(play.delay(new_name())) == "held: True"


@pytest.mark.skipif(
    "soft_time_limit must" not in inspect.getsource(Task.apply_async),
    reason="this Celery compares no time limits at the call",
)
def test_a_time_limit_that_can_not_be_leaves_no_lock(own_queue: None) -> None:
    """Free the key where ``apply_async`` refuses the limits of a task."""

    @app.task(
        base=QueueOnce, name="tests.integration.limits", shared=False,
        time_limit=1, soft_time_limit=2, once={"keys": ["name"]},
    )  # fmt: skip
    def limits(name: str) -> None: ...

    name = new_name()
    for _each in range(2):
        with pytest.raises(ValueError, match="soft_time_limit"):
            limits.delay(name)
    assert lock_of(limits, name) is None


def test_several_applications_in_one_process(own_queue: None) -> None:
    """Guard the tasks of each, by name: one name is one task wherever it is defined."""
    other = Celery("other", set_as_current=False)
    other.conf.update(broker_url=app.conf.broker_url, task_default_queue="nobody-listens")

    @other.task(base=QueueOnce, name=play.name, once={"keys": ["name"]}, shared=False)
    def same(name: str) -> None: ...

    @other.task(base=QueueOnce, name="tests.integration.other", once={"keys": ["name"]})
    def different(name: str) -> None: ...

    name = new_name()
    same.delay(name)
    assert refused(play, name)
    with pytest.raises(AlreadyQueued):
        same.delay(name)
    different.delay(name)


LISTED = """
from weakref import ReferenceType
from tests.integration.app import app
from django_celery_once import QueueOnce
from django_celery_once.request import OnceRequest
from celery.utils.imports import symbol_by_name
import django
django.setup()
def alive(receiver):
    return receiver() if isinstance(receiver, ReferenceType) else receiver
from tests.integration.tasks import play
assert symbol_by_name(play.Request) is OnceRequest, play.Request
from celery import signals
from django_celery_once import endings, worker
for signal, receiver in [
    (signals.task_postrun, worker.end_run),
    (signals.task_revoked, endings.on_revoked),
    (signals.task_unknown, endings.on_unknown),
    (signals.task_rejected, endings.on_rejected),
    (signals.task_internal_error, endings.on_internal_error),
]:
    assert receiver in map(alive, [each for _, each in signal.receivers]), (signal, receiver)
"""


def test_installed_apps_is_all_that_a_worker_needs() -> None:
    """Connect every hook from ``INSTALLED_APPS`` alone."""
    done = subprocess.run(
        [sys.executable, "-c", LISTED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
