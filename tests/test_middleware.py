"""The middleware: who asks, kind answers, and rows that survive the view's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.db import connections, transaction
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory

from django_celery_once.middleware import AlreadyQueuedMiddleware
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.requester import current
from tests.browsers import known_again
from tests.duplicates import count, refuse
from tests.sql import statements

pytestmark = pytest.mark.django_db
real_transactions = pytest.mark.django_db(transaction=True)

OURS = "django_celery_once.middleware.AlreadyQueuedMiddleware"
JSON = "application/problem+json"

Get = Callable[..., Any]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.web"


def get_sync(path: str, accept: str = "*/*") -> Any:
    """Ask the WSGI handler."""
    return known_again(Client()).get(path, headers={"accept": accept})


def get_async(path: str, accept: str = "*/*") -> Any:
    """Ask the ASGI handler."""
    return run_async(known_again(AsyncClient()).get(path, headers={"accept": accept}))


def run_async(asking: Awaitable[Any]) -> Any:
    """Run a coroutine, and close what its thread has opened."""

    async def run() -> Any:
        try:
            return await asking
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(run())


both = pytest.mark.parametrize("get", [get_sync, get_async])


@both
@pytest.mark.parametrize("accept", ["*/*", "text/html,*/*;q=0.8", "image/png", ""])
def test_a_page_for_browsers(get: Get, accept: str) -> None:
    """A browser gets a 409 page that reassures."""
    response = get("/refuse/?countdown=12.2", accept)
    assert response.status_code == 409
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert response["Retry-After"] == "13"
    assert "Accept" in response["Vary"]
    text = response.content.decode()
    assert text.count("Already on its way") == 2
    assert "You don&#x27;t need to send it again." in text


@both
@pytest.mark.parametrize(
    "accept", ["application/json", "application/problem+json", "text/html;q=0.5, application/json"]
)
def test_a_problem_for_programs(get: Get, accept: str) -> None:
    """A program gets the same as problem+json."""
    response = get("/refuse/?countdown=12.2", accept)
    assert response.status_code == 409
    assert response["Content-Type"] == JSON
    assert response["Retry-After"] == "13"
    assert "Accept" in response["Vary"]
    assert response.json() == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "This request is already being prepared (started just now). "
        "You don't need to send it again.",
        "code": "already_queued",
    }


@real_transactions
@both
def test_the_problem_names_the_task_in_flight(get: Get) -> None:
    """A program can follow the task that was accepted."""
    first = get("/queue/")
    assert first.status_code == 200
    problem = get("/queue/", "application/json").json()
    assert problem["task_id"] == BlockedDuplicate.objects.get().holder_task_id


@both
@pytest.mark.parametrize(
    ("accept", "kind"), [("text/html", "text/html"), ("application/json", JSON)]
)
def test_an_outage_is_a_503(get: Get, accept: str, kind: str) -> None:
    """An outage says that nothing was submitted, and never that it was."""
    response = get("/outage/", accept)
    assert response.status_code == 503
    assert response["Content-Type"].startswith(kind)
    assert response["Retry-After"] == "5"
    assert "Accept" in response["Vary"]
    assert "Nothing was submitted; please try again." in response.content.decode()
    assert "already" not in response.content.decode().lower()


@pytest.mark.parametrize(
    ("countdown", "retry_after"),
    [
        ("0", "1"),
        ("-5", "1"),
        ("0.2", "1"),
        ("1", "1"),
        ("59.2", "60"),
        ("60", "60"),
        ("86400", "60"),
        ("inf", "60"),
        ("nan", "1"),
    ],
)
def test_retry_after_is_short_and_whole(countdown: str, retry_after: str) -> None:
    """``Retry-After`` is an integer from 1 to 60, whatever is left of the lock."""
    assert get_sync(f"/refuse/?countdown={countdown}")["Retry-After"] == retry_after


@both
def test_other_errors_are_none_of_its_business(get: Get) -> None:
    """What is neither duplicate nor outage goes its way."""
    with pytest.raises(ZeroDivisionError):
        get("/fail/")


def test_the_page_speaks_the_languages_direction(settings: Any) -> None:
    """The page says its language, and is written from right to left where that is read."""
    assert '<html lang="en">' in get_sync("/refuse/?countdown=1").content.decode()
    settings.LANGUAGE_CODE = "he"
    assert '<html lang="he" dir="rtl">' in get_sync("/refuse/?countdown=1").content.decode()


def test_the_page_is_well_formed() -> None:
    """Every element that is opened is closed, and the message is announced."""
    opened: list[str] = []
    roles: list[str | None] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            roles.extend(value for name, value in attrs if name == "role")
            if tag != "meta":
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Reader().feed(get_sync("/refuse/?countdown=1").content.decode())
    assert opened == []
    assert roles == ["status"]


def test_who_asked_is_recorded(client: Client) -> None:
    """The attempt has the user, the page and the view."""
    user = User.objects.create_user("eva")
    client.force_login(user)
    client.get("/queue/")
    client.get("/queue/")
    attempt = BlockedAttempt.objects.get()
    assert attempt.user == user
    assert (attempt.requester, attempt.source) == ("eva", "web")
    assert (attempt.path, attempt.view_name) == ("/queue/", "plain:queue")


def test_visitors_are_recorded_without_a_name(client: Client) -> None:
    """A visitor who is not logged in leaves the page only."""
    client.get("/queue/")
    client.get("/queue/")
    attempt = BlockedAttempt.objects.get()
    assert (attempt.user, attempt.requester, attempt.path) == (None, "", "/queue/")


@real_transactions
@pytest.mark.parametrize("path", ["/queue-async/", "/queue-in-thread/"])
def test_async_views_are_recorded(path: str) -> None:
    """An async view's duplicate has its row, with user, when the answer is there."""
    user = User.objects.create_user("eva")
    client = AsyncClient()
    client.force_login(user)

    async def twice() -> list[int]:
        return [(await client.get(path)).status_code for _each in range(2)]

    assert run_async(twice()) == [200, 409]
    attempt = BlockedAttempt.objects.get()
    assert (attempt.user, attempt.requester, attempt.path) == (user, "eva", path)


