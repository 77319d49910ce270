"""One run more where workers die, and where very many ask for it."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from testproject.redis_server import RedisServer
from tests.integration.calls import new_name, value, wait_for_event, wait_until_free
from tests.integration.conftest import on_each_pool
from tests.integration.referee import change, count, entries, events, note
from tests.integration.rerun_tasks import index, index_late, look
from tests.integration.test_reruns import ask, check_one_followed, start
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shorter_lease(short_lease: None, settings: Any) -> None:
    """Let leases lapse quickly here, too."""
    settings.DJANGO_CELERY_ONCE = {**settings.DJANGO_CELERY_ONCE, "LEASE": 2}


@pytest.mark.usefixtures("any_broker", "shorter_lease")
@pytest.mark.parametrize("another_is_there", [True, False])
def test_a_killed_worker_is_followed(tmp_path: Path, another_is_there: bool) -> None:
    """Queue the other run, with the newest arguments, when the lease has lapsed."""
    others = ExitStack()
    with Worker(tmp_path) as worker, others:
        name, first = start()
        follow_up = ask(name)
        if another_is_there:
            others.enter_context(Worker(tmp_path))
        worker.kill()
        others.enter_context(Worker(tmp_path))
        check_one_followed(name, first, follow_up)
        time.sleep(5)  # two rounds of the message that looks after it
    assert events(name).count("start") == 2


@on_each_pool("hasty_worker")
@pytest.mark.parametrize("task", [index, index_late])
def test_a_store_that_forgets_a_rerun_holds_it_up_for_a_lease(
    task: Any, hasty_worker: Worker, redis_server: RedisServer, settings: Any
) -> None:
    """Let the message that looks after it look soon, however it is acknowledged."""
    settings.DJANGO_CELERY_ONCE = {**settings.DJANGO_CELERY_ONCE, "LEASE": 2}
    name = new_name()
    first = task.delay(name, 0, "wait")
    wait_for_event(name, "start")
    follow_up = task.delay(name, 1)
    if hasty_worker.pool != "solo":  # which runs nothing beside the first
        wait_until(lambda: f"{follow_up.id}] ignored" in hasty_worker.text(), "a first look")
    with redis.Redis.from_url(redis_server.url(1)) as client:
        client.flushdb()
    note(name, "told", "")
    assert (value(first), value(follow_up)) == (0, 1)
    wait_until_free(task, name)
    runs = [each.task_id for each in entries(name) if each.event == "start"]
    assert runs == [first.id, follow_up.id]


@pytest.mark.usefixtures("own_queue", "shorter_lease")
def test_no_change_is_lost(tmp_path: Path) -> None:
    """Make 4,000 changes, at random, while runs look at what is there."""
    name, lot = new_name(), 1000

    def make_changes(seed: int) -> None:
        pause = random.Random(seed)
        for _each in range(lot):
            change(name)
            look.delay(name)
            if pause.random() < 0.01:
                time.sleep(pause.random() * 0.2)

    with Worker(tmp_path):
        with ThreadPoolExecutor(4) as callers:
            for done in [callers.submit(make_changes, seed) for seed in range(4)]:
                done.result()
        assert count(name) == 4 * lot
        wait_until(
            lambda: bool(seen := events(f"{name}-seen")) and int(seen[-1]) == 4 * lot,
            "a run that has seen every change",
            60,
        )
        wait_until_free(look, name, 30)
    assert len(events(f"{name}-seen")) < 4 * lot / 2, "hardly any call was spared"
