"""Lock stores that die, freeze or forget, under tasks of real workers with a short lease."""

from __future__ import annotations

import time

import pytest
import redis

from django_celery_once import QueueOnce
from testproject.redis_server import RedisServer
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.conftest import on_each_pool
from tests.integration.referee import note
from tests.integration.tasks import play, play_late
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

#: What ends with a store does not ask which broker has the messages: one for each pool.
EARLY_AND_LATE = pytest.mark.parametrize("task", [play, play_late])


@on_each_pool("hasty_worker")
def test_a_flushed_store_is_noticed(hasty_worker: Worker, redis_server: RedisServer) -> None:
    """Take the lock of a running task back when the store has forgotten it."""
    name = new_name()
    result = play.delay(name, "sleep", 4.0)
    wait_for_event(name, "start")
    with redis.Redis.from_url(redis_server.url(1)) as client:
        client.flushdb()
    wait_until(lambda: lock_of(play, name) is not None, "the lock taken back")
    assert refused(play, name)
    assert f"[{result.id}] lost its lock" in hasty_worker.text()
    assert value(result) == "held: True"
    wait_until_free(play, name)


@on_each_pool("hasty_worker")
@EARLY_AND_LATE
def test_a_store_that_dies_harms_no_result(task: QueueOnce, redis_server: RedisServer) -> None:
    """Run on through the death of the lock store, lock again after it, and free the key."""
    name = new_name()
    result = task.delay(name, "sleep", 5.0)
    wait_for_event(name, "start")
    redis_server.kill()
    time.sleep(1)
    redis_server.restart()
    wait_until(lambda: lock_of(task, name) is not None, "the lock taken back")
    assert refused(task, name)
    assert value(result) == "held: True"
    wait_until_free(task, name)


@on_each_pool("hasty_worker")
@EARLY_AND_LATE
def test_a_store_that_is_away_at_the_end_frees_later(
    task: QueueOnce, redis_server: RedisServer
) -> None:
    """Free the key when the store is back, however long the lease is."""
    name = new_name()
    result = task.delay(name, "sleep", 1.0)
    wait_for_event(name, "start")
    redis_server.freeze()
    try:
        wait_for_event(name, "end")
        time.sleep(8)
    finally:
        redis_server.thaw()
    assert value(result) == "held: True"
    wait_until_free(task, name)


@on_each_pool("hasty_worker")
def test_a_retry_that_a_frozen_store_did_not_answer_runs(redis_server: RedisServer) -> None:
    """Lose no task when it is unknown which token its lock has."""
    name = new_name()
    result = play.delay(name, "retry_when_told", 6.0)
    wait_for_event(name, "start")
    redis_server.freeze()
    try:
        note(name, "frozen", "")
        wait_for_event(name, "end", seconds=30)
    finally:
        redis_server.thaw()
    assert value(result, 30) == "retried"
    wait_until_free(play, name)


@on_each_pool("hasty_worker")
def test_a_task_started_during_an_outage_runs(
    hasty_worker: Worker, redis_server: RedisServer
) -> None:
    """Run without the lock where the store is away at the start, and say so."""
    name = new_name()
    result = play.apply_async((name,), countdown=2)
    redis_server.kill()
    try:
        wait_for_event(name, "end")
    finally:
        redis_server.restart()
    assert value(result)
    assert f"[{result.id}] without its lock" in hasty_worker.text()
