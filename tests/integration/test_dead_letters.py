"""Failed messages that rest in a dead-letter queue and come back, which is a retry by RabbitMQ."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Queue

from testproject.redis_server import RedisServer
from tests.integration.app import app, configure
from tests.integration.calls import lock_of, new_name, wait_for_event, wait_until_free
from tests.integration.conftest import PointedAt
from tests.integration.referee import entries, events, note
from tests.integration.tasks import play_late
from tests.integration.workers import Worker, wait_until
from tests.services import need

pytestmark = pytest.mark.django_db(transaction=True)

REST_MS = 3000


@pytest.fixture(scope="module")
def worker(broker_server: RedisServer, folder: Path) -> Iterator[Worker]:
    """Return a worker whose queue gives what it rejects to another, which returns it."""
    with PointedAt(need("rabbitmq"), broker_server), pytest.MonkeyPatch.context() as patch:
        name = os.environ["INTEGRATION_QUEUE"]
        rest = Queue(f"{name}-rest", queue_arguments={**_to(name), "x-message-ttl": REST_MS})
        work = {"exchange": name, "routing_key": name, "queue_arguments": _to(rest.name)}
        settings = {"task_queues": {name: work}, "task_acks_on_failure_or_timeout": False}
        patch.setenv("INTEGRATION_CELERY", json.dumps(settings))
        configure()
        with app.connection_for_write() as connection, Worker(folder) as started:
            bound = rest(connection.default_channel)
            bound.queue_declare()
            yield started
            bound.delete()
        app.conf.update(task_queues=None, task_acks_on_failure_or_timeout=True)
        configure()


def wait_until_state(task_id: str, state: str) -> None:
    """Wait for a result, which a message that comes back stores over its failure."""
    wait_until(lambda: app.AsyncResult(task_id).state == state, f"{task_id} {state}")


def _to(name: str) -> dict[str, object]:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name}


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("scene", ["fail_once", "reject_first"])
def test_it_runs_again_under_a_free_key(scene: str) -> None:
    """Take it for no copy of the run that failed, and for one of the run that did not."""
    name = new_name()
    result = play_late.delay(name, scene)
    wait_for_event(name, "end", times=2)
    wait_until_free(play_late, name)
    wait_until_state(result.id, "SUCCESS")


def test_it_takes_its_turn(worker: Worker) -> None:
    """Let the call that was accepted meanwhile end, and run then, under the key."""
    name = new_name()
    first = play_late.delay(name, "fail_once")
    wait_for_event(name, "end")
    wait_until_free(play_late, name)
    second = play_late.delay(name, "wait_until_told", 90.0)
    waits = f"[{first.id}] waits for its turn after {second.id}"
    wait_until(lambda: waits in worker.text(), "its turn waited for")
    note(name, "told", second.id)
    wait_for_event(name, "end", times=3)
    wait_until_state(first.id, "SUCCESS")
    wait_until_free(play_late, name)
    runs = [each.task_id for each in entries(name) if each.event == "start"]
    assert runs == [first.id, second.id, first.id]
    assert events(name)[2:] == ["start", "told", "end", "start", "end"]


@pytest.mark.usefixtures("worker")
def test_it_has_a_key_that_is_kept_for_it() -> None:
    """Run under the key that the failed run keeps until its time is up, and keep it on."""
    name = new_name()
    result = play_late.apply_async((name, "fail_once"), once={"until": "expired", "timeout": 600})
    wait_for_event(name, "end", times=2)
    wait_until_state(result.id, "SUCCESS")
    lock = lock_of(play_late, name)
    assert lock is not None
    assert (lock.owner, lock.remaining > 500) == (result.id, True)


def test_it_ends_where_the_key_is_anothers_for_its_time(worker: Worker) -> None:
    """Say that it was revoked, and why, where once in a time has been by now."""
    name = new_name()
    once = {"until": "expired", "timeout": 600}
    first = play_late.apply_async((name, "fail_once"), once={**once, "release_on_failure": True})
    wait_for_event(name, "end")
    wait_until_free(play_late, name)
    play_late.apply_async((name,), once=once)
    wait_until_state(first.id, "REVOKED")
    assert f"Refused {play_late.name}[{first.id}] (revoke)" in worker.text()
