"""Locks in two Redis servers, task by task, under real workers with a short lease."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError, WorkerLostError
from django.conf import settings
from django.test import override_settings

from django_celery_once import LockUnavailable, QueueOnce
from django_celery_once.locks import Lock, Phase, open_store
from testproject.redis_server import RedisServer
from tests.integration.app import app
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.referee import events
from tests.integration.tasks import play, play_late
from tests.integration.workers import Worker, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("use_broker", "worker"),
]

#: The locks of ``play`` are in the second server, those of ``play_late`` in the usual one.
TASKS = {play.name: {"cache": "second"}}


def settings_with(caches: dict[str, Any], tasks: dict[str, Any]) -> override_settings:
    once = {**settings.DJANGO_CELERY_ONCE, "TASKS": tasks}
    return override_settings(CACHES={**settings.CACHES, **caches}, DJANGO_CELERY_ONCE=once)


@pytest.fixture(scope="module")
def second_server() -> Iterator[RedisServer]:
    """Return the server of the second cache, which the workers know, too."""
    with RedisServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTEGRATION_SECOND_STORE", server.url())
        patch.setenv("INTEGRATION_TASKS", json.dumps(TASKS))
        patch.setenv("INTEGRATION_LEASE", "2")
        caches = {"second": {**settings.CACHES["locks"], "LOCATION": server.url()}}
        with settings_with(caches, TASKS):
            yield server


@pytest.fixture(scope="module", params=["prefork", "threads"])
def worker(
    request: pytest.FixtureRequest, second_server: RedisServer, use_broker: None, folder: Path
) -> Iterator[Worker]:
    """Return a worker that knows both."""
    with Worker(folder, request.param) as started:
        yield started


def in_first(name: str) -> Lock | None:
    """Return the lock of a call of ``play`` in the wrong server."""
    return open_store("locks").inspect(play.once_key(name))


def test_each_lock_is_in_its_server() -> None:
    """Hold and renew both for longer than a lease, then free each where it is."""
    name = new_name()
    results = [task.delay(name, "sleep", 5.0) for task in (play, play_late)]
    wait_for_event(name, "start", times=2)
    until = time.monotonic() + 3.5
    while time.monotonic() < until:
        for task in (play, play_late):
            lock = lock_of(task, name)
            assert lock is not None
            assert lock.phase is Phase.RUNNING
            assert refused(task, name)
        assert in_first(name) is None
        time.sleep(0.2)
    assert [value(result) for result in results] == ["held: True"] * 2
    for task in (play, play_late):
        wait_until_free(task, name)


def test_every_bad_end_frees_the_lock() -> None:
    """Free the key where it is, however the run ends."""
    for scene in ("fail", "ignore", "reject", "give_up"):
        name = new_name(scene)
        play.delay(name, scene)
        wait_for_event(name, "end", times=2 if scene == "give_up" else 1)
        wait_until_free(play, name)


def test_a_retry_keeps_its_server() -> None:
    """Hand the lock over, refuse duplicates meanwhile, free the key at the end."""
    name = new_name()
    result = play.delay(name, "retry", 2.0)
    wait_for_event(name, "end")
    assert refused(play, name)
    assert in_first(name) is None
    assert value(result) == "retried"
    wait_until_free(play, name)


def test_a_revoked_task_frees_its_key() -> None:
    """Free the key from the worker's main process."""
    name = new_name()
    result = play.apply_async((name,), countdown=2)
    time.sleep(0.5)
    app.control.revoke(result.id)
    with pytest.raises(TaskRevokedError):
        value(result)
    wait_until_free(play, name)


@pytest.mark.parametrize("worker", ["prefork"], indirect=True)
def test_a_killed_child_frees_its_key() -> None:
    """Free the key of a run that could not."""
    name = new_name()
    result = play.delay(name, "kill_once")
    with pytest.raises(WorkerLostError):
        value(result)
    wait_until_free(play, name, seconds=1.5)  # less than the lease


def test_one_more_run_follows_in_its_server() -> None:
    """Publish the call that has waited beside the lock."""
    name = new_name()
    play.delay(name, "sleep", 2.0)
    wait_for_event(name, "start")
    second = play.apply_async((name,), once={"on_duplicate": "rerun"})
    assert value(second) == "held: True"
    wait_until_free(play, name)
    assert events(name) == ["start", "end"] * 2


@pytest.mark.parametrize("mortal", [play, play_late])
def test_the_death_of_one_does_not_touch_the_other(
    mortal: QueueOnce, second_server: RedisServer, redis_server: RedisServer
) -> None:
    """Queue, refuse, renew and free in the other; take the lock back where the server returns."""
    server, other = (second_server, play_late) if mortal is play else (redis_server, play)
    name = new_name()
    doomed = mortal.delay(name, "sleep", 6.0)
    wait_for_event(name, "start")
    server.kill()
    try:
        with pytest.raises(LockUnavailable):
            mortal.delay(new_name())
        kept = new_name("kept")
        result = other.delay(kept, "sleep", 3.0)
        wait_for_event(kept, "start")
        assert refused(other, kept)
        assert value(result) == "held: True"
        wait_until_free(other, kept)
    finally:
        server.restart()
    wait_until(lambda: lock_of(mortal, name) is not None, "the lock taken back")
    assert value(doomed) == "held: True"
    wait_until_free(mortal, name)


def test_a_task_that_is_moved_while_it_waits() -> None:
    """Start, hold and free under the alias of the message, not under that of today's settings."""
    name = new_name()
    with settings_with({}, {}):  # published before the move: the worker has the new settings
        result = play.apply_async((name, "sleep", 4.0), countdown=1)
    queued = in_first(name)
    assert queued is not None
    assert queued.owner == result.id
    wait_for_event(name, "start")
    time.sleep(2.5)  # longer than the lease
    held = in_first(name)
    assert held is not None
    assert (held.owner, held.phase, lock_of(play, name)) == (result.id, Phase.RUNNING, None)
    assert value(result) == "held: True"
    wait_until(lambda: in_first(name) is None, "the key free in the first server")


def test_a_message_whose_cache_the_worker_lacks(worker: Worker, second_server: RedisServer) -> None:
    """Run it without its lock, say so, and leave the lock to its time-out."""
    name = new_name()
    caches = {"unheard": {**settings.CACHES["locks"], "LOCATION": second_server.url(9)}}
    with settings_with(caches, {play.name: {"cache": "unheard"}}):
        result = play.delay(name, "retry", 0.5)
        assert value(result) == "retried"
        assert events(name) == ["start", "end"] * 2
        lock = lock_of(play, name)
    assert lock is not None
    assert f"[{result.id}] has its lock in cache 'unheard'" in worker.text()
    assert "Traceback" not in worker.text()[worker.text().index("'unheard'") :]


def test_a_task_that_is_replaced_after_a_move() -> None:
    """Take the key of the next message in the new cache, and free that of the run in the old."""
    name = new_name()
    with settings_with({}, {}):
        result = play.delay(name, "replace_same", 2.0)
    wait_until(lambda: lock_of(play, name) is not None, "the lock in the second server")
    wait_until(lambda: in_first(name) is None, "the key free in the first server")
    assert value(result) == "held: True"
    wait_until_free(play, name)
