"""Retries with other arguments: they have the key of these, and wait where another holds it."""

from __future__ import annotations

from typing import Any

import pytest

from django_celery_once import AlreadyQueued
from django_celery_once.locks import Lock, Phase, open_store
from tests.integration.argument_tasks import walk
from tests.integration.calls import new_name, value, wait_for_event
from tests.integration.conftest import on_pools
from tests.integration.referee import events, note
from tests.integration.workers import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]

#: Retries run in the pool's main process, too, or another process: the rest looks alike.
one_pool = on_pools("prefork")


def lock_of(name: str, page: int) -> Lock | None:
    """Return the lock of a page."""
    return open_store("locks").inspect(walk.once_key(name, page))


def wait_until_free(name: str, *pages: int) -> None:
    """Wait until nobody holds these pages."""
    for page in pages:
        wait_until(lambda page=page: lock_of(name, page) is None, f"page {page} free", 10)  # type: ignore[misc]


def tell(name: str, page: int) -> None:
    """Let the runs of a page end."""
    note(f"{name}-{page}", "told", "")


def pages_of(name: str, page: int) -> list[str]:
    """Return what the runs of a page did."""
    return [event for event in events(f"{name}-{page}") if event != "told"]


@pytest.mark.parametrize("how", ["args", "kwargs"])
def test_a_retry_has_the_key_of_its_own_arguments(how: str) -> None:
    """Free the page that is done, and hold the one that is worked on."""
    name = new_name()
    result = walk.apply_async((name, 1), {"to": 2, "seconds": 20, "how": how})
    wait_for_event(f"{name}-1", "start")
    assert lock_of(name, 2) is None
    tell(name, 1)
    wait_for_event(f"{name}-2", "start")
    wait_until_free(name, 1)
    if how == "args":  # which keeps its seconds
        with pytest.raises(AlreadyQueued) as duplicate:
            walk.delay(name, 2)
        assert (duplicate.value.task_id, duplicate.value.phase) == (result.id, "running")
        tell(name, 2)
    assert value(result) == 2
    wait_until_free(name, 1, 2)
    assert pages_of(name, 2) == ["start", "end"]


@one_pool
def test_a_retry_waits_for_whoever_holds_its_page() -> None:
    """Run each page one at a time, lose none, and refuse what comes after."""
    name = new_name()
    holder = walk.delay(name, 9, 9, 30)
    wait_for_event(f"{name}-9", "start")
    walkers = [walk.delay(name, page, 9, 0) for page in (1, 2, 3)]
    for page in (1, 2, 3):
        wait_for_event(f"{name}-{page}", "end")
    wait_until_free(name, 1, 2, 3)
    assert pages_of(name, 9) == ["start"]
    with pytest.raises(AlreadyQueued):
        walk.delay(name, 9)
    tell(name, 9)
    assert [value(each, 60) for each in (holder, *walkers)] == [9, 9, 9, 9]
    assert pages_of(name, 9) == ["start", "end"] * 4
    wait_until_free(name, 9)


@one_pool
def test_a_task_that_goes_on_after_its_retry() -> None:
    """Hold its page to its end."""
    name = new_name()
    result = walk.delay(name, 1, 2, 0, "go on")
    wait_for_event(f"{name}-2", "end")
    wait_until_free(name, 1, 2)
    wait_until(lambda: result.ready(), "a result")


@one_pool
@pytest.mark.parametrize(
    ("once", "first_free"),
    [
        ({"keys": ["page"]}, True),
        ({"until": "running"}, True),
        ({"until": "started"}, True),
        ({"until": "expired", "timeout": 60}, False),
        ({"key": lambda name, page, *_more: [name]}, True),
    ],
    ids=["keys", "running", "started", "expired", "key"],
)
def test_with_the_options_of_a_call(once: Any, first_free: bool) -> None:
    """Do as these options say, with the key of the retry's arguments where they are known."""
    name, page = new_name(), hash(new_name()) % 10**9
    result = walk.apply_async((name, page, page + 1, 0), once=once)
    assert value(result) == page + 1
    assert pages_of(name, page + 1) == ["start", "end"]
    if first_free:
        wait_until(lambda: not _held(result.id), "its keys free")
    else:
        wait_until(
            lambda: [lock.phase for lock in _held(result.id)] == [Phase.KEPT] * 2, "both kept"
        )


def _held(task_id: str) -> list[Lock]:
    return [lock for lock in open_store("locks").scan().locks if lock.owner == task_id]
