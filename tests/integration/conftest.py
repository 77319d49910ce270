"""A broker, a referee and workers for the integration tests."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Queue

from testproject.redis_server import RedisServer
from tests.integration.app import app, configure
from tests.integration.workers import Worker
from tests.rabbitmq_server import RabbitMQServer
from tests.services import need

_queues = itertools.count()

BROKERS = ["redis", "rabbitmq"]


@pytest.fixture(scope="session")
def broker_server() -> Iterator[RedisServer]:
    """Return a Redis for messages, results and the referee: no test empties it."""
    with RedisServer() as server:
        yield server
        gc.collect()  # results say goodbye to their server while it is there


@pytest.fixture(scope="module")
def use_broker(broker_server: RedisServer) -> Iterator[None]:
    """Point the application and its workers at a queue of their own."""
    with PointedAt(broker_server.url(4), broker_server):
        yield


class PointedAt:
    """The environment of one broker, for the length of a block.

    ``results`` is the server of the results and of the referee.
    """

    def __init__(self, broker_url: str, results: RedisServer) -> None:
        self._environment = {
            "INTEGRATION_BROKER": broker_url,
            "INTEGRATION_RESULTS": results.url(5),
            "INTEGRATION_REFEREE": results.url(6),
            "INTEGRATION_QUEUE": f"once-{os.getpid()}-{next(_queues)}",
        }

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        configure()

    def __exit__(self, *_error: object) -> None:
        with app.connection_for_write() as connection:
            queue = Queue(self._environment["INTEGRATION_QUEUE"])
            queue(connection.default_channel).delete()
        for name, value in self._before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        configure()


@pytest.fixture(scope="module", params=BROKERS)
def any_broker(request: pytest.FixtureRequest, broker_server: RedisServer) -> Iterator[str]:
    """Do the same on every broker."""
    url = need("rabbitmq") if request.param == "rabbitmq" else broker_server.url(4)
    with PointedAt(url, broker_server):
        yield request.param


@pytest.fixture(scope="module", params=BROKERS)
def mortal_broker(
    request: pytest.FixtureRequest, broker_server: RedisServer
) -> Iterator[RabbitMQServer | RedisServer]:
    """Point the application to a broker of its own, whose messages survive its death."""
    with _new_server(request.param) as server, PointedAt(server.url(), broker_server):
        yield server
        server.start()


def _new_server(broker: str) -> RabbitMQServer | RedisServer:
    if broker == "rabbitmq":
        return RabbitMQServer(need("rabbitmq-server"))
    return RedisServer({"appendonly": "yes"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the workers' logs."""
    return tmp_path_factory.mktemp("workers")


POOLS = ["prefork", "threads", "solo", "gevent"]


@pytest.fixture(scope="module", params=POOLS)
def worker(request: pytest.FixtureRequest, any_broker: str, folder: Path) -> Iterator[Worker]:
    """Return a worker of every pool, on every broker."""
    with Worker(folder, request.param) as started:
        yield started


def on_pools(*pools: str) -> pytest.MarkDecorator:
    """Do it with the workers of these pools only: the others can't have what happens there."""
    return pytest.mark.parametrize("worker", pools, indirect=True)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases lapse quickly in the workers that are started from now on."""
    monkeypatch.setenv("INTEGRATION_LEASE", "2")
