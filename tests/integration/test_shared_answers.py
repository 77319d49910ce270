"""Calls that another call's run answers: their callbacks, and the ids that they gave out."""

from __future__ import annotations

from typing import Any

import pytest
from celery import states
from django.db import transaction

from tests.integration.argument_tasks import complain, fetch, mail
from tests.integration.calls import new_name, value, wait_for_event, wait_until_free
from tests.integration.conftest import on_pools
from tests.integration.referee import events, note
from tests.integration.rerun_tasks import index
from tests.integration.workers import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]

one_pool = on_pools("prefork")


def ask(name: str, to: str, scene: str = "", **options: Any) -> Any:
    """Ask for a value, with somebody to be told of it."""
    links: Any = {"link": mail.s(name, to), "link_error": complain.s(name, to)}
    return fetch.apply_async((name, scene), **links, **options)


def told(name: str) -> list[str]:
    """Return who was told of what."""
    return sorted(event for event in events(name) if event.startswith(("mail", "complain")))


def wait_until_told(name: str, *expected: str) -> None:
    """Wait until so many were told; check whom, and that each was told once."""
    wait_until(lambda: len(told(name)) >= len(expected), f"{expected} told", 30)
    assert told(name) == sorted(expected)


@pytest.mark.parametrize("scene", ["", "fail"])
def test_each_callback_has_the_value_of_the_run_that_it_joined(scene: str) -> None:
    """Call those of whoever asked before the run, and those of whoever asked within it."""
    name = new_name()
    first = ask(name, "ada", scene, countdown=1)
    second = ask(name, "bob", scene)
    assert second.id == first.id
    note(name, "told", "")
    end = "complain {} ValueError" if scene else "mail {} 42"
    wait_until_told(name, end.format("ada"), end.format("bob"))
    assert events(name).count("start") == 1
    wait_until_free(fetch, name)


@one_pool
@pytest.mark.parametrize("scene", ["", "fail"])
def test_a_call_joins_a_run_that_is_about_to_end(scene: str) -> None:
    """Answer all, also who asks while it runs and whoever's message comes when it has ended."""
    name = new_name()
    ask(name, "ada", scene)
    wait_for_event(name, "start")
    ask(name, "bob", scene)
    ask(name, "cy", scene, countdown=3)
    note(name, "told", "")
    end = "complain {} ValueError" if scene else "mail {} 42"
    wait_until_told(name, *(end.format(to) for to in ("ada", "bob", "cy")))


@one_pool
def test_several_callbacks_are_called_once_each() -> None:
    """Call a list of them, and a chain."""
    name = new_name()
    ask(name, "ada")
    wait_for_event(name, "start")
    fetch.apply_async((name,), link=[mail.s(name, "bob"), mail.s(name, "cy")])
    note(name, "told", "")
    wait_until_told(name, "mail ada 42", "mail bob 42", "mail cy 42")


@one_pool
def test_a_result_that_is_not_stored_is_a_failure() -> None:
    """Tell nobody a value that nobody knows."""
    name = new_name()
    ask(name, "ada", ignore_result=True)
    wait_for_event(name, "start")
    ask(name, "bob")
    note(name, "told", "")
    wait_until_told(name, "mail ada 42", "complain bob LookupError")


@one_pool
@pytest.mark.parametrize("commits", [True, False])
def test_a_call_at_a_commit_joins(commits: bool) -> None:
    """Call its callbacks if its transaction commits, and only then."""
    name = new_name()
    first = ask(name, "ada")
    wait_for_event(name, "start")
    with transaction.atomic():
        joined = fetch.apply_async_on_commit((name,), link=mail.s(name, "bob"))
        transaction.set_rollback(not commits)
    assert joined.id == first.id
    note(name, "told", "")
    wait_until_told(name, "mail ada 42", *(["mail bob 42"] if commits else []))
    assert value(first) == 42


@one_pool
@pytest.mark.parametrize("times", [2, 4])
def test_each_id_that_a_commit_gives_out_ends_as_the_run_that_answers_it(times: int) -> None:
    """Give the calls that were folded into one the state and the result of that."""
    name = new_name()
    calls = []
    for number in range(times):
        with transaction.atomic():
            calls.append(index.delay_on_commit(name, number, "wait" if not number else ""))
        wait_for_event(name, "start")
    note(name, "told", "")
    wait_for_event(name, "start", 2)
    note(name, "told", "")
    assert [value(each, 40) for each in calls] == [0] + [times - 1] * (times - 1)
    assert {each.state for each in calls} == {states.SUCCESS}
    assert events(name).count("start") == 2


@one_pool
def test_an_id_of_the_callers_own_ends_too() -> None:
    """Do so wherever a call is given its id by whoever asks."""
    name = new_name()
    ids = [f"{name}-{number}" for number in range(3)]
    index.apply_async((name, 0, "wait"), task_id=ids[0])
    wait_for_event(name, "start")
    index.apply_async((name, 1), task_id=ids[1])
    third = index.apply_async((name, 2), task_id=ids[2], link=mail.s(name, "ada"))
    note(name, "told", "")
    wait_for_event(name, "start", 2)
    note(name, "told", "")
    assert [value(index.AsyncResult(each), 40) for each in ids] == [0, 2, 2]
    assert third.id == ids[1]
    wait_until_told(name, "mail ada 2")


@one_pool
def test_a_call_of_ones_own_id_ends_with_the_one_it_joined() -> None:
    """Store the value under the id that was asked for, too."""
    name = new_name()
    fetch.delay(name)
    wait_for_event(name, "start")
    fetch.apply_async((name,), task_id=f"{name}-own")
    note(name, "told", "")
    assert value(fetch.AsyncResult(f"{name}-own")) == 42


@one_pool
def test_a_call_that_joined_a_revoked_one_is_revoked() -> None:
    """Share the end, whatever it is."""
    name = new_name()
    first = fetch.apply_async((name,), countdown=2)
    fetch.apply_async((name,), task_id=f"{name}-own")
    first.revoke()
    own = fetch.AsyncResult(f"{name}-own")
    wait_until(lambda: own.state == states.REVOKED, "a revoked call", 30)
    assert events(name) == []
