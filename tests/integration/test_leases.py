"""Leases and second copies, on real workers with a short lease."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from django_celery_once.claims import new_lock
from django_celery_once.header import NAME, Header
from django_celery_once.locks import Lock, Phase, open_store
from tests.integration.app import app
from tests.integration.calls import lock_of, new_name, refused, value, wait_for_event
from tests.integration.calls import wait_until_free as wait_free
from tests.integration.conftest import POOLS
from tests.integration.referee import events
from tests.integration.tasks import play
from tests.integration.workers import Worker, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("any_broker", "short_lease"),
]


@pytest.fixture(params=POOLS)
def worker(
    request: pytest.FixtureRequest, any_broker: str, short_lease: None, folder: Path
) -> Iterator[Worker]:
    """Return a worker whose leases last two seconds."""
    with Worker(folder, request.param) as started:
        yield started
    # A solo worker acknowledges after the run: RabbitMQ has the message of a killed one again.
    app.control.purge()


def test_a_run_longer_than_lease_and_timeout_keeps_its_lock(worker: Worker) -> None:
    """Renew for as long as the body runs, and free the key at its end."""
    name = new_name()
    result = play.apply_async((name, "sleep", 7.0), once={"timeout": 3})
    wait_for_event(name, "start")
    while "end" not in events(name):
        lock = lock_of(play, name)
        assert lock is not None or "end" in events(name), "the lock lapsed while the task ran"
        time.sleep(0.05)
    assert value(result) == "held: True"
    wait_free(play, name)


def test_a_killed_worker_frees_within_its_lease(worker: Worker) -> None:
    """Let the lease lapse when nobody renews it."""
    name = new_name()
    play.delay(name, "sleep", 60.0)
    wait_for_event(name, "start")
    worker.kill()
    assert refused(play, name)
    wait_free(play, name, seconds=10)


def send_copy(name: str, of: Lock, *, again: bool = False) -> None:
    """Deliver the message of a lock's task once more, as a broker may."""
    header = Header(of.key, of.token, again=again).as_message()
    app.send_task(play.name, (name,), task_id=of.owner, headers={NAME: header})


@pytest.mark.parametrize("first_copy", ["finishes", "dies"])
def test_a_second_copy_waits_for_the_first(worker: Worker, first_copy: str) -> None:
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
    wait_until(lambda: "is running elsewhere" in worker.text(), "the copy sent back")
    assert events(name) == []
    if first_copy == "finishes":
        play.backend.mark_as_done(first.owner, "done")
        store.release(first)
        wait_until(lambda: "already run to its end" in worker.text(), "the copy dropped", 15)
        assert events(name) == []
    else:
        while "end" not in events(name):
            assert refused(play, name) or "end" in events(name), "free before the copy ran"
            time.sleep(0.05)
        assert events(name) == ["start", "end"]
    wait_free(play, name)


def test_a_copy_of_a_finished_task_leaves_its_result(worker: Worker) -> None:
    """Drop a message that comes once more after its end, while another holds the key."""
    name = new_name()
    finished = new_lock(play.once_key(name), play.name, f"finished-{name}")
    play.backend.mark_as_done(finished.owner, "done")
    holder = new_lock(play.once_key(name), play.name, f"holder-{name}")
    open_store("locks").acquire(holder, 60)
    send_copy(name, finished, again=True)
    wait_until(lambda: "already run to its end" in worker.text(), "the copy dropped")
    assert app.AsyncResult(finished.owner).get(timeout=5) == "done"
    assert events(name) == []
    lock = lock_of(play, name)
    assert lock is not None
    assert lock.owner == holder.owner
