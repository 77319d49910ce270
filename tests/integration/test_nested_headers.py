"""Messages in whose headers a tracer has nested its own, with workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chord, signals

from django_celery_once.header import NAME
from tests.integration.app import app
from tests.integration.calls import (
    lock_of,
    new_name,
    refused_for,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.canvas_tasks import collect, number
from tests.integration.conftest import on_pools
from tests.integration.referee import events
from tests.integration.rerun_tasks import index
from tests.integration.tasks import play
from tests.integration.test_reruns import ask, check_one_followed, start
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

POOLS = ["prefork", "threads"]


def beside(headers: dict[str, Any]) -> dict[str, Any]:
    """Nest the tracer's own, as ddtrace does."""
    return {"trace": "7"}


def with_a_copy(headers: dict[str, Any]) -> dict[str, Any]:
    """Nest those of the caller, too, as sentry-sdk does."""
    return {"trace": "7", NAME: headers.get(NAME)}


@pytest.fixture(autouse=True, params=[beside, with_a_copy])
def nested(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nest headers in all that this process publishes."""

    def nest(headers: dict[str, Any], **_signal: Any) -> None:
        headers["headers"] = request.param(headers)

    uid = f"nest {request.param.__name__}"
    signals.before_task_publish.connect(nest, weak=False, dispatch_uid=uid)
    yield
    signals.before_task_publish.disconnect(dispatch_uid=uid)


@on_pools(*POOLS)
@pytest.mark.usefixtures("worker")
class TestEveryEnd:
    """The key is free after each."""

    def test_a_run(self) -> None:
        """Begin it, and end it."""
        name = new_name()
        assert value(play.delay(name)) == "held: True"
        wait_until_free(play, name)

    def test_revoked(self) -> None:
        """Before it began."""
        name = new_name()
        result = play.apply_async((name,), countdown=2)
        app.control.revoke(result.id)
        wait_until(lambda: result.state == "REVOKED", "revoked")
        wait_until_free(play, name)
        assert events(name) == []

    def test_expired(self) -> None:
        """Before it began."""
        name = new_name()
        result = play.apply_async((name,), countdown=2, expires=1)
        wait_until(lambda: result.state == "REVOKED", "expired")
        wait_until_free(play, name)
        assert events(name) == []

    def test_retried(self) -> None:
        """Held while the retry waits, and free after it."""
        name = new_name()
        result = play.delay(name, "retry", 2.0)
        wait_for_event(name, "end")
        refused_for(play, name, 1)
        assert value(result) == "retried"
        wait_until_free(play, name)

    def test_failed_and_ignored(self) -> None:
        """As any other."""
        for scene in ("fail", "ignore", "reject"):
            name = new_name()
            play.delay(name, scene)
            wait_for_event(name, "end")
            wait_until_free(play, name)

    def test_turns(self) -> None:
        """Send those back that wait, and run each."""
        name = new_name()
        turns = {"until": "running"}
        calls = [play.apply_async((name, "sleep", 0.5), once=turns) for _each in range(3)]
        assert [value(each, 30) for each in calls] == ["held: True"] * 3
        assert events(name) == ["start", "end"] * 3
        wait_until_free(play, name)

    def test_a_rerun(self) -> None:
        """Follow the run with the newest arguments."""
        name, first = start("fail")
        follow_up = ask(name)
        play_told(name)
        check_one_followed(name, first, follow_up)

    def test_a_chord_with_a_duplicate(self) -> None:
        """Run its body."""
        name, other = new_name(), new_name()
        number.apply_async((name, 1), countdown=3)
        result = chord([number.si(name, 1), number.si(other, 2)])(collect.s(new_name()))
        assert value(result, 30) == [None, 2]


def play_told(name: str) -> None:
    """Let the first run of ``index`` end."""
    from tests.integration.referee import note

    note(name, "told", "")


@on_pools("prefork")
@pytest.mark.usefixtures("worker")
def test_a_killed_child() -> None:
    """Free its key at once: the lease is a minute."""
    name = new_name()
    play.delay(name, "kill_once")
    wait_for_event(name, "start")
    wait_until_free(play, name)
    result = index.delay(name, 3)
    assert value(result) == 3


@on_pools(*POOLS)
@pytest.mark.parametrize("end", ["expires", "is revoked", "is unknown", "is guarded, by name"])
def test_a_child_that_was_given_its_parents_headers(worker: Worker, end: str) -> None:
    """Let the parent's lock alone, and begin under one of its own."""
    name, child = new_name(), new_name()
    play.delay(name, "wait_until_told", 60.0)
    wait_for_event(name, "start")
    lock = lock_of(play, name)
    assert lock is not None
    headers = {NAME: {"id": lock.owner, "task": play.name, "key": lock.key, "token": lock.token}}
    if end == "expires":
        play.apply_async((child,), headers=headers, expires=-1)
    elif end == "is revoked":
        app.control.revoke(play.apply_async((child,), headers=headers, countdown=1).id)
    elif end == "is unknown":
        app.send_task("nobody.knows.me", headers=headers)
        wait_until(lambda: "nobody.knows.me" in worker.text(), "the complaint")
    else:
        assert value(app.send_task(play.name, (child,), headers=headers)) == "held: True"
    wait_until_free(play, child)
    time.sleep(0.5)
    assert lock_of(play, name) is not None
    play_told(name)
    wait_until_free(play, name)
