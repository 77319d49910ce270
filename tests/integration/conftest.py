"""Brokers, a referee and workers for the integration tests.

A *place* is a broker and a pool, such as ``"redis prefork"``. The worker of a place serves all
the tests of a process that ask for it by ``worker`` (or ``hasty_worker``, whose leases are
short); a test that ends its worker starts one of its own.
"""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import Queue

from testproject.redis_server import RedisServer
from tests import quiet_results
from tests.groups import group
from tests.integration.app import app, configure
from tests.integration.workers import Worker
from tests.rabbitmq_server import RabbitMQServer
from tests.services import need

quiet_results.take_off()

Decorator = Callable[[Any], Any]
_queues = itertools.count()

BROKERS = ["redis", "rabbitmq"]
POOLS = ["prefork", "threads", "solo", "gevent"]
PLACES = [f"{broker} {pool}" for broker in BROKERS for pool in POOLS]
#: Each pool once, on one broker or the other: for what pools and brokers decide apart.
EACH_POOL = [f"{broker} {pool}" for broker, pool in zip(BROKERS * 2, POOLS, strict=True)]
#: Where tests run that want every pool on every broker; ``TEST_PLACES=fewer``: not on all of them.
EVERYWHERE = EACH_POOL if os.environ.get("TEST_PLACES") == "fewer" else PLACES


@pytest.fixture(scope="session")
def broker_server() -> Iterator[RedisServer]:
    """Return a Redis for messages, results and the referee: no test empties it."""
    with RedisServer() as server:
        yield server
        gc.collect()  # results say goodbye to their server while it is there


class PointedAt(AbstractContextManager[None]):
    """The environment of one queue on one broker, for the length of a block.

    ``results`` is the server of the results and of the referee.
    """

    def __init__(self, broker_url: str, results: RedisServer) -> None:
        self._environment = {
            "INTEGRATION_BROKER": broker_url,
            "INTEGRATION_RESULTS": results.url(5),
            "INTEGRATION_REFEREE": results.url(6),
            "INTEGRATION_QUEUE": f"once-{os.getpid()}-{next(_queues)}",
        }
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        configure()

    def __exit__(self, *_error: object) -> None:
        for name, value in self._before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        configure()

    def delete_queue(self) -> None:
        """Delete the queue, with what is left in it."""
        with self, app.connection_for_write() as connection:
            queue = Queue(self._environment["INTEGRATION_QUEUE"])
            queue(connection.default_channel).delete()


@contextmanager
def pointed_at(broker_url: str, results: RedisServer) -> Iterator[None]:
    """Point the application, and the workers started meanwhile, at a queue of their own."""
    place = PointedAt(broker_url, results)
    with place:
        yield
    place.delete_queue()


@pytest.fixture(scope="module")
def use_broker(broker_server: RedisServer) -> Iterator[None]:
    """Point the application and its workers at a queue of their own."""
    with pointed_at(broker_server.url(4), broker_server):
        yield


@pytest.fixture
def own_queue(broker_server: RedisServer) -> Iterator[None]:
    """Do the same for one test alone: no worker of its own gets what another test has left."""
    with pointed_at(broker_server.url(4), broker_server):
        yield


@pytest.fixture(scope="module", params=BROKERS)
def any_broker(request: pytest.FixtureRequest, broker_server: RedisServer) -> Iterator[str]:
    """Do the same on every broker."""
    with pointed_at(_url(request.param, broker_server), broker_server):
        yield request.param


def _url(broker: str, server: RedisServer) -> str:
    return need("rabbitmq") if broker == "rabbitmq" else server.url(4)


@pytest.fixture(scope="module", params=BROKERS)
def mortal_broker(
    request: pytest.FixtureRequest, broker_server: RedisServer
) -> Iterator[RabbitMQServer | RedisServer]:
    """Point the application to a broker of its own, whose messages survive its death."""
    with _new_server(request.param) as server, pointed_at(server.url(), broker_server):
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


