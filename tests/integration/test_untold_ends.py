"""Ends that nobody tells a worker's main process of, and what it finds out about them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import celery
import pytest

from django_celery_once.locks import Phase
from testproject.redis_server import RedisServer
from tests.integration.calls import (
    lock_of,
    new_name,
    refused_for,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.referee import entries, events, note
from tests.integration.tasks import play_late
from tests.integration.test_lost_workers import COMES_AGAIN
from tests.integration.workers import Worker, wait_until
from tests.rabbitmq_server import RabbitMQServer

pytestmark = pytest.mark.django_db(transaction=True)

#: Much less than a lease.
AT_ONCE = 15


@pytest.mark.skipif(not COMES_AGAIN, reason="Celery 5.4 fails what a cold shutdown cuts short")
@pytest.mark.parametrize("grace", ["0", "1"])
def test_what_a_shutdown_cuts_short_begins_at_once(
    any_broker: str, folder: Path, monkeypatch: pytest.MonkeyPatch, grace: str
) -> None:
    """Give the lock of a run back to its message when the run is dead, cold or soft."""
    monkeypatch.setenv("INTEGRATION_SOFT_SHUTDOWN", grace)
    name = new_name()
    with Worker(folder) as worker:
        result = play_late.delay(name, "wait_until_told", 90.0)
        wait_for_event(name, "start")
        worker.signal(signal.SIGQUIT)
        worker.wait()
    lock = lock_of(play_late, name)
    assert lock is not None
    assert (lock.owner, lock.phase, lock.run) == (result.id, Phase.QUEUED, "")
    with Worker(folder):
        wait_for_event(name, "start", times=2, seconds=AT_ONCE)
        note(name, "told", result.id)
        wait_until_free(play_late, name)


#: Celery 5.4 leaves both keys to their leases.
since_5_5 = pytest.mark.skipif(celery.VERSION < (5, 5), reason="Celery 5.4 tells nobody of it")


@since_5_5
@pytest.mark.parametrize("mortal_broker", ["rabbitmq"], indirect=True)
def test_what_a_lost_connection_cancels_begins_at_once(
    mortal_broker: RabbitMQServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a message again that is back before anybody could take its run for dead."""
    cancel = {"worker_cancel_long_running_tasks_on_connection_loss": True}
    monkeypatch.setenv("INTEGRATION_CELERY", json.dumps(cancel))
    name = new_name()
    with Worker(folder):
        result = play_late.delay(name, "wait_until_told", 90.0)
        wait_for_event(name, "start")
        mortal_broker.kill()
        mortal_broker.start()
        wait_for_event(name, "start", times=2, seconds=AT_ONCE)
        note(name, "told", result.id)
        wait_until_free(play_late, name)


@since_5_5
def test_a_copy_that_celery_ends_frees_its_key(
    own_queue: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free the key of a dead worker's run where Celery finds that it had succeeded."""
    monkeypatch.setenv("INTEGRATION_VISIBILITY", "3")
    deduplicate = {"worker_deduplicate_successful_tasks": True}
    monkeypatch.setenv("INTEGRATION_CELERY", json.dumps(deduplicate))
    name = new_name()
    with Worker(folder) as worker:
        result = play_late.delay(name, "wait_until_told", 90.0)
        wait_for_event(name, "start")
        worker.kill()
    play_late.backend.mark_as_done(result.id, "stored as it died")
    refused_for(play_late, name, 4)  # then the next worker looks for it as it starts
    with Worker(folder) as worker:
        wait_until(lambda: "already completed" in worker.text(), "the copy ended", 60)
        wait_until_free(play_late, name)
    assert events(name) == ["start"]


def test_a_release_outlives_the_child_that_owed_it(
    own_queue: None, redis_server: RedisServer, folder: Path
) -> None:
    """Let the main process free a key whose child was killed while the store was away."""
    name = new_name()
    with Worker(folder, "prefork", 1) as worker:
        result = play_late.delay(name, "wait_until_told", 90.0)
        wait_for_event(name, "start")
        redis_server.freeze()
        try:
            note(name, "told", result.id)
            assert value(result) == "held: True"
            wait_until(lambda: "lock later" in worker.text(), "the release put off")
            wait_until(_is_idle, "the end of the run told")
            os.kill(entries(name)[0].pid, signal.SIGKILL)
            wait_until(lambda: _is_gone(entries(name)[0].pid), "the child dead")
        finally:
            redis_server.thaw()
        wait_until_free(play_late, name, AT_ONCE)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _is_idle() -> bool:
    active = play_late.app.control.inspect(timeout=2).active()
    return active is not None and not any(active.values())
