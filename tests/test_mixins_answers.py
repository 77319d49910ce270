"""What the mixins answer to whom: another person, a program, htmx, an outage, a transaction."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.contrib.messages import INFO, SUCCESS, WARNING, get_messages
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.generic import View

from django_celery_once import AlreadyQueued, LockUnavailable
from django_celery_once.mixins import OnceViewMixin
from django_celery_once.wording import Wording
from tests import web
from tests.browsers import known_again
from tests.web import EmailForm, GroupForm, send

pytestmark = pytest.mark.django_db(transaction=True)

EMAIL = {"email": "eva@example.com"}
AGAIN = "You don't need to send it again."
OWN = f"Your request is already being prepared. {AGAIN}"
OUTAGE = "We couldn't confirm your request. Nothing was submitted; please try again."
JSON = {"accept": "application/json"}
HTMX = {"hx-request": "true"}
NO_LOCKS = LockUnavailable(alias="locks")


class Exporting(OnceViewMixin, View):
    """Queue with any method."""

    once_label = "export"

    def get(self, request: HttpRequest) -> HttpResponse:
        Group.objects.create(name=f"group {Group.objects.count()}")
        send.delay("eva@example.com")
        return HttpResponse("queued")

    post = get


class ExportingAsync(OnceViewMixin, View):
    once_redirect_to = "/done/"

    async def post(self, request: HttpRequest) -> HttpResponse:
        send.delay("eva@example.com")
        return HttpResponse("queued")


class OwnAnswer(Exporting):
    def handle_already_queued(self, duplicate: AlreadyQueued) -> HttpResponse:
        return HttpResponse(f"as {duplicate.task_id}")


class Named(web.Queueing):
    """Name whoever asked first."""

    def get_requester_name(self, duplicate: AlreadyQueued) -> str:
        return str(User.objects.get(pk=duplicate.requested_by))


class ByTemplate(web.Queueing):
    once_wording = Wording(template="web/duplicate.html")


class Unavailable(web.Queueing):
    """Find the store of locks away."""

    def form_valid(self, form: EmailForm) -> HttpResponse:
        raise NO_LOCKS


class UnavailableTooLate(web.SuccessRightBase):
    """Tell a success, then find the store of locks away."""

    def form_valid(self, form: EmailForm) -> HttpResponse:
        super().form_valid(form)
        raise NO_LOCKS


class UnavailableCreate(web.Creating):
    """Save, then find the store of locks away."""

    def form_valid(self, form: GroupForm) -> HttpResponse:
        form.save()
        raise NO_LOCKS


class UnavailableOnLooking(Unavailable):
    """Find the store of locks away when the page is looked at."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        raise NO_LOCKS


class ExportingUnavailable(Exporting):
    once_redirect_to = "/done/"

    def post(self, request: HttpRequest) -> HttpResponse:
        raise NO_LOCKS


class OnLooking(web.Queueing):
    """Queue when the page is looked at."""

    success_url = "/looking/"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        send.delay("eva@example.com")
        return HttpResponse("queued")


