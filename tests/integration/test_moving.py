"""Messages of celery-once that a worker of ours finds in its queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Task
from celery.exceptions import TaskRevokedError

from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.referee import events, note
from tests.integration.tasks import play, play_unlocked
from tests.integration.workers import Worker, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("any_broker")]


def queued_before(name: str, *args: object) -> Any:
    """Publish a call as celery-once does: no header, and ``once`` among Celery's options."""
    once: dict[str, Any] = {"once": {"graceful": True, "timeout": 60}}
    return Task.apply_async(play, (name, *args), **once)


def test_it_is_guarded_from_its_start(folder: Path) -> None:
    """Refuse duplicates while it runs, free its key at its end."""
    name = new_name()
    result = queued_before(name, "wait_until_told", 30)
    with Worker(folder):
        wait_for_event(name, "start")
        assert refused(play, name)
        note(name, "told", "")
        assert value(result) == "held: True"
        wait_until_free(play, name)


def test_it_gives_way_to_a_new_call(folder: Path) -> None:
    """Run one of the two, and let nobody wait for the other."""
    name = new_name()
    old, new = queued_before(name), play.delay(name, "wait_until_told", 30)
    lock = lock_of(play, name)
    assert lock is not None
    assert lock.owner == new.id
    with Worker(folder):
        with pytest.raises(TaskRevokedError, match=f"duplicate of {new.id}"):
            value(old)
        note(name, "told", "")
        assert value(new) == "held: True"
        wait_until_free(play, name)
    assert sorted(events(name)) == ["end", "start", "told"]


def test_an_unlocked_task_waits_for_its_retry_under_a_lock(folder: Path) -> None:
    """Guard the queue again, where celery-once does not."""
    name = new_name()
    result = play_unlocked.delay(name, "retry", 3.0)
    with Worker(folder):
        wait_for_event(name, "end")
        wait_until(lambda: lock_of(play_unlocked, name) is not None, "the retry's lock")
        assert refused(play_unlocked, name)
        assert value(result) == "retried"
        wait_until_free(play_unlocked, name)