class Workers:
    """The workers that serve many tests, each at its place, started when first asked for."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self._folder = folder
        self._server = server
        self._at: dict[tuple[str, str], tuple[PointedAt, Worker]] = {}

    @contextmanager
    def at(self, place: str, lease: str) -> Iterator[Worker]:
        """Point the application at a place, and yield its worker."""
        broker, pool = place.split()
        if (place, lease) not in self._at:
            pointed = PointedAt(_url(broker, self._server), self._server)
            with pytest.MonkeyPatch.context() as patch, pointed:
                patch.setenv("INTEGRATION_LEASE", lease)
                self._at[place, lease] = pointed, Worker(self._folder, pool).__enter__()
        pointed, worker = self._at[place, lease]
        with pointed:
            yield worker

    def end(self, place: str, lease: str) -> None:
        """End a worker; the next test at its place gets another."""
        pointed, worker = self._at.pop((place, lease))
        with pointed:
            worker.stop()
        pointed.delete_queue()

    def end_all(self) -> None:
        """End all that were started."""
        for place, lease in list(self._at):
            self.end(place, lease)


@pytest.fixture(scope="session")
def workers(
    tmp_path_factory: pytest.TempPathFactory, broker_server: RedisServer
) -> Iterator[Workers]:
    """Return the workers of this process that serve many tests."""
    started = Workers(tmp_path_factory.mktemp("workers"), broker_server)
    yield started
    started.end_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Item | None) -> Iterator[None]:
    """End them before others begin, which would see their locks."""
    serving = item.funcargs.get("workers")
    yield
    if isinstance(serving, Workers) and nextitem is not None and group(nextitem) != group(item):
        serving.end_all()


@pytest.fixture(params=EVERYWHERE)
def worker(request: pytest.FixtureRequest, workers: Workers) -> Iterator[Worker]:
    """Return a worker of every pool, on every broker."""
    yield from _serving(request, workers, "60")


@pytest.fixture(params=EVERYWHERE)
def hasty_worker(request: pytest.FixtureRequest, workers: Workers) -> Iterator[Worker]:
    """Return a worker of every pool, on every broker, whose leases last two seconds."""
    yield from _serving(request, workers, "2")


@pytest.fixture(params=EVERYWHERE)
def mortal_worker(
    request: pytest.FixtureRequest, broker_server: RedisServer, folder: Path, short_lease: None
) -> Iterator[Worker]:
    """Return a worker like that for one test alone, to be killed at will."""
    broker, pool = request.param.split()
    with pointed_at(_url(broker, broker_server), broker_server), Worker(folder, pool) as started:
        yield started


def _serving(request: pytest.FixtureRequest, workers: Workers, lease: str) -> Iterator[Worker]:
    failed = request.session.testsfailed
    with workers.at(request.param, lease) as serving:
        yield serving
    if request.session.testsfailed > failed:  # it may be busy with what went wrong
        workers.end(request.param, lease)


def on_pools(*pools: str, fixture: str = "worker") -> Decorator:
    """Do it with the workers of these pools only: the others can't have what happens there."""
    return _at([place for place in PLACES if place.split()[1] in pools], fixture)


def on_each_pool(fixture: str = "worker", *, elsewhere: bool = False) -> Decorator:
    """Do it with every pool, on one broker each; ``elsewhere``: on the other broker.

    That is enough for what pools and brokers decide apart. Where half of such tests are done
    ``elsewhere``, each pair of a pool and a broker is there.
    """
    return _at([place for place in PLACES if (place in EACH_POOL) != elsewhere], fixture)


def _at(places: list[str], fixture: str) -> Decorator:
    def decorate(test: Any) -> Any:
        placed = pytest.mark.parametrize(fixture, places, indirect=True)(test)
        return pytest.mark.usefixtures(fixture)(placed)

    return decorate


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases lapse quickly in the workers that are started from now on."""
    monkeypatch.setenv("INTEGRATION_LEASE", "2")
