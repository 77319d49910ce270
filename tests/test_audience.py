"""Who may see what of a call: each phase, way to name it and reader, as the README has it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.test import Client
from django.urls import include, path

from django_celery_once import AlreadyQueued
from django_celery_once.audience import Sight, who
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.requester import Requester
from tests.browsers import known_again
from tests.guarded_tasks import report
from tests.locks.stores import running
from tests.test_status import finish, take

pytestmark = pytest.mark.django_db

README = Path(__file__).resolve().parent.parent / "README.md"
HEADING = "| the page names the call by |"
SIGHTS = {"nothing": Sight.NOTHING, "its state": Sight.STANDING, "all": Sight.RESULT}
WAYS = ("result", "exception", "task id", "key", "link")
READERS = ("asker", "blocked", "stranger", "staff")
PHASES = ("reserved", "planned", "queued", "running", "kept", "over")


def table() -> list[list[str]]:
    """Return the cells of the README's table, without what names the call."""
    rows = README.read_text().partition(HEADING)[2].splitlines()[2:]
    cells = [[each.strip() for each in row.strip("|").split("|")] for row in rows[: len(WAYS)]]
    return [row[1:] for row in cells]


#: A call of the test's, and how its page names it.
shown: dict[str, Any] = {}


def show(request: HttpRequest) -> HttpResponse:
    markup = "{% load once %}{% once_status call key=key result_url='/may.pdf' %}"
    return HttpResponse(Template(markup).render(RequestContext(request, shown)))


def ask(request: HttpRequest) -> HttpResponse:
    return HttpResponse(report.delay("a").id)


urlpatterns = [
    path("show/", show),
    path("ask/", ask),
    path("once/", include("django_celery_once.urls")),
]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    shown.clear()


def logged_in(name: str, **fields: Any) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(name, **fields))
    return client


def reader(kind: str, asker: str) -> Client:
    """Return the browser of a reader; the one who asks is a user, or a visitor."""
    if kind == "asker" and asker == "visitor":
        return known_again(Client())
    return logged_in(kind, is_staff=kind == "staff")


def person(client: Client) -> dict[str, Any]:
    """Return what a lock says of somebody."""
    known = Requester("web", request=client.get("/show/").wsgi_request)
    return {"requester": known.user_id, "visitor": known.visitor}


def lock_in(phase: str, asked: dict[str, Any]) -> Lock:
    """Hold the key of a call in a phase."""
    key, store = report.once_key("a"), open_store("locks")
    of: dict[str, dict[str, Any]] = {
        "reserved": {"phase": Phase.RESERVED},
        "planned": {"begins": time.time() + 600},
        "kept": {"phase": Phase.KEPT, "until": "expired"},
    }
    lock = take(store, key=key, task=report.name, **asked, **of.get(phase, {}))
    if phase == "running":
        store.start(running(lock), 60)
    if phase in {"kept", "over"}:
        finish(lock.owner, "SUCCESS")
    return lock


def addresses_in(page: str) -> list[str]:
    return [str(each) for each in re.findall(r'data-once-url="([^"]+)"', page)]


def seen_at(client: Client, address: str, page: str = "") -> Sight:
    """Return what an address tells somebody, which is what its page shows."""
    response = client.get(address, headers={"accept": "application/json"})
    if response.status_code == 403:
        return Sight.NOTHING
    told = response.json()
    assert not page or bool(told["result_url"]) == ("may.pdf" in page)
    assert told["state"] != "done" or bool(told["result_url"]) == bool(told["task_id"])
    return Sight.RESULT if told["task_id"] else Sight.STANDING


def test_the_table_is_there() -> None:
    """Each row has a word for each reader."""
    assert [len(row) for row in table()] == [len(READERS)] * len(WAYS)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("asker", ["user", "visitor"])
@pytest.mark.parametrize(
    ("way", "kind", "expected"),
    [
        (way, kind, cell)
        for way, row in zip(WAYS, table(), strict=True)
        for kind, cell in zip(READERS, row, strict=True)
    ],
)
def test_who_sees_what(phase: str, asker: str, way: str, kind: str, expected: str) -> None:
    """As the table says; of a key that nobody holds, there is nothing to see."""
    first = reader("asker", asker)
    lock = lock_in(phase, person(first))
    client = first if kind == "asker" else reader(kind, asker)
    if kind == "blocked":
        assert client.get("/ask/").status_code == 409
    named = {
        "exception": AlreadyQueued.met(report.name, lock),
        "task id": lock.owner,
        "key": None,
    }
    shown.update(call=named.get(way, report.result_of(lock)), key=lock.key)
    if phase == "over":
        open_store("locks").force_release(lock.key)
    page = (logged_in("reader") if way == "link" else client).get("/show/").content.decode()
    if phase == "over" and way == "key":
        assert page == ""
        return
    sights = [seen_at(client, each, "" if way == "link" else page) for each in addresses_in(page)]
    assert sights == [SIGHTS[expected]] if page else expected == "nothing"


@pytest.mark.parametrize(("way", "own"), [("result", True), ("exception", False)])
def test_an_address_lasts_for_its_reader(way: str, own: bool) -> None:
    """Whoever asks next takes it from nobody, and the end shows the link where it is due."""
    first, second = logged_in("eva"), logged_in("ida")
    lock, store = lock_in("queued", person(first)), open_store("locks")
    met = report.result_of(lock) if own else AlreadyQueued.met(report.name, lock)
    shown.update(call=met, key=lock.key)
    (address,) = addresses_in(second.get("/show/").content.decode())
    finish(lock.owner, "SUCCESS")
    store.force_release(lock.key)
    take(store, key=lock.key, requester="99")
    told = second.get(address, headers={"accept": "application/json"}).json()
    assert (told["state"], told["result_url"]) == ("done", "/may.pdf" if own else "")
    assert [seen_at(each, address) for each in (first, Client())] == [Sight.NOTHING] * 2


def test_a_visitor_whose_session_begins_on_the_page() -> None:
    """The address goes on; to somebody who is logged in it shows nothing."""
    lock = lock_in("queued", {"requester": "", "visitor": ""})
    shown.update(call=report.result_of(lock), key=lock.key)
    client = Client()
    (address,) = addresses_in(client.get("/show/").content.decode())
    assert seen_at(known_again(client), address) is Sight.RESULT
    assert seen_at(logged_in("eva"), address) is Sight.NOTHING


def test_one_word_for_a_person() -> None:
    """A visitor is no user whose number is the same."""
    assert [who("7", ""), who("", "7"), who("", "")] == ["7", "~7", ""]
