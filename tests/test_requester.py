"""Who is asking, and that finding out never harms the asker."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import DatabaseError, connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import resolve
from django.utils.functional import SimpleLazyObject

from django_celery_once import requester
from django_celery_once.requester import Known, Requester, asking, current, set_process_source


def web(user: Any = None, path: str = "/admin/") -> Requester:
    """Return the requester of a web call."""
    request = RequestFactory().get(path)
    if user is not None:
        request.user = user
    return Requester("web", request=request)


def lazy(pk: int) -> Any:
    """Return a user that is loaded when it is first looked at, as the middleware's is."""
    return SimpleLazyObject(lambda: User.objects.get(pk=pk))


@pytest.fixture
def _as_before() -> Iterator[None]:
    before = requester._process_source
    yield
    requester._process_source = before


def test_a_request_is_who_asks_inside_the_block_only() -> None:
    """Blocks nest, and end with their last statement, also by an error."""
    outer, inner = web(), web()
    with asking(outer):
        with suppress(ZeroDivisionError), asking(inner):
            assert current() is inner
            raise ZeroDivisionError
        assert current() is outer
    assert current().request is None


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/srv/site/manage.py", "import"], Requester("command", name="manage.py")),
        (["/usr/bin/django-admin"], Requester("command", name="django-admin")),
        (["/srv/site/script.py"], Requester("other", name="script.py")),
        ([], Requester("other")),
    ],
)
def test_outside_requests_the_program_asks(
    argv: list[str], expected: Requester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a request, the program's name has to do."""
    monkeypatch.setattr(sys, "argv", argv)
    assert current() == expected


@pytest.mark.usefixtures("_as_before")
def test_beat_says_so_itself() -> None:
    """Only Celery knows that a process is a beat."""
    set_process_source("beat")
    assert current().source == "beat"


@pytest.mark.django_db
def test_a_user_is_told_with_key_and_name() -> None:
    """Whoever is logged in is known by primary key and name."""
    user = User.objects.create_user("eva")
    known = web(lazy(user.pk))
    assert (known.user_id, known.label, known.path) == (str(user.pk), "eva", "/admin/")


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_nobody_is_logged_in(user: object) -> None:
    """Visitors, and sites without users, have no key and no name."""
    known = web(user)
    assert (known.user_id, known.label) == ("", "")


def test_the_view_is_told_by_name() -> None:
    """A resolved request knows its view, another does not."""
    known = web(path="/admin/login/")
    assert known.view_name == ""
    assert isinstance(known.request, HttpRequest)
    known.request.resolver_match = resolve("/admin/login/")
    assert known.view_name == "admin:login"


def test_what_is_not_the_web_has_a_name() -> None:
    """A task or a program is told by its name."""
    known = Requester("worker", name="reports.send")
    assert (known.user_id, known.label, known.path, known.view_name) == ("", "reports.send", "", "")


class Stranger:
    """A user of some other kind, as token authentication makes them."""

    is_authenticated = True

    def __str__(self) -> str:
        raise ZeroDivisionError


def test_users_of_another_kind_do_no_harm() -> None:
    """A user without a primary key, or one that can't be printed, is nobody."""
    assert (web(Stranger()).user_id, web(Stranger()).label) == ("", "")


@pytest.mark.django_db
def test_an_event_loop_can_not_load_users() -> None:
    """In an async view the user is unknown for now, and known afterwards."""
    user = User.objects.create_user("eva")
    known = web(lazy(user.pk))

    async def view() -> tuple[str, str]:
        return known.user_id, known.label

    assert asyncio.run(view()) == ("", "")
    assert known.label == "eva"


@pytest.mark.django_db(transaction=True)
def test_an_async_view_may_have_loaded_the_user() -> None:
    """What ``await request.auser()`` found is known in the event loop, too."""
    user = User.objects.create_user("eva")
    client = Client()
    client.force_login(user)
    request = RequestFactory().get("/")
    request.COOKIES = {settings.SESSION_COOKIE_NAME: client.cookies["sessionid"].value}
    known = Requester("web", request=request)

    async def view(_request: HttpRequest) -> HttpResponse:
        before = known.user_id
        await request.auser()
        return HttpResponse(f"{before} {known.user_id}")

    middleware = SessionMiddleware(AuthenticationMiddleware(view))

    async def run() -> Any:
        try:
            return await middleware(request)  # type: ignore[misc]
        finally:
            await sync_to_async(connections.close_all)()

    assert asyncio.run(run()).content == f" {user.pk}".encode()


@pytest.mark.django_db(transaction=True)
def test_a_broken_transaction_can_not_load_users() -> None:
    """After an error in a transaction the user is unknown for now, and known afterwards."""
    user = User.objects.create_user("eva")
    known = web(lazy(user.pk))
    with transaction.atomic():
        with pytest.raises(DatabaseError), transaction.atomic(savepoint=False):
            connection.cursor().execute("SELECT nonsense FROM nowhere")
        assert (known.user_id, known.label) == ("", "")
        assert connection.needs_rollback
        transaction.set_rollback(True)
    assert known.label == "eva"


@pytest.mark.django_db
def test_whoever_was_seen_stays_known() -> None:
    """A view that logs out after it queued a task was still somebody's."""
    known = web(User.objects.create_user("eva")).seen()
    assert isinstance(known.request, HttpRequest)
    known.request.user = AnonymousUser()
    assert known.label == "eva"


@pytest.mark.django_db
def test_what_is_known_needs_no_request() -> None:
    """In words, whoever asked can be kept for as long as one likes."""
    user = User.objects.create_user("eva")
    known = web(user, path="/reports/")
    assert known.known() == Known("web", str(user.pk), "eva", "/reports/", "")
    assert Requester("beat", name="beat").known() == Known("beat", "", "beat", "", "")


@pytest.mark.parametrize(
    ("words", "is_flower"),
    [("-A site flower --port=5555", True), ("-A site worker", False), ("-A site beat", False)],
)
def test_flower_is_told_from_celerys_other_programs(
    words: str, is_flower: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They load it, too, as one of their commands."""
    importlib.import_module("flower.app")
    monkeypatch.setattr(sys, "argv", ["celery", *words.split()])
    assert requester.is_flower() is is_flower
