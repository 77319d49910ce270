"""Ends that a run can't see itself: the lock is freed, or kept where it will run again."""

from __future__ import annotations

import os
import signal
import time

import celery
import psutil
import pytest
from billiard.exceptions import WorkerLostError
from celery.concurrency.gevent import TaskPool as GeventPool
from celery.exceptions import Ignore, TaskRevokedError, TimeLimitExceeded

from django_celery_once import QueueOnce
from django_celery_once.locks import Phase
from tests.integration.app import app
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.conftest import on_pools
from tests.integration.option_tasks import outlive_limit
from tests.integration.referee import entries, events, note
from tests.integration.tasks import (
    play,
    play_again,
    play_carelessly,
    play_late,
    play_retried,
    play_until_done,
)
from tests.integration.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

#: The gevent pool of Celery 5.4 knows no way to end a task.
CAN_TERMINATE = ["prefork", "gevent"] if "terminate_job" in vars(GeventPool) else ["prefork"]
#: Acknowledged before they run, and after.
BOTH = (play, play_late)


@on_pools("prefork", "gevent")
def test_a_hard_time_limit_frees_the_lock() -> None:
    """Free the key of a run that was killed for its length."""
    name = new_name()
    results = [task.apply_async((name, "sleep", 30.0), time_limit=1) for task in BOTH]
    for task, result in zip(BOTH, results, strict=True):
        with pytest.raises(TimeLimitExceeded):
            value(result)
        wait_until_free(task, name)


@on_pools("prefork")
def test_a_run_beyond_its_hard_time_limit_keeps_its_key_until_it_is_dead() -> None:
    """Free the key when the pool has killed the child, which may clean up until then."""
    name = new_name()
    outlive_limit.delay(name)
    wait_for_event(name, "start")
    wait_until_free(outlive_limit, name)
    child = entries(name)[0].pid
    wait_until(lambda: not psutil.pid_exists(child), "the child dead")
    assert "taken: False" not in events(name)


@on_pools("prefork")
def test_a_soft_time_limit_frees_the_lock() -> None:
    """Free the key of a run that ended itself for its length."""
    name = new_name()
    for task in BOTH:
        task.apply_async((name, "sleep", 30.0), soft_time_limit=1)
    wait_for_event(name, "end", times=2)
    for task in BOTH:
        wait_until_free(task, name)


@on_pools(*CAN_TERMINATE)
def test_a_terminated_task_frees_the_lock() -> None:
    """Free the key when the child has gone."""
    name = new_name()
    results = [task.delay(name, "sleep", 30.0) for task in BOTH]
    wait_for_event(name, "start", times=2)
    for task, result in zip(BOTH, results, strict=True):
        app.control.revoke(result.id, terminate=True)
        with pytest.raises(TaskRevokedError):
            value(result)
        wait_until_free(task, name)


@on_pools("prefork")
def test_a_task_that_ignores_its_termination_keeps_the_lock() -> None:
    """Hold the key for as long as the body truly runs."""
    name = new_name()
    result = play.delay(name, "sleep_through", 3.0)
    wait_for_event(name, "deaf")
    app.control.revoke(result.id, terminate=True)
    while "end" not in events(name):
        assert refused(play, name) or "end" in events(name), "free while the task ran"
        time.sleep(0.2)
    wait_until_free(play, name)
    # Billiard would take the next loss of this child for the termination that it survived.
    child = entries(name)[-1].pid
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(child), "another child in its place")


@on_pools("threads")
def test_a_task_that_can_not_be_terminated_keeps_the_lock() -> None:
    """Hold the key of a body that runs on, for threads can't be killed."""
    names = {task: new_name() for task in BOTH}
    for task, name in names.items():
        result = task.delay(name, "sleep", 3.0)
        wait_for_event(name, "start")
        app.control.revoke(result.id, terminate=True)
    for task, name in names.items():
        while "end" not in events(name):
            assert refused(task, name) or "end" in events(name), "free while the task ran"
            time.sleep(0.2)
        wait_until_free(task, name)


