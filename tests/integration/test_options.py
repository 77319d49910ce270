"""Celery's own options: they reach the worker as those of a plain task do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, group, states
from celery.canvas import StampingVisitor  # type: ignore[attr-defined]
from kombu import Exchange, Queue

from tests.integration.app import app
from tests.integration.calls import lock_of, new_name, value, wait_for_event, wait_until_free
from tests.integration.option_tasks import (
    call_itself,
    fail,
    look,
    look_in_silence,
    on_error,
    plain_look,
)
from tests.integration.referee import entries, note
from tests.integration.tasks import play
from tests.integration.workers import Worker, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]

OTHER_QUEUE = f"once-options-{os.getpid()}"
LATER = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture(scope="module")
def worker(any_broker: str, folder: Path) -> Iterator[Worker]:
    """Return a worker that takes pickles, and has another queue."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTEGRATION_ACCEPT", "json pickle")
        patch.setenv("C_FORCE_ROOT", "1")  # else Celery lets no root unpickle
        queues = f"{app.conf.task_default_queue},{OTHER_QUEUE}"
        with Worker(folder, "prefork", 2, "-Q", queues) as started:
            yield started
    with app.connection_for_write() as connection:
        for entity in (Queue(OTHER_QUEUE), Exchange(OTHER_QUEUE)):
            entity(connection.default_channel).delete()


def seen(name: str, task_id: str) -> Any:
    """Return what a call of this name was for the worker that ran it."""

    def found() -> list[str]:
        return [each.event for each in entries(name) if each.task_id == task_id]

    wait_until(lambda: bool(found()), f"the run of {task_id}")
    return json.loads(found()[0])


@pytest.mark.parametrize(
    ("options", "where", "what"),
    [
        ({}, "retries", 0),
        ({"shadow": "shown"}, "shadow", "shown"),
        ({"expires": LATER}, "expires", LATER.isoformat()),
        ({"headers": {"trace": "7"}}, "trace", "7"),
        ({"ignore_result": True}, "ignore_result", True),
        ({"reply_to": "me"}, "reply_to", "me"),
        ({"compression": "zlib"}, "compression", "application/x-gzip"),
        ({"time_limit": 90, "soft_time_limit": 80}, "timelimit", [90, 80]),
        ({"argsrepr": "(secret)", "kwargsrepr": "{}"}, "argsrepr", "(secret)"),
        ({"link": plain_look.si("linked")}, "callbacks", None),
        ({"link_error": on_error.s("linked")}, "errbacks", None),
        ({"priority": 3}, "priority", 3),
        ({"queue": OTHER_QUEUE}, "routing_key", OTHER_QUEUE),
        ({"exchange": OTHER_QUEUE, "routing_key": OTHER_QUEUE}, "exchange", OTHER_QUEUE),
    ],
    ids=lambda given: next(iter(given), "none") if isinstance(given, dict) else "",
)
def test_an_option_arrives(options: dict[str, Any], where: str, what: Any) -> None:
    """See the same in the worker as of a plain task, and the lock freed."""
    name = new_name()
    plain = seen(name, plain_look.apply_async((name,), **options).id)
    guarded = seen(name, look.apply_async((name,), **options).id)
    assert guarded == plain
    assert what is None or {**guarded["delivery_info"], **guarded}[where] == repr(what)
    wait_until_free(look, name)


def test_options_survive_a_retry() -> None:
    """Hand on what a plain task hands on."""
    name = new_name()
    found = []
    for task in (plain_look, look):
        signature = task.si(name, "retry")
        signature.set(shadow="shown", headers={"trace": "7"}, priority=3)
        signature.stamp(team="a")
        found.append(seen(name, signature.delay().id))
    plain, guarded = found
    assert guarded == plain
    assert (guarded["retries"], guarded["stamps"]) == ("1", {"team": "'a'"})
    wait_until_free(look, name)


def test_pickled_arguments() -> None:
    """Take what JSON could not carry."""
    name = new_name()
    more = {"thing": {1, 2}}
    plain = seen(name, plain_look.apply_async((name,), more, serializer="pickle").id)
    guarded = seen(name, look.apply_async((name,), more, serializer="pickle").id)
    assert guarded == plain
    assert guarded["kwargs"] == {"thing": "{1, 2}"}
    wait_until_free(look, name)


class Stamps(StampingVisitor):  # type: ignore[misc]
    """Put one stamp on every signature of a canvas."""

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Return the stamp."""
        return {"monitor": "7", "stamped_headers": ["monitor"]}


@pytest.mark.parametrize("kind", [group, chain])
def test_stamps_arrive(kind: Any) -> None:
    """Stamp the members of a canvas, and a single call."""
    name = new_name()
    members = [look.si(name), plain_look.si(name)]
    canvas = kind(members)
    canvas.stamp(visitor=Stamps())
    value(canvas.delay())
    single = look.si(f"{name}-2")
    single.stamp(visitor=Stamps(), team="a")
    value(single.delay())
    found = [json.loads(each.event) for each in [*entries(name), *entries(f"{name}-2")]]
    assert [each["stamps"]["monitor"] for each in found] == ["'7'"] * 3
    assert found[2]["stamps"]["team"] == "'a'"
    wait_until_free(look, name)


def test_the_callers_task_id_is_that_of_the_run() -> None:
    """Run under the id that was chosen, and free the lock."""
    name = new_name()
    look.apply_async((name,), task_id=f"mine-{name}")
    assert seen(name, f"mine-{name}")
    assert value(app.AsyncResult(f"mine-{name}")) == "looked"
    wait_until_free(look, name)


def test_a_result_that_is_ignored_frees_the_lock() -> None:
    """Need no result for it, whether task or call wants none."""
    name = new_name()
    for task in (look_in_silence, look):
        result = task.apply_async((name,), ignore_result=task is look or None)
        assert seen(name, result.id)
        wait_until_free(task, name)
        assert app.AsyncResult(result.id).state == states.PENDING


def test_a_failure_is_told_to_its_errback() -> None:
    """Run the errback once, and free the lock."""
    name = new_name()
    result = fail.apply_async((name,), link_error=on_error.s(name))
    with pytest.raises(ValueError, match=name):
        value(result)
    wait_for_event(name, "errback")
    wait_until_free(fail, name)


def test_force_leaves_the_holder_alone() -> None:
    """Run beside the task in flight, whose lock stays until it has ended itself."""
    name = new_name()
    first = play.delay(name, "wait_until_told", 20)
    wait_for_event(name, "start")
    forced = play.apply_async((name,), once={"force": True})
    assert value(forced) == "held: False"
    lock = lock_of(play, name)
    assert lock is not None
    assert lock.owner == first.id
    note(name, "told", "")
    assert value(first) == "held: True"
    wait_until_free(play, name)


@pytest.mark.parametrize("way", ["call", "apply"])
def test_a_task_that_calls_itself_in_place(way: str) -> None:
    """Run the inner call, and keep the lock for the outer one."""
    name = new_name()
    assert value(call_itself.delay(name, way)) == ["inner", True, True]
    wait_until_free(call_itself, name)
