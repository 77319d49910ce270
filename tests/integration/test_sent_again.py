"""What is put back is not lost: brokers that refuse, and those that keep a delay themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.app import defaults

from django_celery_once.header import NAME, Header
from testproject.redis_server import RedisServer
from tests.integration.app import app, configure
from tests.integration.calls import lock_of, new_name, value, wait_for_event, wait_until_free
from tests.integration.conftest import POOLS, PointedAt
from tests.integration.referee import entries, events, note
from tests.integration.tasks import play, play_late
from tests.integration.workers import Worker, wait_until
from tests.services import need

pytestmark = pytest.mark.django_db(transaction=True)

TURNS = {"until": "running"}


@pytest.fixture(scope="module")
def broker(broker_server: RedisServer) -> Iterator[RedisServer]:
    """Return a broker that may refuse messages, on a server of its own."""
    with RedisServer() as server, PointedAt(server.url(), broker_server):
        yield server


@contextmanager
def refusing(broker: RedisServer) -> Iterator[None]:
    """Let a broker take no messages."""
    with redis.Redis.from_url(broker.url()) as client:
        client.execute_command("ACL", "SETUSER", "default", "-lpush")
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+lpush")


@pytest.fixture(scope="module", params=POOLS)
def worker(request: pytest.FixtureRequest, broker: RedisServer, folder: Path) -> Iterator[Worker]:
    """Return a worker of every pool."""
    with Worker(folder, request.param) as started:
        yield started


@pytest.fixture(params=[play, play_late], ids=["acknowledged early", "acknowledged late"])
def task(request: pytest.FixtureRequest, worker: Worker) -> Any:
    """Return a task of each way to acknowledge."""
    if worker.pool == "solo":
        pytest.skip("a solo worker runs one at a time")
    return request.param


def waiting_call(task: Any, name: str, worker: Worker) -> Any:
    """Queue a call behind one that runs until it is told, and let a worker have it."""
    task.apply_async((name, "wait_until_told", 60.0), once=TURNS)
    wait_for_event(name, "start")
    second = task.apply_async((name,), once=TURNS, countdown=4)
    wait_until(lambda: second.id in worker.text(), "the second received")
    return second


def test_sent_back_when_the_broker_takes_it(task: Any, worker: Worker, broker: RedisServer) -> None:
    """The log tells once that it is in this worker only; nothing is rejected meanwhile."""
    name = new_name()
    second = waiting_call(task, name, worker)
    with refusing(broker):
        complaint = f"{second.id}] can't be sent back to its queue"
        wait_until(lambda: complaint in worker.text(), "the complaint")
    wait_until(lambda: f"{second.id}] ignored" in worker.text(), "sent back")
    note(name, "told", "")
    assert value(second) == "held: True"
    assert [each.event for each in entries(name)] == ["start", "told", "end", "start", "end"]
    assert worker.text().count(complaint) == 1
    assert "requeue=True" not in worker.text()


def test_run_where_it_is(task: Any, worker: Worker, broker: RedisServer) -> None:
    """Where the key is free before the broker takes anything."""
    name = new_name()
    second = waiting_call(task, name, worker)
    with refusing(broker):
        wait_until(lambda: f"{second.id}] can't be sent back" in worker.text(), "the complaint")
        note(name, "told", "")
        assert value(second) == "held: True"
    wait_until_free(task, name)
    assert events(name).count("start") == 2


def test_a_copy_waits_for_the_first(worker: Worker, broker: RedisServer) -> None:
    """And is not run beside it."""
    if worker.pool == "solo":
        pytest.skip("a solo worker runs one at a time")
    name = new_name()
    first = play.delay(name, "wait_until_told", 60.0)
    wait_for_event(name, "start")
    lock = lock_of(play, name)
    assert lock is not None
    header = {"id": first.id, "task": play.name, "key": lock.key, "token": lock.token}
    app.send_task(play.name, (name,), task_id=first.id, headers={"once": header}, countdown=4)
    with refusing(broker):
        wait_until(lambda: f"{first.id}] can't be sent back" in worker.text(), "the complaint")
        note(name, "told", "")
        assert value(first) == "held: True"
    wait_until_free(play, name)
    assert events(name).count("start") == 1


def test_a_solo_worker_behind_anothers_run(
    broker: RedisServer, worker: Worker, folder: Path
) -> None:
    """It may wait in place, as the only thing that it does."""
    if worker.pool != "prefork":
        pytest.skip("once is enough")
    name = new_name()
    play.apply_async((name, "wait_until_told", 60.0), once=TURNS)
    wait_for_event(name, "start")
    with Worker(folder, "solo", 1, "-Q", "alone") as solo:
        second = play.apply_async((name,), once=TURNS, queue="alone", countdown=4)
        wait_until(lambda: second.id in solo.text(), "the second received")
        with refusing(broker):
            wait_until(lambda: f"{second.id}] can't be sent" in solo.text(), "the complaint")
            note(name, "told", "")
            assert value(second) == "held: True"
    wait_until_free(play, name)


def test_a_retry_that_could_not_be_sent_leaves_its_message(
    worker: Worker, broker: RedisServer
) -> None:
    """Let it run where its broker delivers it again, which has not heard that it was rejected."""
    name = new_name()
    play_late.apply_async((name, "retry_when_told", 0.0))
    wait_for_event(name, "start")
    lock = lock_of(play_late, name)
    assert lock is not None
    with refusing(broker):
        note(name, "frozen", "")
        wait_for_event(name, "end")
        wait_until_free(play_late, name)
    header = Header(lock.key, lock.token).as_message(play_late.name, lock.owner)
    app.send_task(play_late.name, (name,), task_id=lock.owner, headers={NAME: header})
    wait_for_event(name, "end", times=2)
    wait_until_free(play_late, name)


# ---- queues that keep a delay


@pytest.fixture
def quorum(broker_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point to quorum queues on a topic exchange: there RabbitMQ keeps delays."""
    if "default_queue_type" not in defaults.NAMESPACES["task"]:
        pytest.skip("this Celery has no quorum queues")
    monkeypatch.setenv("INTEGRATION_QUEUE_TYPE", "quorum")
    monkeypatch.setenv("INTEGRATION_EXCHANGE_TYPE", "topic")
    with PointedAt(need("rabbitmq"), broker_server):
        yield
    monkeypatch.undo()
    configure()


@pytest.mark.usefixtures("quorum")
def test_turns_in_quorum_queues(tmp_path: Path) -> None:
    """Each runs, however short its pause and however often it is sent back."""
    name = new_name()
    with Worker(tmp_path) as worker:
        calls = [play.apply_async((name, "sleep", 1.0), once=TURNS) for _each in range(4)]
        assert [value(each, 60) for each in calls] == ["held: True"] * 4
        assert "requeue=True" not in worker.text()
    assert events(name) == ["start", "end"] * 4


@pytest.mark.usefixtures("quorum")
def test_back_to_a_queue_that_is_not_the_default(tmp_path: Path) -> None:
    """Not to that of the other workers."""
    name, other = new_name(), new_name("other")
    options: dict[str, Any] = {"once": TURNS, "queue": other}
    with Worker(tmp_path, "prefork", 2, "-Q", other):
        calls = [play.apply_async((name, "sleep", 2.0), **options) for _each in range(2)]
        assert [value(each, 60) for each in calls] == ["held: True"] * 2
    with app.connection_for_write() as connection:
        app.amqp.queues[other](connection.default_channel).delete()