class AsyncForm(web.Queueing):
    """Handle a form in an event loop."""

    async def get(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        return HttpResponse("form")

    async def post(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        await request.auser()
        form = self.get_form()
        assert form.is_valid()
        send.delay(form.cleaned_data["email"])
        return HttpResponse("queued")

    put = post  # type: ignore[assignment]


@method_decorator(transaction.atomic, name="dispatch")
class InTransaction(web.CreatingFirst):
    """Save and queue in a transaction around the view."""


class Slug(web.Updating):
    """Have an address that the form changes."""

    success_url = "/groups/{name}/"


def read(request: HttpRequest) -> JsonResponse:
    """Show the messages, which are read then."""
    return JsonResponse([(each.level, each.message) for each in get_messages(request)], safe=False)


urlpatterns = [
    path("read/", read),
    *web.urlpatterns,
    path("export/", Exporting.as_view()),
    path("export-async/", ExportingAsync.as_view()),
    path("export-own-answer/", OwnAnswer.as_view()),
    path("named/", Named.as_view()),
    path("template/", ByTemplate.as_view()),
    path("unavailable/", Unavailable.as_view()),
    path("unavailable-too-late/", UnavailableTooLate.as_view()),
    path("unavailable-create/", UnavailableCreate.as_view()),
    path("unavailable-on-looking/", UnavailableOnLooking.as_view()),
    path("export-unavailable/", ExportingUnavailable.as_view()),
    path("looking/", OnLooking.as_view()),
    path("async-form/", AsyncForm.as_view()),
    path("in-transaction/", InTransaction.as_view()),
    path("slug/<int:pk>/", Slug.as_view()),
]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def _atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)


def client_of(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.get_or_create(username=name)[0])
    return client


def told(response: Any) -> list[tuple[int, str]]:
    request = getattr(response, "wsgi_request", None) or response.asgi_request
    return [(each.level, each.message) for each in get_messages(request)]


@pytest.mark.parametrize("path", ["/success-left/", "/success-before/", "/success-too-soon/"])
def test_sequential_posts(path: str) -> None:
    """One person reads one success, then one piece of information, each on its own page."""
    client = client_of("eva")
    pages = []
    for _each in range(2):
        client.post(path, EMAIL)
        pages.append(client.get("/read/").json())
    success, ((level, text),) = pages
    assert success == [[SUCCESS, "It is on its way."]]
    assert level == INFO
    assert text.endswith(AGAIN)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/form/", "A colleague already asked for this monthly report just now."),
        ("/afterwards/", "A colleague already asked for this just now."),
        ("/named/", "Eva already asked for this monthly report just now."),
    ],
)
def test_another_persons_duplicate(path: str, sentence: str) -> None:
    """A warning that somebody else was first, by name only if the view says so."""
    client_of("eva").post("/form/", EMAIL)
    response = client_of("ada").post(path, EMAIL)
    assert (response.status_code, response["Location"]) == (302, "/done/")
    assert told(response) == [(WARNING, sentence)]


def test_a_template_may_hold_a_link(client: Client) -> None:
    """The message of a template is HTML, also in the form's error and not in JSON."""
    client.post("/form/", EMAIL)
    response = client.post("/template/", EMAIL)
    ((_level, text),) = told(response)
    assert text.startswith('<a href="/tasks/')
    assert hasattr(text, "__html__")
    problem = client.post("/template/", EMAIL, headers=JSON).json()
    assert problem["detail"].startswith(f"Your monthly report is already being prepared. {AGAIN}")


@pytest.mark.parametrize("path", ["/form/", "/rerender/", "/export/"])
def test_a_program_gets_a_problem(client: Client, path: str) -> None:
    """Whatever the view does for people, JSON is 409 with the code and the task."""
    first = client.post(path, EMAIL)
    assert first.status_code in {200, 302}
    response = client.post(path, EMAIL, headers=JSON)
    assert (response.status_code, response["Content-Type"]) == (409, "application/problem+json")
    assert response.json()["code"] == "already_queued"
    assert response.json()["task_id"]
    assert 1 <= int(response["Retry-After"]) <= 60
    assert "Accept" in response["Vary"]
    assert told(response) == []


def test_htmx_gets_a_fragment_or_the_form(client: Client) -> None:
    """With a status that it swaps: a sentence where success redirects, else the form."""
    client.post("/form/", EMAIL)
    response = client.post("/form/", EMAIL, headers=HTMX)
    assert response.status_code == 200
    assert response.content.startswith(b'<p class="once-answer" role="status">Your monthly report')
    assert told(response) == []
    response = client.post("/rerender/", EMAIL, headers=HTMX)
    assert response.status_code == 200
    assert response.context["form"].errors
    assert "HX-Request" in response["Vary"]
    assert "Retry-After" not in response


@pytest.mark.parametrize("path", ["/unavailable/", "/unavailable-too-late/"])
def test_an_outage_shows_the_form_again(client: Client, path: str) -> None:
    """503, with what was typed, one error, and no message of a success."""
    response = client.post(path, EMAIL)
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    form = response.context["form"]
    assert form.errors == {"__all__": [OUTAGE]}
    assert form["email"].value() == "eva@example.com"
    assert told(response) == []