@pytest.fixture
def _atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)


@real_transactions
@pytest.mark.usefixtures("_atomic_requests")
@both
def test_atomic_requests_keep_the_row(get: Get) -> None:
    """The view's own data is rolled back, the row is there with the answer."""
    assert get("/queue/").content == b"queued True"
    assert get("/queue/").status_code == 409
    assert Group.objects.count() == 1
    assert BlockedDuplicate.objects.get().rejections == 1


@real_transactions
@pytest.mark.usefixtures("_atomic_requests")
def test_atomic_requests_without_the_middleware(settings: Any) -> None:
    """Without the middleware the answer is a 500, and the row is there all the same."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != OURS]
    client = Client(raise_request_exception=False)
    client.get("/queue/")
    assert client.get("/queue/").status_code == 500
    assert Group.objects.count() == 1
    attempt = BlockedAttempt.objects.get()
    assert (attempt.source, attempt.path) == ("other", "")


def refuse_and_roll_back(request: Any) -> HttpResponse:
    """Be a view whose transaction fails after a duplicate."""
    with transaction.atomic():
        refuse()
        transaction.set_rollback(True)
    return HttpResponse()


@real_transactions
def test_rows_are_written_before_the_answer_leaves() -> None:
    """The middleware writes them itself, while the request's connections are open."""
    AlreadyQueuedMiddleware(refuse_and_roll_back)(RequestFactory().get("/"))
    assert count() == 1


@real_transactions
def test_rows_are_written_before_the_answer_leaves_async() -> None:
    """In an event loop as well, from a thread."""
    middleware = AlreadyQueuedMiddleware(sync_to_async(refuse_and_roll_back))
    answer: Any = middleware(RequestFactory().get("/"))
    run_async(answer)
    assert count() == 1


@real_transactions
def test_a_request_without_duplicates_costs_no_query() -> None:
    """The middleware asks the database nothing of its own."""
    with statements() as sql:
        get_sync("/refuse/?countdown=1")
    assert sql == []


def test_nobody_asks_after_the_request() -> None:
    """What runs after the answer is not the request's any more."""
    asked = []

    def view(request: Any) -> HttpResponse:
        asked.append(current())
        return HttpResponse()

    request = RequestFactory().get("/")
    AlreadyQueuedMiddleware(view)(request)
    assert asked[0].request is request
    assert current().request is None


def test_requests_in_one_loop_are_kept_apart() -> None:
    """Two async requests that run at the same time know each their own requester."""
    paths: dict[str, str] = {}
    together = asyncio.Barrier(2)

    async def view(request: Any) -> HttpResponse:
        await together.wait()
        paths[request.path] = current().path
        return HttpResponse()

    middleware = AlreadyQueuedMiddleware(view)

    async def both_at_once() -> None:
        requests = [RequestFactory().get(path) for path in ("/a/", "/b/")]
        await asyncio.gather(*(middleware(request) for request in requests))  # type: ignore[arg-type]

    asyncio.run(both_at_once())
    assert paths == {"/a/": "/a/", "/b/": "/b/"}
