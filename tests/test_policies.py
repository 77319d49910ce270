"""What a duplicate gets: the holder's result, or the key when it is free."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from celery._state import _task_stack  # type: ignore[attr-defined]
from celery.contrib.django.task import DjangoTask
from celery.result import AsyncResult
from django.core.cache import caches
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.test import override_settings
from kombu.exceptions import OperationalError

from django_celery_once import AlreadyQueued, LockUnavailable, claims, releases, waiting
from django_celery_once.header import Header, read_header
from django_celery_once.locks import Lock, Start, open_store
from django_celery_once.signals import Rejection
from django_celery_once.status import Reference
from testproject.redis_server import RedisServer
from tests.guarded_tasks import held, labelled, report
from tests.locks.stores import running
from tests.outages import caches_at

pytestmark = pytest.mark.django_db

JOIN = {"on_duplicate": "join"}


def wait(seconds: float) -> dict[str, Any]:
    """Return the options of a call that waits for its key."""
    return {"on_duplicate": "wait", "blocking_timeout": seconds}


@pytest.fixture
def holder() -> Lock:
    """Return the lock of a call that is under way: ``report.delay("a")``."""
    report.delay("a")
    return held(report.once_key("a"))


def free_after(seconds: float, lock: Lock) -> threading.Timer:
    """Release a lock from another thread, later."""
    timer = threading.Timer(seconds, lambda: open_store("locks").release(lock))
    timer.start()
    return timer


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be Flower, or a worker of a queue that is called so."""
    importlib.import_module("flower.app")
    monkeypatch.setattr(sys, "argv", ["celery", "-A", "site", "worker", "-Q", "flower"])


@pytest.mark.usefixtures("flower", "holder")
def test_flower_gets_no_exception() -> None:
    """Answer a handler of its API with a result, and a task of a worker's as ever."""
    assert report.delay("a").state == "REJECTED"
    report.push_request(id="a run", called_directly=False)
    _task_stack.push(report)
    try:
        with pytest.raises(AlreadyQueued):
            report.delay("a")
    finally:
        _task_stack.pop()
        report.pop_request()


def test_a_duplicate_joins(holder: Lock, rejections: list[Rejection]) -> None:
    """Return the result of the task in flight, and count the call as a duplicate."""
    joined = report.apply_async(("a",), once=JOIN)
    assert isinstance(joined, AsyncResult)
    assert joined.id == holder.owner
    assert Reference.of(joined) == Reference(holder.owner, holder.key, cache="locks")
    assert [each.policy for each in rejections] == ["join"]
    assert held(holder.key).hits == 1


def test_the_first_of_those_who_join_is_queued() -> None:
    """Queue it, as any call that is no duplicate."""
    first = report.apply_async(("a",), once=JOIN)
    assert held(report.once_key("a")).owner == first.id


@override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "ON_DUPLICATE": "join"})
def test_all_tasks_may_join(holder: Lock) -> None:
    """Take the policy from the settings."""
    assert report.delay("a").id == holder.owner


@pytest.mark.django_db(transaction=True)
def test_a_call_at_the_commit_joins(holder: Lock) -> None:
    """Tell the task in flight at once, and queue nothing at the commit."""
    with transaction.atomic():
        assert report.apply_async_on_commit(("a",), once=JOIN).id == holder.owner
    assert held(holder.key).token == holder.token


def test_a_call_waits_for_its_key(holder: Lock, rejections: list[Rejection]) -> None:
    """Take the key when it is free; nothing was refused then, and nothing counted."""
    timer = free_after(0.3, holder)
    result = report.apply_async(("a",), once=wait(30))
    timer.join()
    mine = held(holder.key)
    assert mine.owner == result.id != holder.owner
    assert mine.hits == 0
    assert rejections == []


def test_a_call_waits_boundedly(holder: Lock, rejections: list[Rejection]) -> None:
    """Refuse it when its time is up, as one duplicate however often it has looked."""
    with pytest.raises(AlreadyQueued) as raised:
        report.apply_async(("a",), once=wait(0.5))
    assert raised.value.task_id == holder.owner
    assert [each.policy for each in rejections] == ["wait"]
    assert held(holder.key).hits == 1


def test_celery_onces_words_for_waiting(holder: Lock) -> None:
    """Wait where ``blocking`` is true; ``graceful`` is not asked for then."""
    timer = free_after(0.2, holder)
    once = {"blocking": True, "blocking_timeout": 30, "graceful": False}
    assert report.apply_async(("a",), once=once).id == held(holder.key).owner
    timer.join()


@pytest.mark.django_db(transaction=True)
def test_a_call_at_the_commit_waits_before(holder: Lock) -> None:
    """Wait for the reservation, not at the commit."""
    timer = free_after(0.2, holder)
    with transaction.atomic():
        result = report.apply_async_on_commit(("a",), once=wait(30))
        assert held(holder.key).owner == result.id
    timer.join()


