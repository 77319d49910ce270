"""Tests of projects send nothing to a worker that waits at a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import pytest
import redis
from celery import Celery

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.locks import open_store
from django_celery_once.testing import once_in_memory
from testproject.redis_server import RedisServer

pytestmark = pytest.mark.django_db
NAME, PLAIN = "tests.testing_brokers.report", "tests.testing_brokers.plain"


def body(email: str = "") -> None: ...


@pytest.fixture
def own(spare_redis_server: RedisServer) -> Iterator[Any]:
    """Return an app whose broker is a Redis, with a guarded task and another."""
    made = cast("Any", Celery("own", broker=spare_redis_server.url(2), set_as_current=False))
    made.task(base=QueueOnce, name=NAME, shared=False)(body)
    made.task(name=PLAIN, shared=False)(body)
    made.finalize()
    yield made
    made.close()


def sent(server: RedisServer) -> int:
    """Return how many messages the broker has."""
    with redis.Redis.from_url(server.url(2)) as client:
        return int(cast("int", client.llen("celery")))


def test_a_real_broker_is_refused(own: Any, spare_redis_server: RedisServer) -> None:
    """Name the task, the broker, and both ways out; leave no lock."""
    task = own.tasks[NAME]
    with once_in_memory(LOG=False):
        for call in (task.delay, partial(own.send_task, NAME, ("a",))):
            with pytest.raises(RuntimeError) as raised:
                call()
            said = str(raised.value)
            assert f"A test would send {NAME} to redis://" in said
            assert "CELERY_BROKER_URL = 'memory://'" in said
            assert "once_in_memory(real_broker=True)" in said
        assert open_store("once_in_memory").inspect(task.once_key("a")) is None
    assert sent(spare_redis_server) == 0


def test_other_tasks_are_the_projects_own(own: Any, spare_redis_server: RedisServer) -> None:
    """Say nothing of what has no lock."""
    with once_in_memory(LOG=False):
        own.tasks[PLAIN].delay("a")
    assert sent(spare_redis_server) == 1


def test_who_wants_it_gets_it(own: Any, spare_redis_server: RedisServer) -> None:
    """Publish where told so, and after the block as ever."""
    with once_in_memory(LOG=False, real_broker=True):
        own.tasks[NAME].delay("a")
    with once_in_memory(LOG=False), once_in_memory(LOG=False):
        pass
    own.tasks[NAME].delay("b")
    assert sent(spare_redis_server) == 2
    assert "send_task" not in vars(own)


@pytest.mark.parametrize("settled", ["memory", "eager"])
def test_what_stays_in_the_process_is_let_through(own: Any, settled: str) -> None:
    """Guard it as ever."""
    if settled == "memory":
        own.conf.broker_url = "memory://"
    else:
        own.conf.task_always_eager = True
    with once_in_memory(LOG=False):
        own.tasks[NAME].delay("a")
        if settled == "memory":
            with pytest.raises(AlreadyQueued):
                own.tasks[NAME].delay("a")
