"""``@once_view``: function views that answer a duplicate, sync and async."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth.models import Group, User
from django.contrib.messages import INFO, WARNING, get_messages
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.views.decorators.http import require_POST

from django_celery_once import LockUnavailable
from django_celery_once.decorators import once_view
from django_celery_once.wording import Wording
from tests.browsers import known_again
from tests.web import send

pytestmark = pytest.mark.django_db(transaction=True)

OURS = "django_celery_once.middleware.AlreadyQueuedMiddleware"
OWN = "Your request is already being prepared. You don't need to send it again."


@once_view
def bare(request: HttpRequest) -> HttpResponse:
    """Save, then queue."""
    Group.objects.create(name=f"group {Group.objects.count()}")
    send.delay("eva@example.com")
    return HttpResponse("queued")


@once_view(redirect_to="done", label="monthly report")
@require_POST
def redirecting(request: HttpRequest) -> HttpResponse:
    send.delay("eva@example.com")
    return HttpResponse("queued")


@once_view(redirect_to="/done/", wording=Wording(own="Patience, please."))
async def redirecting_async(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    send.delay("eva@example.com")
    return HttpResponse(f"queued by {user}")


@once_view
async def bare_async(request: HttpRequest) -> HttpResponse:
    send.delay("eva@example.com")
    return HttpResponse("queued")


@once_view(redirect_to="done")
def unavailable(request: HttpRequest) -> HttpResponse:
    Group.objects.create(name="saved")
    raise LockUnavailable(alias="locks")


@once_view
def broken(request: HttpRequest, number: int) -> HttpResponse:
    """Show the words of the URL, and fail."""
    raise ZeroDivisionError(number)


@transaction.atomic
@once_view
def inside(request: HttpRequest) -> HttpResponse:
    """Save, then queue, in a transaction around the answer."""
    Group.objects.create(name=f"group {Group.objects.count()}")
    send.delay("eva@example.com")
    return HttpResponse("queued")


def done(request: HttpRequest) -> HttpResponse:
    return HttpResponse("|".join(f"{each.level} {each}" for each in get_messages(request)))


urlpatterns = [
    path("bare/", bare),
    path("redirecting/", redirecting),
    path("redirecting-async/", redirecting_async),
    path("bare-async/", bare_async),
    path("unavailable/", unavailable),
    path("broken/<int:number>/", broken),
    path("inside/", inside),
    path("done/", done, name="done"),
]


@pytest.fixture(autouse=True, params=["with the middleware", "without it"])
def _urls(request: pytest.FixtureRequest, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    if request.param == "without it":
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != OURS]


@pytest.fixture
def _atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)


def ask_async(*paths: str, user: User | None = None) -> list[Any]:
    """Post to each page in turn, in an event loop."""

    async def run() -> list[Any]:
        client = known_again(AsyncClient())
        if user is not None:
            await client.aforce_login(user)
        try:
            return [await client.post(path) for path in paths]
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(run())


def test_a_bare_decorator_answers_as_the_middleware_does(client: Client) -> None:
    """The view itself is left alone, its duplicate is a 409."""
    assert client.post("/bare/").content == b"queued"
    response = client.post("/bare/", headers={"accept": "application/json"})
    assert response.status_code == 409
    assert response["Content-Type"] == "application/problem+json"
    assert (response.json()["code"], response.json()["detail"]) == ("already_queued", OWN)


def test_redirect_with_a_message(client: Client) -> None:
    """A duplicate goes to the page that was named, with the label of the view."""
    assert client.post("/redirecting/").content == b"queued"
    response = client.post("/redirecting/", follow=True)
    assert response.redirect_chain == [("/done/", 302)]
    assert response.content.decode() == f"{INFO} {OWN.replace('request', 'monthly report')}"


def test_what_is_no_duplicate_is_the_views(client: Client) -> None:
    """Other methods, other answers, other errors."""
    assert client.get("/redirecting/").status_code == 405
    assert client.head("/redirecting/").status_code == 405
    with pytest.raises(ZeroDivisionError):
        client.get("/broken/7/")


def test_an_outage_never_redirects(client: Client) -> None:
    """A page elsewhere would look as if all were well."""
    response = client.post("/unavailable/")
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "Nothing was submitted; please try again." in response.content.decode()


@pytest.mark.usefixtures("_atomic_requests")
@pytest.mark.parametrize(("where", "kept"), [("/bare/", 1), ("/unavailable/", 0)])
def test_atomic_requests_are_rolled_back(client: Client, where: str, kept: int) -> None:
    """What the view did before it was refused is undone, as the exception would have."""
    for _each in range(2):
        client.post(where)
    assert Group.objects.count() == kept


def test_a_transaction_around_the_view_is_rolled_back(client: Client) -> None:
    """The decorator may stand inside ``transaction.atomic``."""
    assert client.post("/inside/").status_code == 200
    assert client.post("/inside/").status_code == 409
    assert Group.objects.count() == 1


def test_async_views() -> None:
    """Coroutines stay coroutines, and are answered alike."""
    assert iscoroutinefunction(bare_async)
    first, second = ask_async("/bare-async/", "/bare-async/")
    assert (first.content, second.status_code) == (b"queued", 409)


def test_async_views_know_who_asked() -> None:
    """One's own is told by one's own words, another's as a warning."""
    eva, ada = User.objects.create_user("eva"), User.objects.create_user("ada")
    first, second = ask_async("/redirecting-async/", "/redirecting-async/", user=eva)
    assert first.content == b"queued by eva"
    assert (second.status_code, second["Location"]) == (302, "/done/")
    ((level, message),) = [(each.level, str(each)) for each in get_messages(second.asgi_request)]
    assert (level, message) == (INFO, "Patience, please.")
    (other,) = ask_async("/redirecting-async/", user=ada)
    ((level, message),) = [(each.level, str(each)) for each in get_messages(other.asgi_request)]
    assert level == WARNING
    assert message.startswith("A colleague already")


def test_the_decorator_keeps_what_others_read() -> None:
    """Name, words and marks of the view stay on it."""
    assert (bare.__name__, bare.__doc__) == ("bare", "Save, then queue.")
