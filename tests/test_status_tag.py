"""``{% once_status %}``, the address it asks, and ``{% once_submit_guard %}``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.urls import include, path

from django_celery_once.locks import LockStore, open_store
from django_celery_once.status import Reference
from tests.configurations import once
from tests.guarded_tasks import report
from tests.locks.stores import running
from tests.test_status import finish, take

pytestmark = pytest.mark.django_db


def page(request: HttpRequest) -> HttpResponse:
    """Ask for a report and show how it stands, as a view of a project would."""
    result = report.apply_async((request.GET["email"],), once={"on_duplicate": "reject"})
    markup = "{% load once %}{% once_status call key label='May report' result_url='/may.pdf' %}"
    key = report.once_key(request.GET["email"])
    return HttpResponse(
        Template(markup).render(Context({"request": request, "call": result.id, "key": key}))
    )


urlpatterns = [path("page/", page), path("once/", include("django_celery_once.urls"))]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.test_status_tag"


@pytest.fixture
def store() -> LockStore:
    return open_store("locks")


def render(markup: str, client: User | None = None, **context: Any) -> str:
    request = RequestFactory().get("/")
    if client is not None:
        request.user = client
    return Template("{% load once %}" + markup).render(Context({"request": request, **context}))


def address_in(markup: str) -> str:
    (address,) = re.findall(r'data-once-url="([^"]+)"', markup)
    return str(address)


def ask(client: Client, address: str, accept: str = "text/html") -> Any:
    return client.get(address, headers={"accept": accept})


def test_from_the_page_to_the_end(client: Client, store: LockStore) -> None:
    """The page says it first, and its address goes on from there."""
    markup = client.get("/page/?email=a").content.decode()
    assert 'role="status"' in markup
    assert "May report:" in markup
    assert "Waiting for its turn." in markup
    assert "Reload the page" in markup
    assert "may.pdf" not in markup
    address = address_in(markup)
    lock = store.inspect(report.once_key("a"))
    assert lock is not None
    started = running(lock)
    store.start(started, 60)
    assert "Being prepared." in ask(client, address).content.decode()
    finish(lock.owner, "SUCCESS")
    store.release(started)
    ended = ask(client, address)
    words = ended.content.decode()
    assert "Done." in words
    assert '<a href="/may.pdf">' in words
    assert "data-once-finished" in words
    assert "Reload" not in words
    assert "no-store" in ended["Cache-Control"]
    assert {"Accept", "Cookie"} <= set(ended["Vary"].split(", "))


def test_a_program_gets_json(client: Client, store: LockStore) -> None:
    """The same, for a page with a script of its own."""
    address = address_in(client.get("/page/?email=a").content.decode())
    lock = store.inspect(report.once_key("a"))
    assert lock is not None
    told = ask(client, address, "application/json").json()
    assert told.pop("since").startswith("20")
    assert told == {
        "state": "queued",
        "finished": False,
        "sentence": "Waiting for its turn.",
        "begins": None,
        "task_id": lock.owner,
        "result_url": "",
    }


def test_only_for_whoever_the_page_was_made_for(client: Client, store: LockStore) -> None:
    """The address is of no use to another, while the lock is there and after."""
    eva, ida = User.objects.create_user("eva"), User.objects.create_user("ida")
    taken = take(store, requester=str(eva.pk))
    address = address_in(render("{% once_status call key %}", eva, call=taken.owner, key=taken.key))
    stranger, own = Client(), Client()
    stranger.force_login(ida)
    own.force_login(eva)
    assert [ask(each, address).status_code for each in (own, stranger, client)] == [200, 403, 403]
    store.release(taken)
    assert [ask(each, address).status_code for each in (own, stranger, client)] == [200, 403, 403]
    assert render("{% once_status key=key %}", ida, key=taken.key) == ""


def test_a_policy_may_open_it(store: LockStore) -> None:
    """A bare key shows nobody's call to another, unless the project says so."""
    eva, ida = User.objects.create_user("eva"), User.objects.create_user("ida")
    taken = take(store, requester=str(eva.pk))
    assert render("{% once_status key=key %}", ida, key=taken.key) == ""
    with once(STATUS_POLICY="tests.test_status.Everybody"):
        assert "once-status" in render("{% once_status key=key %}", ida, key=taken.key)


def test_a_made_up_address(client: Client) -> None:
    """Nothing is there."""
    for token in ("nonsense", "a:b:c", Reference("x").token()[:-1]):
        assert ask(client, f"/once/status/{token}/").status_code == 404


def test_only_reading(client: Client) -> None:
    """A POST is refused."""
    assert client.post(f"/once/status/{Reference('x').token()}/").status_code == 405


@pytest.mark.parametrize("call", [None, "", "{% nothing %}"])
def test_nothing_to_follow(call: str | None) -> None:
    """A page that was not asked for anything yet has an empty place."""
    markup = "{% once_status call %}" if call != "{% nothing %}" else "{% once_status nothing %}"
    assert render(markup, call=call) == ""
    assert render("{% once_status key='once:nobody:holds' %}") == ""


def test_a_project_without_the_address(settings: Any, store: LockStore) -> None:
    """The status is there, a reload shows the next; no script asks for what is not there."""
    settings.ROOT_URLCONF = "tests.urls"
    taken = take(store, requester="")
    markup = render("{% once_status call key %}", call=taken.owner, key=taken.key)
    assert "Waiting for its turn." in markup
    assert "script" not in markup.replace("noscript", "")
    assert "data-once-url" not in markup


def test_words_of_others_are_escaped(store: LockStore) -> None:
    """A label may be what somebody typed."""
    taken = take(store, requester="")
    markup = render(
        "{% once_status call key label=label %}",
        call=taken.owner,
        key=taken.key,
        label="<script>alert(1)</script>",
    )
    assert "<script>alert" not in markup
    assert "&lt;script&gt;alert(1)" in markup


def test_each_script_once_a_page(store: LockStore) -> None:
    """However many calls a page follows."""
    taken = take(store, requester="")
    tag = "{% once_status call key %}"
    markup = render(
        tag + tag + "{% once_submit_guard %}{% once_submit_guard %}",
        call=taken.owner,
        key=taken.key,
    )
    names = re.findall(
        r'<script src="/static/django_celery_once/([\w-]+\.js)" defer></script>', markup
    )
    assert sorted(names) == ["status.js", "submit-guard.js"]
    for name in names:
        assert (
            Path(str(finders.find(f"django_celery_once/{name}")))
            .read_text()
            .startswith('"use strict"')
        )


def test_the_tag_wants_a_request() -> None:
    """A page without one can't tell who looks at it."""
    with pytest.raises(ImproperlyConfigured, match="needs the request"):
        Template("{% load once %}{% once_status 'x' %}").render(Context())


def test_the_tag_wants_a_call() -> None:
    """A wrong argument says what is right."""
    with pytest.raises(TypeError, match="once_status takes what delay"):
        render("{% once_status 7 %}")
