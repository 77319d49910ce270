"""``once_task``: claim the key, save, publish at the commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from celery import shared_task
from celery.signals import before_task_publish
from django.contrib.auth.models import Group
from django.contrib.messages import INFO, SUCCESS, get_messages
from django.contrib.messages.views import SuccessMessageMixin
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import path
from django.views.generic import CreateView, FormView, UpdateView

from django_celery_once import QueueOnce
from django_celery_once.locks import open_store
from django_celery_once.mixins import OnceFormMixin
from testproject.redis_server import RedisServer
from tests.outages import caches_at
from tests.web import EmailForm, GroupForm

if TYPE_CHECKING:
    _CreateView = CreateView[Group, GroupForm]
    _UpdateView = UpdateView[Group, GroupForm]
    _FormView = FormView[EmailForm]
    _SuccessMessage = SuccessMessageMixin[GroupForm]
else:
    _CreateView, _UpdateView, _FormView = CreateView, UpdateView, FormView
    _SuccessMessage = SuccessMessageMixin

pytestmark = pytest.mark.django_db(transaction=True)

AGAIN = "You don't need to send it again."


@shared_task(base=QueueOnce, name="tests.mixins_task.welcome", once={"keys": ["audience"]})
def welcome(audience: str, group_pk: int) -> None: ...


@shared_task(base=QueueOnce, name="tests.mixins_task.mail")
def mail(email: str) -> None: ...


class Create(OnceFormMixin, _CreateView):
    """Claim, save, publish."""

    model = Group
    form_class = GroupForm
    template_name = "web/form.html"
    success_url = "/groups/{id}/"
    once_task = welcome

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        return {"audience": "everybody"}

    def get_task_kwargs(self, form: Any) -> dict[str, Any]:
        assert self.object is not None
        return {"audience": "everybody", "group_pk": self.object.pk}


class RefusedWhenSaving(Create):
    """Save, then find that it can't be."""

    def get_task_kwargs(self, form: Any) -> dict[str, Any]:
        raise ZeroDivisionError


class RolledBack(Create):
    """Do it all, and take it back."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with transaction.atomic():
            response = super().dispatch(request, *args, **kwargs)
            transaction.set_rollback(True)
        return response


class AnotherCall(Create):
    """Claim one key, and call with another."""

    def get_task_kwargs(self, form: Any) -> dict[str, Any]:
        return {**super().get_task_kwargs(form), "audience": "nobody"}


class Update(OnceFormMixin, _UpdateView):
    model = Group
    form_class = GroupForm
    template_name = "web/form.html"
    success_url = "/groups/{id}/"
    once_task = welcome
    once_on_duplicate = "rerender"

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        return {"audience": "everybody"}

    def get_task_kwargs(self, form: Any) -> dict[str, Any]:
        return {"audience": "everybody", "group_pk": self.object.pk}


class Mail(OnceFormMixin, _FormView):
    """Need no more than the arguments that make the key."""

    form_class = EmailForm
    template_name = "web/form.html"
    success_url = "/done/"
    once_task = mail
    once_label = "monthly report"

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        return {"email": form.cleaned_data["email"]}


class SuccessLeft(_SuccessMessage, Create):
    success_message = "It is on its way."


class Base(OnceFormMixin, _SuccessMessage, _CreateView):
    """Have the success message on the other side."""


class SuccessRight(Base):
    model = Group
    form_class = GroupForm
    template_name = "web/form.html"
    success_url = "/groups/{id}/"
    success_message = "It is on its way."
    once_task = welcome
    get_once_kwargs = Create.get_once_kwargs
    get_task_kwargs = Create.get_task_kwargs


class Unfinished(Mail):
    get_once_kwargs = OnceFormMixin.get_once_kwargs


urlpatterns = [
    path("create/", Create.as_view()),
    path("refused-when-saving/", RefusedWhenSaving.as_view()),
    path("rolled-back/", RolledBack.as_view()),
    path("another-call/", AnotherCall.as_view()),
    path("update/<int:pk>/", Update.as_view()),
    path("mail/", Mail.as_view()),
    path("success-left/", SuccessLeft.as_view()),
    path("success-right/", SuccessRight.as_view()),
    path("unfinished/", Unfinished.as_view()),
]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture(params=[True, False], ids=["ATOMIC_REQUESTS", "autocommit"])
def atomic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tell whether each request has a transaction."""
    value: bool = request.param
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", value)
    return value


@pytest.fixture
def calls() -> Iterator[list[tuple[dict[str, Any], bool]]]:
    """Collect the arguments of each published call, and whether a transaction was open."""
    seen: list[tuple[dict[str, Any], bool]] = []

    def note(body: Any, **_signal: Any) -> None:
        seen.append((body[1], transaction.get_connection().in_atomic_block))

    before_task_publish.connect(note, weak=False)  # Celery 5.4 loses sight of all after a dead one
    yield seen
    before_task_publish.disconnect(note)


def told(response: Any) -> list[tuple[int, str]]:
    return [(each.level, each.message) for each in get_messages(response.wsgi_request)]


