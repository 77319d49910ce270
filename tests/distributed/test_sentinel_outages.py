"""Locks under Sentinel when their primary dies or hangs, with callers and a real worker."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.test import override_settings

from django_celery_once import AlreadyQueued, LockUnavailable
from django_celery_once.locks import LockStore, Start, open_store
from testproject.redis_server import RedisServer
from tests.distributed.sentinel import Constellation, wait_until
from tests.guarded_tasks import report
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.conftest import PointedAt
from tests.integration.referee import note
from tests.integration.tasks import play
from tests.integration.workers import Worker
from tests.locks.stores import lock, running


@pytest.fixture
def servers() -> Iterator[Constellation]:
    """Return a primary with a replica, under three sentinels, that hold the locks."""
    with Constellation() as started:
        caches = {**settings.CACHES, "locks": started.cache()}
        with override_settings(CACHES=caches):
            yield started


@pytest.fixture
def store(servers: Constellation) -> LockStore:
    """Return their store."""
    return open_store("locks")


def answers(call: Callable[[], Any]) -> str:
    """Return how a store answered."""
    try:
        return "free" if call() is None else "held"
    except LockUnavailable:
        return "unavailable"


def test_the_primary_holds_locks(store: LockStore, servers: Constellation) -> None:
    """Accept, refuse and release, and have it all copied to the replica."""
    mine = lock()
    assert store.acquire(mine, 600) is None
    holder = store.acquire(lock(), 600)
    assert holder is not None
    assert holder.owner == mine.owner
    servers.wait_for_copies()
    with redis.Redis.from_url(servers.replicas[0].url(1)) as copy:
        assert len(copy.keys("*")) == 1
    assert [each.owner for each in store.scan().locks] == [mine.owner]
    assert store.release(mine) is not None
    assert store.acquire(lock(), 600) is None


def test_a_copied_lock_outlives_its_primary(store: LockStore, servers: Constellation) -> None:
    """Refuse, or say that it can't be told, over the whole failover; never let in."""
    mine = lock()
    store.acquire(mine, 600)
    servers.wait_for_copies()
    servers.primary.kill()
    seen = [answers(lambda: store.acquire(lock(), 600))]
    assert seen == ["unavailable"]
    wait_until(lambda: _last(seen, store) == "held", "a refusal by the new primary", 60)
    assert set(seen) == {"unavailable", "held"}
    run = running(mine)
    assert store.start(run, 60) == (Start.MINE, None)
    assert store.renew([run], 60) == [(run, Start.MINE)]
    assert store.release(run) is not None


def _last(seen: list[str], store: LockStore) -> str:
    seen.append(answers(lambda: store.acquire(lock(), 600)))
    return seen[-1]


def test_a_caller_learns_of_the_outage(
    servers: Constellation, published: list[dict[str, Any]]
) -> None:
    """Queue nothing while nobody can tell, and take the next call when one can."""
    servers.primary.kill()
    with pytest.raises(LockUnavailable):
        report.delay("ada@example.com", "May")
    assert published == []
    servers.wait_for_failover()
    accepted: list[str] = []

    def ask() -> bool:
        try:
            accepted.append(report.delay("ada@example.com", "May").id)
        except LockUnavailable:
            return False
        return True

    wait_until(ask, "an accepted call", 60)
    with pytest.raises(AlreadyQueued) as raised:
        report.delay("ada@example.com", "May")
    assert [raised.value.task_id] == accepted
    assert len(published) == 1


def test_a_primary_that_was_demoted_is_left(store: LockStore, servers: Constellation) -> None:
    """Go to the new primary with a connection that is open to the old one."""
    mine = lock()
    store.acquire(mine, 600)
    servers.wait_for_copies()
    before = servers.primary.port
    with redis.Redis("127.0.0.1", servers.sentinels[0].port or 0) as sentinel:
        sentinel.execute_command("SENTINEL FAILOVER", servers.name)
    servers.wait_for_failover()
    wait_until(lambda: answers(lambda: store.acquire(lock(), 600)) == "held", "a refusal", 60)
    assert servers.primary_port() != before
    assert store.release(mine) is not None


def test_a_connection_to_a_read_only_server_is_an_outage(
    store: LockStore, servers: Constellation
) -> None:
    """Take what a replica answers for an outage, however it came to be one."""
    store.acquire(lock(), 600)
    other = servers.replicas[0]
    with redis.Redis.from_url(servers.primary.url()) as client:
        client.replicaof("127.0.0.1", other.port)
        seen = answers(lambda: store.acquire(lock("once:t:other"), 600))
    assert seen == "unavailable"


def test_a_primary_that_hung_comes_back_as_a_replica(
    store: LockStore, servers: Constellation
) -> None:
    """Hold the locks that were taken meanwhile, and end as one store."""
    mine, later = lock(), lock("once:t:later")
    store.acquire(mine, 600)
    servers.wait_for_copies()
    servers.primary.freeze()
    new = servers.wait_for_failover()
    wait_until(lambda: answers(lambda: store.acquire(later, 600)) == "free", "taken", 60)
    servers.primary.thaw()
    wait_until(lambda: _role(servers.primary) == "slave", "the old primary demoted", 60)
    wait_until(lambda: answers(lambda: store.acquire(lock(), 600)) == "held", "a refusal", 60)
    assert answers(lambda: store.acquire(lock(later.key), 600)) == "held"
    assert servers.primary_port() == new.port


def _role(server: RedisServer) -> str:
    """Return what a server is; nothing while it does not answer."""
    with redis.Redis.from_url(server.url()) as client, suppress(redis.RedisError):
        return str(client.info("replication")["role"])
    return ""


@pytest.fixture
def worker(
    servers: Constellation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Worker]:
    """Return a worker whose leases last ten seconds."""
    monkeypatch.setenv("INTEGRATION_LOCKS", json.dumps(servers.cache()))
    monkeypatch.setenv("INTEGRATION_LEASE", "10")
    with (
        RedisServer() as broker,
        PointedAt(broker.url(4), broker),
        Worker(tmp_path, "threads") as started,
    ):
        yield started
        gc.collect()  # results say goodbye to their server while it is there


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("worker")
def test_a_running_task_keeps_its_lock_over_a_failover(servers: Constellation) -> None:
    """Let no duplicate in, renew the lease at the new primary, and free the key there."""
    name = new_name()
    result = play.delay(name, "wait_until_told", 120.0)
    wait_for_event(name, "start")
    servers.wait_for_copies()
    servers.primary.kill()
    seen: list[str] = []

    def is_refused() -> bool:
        try:
            seen.append("duplicate" if refused(play, name) else "let in")
        except LockUnavailable:
            seen.append("unavailable")
        return seen[-1] != "unavailable"

    wait_until(is_refused, "an answer of the new primary", 60)
    assert set(seen) == {"unavailable", "duplicate"}
    wait_until(lambda: _remaining(name) > 9, "the lease renewed", 60)
    note(name, "told", "")
    assert value(result) == "held: True"
    wait_until_free(play, name)


def _remaining(name: str) -> float:
    try:
        found = lock_of(play, name)
    except LockUnavailable:
        return 0
    return found.remaining if found is not None else 0
