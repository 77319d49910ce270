"""Brokers that die: no lock without a message, no message that runs twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from testproject.redis_server import RedisServer
from tests.integration.app import forget_connections
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    refused_until,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.conftest import EACH_POOL, POOLS
from tests.integration.referee import events, note
from tests.integration.tasks import play, play_late
from tests.integration.workers import Worker, wait_until
from tests.rabbitmq_server import RabbitMQServer

pytestmark = pytest.mark.django_db(transaction=True)

ONE_RUN = ["start", "end"]
Broker = RabbitMQServer | RedisServer
#: A Redis broker delivers again after its visibility time-out, whatever becomes of connections.
rabbitmq_only = pytest.mark.parametrize("mortal_broker", ["rabbitmq"], indirect=True)


@pytest.fixture
def broker(mortal_broker: Broker) -> Broker:
    """Return a broker that lives, and that nobody is connected to."""
    mortal_broker.start()
    forget_connections()
    return mortal_broker


@pytest.mark.parametrize("open_before", [False, True])
def test_a_broker_that_is_down_leaves_no_lock(broker: Broker, open_before: bool) -> None:
    """Raise what publishing raises, and accept the call when the broker is back."""
    name = new_name()
    if open_before:
        play.delay(new_name())
    broker.kill()
    with pytest.raises(OperationalError):
        play.delay(name)
    assert lock_of(play, name) is None
    broker.start()
    play.delay(name)
    assert refused(play, name)


@pytest.fixture
def worker(request: pytest.FixtureRequest, broker: Broker, folder: Path) -> Iterator[Worker]:
    """Return a worker on a broker that may be killed."""
    with Worker(folder, request.param) as started:
        yield started
        broker.start()  # or it would not shut down


@pytest.mark.parametrize(
    ("mortal_broker", "worker"), [place.split() for place in EACH_POOL], indirect=True
)
def test_a_run_outlives_its_broker(worker: Worker, broker: Broker) -> None:
    """Let a run end, and free its key, while its broker is dead."""
    name = new_name()
    result = play.delay(name, "sleep", 3.0)
    wait_for_event(name, "start")
    broker.kill()
    if worker.pool == "gevent":
        broker.start()  # Kombu stops the whole process while it tries to reconnect
    assert value(result) == "held: True"
    wait_until_free(play, name)
    assert events(name) == ONE_RUN


@rabbitmq_only
@pytest.mark.parametrize("worker", POOLS, indirect=True)
def test_a_planned_task_outlives_its_broker(worker: Worker, broker: Broker) -> None:
    """Refuse duplicates of what waits in a worker for its time, and run it once."""
    name = new_name()
    result = play.apply_async((name,), countdown=12)
    wait_until(lambda: result.id in worker.text(), "the task received")
    broker.kill()
    broker.start()
    refused_until(play, name, "end", 1)
    assert value(result) == "held: True"
    wait_until_free(play, name)
    assert events(name) == ONE_RUN


@rabbitmq_only
@pytest.mark.parametrize("worker", POOLS, indirect=True)
@pytest.mark.usefixtures("short_lease")
def test_a_connection_lost_in_a_run_brings_no_second_run(worker: Worker, broker: Broker) -> None:
    """Send the copy back that comes while the first runs, and drop it after its end."""
    name = new_name()
    result = play_late.delay(name, "wait_until_told", 90.0)
    wait_for_event(name, "start")
    broker.kill()
    broker.start()
    if worker.pool != "solo":  # which takes no message while it runs one
        wait_until(lambda: "is running elsewhere" in worker.text(), "the copy sent back", 60)
    note(name, "told", result.id)
    refused_until(play_late, name, "end", 1)
    wait_until(lambda: "already run to its end" in worker.text(), "the copy dropped", 30)
    assert value(result) == "held: True"
    wait_until_free(play_late, name)
    assert events(name) == ["start", "told", "end"]
