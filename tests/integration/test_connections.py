"""The connections of real workers to the lock server: one for each thread at most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from testproject.redis_server import RedisServer
from tests.integration.calls import new_name, value, wait_for_event, wait_until_free
from tests.integration.tasks import play
from tests.integration.workers import Worker, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]

#: Seconds of a run: longer than a third of the lease, so that it is renewed.
RUN, LEASE = 1.5, 3
CONCURRENCY = {"prefork": 2, "threads": 4, "gevent": 8}


@pytest.fixture(scope="module", params=CONCURRENCY)
def worker(request: pytest.FixtureRequest, use_broker: None, folder: Path) -> Iterator[Worker]:
    """Return a worker that renews its leases often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTEGRATION_LEASE", str(LEASE))
        with Worker(folder, request.param, CONCURRENCY[request.param]) as started:
            yield started


def addresses(process: psutil.Process, server: RedisServer) -> set[str]:
    """Return from where a process is connected to a server, or has been when it was forked."""
    return {
        f"{each.laddr.ip}:{each.laddr.port}"
        for each in process.net_connections("tcp")
        if each.raddr[1:] == (server.port,)
    }


def connections(worker: Worker, server: RedisServer) -> list[int]:
    """Return how many connections the main process has, and each of its children.

    Those that the server knows are counted; what a child has inherited is its parent's.
    """
    with redis.Redis.from_url(server.url()) as admin:
        known = {each["addr"] for each in admin.client_list()}
    main = psutil.Process(worker.pid)
    own = addresses(main, server) & known
    found = [(addresses(child, server) & known) - own for child in main.children()]
    return [len(own), *map(len, found)]


def most(worker: Worker) -> list[int]:
    """Return how many connections there may be: a thread that runs, and one that renews."""
    if worker.pool == "prefork":
        return [1, *[2] * CONCURRENCY["prefork"]]
    # Runs, the renewal and the consumer are threads, or greenlets, of one process.
    return [CONCURRENCY[worker.pool] + 2]


def within(worker: Worker, server: RedisServer) -> bool:
    """Return whether no process has more connections than threads that need one."""
    counted = connections(worker, server)
    assert len(counted) == len(most(worker))
    return all(number <= limit for number, limit in zip(counted, most(worker), strict=True))


def test_a_worker_has_one_for_each_thread(worker: Worker, redis_server: RedisServer) -> None:
    """Stay within the number of threads while all run, and again and again."""
    for _round in range(3):
        names = [new_name() for _each in range(CONCURRENCY[worker.pool])]
        results = [play.delay(name, "sleep", RUN) for name in names]
        for name in names:
            wait_for_event(name, "start")
        assert sum(connections(worker, redis_server)) > 0
        assert within(worker, redis_server)
        assert [value(result) for result in results] == ["held: True"] * len(names)
        assert within(worker, redis_server)
        for name in names:
            wait_until_free(play, name)


@pytest.mark.parametrize("worker", ["prefork"], indirect=True)
def test_an_idle_worker_ends_its_renewals(worker: Worker, redis_server: RedisServer) -> None:
    """Begin a thread that renews with a run, and end it when nothing runs."""
    children = psutil.Process(worker.pid).children()

    def threads() -> int:
        return sum(child.num_threads() for child in children)

    for _round in range(2):
        wait_until(lambda: threads() == len(children), "one thread in each child")
        name = new_name()
        result = play.delay(name, "sleep", RUN)
        wait_until(lambda: threads() > len(children), "a thread that renews")
        assert value(result) == "held: True"
        wait_until_free(play, name)
        assert within(worker, redis_server)
    wait_until(lambda: threads() == len(children), "one thread in each child")
    assert within(worker, redis_server)
