"""From the accepted call to the end of the run, on every broker and pool."""

from __future__ import annotations

import time

import pytest
from celery.exceptions import TaskRevokedError

from django_celery_once import QueueOnce
from django_celery_once.claims import new_lock
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.models import BlockedAttempt
from tests.integration.app import app
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.referee import events, note
from tests.integration.tasks import play, play_late, play_unlocked
from tests.integration.workers import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]

ONE_RUN = ["start", "end"]
EARLY_AND_LATE = pytest.mark.parametrize("task", [play, play_late])
#: Longest time that a body waits to be told to go on, in seconds.
TOLD = 30.0


def tell(name: str) -> None:
    """Let a body that waits go on: the test has seen what it wanted to see."""
    note(name, "told", "")


def test_a_run_holds_its_lock_and_frees_it() -> None:
    """Refuse duplicates while the task waits and runs; let the next call in after."""
    name = new_name()
    result = play.delay(name, "wait_until_told", TOLD)
    assert refused(play, name)
    wait_for_event(name, "start")
    lock = lock_of(play, name)
    assert lock is not None
    assert (lock.owner, lock.phase) == (result.id, Phase.RUNNING)
    assert refused(play, name)
    tell(name)
    assert value(result) == "held: True"
    wait_until_free(play, name)
    assert events(name) == ["start", "told", "end"]
    assert value(play.delay(name)) == "held: True"
    wait_until_free(play, name)


@EARLY_AND_LATE
def test_every_bad_end_frees_the_lock(task: QueueOnce) -> None:
    """Free the key after an exception, ``Ignore``, ``Reject`` and the last retry."""
    names = {scene: new_name(scene) for scene in ("fail", "ignore", "reject", "give_up")}
    for scene, name in names.items():
        task.delay(name, scene)
    for scene, name in names.items():
        wait_for_event(name, "end", times=2 if scene == "give_up" else 1)
        wait_until_free(task, name)


def test_a_waiting_retry_keeps_the_lock() -> None:
    """Refuse duplicates between the runs, run again under the key, then free it."""
    results = {}
    for scene in ("retry", "retry_and_go_on"):
        name = new_name(scene)
        results[name] = play.delay(name, scene, 2.0)
    for name in results:
        wait_for_event(name, "end")
        wait_until_queued(name)
        assert refused(play, name)
    for name, result in results.items():
        wait_for_event(name, "end", times=2)
        assert value(result)
        wait_until_free(play, name)
        assert events(name) == ONE_RUN * 2


def wait_until_queued(name: str) -> None:
    """Wait until the call's lock waits for a worker."""

    def is_queued() -> bool:
        lock = lock_of(play, name)
        return lock is not None and lock.phase is Phase.QUEUED

    wait_until(is_queued, f"the lock of {name} queued")


def test_a_requeued_message_runs_again_under_its_lock() -> None:
    """Keep the key where ``Reject(requeue=True)`` brings the message back."""
    name = new_name()
    play_late.delay(name, "reject_once")
    wait_for_event(name, "end", times=2)
    wait_until_free(play_late, name)
    assert events(name) == ONE_RUN * 2


def test_a_requeue_that_comes_too_late_frees_the_lock() -> None:
    """Free the key where the message was acknowledged before ``Reject(requeue=True)``."""
    name = new_name()
    play.delay(name, "reject_once")
    wait_for_event(name, "end")
    wait_until_free(play, name)
    assert events(name) == ONE_RUN


def test_a_replacement_with_the_same_key_inherits_the_lock() -> None:
    """Hand the lock over; the replacement runs once and frees it."""
    name = new_name()
    result = play.delay(name, "replace_same", TOLD)
    wait_for_event(name, "start", times=2)
    assert refused(play, name)
    tell(name)
    assert value(result) == "held: True"
    wait_until_free(play, name)


def test_a_replacement_with_another_key_has_its_own_lock() -> None:
    """Free the first key at once and the other one at its end."""
    name = new_name()
    result = play.delay(name, "replace_other", TOLD)
    wait_for_event(f"{name}-other", "start")
    wait_until_free(play, name)
    assert refused(play, f"{name}-other")
    tell(f"{name}-other")
    assert value(result) == "held: True"
    wait_until_free(play, f"{name}-other")


