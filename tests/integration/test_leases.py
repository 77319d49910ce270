"""Leases and second copies, on real workers with a short lease."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from django_celery_once.claims import new_lock
from django_celery_once.header import NAME, Header
from django_celery_once.locks import Lock, Phase, open_store
from tests.integration.app import app
from tests.integration.calls import lock_of, new_name, refused, value, wait_for_event
from tests.integration.calls import wait_until_free as wait_free
from tests.integration.conftest import on_pools
from tests.integration.referee import events
from tests.integration.tasks import play
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.usefixtures("hasty_worker")
def test_a_run_longer_than_lease_and_timeout_keeps_its_lock() -> None:
    """Renew for as long as the body runs, and free the key at its end."""
    name = new_name()
    result = play.apply_async((name, "sleep", 5.0), once={"timeout": 3})
    wait_for_event(name, "start")
    while "end" not in events(name):
        lock = lock_of(play, name)
        assert lock is not None or "end" in events(name), "the lock lapsed while the task ran"
        time.sleep(0.05)
    assert value(result) == "held: True"
    wait_free(play, name)


def test_a_killed_worker_frees_within_its_lease(mortal_worker: Worker) -> None:
    """Let the lease lapse when nobody renews it."""
    name = new_name()
    play.delay(name, "sleep", 60.0)
    wait_for_event(name, "start")
    mortal_worker.kill()
    assert refused(play, name)
    wait_free(play, name, seconds=10)


def send_copy(name: str, of: Lock, *, again: bool = False) -> None:
    """Deliver the message of a lock's task once more, as a broker may."""
    header = Header(of.key, of.token, again=again).as_message(play.name, of.owner)
    app.send_task(play.name, (name,), task_id=of.owner, headers={NAME: header})


@on_pools("prefork", fixture="hasty_worker")
def test_several_copies_run_beside_no_run(hasty_worker: Worker) -> None:
    """Take a run for dead by its own silence, not by that another copy has just come."""
    name = new_name()
    result = play.delay(name, "sleep", 4.0)
    wait_for_event(name, "start")
    lock = lock_of(play, name)
    assert lock is not None
    for _each in range(6):
        send_copy(name, lock, again=True)
    assert value(result) == "held: True"
    wait_until_dropped(hasty_worker, result.id)
    wait_free(play, name)
    assert events(name) == ["start", "end"]


def wait_until_dropped(worker: Worker, task_id: str) -> None:
    """Wait until a worker has told that it dropped the copy of a task that has ended."""
    told = f"[{task_id}] came again, but has already run to its end"
    wait_until(lambda: told in worker.text(), "the copy dropped")


@pytest.mark.parametrize("first_copy", ["finishes", "dies"])
def test_a_second_copy_waits_for_the_first(hasty_worker: Worker, first_copy: str) -> None:
    """Run one copy at a time, and lose nothing whether the first ends or dies."""
    name = new_name()
    store = open_store("locks")
    first = replace(
        new_lock(play.once_key(name), play.name, f"copied-{name}"),
        run="elsewhere",
        phase=Phase.RUNNING,
        started=time.time(),
    )
    store.start(first, 3)  # a run on a worker that we play ourselves
    send_copy(name, first)
    wait_until(
        lambda: f"[{first.owner}] is running elsewhere" in hasty_worker.text(), "the copy sent back"
    )
    assert events(name) == []
    if first_copy == "finishes":
        store.release(first, ended=60)
        wait_until_dropped(hasty_worker, first.owner)
        assert events(name) == []
    else:
        while "end" not in events(name):
            assert refused(play, name) or "end" in events(name), "free before the copy ran"
            time.sleep(0.05)
        assert events(name) == ["start", "end"]
    wait_free(play, name)


def test_a_copy_of_a_finished_task_leaves_its_result(hasty_worker: Worker) -> None:
    """Drop a message that comes once more after its end, while another holds the key."""
    name = new_name()
    finished = new_lock(play.once_key(name), play.name, f"finished-{name}")
    play.backend.mark_as_done(finished.owner, "done")
    open_store("locks").release(replace(finished, copied=True), ended=60)
    holder = new_lock(play.once_key(name), play.name, f"holder-{name}")
    open_store("locks").acquire(holder, 60)
    send_copy(name, finished, again=True)
    wait_until_dropped(hasty_worker, finished.owner)
    assert app.AsyncResult(finished.owner).get(timeout=5) == "done"
    assert events(name) == []
    lock = lock_of(play, name)
    assert lock is not None
    assert lock.owner == holder.owner
