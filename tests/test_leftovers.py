"""Reservations that nobody has used are freed at the end of a request or a task."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery import signals
from django.contrib.auth.models import Group
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from django_celery_once import AlreadyQueued, QueueOnce, leftovers
from django_celery_once.locks import Lock, Phase, open_store
from tests.celery_app import app
from tests.guarded_tasks import report

pytestmark = pytest.mark.django_db(transaction=True)


def look(email: str = "a") -> Lock | None:
    """Return the lock of ``report.delay(email)``."""
    return open_store("locks").inspect(report.once_key(email))


# ---- views


def save_and_queue(request: HttpRequest) -> HttpResponse:
    """Save and queue in one transaction, and fail after that if told to."""
    with transaction.atomic():
        Group.objects.create(name=f"group {Group.objects.count()}")
        report.delay_on_commit("a")
        if "fail" in request.GET:
            raise ZeroDivisionError
    return HttpResponse("queued")


def forget_to_use(request: HttpRequest) -> HttpResponse:
    """Reserve, and do nothing with it."""
    report.reserve("a")
    return HttpResponse()


def lose_a_savepoint(request: HttpRequest) -> HttpResponse:
    """Answer well, though a part of the work was undone."""
    with suppress(ZeroDivisionError), transaction.atomic():
        report.delay_on_commit("a")
        raise ZeroDivisionError
    return HttpResponse()


async def in_a_thread(request: HttpRequest) -> HttpResponse:
    """Do as ``save_and_queue`` in a thread of an async view."""
    return await sync_to_async(save_and_queue)(request)


async def in_the_loop(request: HttpRequest) -> HttpResponse:
    """Reserve in the event loop, and do nothing with it."""
    report.reserve("a")
    return HttpResponse()


urlpatterns = [
    path("queue/", save_and_queue),
    path("queue-in-thread/", in_a_thread),
    path("forget/", forget_to_use),
    path("forget-in-loop/", in_the_loop),
    path("savepoint/", lose_a_savepoint),
]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture(params=[False, True], ids=["autocommit", "atomic"])
def atomic_requests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do it without a transaction around the view, then with one."""
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", request.param)


def get_sync(path: str) -> int:
    """Ask the WSGI handler; return the status."""
    return Client(raise_request_exception=False).get(path).status_code


def get_async(path: str) -> int:
    """Ask the ASGI handler; return the status."""

    async def ask() -> int:
        try:
            return (await AsyncClient(raise_request_exception=False).get(path)).status_code
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(ask())


Get = Callable[[str], int]
both = pytest.mark.parametrize("get", [get_sync, get_async])


@both
@pytest.mark.usefixtures("atomic_requests")
def test_a_view_that_fails_frees_its_key(get: Get, published: list[Any]) -> None:
    """Neither save nor queue, and let the next request in."""
    assert get("/queue/?fail") == 500
    assert look() is None
    assert not Group.objects.exists()
    assert published == []
    assert get("/queue/") == 200
    assert len(published) == 1
    assert get("/queue/") == 409
    assert Group.objects.count() == 1


def test_an_async_view_frees_what_its_thread_has_reserved(published: list[Any]) -> None:
    """Know the reservations of all threads of a request."""
    assert get_async("/queue-in-thread/?fail") == 500
    assert look() is None
    assert get_async("/queue-in-thread/") == 200
    assert len(published) == 1


@both
@pytest.mark.parametrize("url", ["/forget/", "/savepoint/"])
@pytest.mark.usefixtures("atomic_requests")
def test_what_a_view_has_not_used_is_freed(get: Get, url: str) -> None:
    """Free it though the view succeeded."""
    assert get(url) == 200
    assert look() is None


def test_what_was_reserved_in_the_event_loop_is_freed() -> None:
    """Free it from a thread."""
    assert get_async("/forget-in-loop/") == 200
    assert look() is None


def test_a_transaction_around_the_request_still_publishes(published: list[Any]) -> None:
    """Leave alone what an open transaction is going to publish, as in a ``TestCase``."""
    with transaction.atomic():
        assert get_sync("/queue/") == 200
        held = look()
        assert held is not None
        assert held.phase is Phase.RESERVED
        assert get_sync("/queue/") == 409
    assert [each["id"] for each in published] == [held.owner]


def test_requests_know_their_own_only() -> None:
    """Free nothing of another request's, nor what was reserved around it."""
    around = report.reserve("around")
    with leftovers.collected() as unused:
        inner = report.reserve("inner")
        assert unused == {inner}
    leftovers.free(unused)
    assert look("inner") is None
    assert leftovers.here() == {around}


# ---- tasks


@app.task(base=QueueOnce, name="tests.leftovers.reserving")
def reserving(email: str, end: str) -> None:
    """Reserve another task, and use the reservation or not."""
    if end == "queue":
        report.delay_on_commit(email)
    report.reserve(f"{email} forgotten")
    with suppress(ZeroDivisionError), transaction.atomic():
        report.delay_on_commit(f"{email} lost")
        raise ZeroDivisionError


def end_run(*, is_eager: bool) -> None:
    """Send the signal that ends a task, run by a worker or in place."""
    reserving.push_request(is_eager=is_eager, id="any")
    try:
        signals.task_postrun.send(
            sender=reserving, task_id="any", task=reserving, state="SUCCESS", retval=None
        )
    finally:
        reserving.pop_request()


def test_the_end_of_a_task_frees_what_it_has_not_used(published: list[Any]) -> None:
    """Free what was lost and forgotten, keep what was queued."""
    reserving("a", "queue")
    assert look("a lost") is not None
    end_run(is_eager=False)
    assert (look("a lost"), look("a forgotten")) == (None, None)
    assert look("a") is not None
    assert len(published) == 1


def test_a_task_that_runs_in_place_frees_nothing_of_its_callers(published: list[Any]) -> None:
    """Leave the reservations to the request or the task that called it."""
    with report.reserve("mine") as reservation:
        end_run(is_eager=True)
        assert look("mine") is not None
        reservation.delay("mine")
    assert len(published) == 1


def test_a_used_reservation_is_not_remembered() -> None:
    """Collect only what may have to be freed."""
    with transaction.atomic():
        report.delay_on_commit("waits")
        assert len(leftovers.here()) == 1
    with report.reserve("a") as reservation:
        reservation.delay("a")
    report.reserve("b").release()
    with suppress(AlreadyQueued), report.reserve("a"):
        pass
    assert leftovers.here() == set()


def test_a_forked_process_knows_of_none() -> None:
    """Free nothing of the parent's."""
    report.reserve("a")
    child = os.fork()
    if not child:
        os._exit(3 if leftovers.here() else 0)
    _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert leftovers.here()
