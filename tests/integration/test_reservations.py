"""Keys that are reserved before a commit, with workers of every pool."""

from __future__ import annotations

from contextlib import suppress
from contextvars import Context
from typing import Any, NoReturn

import pytest
from billiard import Process
from django.db import transaction

from django_celery_once import AlreadyQueued, claims
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Phase, open_store
from django_celery_once.status import Reference, State, find_out
from tests.integration.app import app
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.conftest import on_each_pool, on_pools
from tests.integration.referee import entries, events, note
from tests.integration.tasks import play, play_unlocked
from tests.integration.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ONE_RUN = ["start", "end"]


def queue(name: str, scene: str = "sleep", seconds: float = 0.0, **options: Any) -> Any:
    """Reserve a call and publish it at the commit; nothing may run before."""
    with transaction.atomic(), play.reserve(name) as reservation:
        result = reservation.apply_async_on_commit((name, scene, seconds), **options)
        assert refused(play, name)
        assert events(name) == []
    assert result.id == reservation.task_id
    return result


@on_each_pool()
def test_a_reserved_call_runs_once_and_frees_its_key() -> None:
    """Hold the key from the reservation to the end of the run."""
    name = new_name()
    result = queue(name, "wait_until_told", 20.0)
    wait_for_event(name, "start")
    held = lock_of(play, name)
    assert held is not None
    assert (held.owner, held.phase) == (result.id, Phase.RUNNING)
    assert refused(play, name)
    note(name, "told", "")
    assert value(result) == "held: True"
    wait_until_free(play, name)
    assert [each.task_id for each in entries(name) if each.event == "start"] == [result.id]


@on_each_pool(elsewhere=True)
def test_a_retry_keeps_what_was_reserved() -> None:
    """Hand the key on from the reservation to the message to the retry."""
    name = new_name()
    assert value(queue(name, "retry", 1.0)) == "retried"
    wait_until_free(play, name)
    assert events(name) == ONE_RUN * 2


@on_each_pool()
def test_a_reserved_call_that_is_revoked() -> None:
    """Free the key when the worker drops the message."""
    name = new_name()
    result = queue(name, countdown=2)
    app.control.revoke(result.id)
    wait_until_free(play, name)
    assert events(name) == []


@on_each_pool(elsewhere=True)
def test_only_the_queue_is_guarded() -> None:
    """Free the key at the start of the run."""
    name = new_name()
    with transaction.atomic():
        play_unlocked.delay_on_commit(name, "wait_until_told", 20.0)
    wait_for_event(name, "start")
    wait_until_free(play_unlocked, name)
    assert events(name) == ["start"], "freed before the run ended"
    note(name, "told", "")
    wait_for_event(name, "end")  # a solo worker has no ears for the next test before


@on_each_pool()
def test_a_rollback_sends_nothing() -> None:
    """Run nothing, and run what is asked for next."""
    name = new_name()
    with suppress(ZeroDivisionError), play.reserve(name) as reservation, transaction.atomic():
        reservation.delay_on_commit(name)
        raise ZeroDivisionError
    result = play.delay(name)
    assert value(result) == "held: True"
    assert [each.task_id for each in entries(name)] == [result.id] * 2
    wait_until_free(play, name)


@on_each_pool(elsewhere=True)
def test_a_lock_that_could_not_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run under the reservation's token where the store was away at the commit."""

    def away(_alias: str) -> NoReturn:
        raise LockUnavailable("The lock store is away.")

    name = new_name()
    with monkeypatch.context() as outage, transaction.atomic():
        result = play.delay_on_commit(name, "wait_until_told", 20.0)
        outage.setattr(claims, "open_store", away)
        # The commit comes before the end of the outage.
        transaction.on_commit(outage.undo)
    wait_for_event(name, "start")
    held = lock_of(play, name)
    assert held is not None
    assert (held.owner, held.phase) == (result.id, Phase.RUNNING)
    assert refused(play, name)
    note(name, "told", "")
    assert value(result) == "held: True"
    wait_until_free(play, name)
    assert events(name) == ["start", "told", "end"]


@on_each_pool()
def test_a_task_queues_the_next_at_its_commit() -> None:
    """Publish from a worker's transaction under the id that was told."""
    name = new_name()
    next_id = value(play.delay(name, "queue_next"))
    wait_for_event(f"{name}-next", "end")
    assert {each.task_id for each in entries(f"{name}-next")} == {next_id}
    wait_until_free(play, f"{name}-next")
    wait_until_free(play, name)


@on_each_pool(elsewhere=True)
def test_a_task_that_fails_frees_what_it_has_reserved() -> None:
    """Free it with the task's end, long before its time is up."""
    name = new_name()
    play.delay(name, "reserve_next", 1.0)
    wait_for_event(name, "reserved")
    held = lock_of(play, f"{name}-next")
    assert held is not None
    assert held.phase is Phase.RESERVED
    wait_until_free(play, f"{name}-next")
    wait_until_free(play, name)
    wait_until(lambda: events(name)[-1] == "end", "the end of the task")
    assert events(f"{name}-next") == []


@on_each_pool(elsewhere=True)
def test_what_was_told_of_a_call_that_is_rolled_back_runs() -> None:
    """Give the result of one run to all who have joined, and to the one who was rolled back."""
    name = new_name()
    join = {"on_duplicate": "join"}
    with suppress(ZeroDivisionError), play.reserve(name) as reservation, transaction.atomic():
        reservation.delay_on_commit(name, "fail")
        joined = [play.apply_async((name, "sleep", 0.0), once=join) for _each in range(3)]
        assert {each.id for each in joined} == {reservation.task_id}
        raise ZeroDivisionError
    assert value(joined[0]) == "held: True"
    wait_until_free(play, name)
    assert events(name) == ONE_RUN


@on_pools("prefork")
def test_a_retry_is_planned() -> None:
    """Tell whoever asks that it waits for another try, and for when."""
    name = new_name()
    result = play.delay(name, "retry", 600.0)
    wait_until(lambda: result.state == "RETRY", "it is tried again")
    with pytest.raises(AlreadyQueued) as raised:
        play.delay(name)
    assert (raised.value.phase, raised.value.task_id) == ("planned", result.id)
    status = find_out(Reference.of(result))
    assert status.state is State.RETRYING
    assert status.begins == raised.value.begins
    app.control.revoke(result.id)
    held = lock_of(play, name)
    assert held is not None
    assert open_store("locks").release(held) is not None


@on_pools("prefork")
def test_what_was_refused_is_queued_though_the_connection_has_gone() -> None:
    """A fork has ended the connection of the process that gives the reservation back."""
    name = new_name()
    play.delay(new_name())
    reservation = Context().run(play.reserve, name)
    play.apply_async((name,), once={"on_duplicate": "join"})
    child = Process(target=bool)
    child.start()
    child.join()
    reservation.release()
    wait_for_event(name, "end")
    wait_until_free(play, name)
