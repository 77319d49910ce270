"""Runs one at a time under a key, with every call queued, with workers of every pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from django_celery_once.locks import Phase
from tests.integration.app import app
from tests.integration.calls import lock_of, new_name, value, wait_for_event, wait_until_free
from tests.integration.conftest import on_each_pool, on_pools
from tests.integration.referee import entries, events
from tests.integration.tasks import play, play_late
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TURNS = {"until": "running"}


def queue(name: str, scene: str = "sleep", seconds: float = 0.0, **options: Any) -> Any:
    """Queue a call whose run waits for its turn."""
    return play.apply_async((name, scene, seconds), once=TURNS, **options)


def check_turns(name: str, count: int) -> list[str]:
    """Check that so many runs came one after the other; return the ids of their tasks."""
    happened = entries(name)
    assert [each.event for each in happened] == ["start", "end"] * count
    assert all(
        start.task_id == end.task_id
        for start, end in zip(happened[::2], happened[1::2], strict=True)
    )
    return [each.task_id for each in happened[::2]]


class TestEveryPool:
    """What does not depend on how a pool ends its runs."""

    @on_each_pool()
    def test_all_are_queued_and_none_is_lost(self) -> None:
        """Run each once, one at a time, roughly in the order of the calls."""
        name = new_name()
        results = [queue(name, "sleep", 0.2) for _each in range(6)]
        assert [value(each, 60) for each in results] == ["held: True"] * 6
        order = check_turns(name, 6)
        assert sorted(order) == sorted(each.id for each in results)
        assert order.index(results[0].id) < order.index(results[-1].id)
        wait_until_free(play, name)

    @on_each_pool(elsewhere=True)
    def test_another_runs_while_one_waits_for_its_retry(self) -> None:
        """Free the key between the two runs of a task."""
        name = new_name()
        result = queue(name, "retry", 3.0)
        wait_for_event(name, "end")
        wait_until_free(play, name, 2)
        other = queue(name)
        assert value(other) == "held: True"
        assert value(result) == "retried"
        assert check_turns(name, 3) == [result.id, other.id, result.id]

    @on_each_pool()
    def test_no_retry_is_spent(self) -> None:
        """Let a task with one retry wait as often as it has to."""
        name = new_name()
        queue(name, "sleep", 3.0)
        wait_for_event(name, "start")
        waiting = play.apply_async((name, "retry", 0.2), once=TURNS, retry=False)
        assert value(waiting, 30) == "retried"
        check_turns(name, 3)


@on_pools("prefork", "threads", "gevent")  # a solo worker has no ears while it runs
def test_a_call_that_is_revoked_while_it_waits() -> None:
    """Leave the run before it alone, and let the next one in."""
    name = new_name()
    first = queue(name, "sleep", 3.0)
    wait_for_event(name, "start")
    second = queue(name)
    app.control.revoke(second.id)
    third = queue(name)
    assert value(third) == "held: True"
    assert check_turns(name, 2) == [first.id, third.id]


@on_pools("prefork")
def test_a_killed_child_ends_its_turn() -> None:
    """Free the key for the next."""
    name = new_name()
    queue(name, "kill_once")
    second = queue(name)
    assert value(second) == "held: True"
    wait_until_free(play, name)


@pytest.mark.usefixtures("own_queue", "short_lease")
def test_a_killed_worker_ends_its_turn(tmp_path: Path) -> None:
    """Free the key with its lease; the one that waits runs on another worker."""
    name = new_name()
    with Worker(tmp_path) as worker:
        queue(name, "sleep", 60.0)
        wait_for_event(name, "start")
        lock = lock_of(play, name)
        assert lock is not None
        assert lock.phase is Phase.RUNNING
        worker.kill()
    second = queue(name)
    with Worker(tmp_path):
        assert value(second, 30) == "held: True"
    wait_until_free(play, name)


@on_pools("prefork", "threads")
def test_late_acknowledgement() -> None:
    """Lose nothing where messages are acknowledged after they ran."""
    name = new_name()
    results = [play_late.apply_async((name, "sleep", 0.3), once=TURNS) for _each in range(4)]
    assert [value(each, 60) for each in results] == ["held: True"] * 4
    check_turns(name, 4)
    wait_until(lambda: events(name)[-1] == "end", "the end of the last")
