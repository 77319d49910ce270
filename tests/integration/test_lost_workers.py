"""Workers that die, stop or shut down: one run at a time, and no accepted task lost."""

from __future__ import annotations

import signal
from pathlib import Path

import celery
import pytest

from django_celery_once.locks import open_store
from tests.integration.app import app
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    refused_for,
    refused_until,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.referee import entries, events, note
from tests.integration.tasks import play, play_late
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ONE_RUN = ["start", "end"]
#: Acknowledged before they run, and after.
BOTH = (play, play_late)
#: Celery 5.4 fails a late task that a cold shutdown cuts short, and knows no soft shutdown.
COMES_AGAIN = celery.VERSION >= (5, 5)


@pytest.fixture(autouse=True)
def _quick(any_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases lapse and messages come back within seconds."""
    monkeypatch.setenv("INTEGRATION_LEASE", "2")
    monkeypatch.setenv("INTEGRATION_VISIBILITY", "5")


def test_a_task_of_a_killed_worker_is_redelivered_under_its_lock(folder: Path) -> None:
    """Run it again elsewhere with duplicates refused throughout, then free the key."""
    name = new_name()
    with Worker(folder) as doomed:
        result = play_late.delay(name, "sleep", 4.0)
        wait_for_event(name, "start")
        doomed.kill()
    refused_for(play_late, name, 6)  # then the next worker looks for it as it starts
    with Worker(folder):
        refused_until(play_late, name, "end", 1)
        assert value(result) == "held: True"
        wait_until_free(play_late, name)
    assert events(name) == ["start", *ONE_RUN]


def test_a_task_of_a_killed_worker_frees_its_lock(folder: Path) -> None:
    """Free the key of a message that was acknowledged, within the lease."""
    name = new_name()
    with Worker(folder) as doomed:
        play.delay(name, "sleep", 60.0)
        wait_for_event(name, "start")
        doomed.kill()
    assert refused(play, name)
    wait_until_free(play, name)


def test_a_warm_shutdown_waits_for_the_run(folder: Path) -> None:
    """Let the run end and free its lock; keep what was not begun for the next worker."""
    running = {task: new_name("running") for task in BOTH}
    waiting = {task: new_name("waiting") for task in BOTH}
    with Worker(folder) as worker:
        for task, name in running.items():
            task.delay(name, "sleep", 3.0)
            wait_for_event(name, "start")
        for task, name in waiting.items():
            task.delay(name)
        worker.signal(signal.SIGTERM)
        for task, name in running.items():
            refused_until(task, name, "end", 1)
        worker.wait()
        for task, name in running.items():
            wait_until_free(task, name)
    assert all(refused(task, name) for task, name in waiting.items())
    with Worker(folder):
        for task, name in waiting.items():
            wait_for_event(name, "end")
            wait_until_free(task, name)
    for name in (*running.values(), *waiting.values()):
        assert events(name) == ONE_RUN


def test_a_cold_shutdown_keeps_what_will_run_again(folder: Path) -> None:
    """Redeliver an unacknowledged run under its lock."""
    name = new_name()
    with Worker(folder) as worker:
        result = play_late.delay(name, "sleep", 4.0)
        wait_for_event(name, "start")
        worker.signal(signal.SIGQUIT)
        worker.wait()
    with Worker(folder):
        if COMES_AGAIN:
            refused_until(play_late, name, "end", 2)
            assert value(result) == "held: True"
        wait_until_free(play_late, name)
    assert events(name)[-2:] == ONE_RUN


def test_a_cold_shutdown_frees_what_is_lost(folder: Path) -> None:
    """Free the key of an acknowledged run that was cut short."""
    name = new_name()
    with Worker(folder) as worker:
        play.delay(name, "sleep", 60.0)
        wait_for_event(name, "start")
        worker.signal(signal.SIGQUIT)
        worker.wait()
    wait_until_free(play, name)


@pytest.mark.skipif(not COMES_AGAIN, reason="the soft shutdown came with Celery 5.5")
def test_a_soft_shutdown_keeps_what_will_run_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give the run its grace, then redeliver it under its lock."""
    monkeypatch.setenv("INTEGRATION_SOFT_SHUTDOWN", "2")
    name = new_name()
    with Worker(folder) as worker:
        result = play_late.delay(name, "sleep", 6.0)
        wait_for_event(name, "start")
        worker.signal(signal.SIGQUIT)
        worker.wait()
    with Worker(folder):
        refused_until(play_late, name, "end", 2)
        assert value(result) == "held: True"
        wait_until_free(play_late, name)


def test_sigterm_may_mean_a_cold_shutdown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep or free exactly as the message will or will not come again."""
    monkeypatch.setenv("REMAP_SIGTERM", "SIGQUIT")
    names = {task: new_name() for task in BOTH}
    with Worker(folder) as worker:
        for task, name in names.items():
            task.delay(name, "sleep", 5.0)
            wait_for_event(name, "start")
        worker.signal(signal.SIGTERM)
        worker.wait()
    monkeypatch.delenv("REMAP_SIGTERM")
    wait_until_free(play, names[play])
    with Worker(folder):
        if COMES_AGAIN:
            refused_until(play_late, names[play_late], "end", 2)
        wait_until_free(play_late, names[play_late])


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_a_body_that_exits_frees_the_lock(folder: Path, pool: str) -> None:
    """Free the key after ``SystemExit``, which the solo pool does not survive."""
    name = new_name()
    with Worker(folder, pool):
        play.delay(name, "exit_once")
        wait_for_event(name, "end")
        wait_until_free(play, name)


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_a_body_that_exits_unacknowledged_runs_again_under_its_lock(
    folder: Path, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep the key where ``SystemExit`` leaves the message to the next worker."""
    monkeypatch.delenv("INTEGRATION_LEASE")
    name = new_name()
    with Worker(folder, pool):
        result = play_late.delay(name, "exit_once")
        wait_for_event(name, "end")
    refused_for(play_late, name, 1)
    with Worker(folder, pool):
        refused_until(play_late, name, "end", 2)
        assert value(result) == "survived"
        wait_until_free(play_late, name)


def test_a_worker_that_wakes_too_late_touches_no_other_lock(folder: Path) -> None:
    """Let a stopped worker's key go, and its run do no harm when it wakes."""
    name = new_name()
    with Worker(folder) as stopped:
        first = play.delay(name, "wait_until_told", 60.0)
        wait_for_event(name, "start")
        # A broker hands messages to a stopped worker, too, as far as it has asked for them.
        app.control.cancel_consumer(app.conf.task_default_queue, reply=True)
        stopped.signal(signal.SIGSTOP, whole_group=True)
        wait_until_free(play, name)
        with Worker(folder):
            second = play.delay(name, "sleep", 12.0)
            wait_for_event(name, "start", times=2)
            stopped.signal(signal.SIGCONT, whole_group=True)
            wait_until(lambda: "lost its lock" in stopped.text(), "the loss told")
            note(name, "told", "")
            wait_for_event(name, "end", times=1)
            assert value(first) == "held: False"
            lock = lock_of(play, name)
            assert lock is not None
            assert lock.owner == second.id
            assert value(second) == "held: True"
            wait_until_free(play, name)


def test_children_that_are_replaced_lose_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free every lock where each child runs one task only."""
    monkeypatch.setenv("INTEGRATION_TASKS_PER_CHILD", "1")
    names = [new_name() for _each in range(6)]
    with Worker(folder):
        for name in names:
            play.delay(name, "sleep", 0.2)
        for name in names:
            wait_for_event(name, "end")
            wait_until_free(play, name)
    assert all(len({entry.pid for entry in entries(name)}) == 1 for name in names)
    assert not open_store("locks").scan().locks
