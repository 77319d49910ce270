"""Whoever asks, and whatever becomes of its transaction: the row is there, its data as it decides.

Each caller saves a group and has a duplicate. With the middleware and without.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery import shared_task
from django.contrib.auth.models import Group
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import APIView

from django_celery_once import AlreadyQueued
from django_celery_once.models import BlockedAttempt
from tests.duplicates import count, queue_twice, send

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

ROOT = Path(__file__).parent.parent
MIDDLEWARE = "django_celery_once.middleware.AlreadyQueuedMiddleware"


def save() -> None:
    """Save what the caller's transaction keeps or loses."""
    Group.objects.create(name="saved")


def raising(request: HttpRequest) -> HttpResponse:
    save()
    queue_twice()
    return HttpResponse()


def catching(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        save()
        with suppress(AlreadyQueued):
            queue_twice()
        return HttpResponse(Group.objects.count())  # the next query works


def rolling_back(request: HttpRequest) -> HttpResponse:
    save()
    with suppress(AlreadyQueued):
        queue_twice()
    transaction.set_rollback(True)
    return HttpResponse()


def on_commit(request: HttpRequest) -> HttpResponse:
    save()
    send.delay("eva@example.com")
    with suppress(AlreadyQueued):
        send.delay_on_commit("eva@example.com")
    return HttpResponse()


def plain_on_commit(request: HttpRequest) -> HttpResponse:
    save()
    transaction.on_commit(queue_twice)
    return HttpResponse()


@transaction.non_atomic_requests
async def asynchronous(request: HttpRequest) -> HttpResponse:
    await sync_to_async(save)()
    queue_twice()
    return HttpResponse()


@sync_to_async
def save_and_fail() -> None:
    with transaction.atomic():
        save()
        queue_twice()


@transaction.non_atomic_requests
async def asynchronous_transaction(request: HttpRequest) -> HttpResponse:
    await save_and_fail()
    return HttpResponse()


class Conflict(APIException):  # type: ignore[misc]
    status_code = 409


class Rest(APIView):  # type: ignore[misc]
    """Let Django REST framework's handler answer; it rolls the request's transaction back."""

    authentication_classes = ()

    def post(self, request: Any) -> Response:
        save()
        try:
            queue_twice()
        except AlreadyQueued as error:
            raise Conflict from error
        return Response()


class RestRaising(APIView):  # type: ignore[misc]
    """Let the duplicate through, which the framework's handler does not know."""

    authentication_classes = ()

    def post(self, request: Any) -> Response:
        save()
        queue_twice()
        return Response()


urlpatterns = [
    path("raising/", raising),
    path("catching/", catching),
    path("rolling-back/", rolling_back),
    path("on-commit/", on_commit),
    path("plain-on-commit/", plain_on_commit),
    path("asynchronous/", asynchronous),
    path("asynchronous-transaction/", asynchronous_transaction),
    path("rest/", Rest.as_view()),
    path("rest-raising/", RestRaising.as_view()),
]


@pytest.fixture(params=["with the middleware", "without it"])
def with_middleware(request: pytest.FixtureRequest, settings: Any) -> bool:
    """Tell whether the middleware is installed; the views are those of this module."""
    settings.ROOT_URLCONF = __name__
    if request.param == "with the middleware":
        return True
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != MIDDLEWARE]
    return False


@pytest.fixture
def _atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)


def check_row(*, web: bool) -> None:
    """Check that there is one row about one attempt, and that the next query works."""
    assert count() == 1
    attempt = BlockedAttempt.objects.get()
    assert (attempt.source == "web", bool(attempt.path)) == (web, web)


@pytest.mark.usefixtures("_atomic_requests")
@pytest.mark.parametrize(
    ("page", "status", "kept"),
    [
        ("raising", 409, False),
        ("catching", 200, True),
        ("rolling-back", 200, False),
        ("on-commit", 200, True),
        ("rest", 409, False),
        ("rest-raising", 409, False),
    ],
)
def test_a_view(page: str, status: int, kept: bool, with_middleware: bool) -> None:
    """Under ``ATOMIC_REQUESTS`` the view's data goes or stays as it decides, the row stays."""
    response = Client(raise_request_exception=False).post(f"/{page}/")
    expected = status if with_middleware or page == "rest" or status == 200 else 500
    assert response.status_code == expected
    assert Group.objects.exists() == kept
    check_row(web=with_middleware)


def test_a_view_without_transaction(with_middleware: bool) -> None:
    """In autocommit mode what was saved stays saved."""
    Client(raise_request_exception=False).post("/raising/")
    assert Group.objects.exists()
    check_row(web=with_middleware)


@pytest.mark.usefixtures("_atomic_requests")
def test_a_callback_that_raises_on_commit(with_middleware: bool) -> None:
    """The data is committed by then, and the row is there as well."""
    Client(raise_request_exception=False).post("/plain-on-commit/")
    assert Group.objects.exists()
    check_row(web=with_middleware)


@pytest.mark.parametrize(
    ("page", "kept"), [("asynchronous", True), ("asynchronous-transaction", False)]
)
def test_an_async_view(page: str, kept: bool, with_middleware: bool) -> None:
    """In an event loop the row comes with the end of the request."""

    async def ask() -> int:
        try:
            client = AsyncClient(raise_request_exception=False)
            return (await client.post(f"/{page}/")).status_code
        finally:
            await sync_to_async(connections.close_all)()

    assert asyncio.run(ask()) == (409 if with_middleware else 500)
    assert Group.objects.exists() == kept
    check_row(web=with_middleware)


@shared_task(name="tests.journal_callers.rolls_back")
def rolls_back() -> None:
    with transaction.atomic():
        save()
        queue_twice()


@shared_task(name="tests.journal_callers.catches")
def catches() -> None:
    with transaction.atomic():
        save()
        with suppress(AlreadyQueued):
            queue_twice()


@pytest.mark.parametrize(("task", "kept"), [(rolls_back, False), (catches, True)])
def test_a_task(task: Any, kept: bool) -> None:
    """A task's duplicate has its row when the task ends."""
    task.apply()
    assert Group.objects.exists() == kept
    assert count() == 1
    attempt = BlockedAttempt.objects.get()
    assert (attempt.source, attempt.requester) == ("worker", task.name)


SCRIPT = """
import django
django.setup()
from django.core.management import call_command
call_command("queue_twice")
"""


@pytest.mark.parametrize(
    ("command", "source"),
    [(["manage.py", "queue_twice"], "command"), (["-c", SCRIPT], "other")],
)
def test_a_program(command: list[str], source: str) -> None:
    """A command or script that ends with the duplicate has its row when it has ended."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "AlreadyQueued" in done.stderr
    assert not Group.objects.exists()
    assert count() == 1
    assert BlockedAttempt.objects.get().source == source
