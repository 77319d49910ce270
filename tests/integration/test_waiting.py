"""Tasks that wait inside a worker keep their locks until they have run."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_celery_once import QueueOnce
from tests.integration.calls import new_name, refused, wait_for_event, wait_until_free
from tests.integration.referee import events
from tests.integration.tasks import play, play_late, play_limited
from tests.integration.workers import Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("any_broker")]


def all_run_once(task: QueueOnce, names: list[str]) -> None:
    """See every call refused until it ran, run once and free its key."""
    for name in names:
        assert refused(task, name) or "start" in events(name)
    for name in names:
        wait_for_event(name, "end", seconds=40)
        wait_until_free(task, name)
        assert events(name) == ["start", "end"]


def test_a_rate_limited_task_keeps_its_lock(folder: Path) -> None:
    """Refuse duplicates of a task that waits for its turn."""
    names = [new_name() for _each in range(3)]
    with Worker(folder):
        for name in names:
            play_limited.delay(name)
        all_run_once(play_limited, names)


@pytest.mark.parametrize("task", [play, play_late])
def test_a_prefetched_task_keeps_its_lock(folder: Path, task: QueueOnce) -> None:
    """Refuse duplicates of a task that a busy worker has taken from the queue."""
    names = [new_name() for _each in range(4)]
    with Worker(folder, "prefork", 1, "--prefetch-multiplier", "8"):
        for name in names:
            task.delay(name, "sleep", 0.5)
        all_run_once(task, names)


def test_a_pool_that_grows_and_shrinks_keeps_locks(folder: Path) -> None:
    """Run more at once than the pool began with."""
    names = [new_name() for _each in range(6)]
    with Worker(folder, "prefork", 1, "--autoscale", "3,1"):
        for name in names:
            play.delay(name, "sleep", 1.0)
        all_run_once(play, names)