@on_pools("prefork")
@pytest.mark.parametrize("task", BOTH)
def test_a_killed_child_frees_the_lock(task: QueueOnce) -> None:
    """Free the key when the message will not come again."""
    name = new_name()
    result = task.delay(name, "kill_once")
    with pytest.raises((WorkerLostError, TaskRevokedError)):
        value(result)
    wait_until_free(task, name)
    assert events(name) == ["start"]


@on_pools("prefork")
def test_a_killed_child_runs_again_under_its_lock() -> None:
    """Keep the key where ``reject_on_worker_lost`` brings the message back."""
    name = new_name()
    result = play_until_done.delay(name, "kill_once")
    assert value(result) == "survived"
    assert [entry.event for entry in entries(name)] == ["start", "start", "end"]
    wait_until_free(play_until_done, name)


@on_pools("prefork")
@pytest.mark.skipif(celery.VERSION < (5, 7), reason="retry_on_worker_lost came with Celery 5.7")
def test_a_killed_child_is_retried_under_its_lock() -> None:
    """Refuse duplicates until the retry of a lost worker has run."""
    name = new_name()
    result = play_retried.delay(name, "kill_once")
    wait_until(lambda: _is_queued(play_retried, name), "the lock of the retry")
    assert refused(play_retried, name)
    assert value(result) == "survived"
    wait_until_free(play_retried, name)


@on_pools("prefork")
@pytest.mark.parametrize("task", BOTH)
def test_a_child_that_exits_frees_the_lock(task: QueueOnce) -> None:
    """Free the key after ``SystemExit``."""
    name = new_name()
    task.delay(name, "exit")
    wait_for_event(name, "end")
    wait_until_free(task, name)


def _is_queued(task: QueueOnce, name: str) -> bool:
    lock = lock_of(task, name)
    return bool(events(name)) and lock is not None and lock.phase is Phase.QUEUED


@pytest.mark.usefixtures("worker")
def test_hooks_without_super_free_the_lock() -> None:
    """Depend on no method that a subclass may override."""
    name = new_name()
    play_carelessly.delay(name, "wait_until_told", 30.0)
    wait_for_event(name, "start")
    assert lock_of(play_carelessly, name) is not None
    note(name, "told", "")
    failed = new_name()
    play_carelessly.delay(failed, "fail")
    for each in (name, failed):
        wait_for_event(each, "end")
        wait_until_free(play_carelessly, each)


@pytest.mark.usefixtures("worker")
def test_an_unknown_task_frees_the_lock() -> None:
    """Free the key of a message that this worker can't name."""

    @app.task(base=QueueOnce, name=f"unknown.{new_name()}", shared=False)
    def unknown(name: str) -> None:
        raise Ignore

    try:
        name = new_name()
        unknown.delay(name)
        wait_until_free(unknown, name)
    finally:
        app.tasks.pop(unknown.name)


@pytest.mark.usefixtures("worker")
def test_a_pause_longer_than_its_timeout_keeps_the_lock() -> None:
    """Hold the key over a countdown, and over that of a retry, until the task has run."""
    planned, retried = new_name("planned"), new_name("retried")
    sent = time.monotonic()
    results = {
        planned: play.apply_async((planned,), countdown=4, once={"timeout": 1}),
        retried: play.apply_async((retried, "retry", 4.0), once={"timeout": 1}),
    }
    wait_for_event(retried, "end")
    seen = time.monotonic()
    while time.monotonic() < seen + 2:
        assert refused(play, retried)
        assert time.monotonic() > sent + 3 or refused(play, planned)
        time.sleep(0.2)
    assert value(results[planned]) == "held: True"
    assert value(results[retried]) == "retried"
    for name in results:
        wait_until_free(play, name)


@pytest.mark.usefixtures("worker")
def test_an_automatic_retry_keeps_the_lock() -> None:
    """Hold the key over ``autoretry_for``, and free it when the retries are spent."""
    name = new_name()
    play_again.delay(name, "fail")
    wait_until(lambda: _is_queued(play_again, name), "the lock of the retry")
    assert refused(play_again, name)
    wait_for_event(name, "end", times=2)
    wait_until_free(play_again, name)