def test_unlock_before_run_guards_only_the_queue() -> None:
    """Free the key at the start of the run."""
    name = new_name()
    play_unlocked.delay(name, "wait_until_told", TOLD)
    wait_for_event(name, "start")
    wait_until_free(play_unlocked, name)
    assert events(name) == ["start"], "freed before the run ended"
    tell(name)
    wait_for_event(name, "end")  # a solo worker has no ears for the next test before


def hold_as_another(name: str) -> Lock:
    """Let a task that no worker knows hold the key of a call."""
    holder = new_lock(play.once_key(name), play.name, f"holder of {name}")
    assert open_store("locks").acquire(holder, 60) is None
    return holder


def test_a_call_by_name_is_guarded_from_its_start() -> None:
    """Lock the run of what a caller without this app has sent."""
    name = new_name()
    result = app.send_task(play.name, (name, "wait_until_told", TOLD))
    wait_for_event(name, "start")
    assert refused(play, name)
    tell(name)
    assert value(result) == "held: True"
    wait_until_free(play, name)


def test_a_call_by_name_is_refused_while_the_key_is_held() -> None:
    """Revoke it at its start, so that nobody waits for its result."""
    name = new_name()
    holder = hold_as_another(name)
    with pytest.raises(TaskRevokedError, match=f"duplicate of {holder.owner}"):
        value(app.send_task(play.name, (name,)))
    assert events(name) == []


def test_a_late_message_does_not_run_beside_the_holder() -> None:
    """Revoke a message whose key another has meanwhile, and write that down."""
    name = new_name()
    late = play.apply_async((name,), countdown=1)
    open_store("locks").force_release(play.once_key(name))  # as its time-out would
    holder = hold_as_another(name)
    with pytest.raises(TaskRevokedError, match=f"duplicate of {holder.owner}"):
        value(late)
    assert events(name) == []
    attempts = BlockedAttempt.objects.filter(incident__holder_task_id=holder.owner)
    wait_until(attempts.exists, "the row of the blocked attempt")
    [attempt] = attempts
    assert (attempt.task_id, attempt.policy) == (late.id, "revoke")


def test_an_expired_lock_is_taken_back_at_the_start() -> None:
    """Guard the run of a message that waited longer than its lock."""
    name = new_name()
    result = play.apply_async((name, "wait_until_told", TOLD), countdown=1)
    open_store("locks").force_release(play.once_key(name))
    wait_for_event(name, "start")
    assert refused(play, name)
    tell(name)
    assert value(result) == "held: True"
    wait_until_free(play, name)


def test_a_revoked_or_expired_task_frees_the_lock() -> None:
    """Free the keys of tasks that are not to run any more, once their time has come."""
    calls = []
    for task in (play, play_late):
        at_once, later, expired = (new_name(how) for how in ("at-once", "later", "expired"))
        result = task.apply_async((at_once,), countdown=6)
        app.control.revoke(result.id)
        calls += [(task, at_once, result)]
        calls += [(task, later, task.apply_async((later,), countdown=6))]
        calls += [(task, expired, task.apply_async((expired,), countdown=3, expires=2))]
        lock = lock_of(task, expired)
        assert lock is not None
        assert lock.remaining <= 2 + 60, "kept for longer than its message can live"
    time.sleep(0.5)  # the worker has them
    for _task, name, result in calls:
        if name.startswith("later"):
            app.control.revoke(result.id)
    for task, name, result in calls:
        with pytest.raises(TaskRevokedError):
            value(result)
        wait_until_free(task, name)
        assert events(name) == []


def test_forced_calls_run_beside_the_holder() -> None:
    """Run what was forced, and leave the holder's lock alone."""
    name = new_name()
    holder = hold_as_another(name)
    assert value(play.apply_async((name,), once={"force": True})) == "held: False"
    lock = lock_of(play, name)
    assert lock is not None
    assert (lock.owner, lock.phase) == (holder.owner, Phase.QUEUED)
