"""Duplicates and outages of APIs made with django-ninja."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from celery import shared_task
from django.contrib.auth.models import Group
from django.db import connections
from django.test import Client
from django.urls import path
from ninja import NinjaAPI

from django_celery_once import LockUnavailable, QueueOnce
from django_celery_once.contrib.ninja import add_exception_handlers
from tests.browsers import known_again

pytestmark = pytest.mark.django_db(transaction=True)

api = NinjaAPI(urls_namespace="once")
add_exception_handlers(api, label="export")


@shared_task(base=QueueOnce, name="tests.contrib.ninja.export")
def export() -> None: ...


def save() -> None:
    Group.objects.create(name=f"written by the view {uuid4()}")


@api.post("/export")
def ask(request: Any) -> dict[str, str]:
    save()
    return {"id": export.delay().id}


@api.post("/unavailable")
def unavailable(request: Any) -> None:
    save()
    raise LockUnavailable(alias="locks")


@api.post("/broken")
def broken(request: Any) -> None:
    raise ZeroDivisionError


urlpatterns = [path("api/", api.urls)]


@pytest.fixture(autouse=True, params=[True, False], ids=["DEBUG", "production"])
def _site(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROOT_URLCONF = __name__
    settings.DEBUG = request.param
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)


def post(name: str, accept: str = "*/*", client: Client | None = None) -> Any:
    client = client or known_again(Client(raise_request_exception=False))
    return client.post(f"/api/{name}", headers={"accept": accept})


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_a_duplicate_is_a_problem(accept: str) -> None:
    """The second gets 409, and what the view did is undone."""
    first, second = post("export", accept), post("export", accept)
    assert (first.status_code, second.status_code) == (200, 409)
    assert second["Content-Type"] == "application/problem+json"
    assert 1 <= int(second["Retry-After"]) <= 60
    assert second.json() == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "Your export is already being prepared. You don't need to send it again.",
        "code": "already_queued",
        "task_id": first.json()["id"],
    }
    assert Group.objects.count() == 1


def test_nobody_elses_task_is_told() -> None:
    """Another's duplicate names no task."""
    post("export")
    stranger = known_again(Client(), "d")
    assert "task_id" not in post("export", client=stranger).json()


def test_an_outage_is_a_problem() -> None:
    """An outage is 503, and says that nothing was submitted."""
    response = post("unavailable")
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response.json()["code"] == "lock_unavailable"
    assert not Group.objects.exists()


def test_other_errors_are_the_frameworks() -> None:
    """They go their way."""
    assert post("broken").status_code == 500