def is_free() -> bool:
    """Return whether the key of the views is nobody's."""
    return open_store("locks").inspect(welcome.once_key("everybody", 0)) is None


def test_two_posts_make_one_object_and_one_call(client: Client, atomic: bool, calls: Any) -> None:
    """The second is refused before it saves; the call is made after the commit, with the pk."""
    first = client.post("/create/", {"name": "authors"})
    second = client.post("/create/", {"name": "editors"})
    group = Group.objects.get()
    assert group.name == "authors"
    assert first["Location"] == f"/groups/{group.pk}/"
    assert calls == [({"audience": "everybody", "group_pk": group.pk}, False)]
    assert (second.status_code, second["Location"]) == (302, "/create/")
    assert [level for level, _text in told(second)] == [INFO]


def test_an_update(client: Client, atomic: bool, calls: Any) -> None:
    """A refused update changes nothing and shows the form again."""
    group = Group.objects.create(name="authors")
    assert client.post(f"/update/{group.pk}/", {"name": "editors"}).status_code == 302
    second = client.post(f"/update/{group.pk}/", {"name": "readers"})
    assert second.status_code == 409
    assert second.context["form"].errors["__all__"][0].endswith(AGAIN)
    group.refresh_from_db()
    assert (group.name, len(calls)) == ("editors", 1)


def test_a_plain_form(client: Client, atomic: bool, calls: Any) -> None:
    """Where the key is made of all arguments, they need to be given once only."""
    for _each in range(2):
        response = client.post("/mail/", {"email": "eva@example.com"})
        assert response["Location"] == "/done/"
    assert calls == [({"email": "eva@example.com"}, False)]
    assert told(response) == [
        (INFO, f"Your monthly report is already being prepared. {AGAIN}"),
    ]


@pytest.mark.parametrize("where", ["/success-left/", "/success-right/"])
def test_success_message(client: Client, atomic: bool, where: str) -> None:
    """On either side: one success for the first, none for the second."""
    assert told(client.post(where, {"name": "authors"})) == [(SUCCESS, "It is on its way.")]
    ((level, text),) = told(Client().post(where, {"name": "editors"}))
    assert level == INFO
    assert text.endswith(AGAIN)


@pytest.mark.parametrize(
    ("where", "error"),
    [("/refused-when-saving/", ZeroDivisionError), ("/another-call/", ValueError)],
)
def test_an_error_after_the_claim_frees_the_key(
    client: Client, atomic: bool, calls: Any, where: str, error: type[Exception]
) -> None:
    """Nothing is published; with a transaction nothing is saved either."""
    with pytest.raises(error):
        client.post(where, {"name": "authors"})
    assert (calls, is_free()) == ([], True)
    assert Group.objects.exists() is not atomic


def test_an_invalid_form_claims_nothing(client: Client, atomic: bool) -> None:
    """Wrong input is answered as ever."""
    assert client.post("/create/", {"name": ""}).status_code == 200
    assert client.get("/create/").status_code == 200
    assert is_free()


def test_a_rollback_in_between(client: Client, atomic: bool, calls: Any) -> None:
    """A transaction that is rolled back after all went well leaves no object, call or lock."""
    client.post("/rolled-back/", {"name": "authors"})
    assert (calls, Group.objects.count(), is_free()) == ([], 0, True)
    client.post("/create/", {"name": "authors"})
    assert Group.objects.count() == len(calls) == 1


@pytest.mark.parametrize("where", ["/create/", "/success-right/"])
def test_an_outage_saves_nothing(
    spare_redis_server: RedisServer, settings: Any, client: Client, atomic: bool, where: str
) -> None:
    """The claim comes first, so that the sentence is true without a transaction, too."""
    settings.CACHES = caches_at(spare_redis_server)
    spare_redis_server.stop()
    response = client.post(where, {"name": "authors"})
    assert response.status_code == 503
    assert response.context["form"]["name"].value() == "authors"
    assert response.context["form"].errors == {
        "__all__": ["We couldn't confirm your request. Nothing was submitted; please try again."]
    }
    assert told(response) == []
    assert not Group.objects.exists()


def test_ten_at_once(atomic: bool, calls: Any) -> None:
    """Of ten people who send at the same moment one makes an object and a call."""
    together = threading.Barrier(10)
    answers: list[Any] = []

    def send(number: int) -> None:
        client = Client()
        together.wait(timeout=30)
        answers.append(client.post("/create/", {"name": f"group {number}"}))
        connections.close_all()

    threads = [threading.Thread(target=send, args=[number]) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [each.status_code for each in answers] == [302] * 10
    assert Group.objects.count() == len(calls) == 1
    assert sorted(len(told(each)) for each in answers) == [0] + [1] * 9


def test_what_is_missing_is_named(client: Client) -> None:
    """A mistake of the developer's is told with the way out."""
    with pytest.raises(ImproperlyConfigured, match=r"Unfinished .* get_once_kwargs\(form\)"):
        client.post("/unfinished/", {"email": "eva@example.com"})
