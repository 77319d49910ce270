"""One run more, with the newest arguments, with workers of every pool on every broker."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chord, group
from django.db import transaction

from django_celery_once import AlreadyQueued
from tests.integration.app import app
from tests.integration.calls import lock_of, new_name, value, wait_for_event, wait_until_free
from tests.integration.canvas_tasks import collect, plain
from tests.integration.conftest import on_each_pool, on_pools
from tests.integration.referee import entries, events, note
from tests.integration.rerun_tasks import again, index

pytestmark = pytest.mark.django_db(transaction=True)


def start(scene: str = "wait") -> tuple[str, Any]:
    """Queue a call and wait until it runs; return its name and result."""
    name = new_name()
    result = index.delay(name, 0, scene)
    wait_for_event(name, "start")
    return name, result


def ask(name: str, times: int = 5) -> Any:
    """Ask so often for one run more; all have one result."""
    results = [index.delay(name, number) for number in range(1, times + 1)]
    assert len({each.id for each in results}) == 1
    return results[0]


def check_one_followed(name: str, first: Any, follow_up: Any, newest: int = 5) -> None:
    """Check that one run with the newest arguments has followed, soon, and no other."""
    assert value(follow_up, 30) == newest
    wait_until_free(index, name)
    runs = [each.task_id for each in entries(name) if each.event == "start"]
    assert runs == [first.id, follow_up.id]


class TestEveryPool:
    """What does not depend on how a pool ends its runs."""

    @on_each_pool()
    def test_one_run_follows(self) -> None:
        """Queue it the moment the run ends, with the newest arguments."""
        name, first = start()
        follow_up = ask(name)
        assert events(name) == ["start"]
        note(name, "told", "")
        assert value(first) == 0
        check_one_followed(name, first, follow_up)

    @on_each_pool(elsewhere=True)
    def test_a_run_that_fails_is_followed(self) -> None:
        """Whatever becomes of the run."""
        name, first = start("fail")
        follow_up = ask(name)
        note(name, "told", "")
        check_one_followed(name, first, follow_up)

    @on_each_pool()
    def test_a_call_that_is_revoked_is_followed(self) -> None:
        """Queue the other run when the worker drops the first."""
        name = new_name()
        first = index.apply_async((name,), countdown=2)
        follow_up = ask(name)
        app.control.revoke(first.id)
        assert value(follow_up, 30) == 5
        wait_until_free(index, name)
        assert events(name) == ["start", "end 5"]

    @on_each_pool(elsewhere=True)
    def test_a_follow_up_is_followed_in_its_turn(self) -> None:
        """Ask while the second runs: a third follows."""
        name, first = start()
        index.delay(name, 1, "wait")
        note(name, "told", "")
        value(first)
        wait_for_event(name, "start", 2)
        third = ask(name)
        note(name, "told", "")
        assert value(third, 30) == 5
        wait_until_free(index, name)

    @on_each_pool()
    def test_a_task_queues_itself_again(self) -> None:
        """Begin with the next run when the body of this one has ended."""
        name = new_name()
        first = again.delay(name, 2, 0.5)
        wait_for_event(name, "end", 3, 30)
        wait_until_free(again, name)
        happened = [each.event for each in entries(name)]
        assert happened == ["start", "queued", "end", "start", "queued", "end", "start", "end"]
        ids = [each.task_id for each in entries(name) if each.event == "start"]
        told = [each.task_id for each in entries(name) if each.event == "queued"]
        assert ids == [first.id, *told]


@on_pools("prefork")
def test_a_killed_child_is_followed() -> None:
    """Queue the other run when the worker's main process hears of it."""
    name, first = start("kill")
    follow_up = ask(name)
    note(name, "told", "")
    check_one_followed(name, first, follow_up)


@on_pools("prefork")
def test_each_killed_child_is_followed() -> None:
    """Do so again: a new child closes the connection by which its parent has published."""
    for _each in range(3):
        name, first = start("kill")
        follow_up = ask(name, 2)
        note(name, "told", "")
        check_one_followed(name, first, follow_up, newest=2)


@on_pools("prefork")
def test_a_terminated_run_is_followed() -> None:
    """Do the same where somebody has ended it."""
    name, first = start()
    follow_up = ask(name)
    app.control.revoke(first.id, terminate=True)
    check_one_followed(name, first, follow_up)


@on_pools("prefork", "threads")
def test_a_member_of_a_chord_waits_for_its_turn() -> None:
    """Run it as the member that it is."""
    name, first = start()
    body = chord([index.si(name, 7), plain.si(new_name(), 2)])(collect.s(new_name()))
    members = group(index.si(name, 8), plain.si(new_name(), 3)).delay()
    assert value(members) == [None, 3]
    note(name, "told", "")
    assert value(first) == 0
    assert value(body, 30) == [7, 2]
    wait_until_free(index, name)


@on_pools("prefork")
def test_a_call_at_the_commit() -> None:
    """Ask when the data is there, and not after a rollback."""
    name, first = start()
    with transaction.atomic():
        follow_up = index.delay_on_commit(name, 5)
        lock = lock_of(index, name)
        assert lock is not None
        assert lock.follow_up is None
        assert lock.hits == 0
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012
        index.delay_on_commit(name, 6)
        raise ZeroDivisionError
    note(name, "told", "")
    check_one_followed(name, first, follow_up)


@on_pools("prefork")
def test_a_second_call_of_oneself_is_a_duplicate() -> None:
    """Let one follow, and refuse what comes after it as any duplicate."""
    name = new_name()
    again.delay(name, 1, 3.0)
    wait_for_event(name, "queued")
    with pytest.raises(AlreadyQueued):
        again.delay(name, 0)
    wait_for_event(name, "end", 2, 30)
    wait_until_free(again, name)