def test_a_waiter_looks_at_most_twenty_times_a_second(
    holder: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sleep between two looks, 50 ms at least and 400 ms at most, however long it has waited."""
    pauses: list[float] = []
    clock = {"now": 1000.0}

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock["now"] += seconds

    slow = SimpleNamespace(sleep=sleep, monotonic=lambda: clock["now"])
    monkeypatch.setattr(waiting, "time", slow)
    with pytest.raises(AlreadyQueued):
        report.apply_async(("a",), once=wait(60))
    *pauses, _last = pauses  # what was left of the time
    assert min(pauses) >= 0.05
    assert max(pauses) <= 0.4
    assert len(set(pauses)) > 10, "waiters march in step"
    early, late = pauses[:20], pauses[-20:]
    assert sum(late) < sum(early), "who has waited longer looks more often"


@pytest.mark.django_db(transaction=True)
def test_of_fifty_waiters_none_starves(holder: Lock) -> None:
    """Let each in, one after the other."""
    store, most = open_store("locks"), threading.BoundedSemaphore(1)

    def call(_number: int) -> str:
        result = report.apply_async(("a",), once=wait(50))
        assert most.acquire(blocking=False), "two are in at once"
        mine = held(holder.key)
        assert mine.owner == result.id
        most.release()
        open_store("locks").release(mine)
        return str(result.id)

    with ThreadPoolExecutor(50) as callers:
        running = [callers.submit(call, number) for number in range(50)]
        store.release(holder)
        ids = [each.result() for each in running]
    assert len(set(ids)) == 50
    assert store.inspect(holder.key) is None


def test_an_outage_ends_the_waiting(spare_redis_server: RedisServer) -> None:
    """Raise ``LockUnavailable``, not ``AlreadyQueued``."""
    with override_settings(CACHES=caches_at(spare_redis_server)):
        report.delay("a")
        timer = threading.Timer(0.3, spare_redis_server.kill)
        timer.start()
        with pytest.raises(LockUnavailable):
            report.apply_async(("a",), once=wait(30))
        timer.join()
    caches["locks"].close()


@pytest.mark.parametrize("duplicate", [True, False])
def test_no_event_loop_is_stopped(duplicate: bool) -> None:
    """Say so at the first call, not at the first duplicate."""
    if duplicate:
        report.delay("a")

    async def call() -> None:
        report.apply_async(("a",), once=wait(30))

    with pytest.raises(SynchronousOnlyOperation, match="sync_to_async"):
        asyncio.run(call())
    assert (open_store("locks").inspect(report.once_key("a")) is not None) is duplicate


RERUN = {"on_duplicate": "rerun"}


def test_one_more_is_asked_for(
    holder: Lock, rejections: list[Rejection], published: list[dict[str, Any]]
) -> None:
    """Give all who ask the result of the one run that follows; send one message."""
    asked = [report.apply_async(("a",), once=RERUN) for _each in range(3)]
    assert len({each.id for each in asked}) == 1
    assert len(published) == 1
    assert asked[0].id != holder.owner
    assert [each.policy for each in rejections] == ["rerun"] * 3
    assert Reference.of(asked[2]) == Reference(asked[0].id, holder.key, cache="locks")


def test_the_follow_up_is_published_by_who_releases(
    holder: Lock, published: list[dict[str, Any]]
) -> None:
    """With the newest arguments, once; its other message is dropped when it comes."""
    asked = labelled.apply_async(("a", "May"))
    lock = held(labelled.once_key("a", "May"))
    follow_up = labelled.apply_async(("a", "June"), once=RERUN, queue="slow", priority=3)
    labelled.apply_async(("a", "July"), once=RERUN, queue="slow", countdown=99)
    looks_after = read_header(published[-1])
    assert looks_after is not None
    assert looks_after.follows == "rerun"
    last = releases.release_or_later(lock, 60)
    assert last is not None
    assert last.owner == asked.id
    message = read_header(published[-1])
    mine = held(lock.key)
    assert message is not None
    assert (message.key, message.token, message.follows) == (lock.key, mine.token, "")
    assert (mine.owner, mine.label) == (follow_up.id, "July report")
    assert published[-1]["kwargsrepr"] == "{}"
    assert "July" in published[-1]["argsrepr"]
    assert _found_at_start(looks_after, follow_up.id) is Start.ENDED
    assert _found_at_start(message, follow_up.id) is Start.MINE


def _found_at_start(message: Header, task_id: str) -> Start:
    run = replace(claims.sent_lock(message, task_id), run=claims.new_token())
    return open_store("locks").start(run, 60)[0]


def test_a_follow_up_that_can_not_be_looked_after(
    holder: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Withdraw it where the broker takes no message, and raise what that raises."""

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError("down")

    monkeypatch.setattr(DjangoTask, "apply_async", fail)
    with pytest.raises(OperationalError):
        report.apply_async(("a",), once=RERUN)
    assert held(holder.key).follow_up is None


def test_a_follow_up_that_can_not_be_published(
    holder: Lock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Leave it to the message that looks after it, under its lock."""
    follow_up = report.apply_async(("a",), once=RERUN)

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError("down")

    monkeypatch.setattr(DjangoTask, "apply_async", fail)
    assert releases.release_or_later(holder, 60) is not None
    assert "could not be queued" in caplog.text
    mine = held(holder.key)
    assert (mine.owner, bool(mine.call)) == (follow_up.id, True)


def test_a_dead_run_gives_way_to_who_asks(holder: Lock, published: list[dict[str, Any]]) -> None:
    """Publish the follow-up, with the newest arguments, when the next call meets it."""
    store = open_store("locks")
    run = running(holder)
    store.start(run, 0.2)
    follow_up = report.apply_async(("a",), once=RERUN)
    while not held(holder.key).blocks:
        time.sleep(0.05)
    assert report.apply_async(("a", "May"), once=RERUN).id == follow_up.id
    assert held(holder.key).owner == follow_up.id
    assert len(published) == 2


def test_nothing_follows_where_tasks_run_at_once(
    holder: Lock, request: pytest.FixtureRequest
) -> None:
    """Answer as for a rejected duplicate: no worker is there to run it later."""
    request.getfixturevalue("eager")
    assert report.apply_async(("a",), once=RERUN).status == "REJECTED"
    assert held(holder.key).follow_up is None