def test_an_outage_for_programs_and_htmx(client: Client) -> None:
    """A problem, or the form with a status that is swapped."""
    response = client.post("/unavailable/", EMAIL, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (503, "lock_unavailable")
    response = client.post("/unavailable/", EMAIL, headers=HTMX)
    assert response.status_code == 200
    assert response.context["form"].errors == {"__all__": [OUTAGE]}


@pytest.mark.usefixtures("_atomic_requests")
def test_after_an_outage_nothing_was_submitted(client: Client) -> None:
    """What the view saved in its transaction is rolled back: the sentence is true."""
    response = client.post("/unavailable-create/", {"name": "authors"})
    assert response.status_code == 503
    assert not Group.objects.exists()


@pytest.mark.usefixtures("_atomic_requests")
def test_atomic_requests_undo_what_a_duplicate_saved(client: Client) -> None:
    """Two posts that save before they queue leave one object, and no way to a missing one."""
    first = client.post("/create-first/", {"name": "authors"})
    assert first["Location"] == f"/groups/{Group.objects.get().pk}/"
    second = client.post("/create-first/", {"name": "editors"})
    assert (second.status_code, second["Location"]) == (302, "/create-first/")
    assert told(second) == [(INFO, OWN)]
    assert Group.objects.get().name == "authors"


def test_a_transaction_around_the_view_is_undone_as_well(client: Client) -> None:
    """``transaction.atomic`` on ``dispatch`` is to a duplicate what ``ATOMIC_REQUESTS`` is."""
    client.post("/in-transaction/", {"name": "authors"})
    assert client.post("/in-transaction/", {"name": "editors"}).status_code == 302
    assert Group.objects.get().name == "authors"


@pytest.mark.usefixtures("_atomic_requests")
def test_atomic_requests_can_show_the_form_again(client: Client) -> None:
    """The page is made after the rollback, and may ask the database."""
    client.post("/create-rerender/", {"name": "authors"})
    response = client.post("/create-rerender/", {"name": "editors"})
    assert response.status_code == 409
    assert response.context["form"].errors == {"__all__": [OWN]}


def test_an_update_goes_to_where_the_object_is(client: Client) -> None:
    """What the refused form would have changed does not make the address."""
    send.delay("eva@example.com")
    group = Group.objects.create(name="authors")
    response = client.post(f"/slug/{group.pk}/", {"name": "editors"})
    assert response["Location"] == "/groups/authors/"


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_form_that_queues_when_looked_at(client: Client, method: str) -> None:
    """A page that answers itself with a redirect to itself would never be seen."""
    assert client.get("/looking/").content == b"queued"
    assert getattr(client, method)("/looking/").status_code == 409


def test_any_view(client: Client) -> None:
    """``OnceViewMixin`` answers as the middleware does, with a label of the view's own."""
    assert client.get("/export/").content == b"queued"
    response = client.get("/export/")
    assert response.status_code == 409
    assert "Your export is already being prepared." in response.content.decode()
    assert client.head("/export/").status_code == 409
    assert client.delete("/export/").status_code == 405
    assert client.get("/export-own-answer/").content.startswith(b"as ")


@pytest.mark.parametrize(
    ("method", "path"), [("post", "/export-unavailable/"), ("get", "/unavailable-on-looking/")]
)
def test_an_outage_where_there_is_no_form(client: Client, method: str, path: str) -> None:
    """Answer as the middleware does, and never by a redirect."""
    response = getattr(client, method)(path)
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response.context is None or "form" not in response.context
    assert "Nothing was submitted; please try again." in response.content.decode()


@pytest.mark.usefixtures("_atomic_requests")
def test_any_view_is_undone(client: Client) -> None:
    """What the view saved before its duplicate is gone."""
    for _each in range(2):
        client.post("/export/")
    assert Group.objects.count() == 1


def ask_async(path: str, times: int, user: User | None = None) -> list[Any]:
    async def run() -> list[Any]:
        client = known_again(AsyncClient())
        if user is not None:
            await client.aforce_login(user)
        try:
            return [await client.post(path, EMAIL) for _each in range(times)]
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(run())


@pytest.mark.parametrize("path", ["/export-async/", "/async-form/"])
def test_async_views(path: str) -> None:
    """Handlers that are coroutines are answered alike."""
    first, second = ask_async(path, 2)
    assert first.content == b"queued"
    assert (second.status_code, second["Location"]) == (302, "/done/")
    ((level, text),) = told(second)
    assert level == INFO
    assert text.endswith(AGAIN)


def test_async_forms_know_who_asked() -> None:
    """Who is logged in is told by one's own words, and others by a warning."""
    eva, ada = User.objects.create_user("eva"), User.objects.create_user("ada")
    own = ask_async("/async-form/", 2, eva)[-1]
    assert told(own) == [(INFO, f"Your monthly report is already being prepared. {AGAIN}")]
    (other,) = ask_async("/async-form/", 1, ada)
    assert told(other) == [(WARNING, "A colleague already asked for this monthly report just now.")]


def test_sync_views_in_an_event_loop() -> None:
    """A sync view under ASGI is answered alike."""
    first, second = ask_async("/form/", 2)
    assert [first.status_code, second.status_code] == [302, 302]
    assert len(told(second)) == 1
