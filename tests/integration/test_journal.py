"""Duplicates of a real worker's tasks, inside their transactions."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import Group

from django_celery_once.models import BlockedAttempt
from tests.integration.calls import lock_of, new_name
from tests.integration.tasks import ask_twice, play
from tests.integration.workers import Worker, wait_until


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("own_queue")
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_the_row_outlives_the_tasks_transaction(pool: str, tmp_path: Path) -> None:
    """Its own data is there only where it commits."""
    with Worker(tmp_path, pool):
        for keep in (True, False):
            name = new_name("ask")
            ask_twice.delay(name, keep)
            holder = wait_for_holder(name)
            attempts = BlockedAttempt.objects.filter(incident__holder_task_id=holder)
            wait_until(attempts.exists, "the row of the blocked attempt")
            assert attempts.get().source == "worker"
            assert attempts.get().requester == ask_twice.name
            assert Group.objects.filter(name=name).exists() is keep


def wait_for_holder(name: str) -> str:
    """Wait for the call; return the task id that holds its key."""
    wait_until(lambda: lock_of(play, name) is not None, f"a lock of {name}")
    lock = lock_of(play, name)
    assert lock is not None
    return lock.owner
