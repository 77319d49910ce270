"""Keys that are kept until they have expired, with workers of every pool, on every broker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from django_celery_once.locks import Phase
from tests.integration.app import app
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    refused_until,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.conftest import on_each_pool, on_pools
from tests.integration.referee import events
from tests.integration.tasks import play
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

#: Longer than any test waits for something else, in seconds.
LONG = 40


def queue(name: str, scene: str = "sleep", seconds: float = 0.0, **once: Any) -> Any:
    """Queue a call that runs at most once in its time."""
    asked = {"until": "expired", "timeout": LONG, **once}
    return play.apply_async((name, scene, seconds), once=asked)


def wait_until_kept(name: str) -> None:
    """Wait until the run has ended and its key is kept for what is left of its time."""

    def kept() -> bool:
        lock = lock_of(play, name)
        assert lock is not None, "freed before its time"
        return lock.phase is Phase.KEPT

    wait_until(kept, f"the key of {name} kept")
    lock = lock_of(play, name)
    assert lock is not None
    assert LONG - 20 < lock.remaining <= LONG - (time.time() - lock.since) + 0.5
    assert refused(play, name)


class TestEveryPool:
    """What does not depend on how a pool ends its runs."""

    @on_each_pool()
    def test_a_run_that_ends_soon(self) -> None:
        """Refuse duplicates until the time is up, and let one in then."""
        name = new_name()
        began = time.time()
        assert value(queue(name, timeout=3)) == "held: True"
        while time.time() < began + 2:
            assert refused(play, name)
            time.sleep(0.2)
        wait_until_free(play, name)
        assert time.time() >= began + 3
        assert value(queue(name, timeout=1)) == "held: True"

    @on_each_pool(elsewhere=True)
    def test_whatever_becomes_of_the_run(self) -> None:
        """Keep the key after a failure, too."""
        names = {scene: new_name() for scene in ("fail", "ignore", "reject", "give_up")}
        for scene, name in names.items():
            queue(name, scene)
        for name in names.values():
            wait_for_event(name, "end")
            wait_until_kept(name)

    @on_each_pool()
    def test_a_failure_frees_the_key_where_that_is_asked(self) -> None:
        """Keep it after a success all the same."""
        failed, done = new_name(), new_name()
        queue(failed, "fail", release_on_failure=True)
        queue(done, release_on_failure=True)
        wait_for_event(failed, "end")
        wait_until_free(play, failed)
        wait_until_kept(done)

    @on_each_pool(elsewhere=True)
    def test_a_retry_is_the_same_call(self) -> None:
        """Refuse duplicates between the two runs and after them."""
        name = new_name()
        result = queue(name, "retry", 1.0)
        refused_until(play, name, "end", 2)
        assert value(result) == "retried"
        wait_until_kept(name)

    @on_each_pool()
    def test_a_run_longer_than_its_time(self) -> None:
        """Keep the key while it runs, not longer."""
        name = new_name()
        result = queue(name, "sleep", 3.0, timeout=1)
        refused_until(play, name, "end", 1)
        assert value(result) == "held: True"
        wait_until_free(play, name, 1.5)

    @on_each_pool(elsewhere=True)
    def test_a_call_that_is_revoked_in_time(self) -> None:
        """Free the key of a run that never was."""
        name = new_name()
        asked = {"until": "expired", "timeout": LONG}
        result = play.apply_async((name,), once=asked, countdown=2)
        app.control.revoke(result.id)
        wait_until_free(play, name)
        assert events(name) == []


@on_pools("prefork")
@pytest.mark.parametrize("freed", [False, True])
def test_a_killed_child(freed: bool) -> None:
    """Keep the key, or free it where a failure does."""
    name = new_name()
    queue(name, "kill_once", release_on_failure=freed)
    wait_for_event(name, "start")
    if freed:
        wait_until_free(play, name)
    else:
        wait_until_kept(name)


@on_pools("prefork")
@pytest.mark.parametrize("freed", [False, True])
def test_a_terminated_run(freed: bool) -> None:
    """Keep the key, or free it where a failure does."""
    name = new_name()
    result = queue(name, "sleep", 30.0, release_on_failure=freed)
    wait_for_event(name, "start")
    app.control.revoke(result.id, terminate=True)
    if freed:
        wait_until_free(play, name, 30)
    else:
        wait_until_kept(name)


@pytest.mark.usefixtures("own_queue", "short_lease")
def test_a_killed_worker(tmp_path: Path) -> None:
    """Keep the key for its time, which is longer than the lease."""
    name = new_name()
    with Worker(tmp_path) as worker:
        queue(name, "sleep", 30.0, timeout=8)
        wait_for_event(name, "start")
        began = time.time()
        time.sleep(1)
        worker.kill()
        while time.time() < began + 6:
            assert refused(play, name)
            time.sleep(0.2)
        wait_until_free(play, name)
