"""The handler for Django REST framework: problems as APIs tell them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections
from django.http import HttpRequest
from django.test import Client
from django.urls import path
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import Throttled
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from django_celery_once import AlreadyQueued, LockUnavailable
from tests.browsers import known_again
from tests.web import send

pytestmark = pytest.mark.django_db(transaction=True)

PROBLEM = "application/problem+json"
Raise = Callable[[], None]


def save() -> None:
    """Save what the view's transaction keeps or loses."""
    Group.objects.create(name=f"group {Group.objects.count()}")


class ByHeader(BaseAuthentication):  # type: ignore[misc]
    """Know the user by a header, as a token does, and not by a session."""

    def authenticate(self, request: Any) -> tuple[User, None] | None:
        name = request.headers.get("X-User")
        return (User.objects.get(username=name), None) if name else None


class Api(APIView):  # type: ignore[misc]
    authentication_classes = (ByHeader,)
    renderer_classes = (JSONRenderer, BrowsableAPIRenderer)


class Sending(Api):
    """Save, then queue."""

    def post(self, request: Any) -> Response:
        save()
        return Response({"task_id": send.delay("eva@example.com").id}, status=202)


class Labelled(Sending):
    once_label = "monthly report"


class Failing(Api):
    """Save, then fail as the test says."""

    error: Exception = ZeroDivisionError()

    def post(self, request: Any) -> Response:
        save()
        raise self.error


urlpatterns = [
    path("send/", Sending.as_view()),
    path("labelled/", Labelled.as_view()),
    path("unavailable/", Failing.as_view(error=LockUnavailable(alias="locks"))),
    path("duplicate/", Failing.as_view(error=AlreadyQueued(12.2, task_id="id-1"))),
    path("throttled/", Failing.as_view(error=Throttled(7))),
    path("broken/", Failing.as_view()),
]


@pytest.fixture(autouse=True)
def _framework(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "rest_framework"]
    settings.REST_FRAMEWORK = {
        "EXCEPTION_HANDLER": "django_celery_once.contrib.drf.exception_handler"
    }


def post(where: str, user: str = "", accept: str = "application/json") -> Any:
    """Post as a client with a token would."""
    return known_again(Client()).post(
        where, headers={"accept": accept, **({"x-user": user} if user else {})}
    )


def test_a_duplicate_is_a_problem() -> None:
    """The second gets 409 with the task in flight, as ``application/problem+json``."""
    first = post("/send/")
    assert first.status_code == 202
    second = post("/send/")
    assert second.status_code == 409
    assert second["Content-Type"] == PROBLEM
    assert 1 <= int(second["Retry-After"]) <= 60
    assert "Accept" in second["Vary"]
    assert second.json() == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "Your request is already being prepared. You don't need to send it again.",
        "code": "already_queued",
        "task_id": first.json()["task_id"],
    }


def test_an_outage_is_a_problem() -> None:
    """An outage is 503, and says that nothing was submitted."""
    response = post("/unavailable/")
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response["Content-Type"] == PROBLEM
    assert response.json()["code"] == "lock_unavailable"
    assert "Nothing was submitted" in response.json()["detail"]
    assert "task_id" not in response.json()


def test_the_user_of_a_token_is_known() -> None:
    """Tell one's own from another's, and nobody else's task id."""
    for name in ("eva", "ada"):
        User.objects.create_user(name)
    first = post("/labelled/", "eva").json()["task_id"]
    own = post("/labelled/", "eva").json()
    assert own["detail"].startswith("Your monthly report is already being prepared.")
    assert own["task_id"] == first
    other = post("/labelled/", "ada").json()
    assert other["detail"] == "A colleague already asked for this monthly report just now."
    assert "task_id" not in other


def test_the_browsable_api_stays_a_page() -> None:
    """The type of the answer is what the renderer makes."""
    response = post("/duplicate/", accept="text/html")
    assert response.status_code == 409
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert response["Retry-After"] == "13"
    assert "already_queued" in response.content.decode()


@pytest.fixture
def _atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)


@pytest.mark.usefixtures("_atomic_requests")
@pytest.mark.parametrize(
    ("where", "status"), [("duplicate", 409), ("unavailable", 503), ("throttled", 429)]
)
def test_atomic_requests_are_rolled_back(where: str, status: int) -> None:
    """What the view saved before it failed is gone."""
    assert post(f"/{where}/").status_code == status
    assert not Group.objects.exists()


def test_without_a_transaction_the_view_keeps_what_it_saved() -> None:
    """Nobody can undo what is committed already."""
    assert post("/duplicate/").status_code == 409
    assert Group.objects.count() == 1


def test_the_framework_answers_the_rest() -> None:
    """Its own exceptions, and those that are nobody's, go their way."""
    throttled = post("/throttled/")
    assert (throttled.status_code, throttled["Retry-After"]) == (429, "7")
    with pytest.raises(ZeroDivisionError):
        post("/broken/")


def test_it_can_be_called_by_a_handler_of_the_projects_own() -> None:
    """A request is nice to have, not needed."""
    from django_celery_once.contrib.drf import exception_handler

    response = exception_handler(AlreadyQueued(5, task_id="id-1"), {})
    assert response is not None
    assert (response.status_code, "task_id" in response.data) == (409, False)
    assert exception_handler(ZeroDivisionError(), {"request": HttpRequest()}) is None


def test_the_package_needs_no_framework() -> None:
    """Without the framework only this module can't be imported."""
    script = (
        "import sys; sys.modules['rest_framework'] = None\n"
        "import django_celery_once.answers, django_celery_once.contrib\n"
        "try: import django_celery_once.contrib.drf\n"
        "except ImportError as error: print('rest_framework' in str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
