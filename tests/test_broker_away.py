"""A broker that is away: a view answers as for the lock store, and promises nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest
from celery import Celery
from django.contrib.auth.models import Group
from django.contrib.messages import ERROR, get_messages
from django.contrib.messages.views import SuccessMessageMixin
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.views.generic import CreateView, FormView
from kombu.exceptions import OperationalError

from django_celery_once import BrokerUnavailable, QueueOnce, leftovers
from django_celery_once.decorators import once_view
from django_celery_once.exceptions import NotQueued
from django_celery_once.locks import open_store
from django_celery_once.mixins import OnceFormMixin
from django_celery_once.signals import not_queued
from tests.guarded_tasks import report as reached
from tests.web import EmailForm, GroupForm

if TYPE_CHECKING:
    _CreateView = CreateView[Group, GroupForm]
    _FormView = FormView[EmailForm]
    _SuccessMessage = SuccessMessageMixin[GroupForm]
else:
    _CreateView, _FormView, _SuccessMessage = CreateView, FormView, SuccessMessageMixin

pytestmark = pytest.mark.django_db(transaction=True)

OUTAGE = "We couldn't confirm your request. Nothing was submitted; please try again."
ONLY_SAVED = (
    "What you sent was saved, but we couldn't start to work on it. Please tell us, and don't send "
    "it again."
)

#: Nobody listens at port 1.
away: Any = Celery("away", broker="redis://127.0.0.1:1/0", set_as_current=False)
away.conf.update(
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
    broker_transport_options={"max_retries": 1, "interval_start": 0},
)


@away.task(base=QueueOnce, name="tests.broker_away.report", shared=False)  # type: ignore[untyped-decorator]
def report(email: str) -> None: ...


@away.task(  # type: ignore[untyped-decorator]
    base=QueueOnce, name="tests.broker_away.welcome", once={"keys": ["audience"]}, shared=False
)
def welcome(audience: str, group_pk: int = 0) -> None: ...


away.close()  # no other test is to find it among this process' apps


class Queueing(OnceFormMixin, _FormView):
    """Queue, then redirect."""

    form_class = EmailForm
    template_name = "web/form.html"
    success_url = "/done/"

    def form_valid(self, form: Any) -> HttpResponse:
        report.delay(form.cleaned_data["email"])
        return super().form_valid(form)


class Claiming(OnceFormMixin, _FormView):
    """Let the mixin queue; there is no object."""

    form_class = EmailForm
    template_name = "web/form.html"
    success_url = "/done/"
    once_task = report

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        return {"email": form.cleaned_data["email"]}


class Creating(OnceFormMixin, _SuccessMessage, _CreateView):
    """Claim, save, queue, and promise."""

    model = Group
    form_class = GroupForm
    template_name = "web/form.html"
    success_url = "/done/"
    success_message = "We will send it."
    once_task = welcome

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        return {"audience": "all"}


@once_view
def decorated(request: HttpRequest) -> HttpResponse:
    """Queue from a function."""
    report.delay("a")
    return HttpResponse()


def plain(request: HttpRequest) -> HttpResponse:
    """Queue, and catch nothing."""
    report.delay("a")
    return HttpResponse()


def other_error(request: HttpRequest) -> HttpResponse:
    """Fail by an error of the same name that no task of ours has raised."""
    raise OperationalError


urlpatterns = [
    path("queueing/", Queueing.as_view()),
    path("claiming/", Claiming.as_view()),
    path("creating/", Creating.as_view()),
    path("decorated/", decorated),
    path("plain/", plain),
    path("other/", other_error),
]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture(params=[True, False], ids=["ATOMIC_REQUESTS", "autocommit"])
def atomic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tell whether each request has a transaction."""
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", request.param)
    return bool(request.param)


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """Collect what the signal tells."""
    seen: list[Any] = []

    def note(sender: Any, lock: Any, error: Any, **_signal: Any) -> None:
        seen.append((sender, lock.task, error))

    not_queued.connect(note)
    yield seen
    not_queued.disconnect(note)


def words(response: Any) -> list[tuple[int, str]]:
    """Return the messages of a response."""
    return [(each.level, each.message) for each in get_messages(response.wsgi_request)]


def is_free() -> bool:
    """Return whether no key is held."""
    return open_store("locks").scan().locks == ()


def test_a_call_is_celerys_error_by_a_name_of_its_own() -> None:
    """Name the task, chain the cause, free the key."""
    with pytest.raises(OperationalError) as raised:
        report.delay("a")
    error = raised.value
    assert isinstance(error, BrokerUnavailable)
    assert isinstance(error, NotQueued)
    assert type(error.__cause__) is OperationalError
    assert error.task_name == report.name
    assert str(error).startswith(f"{report.name} was not queued, since its broker can't be reached")
    assert is_free()


@pytest.mark.parametrize("where", ["/queueing/", "/claiming/"])
def test_a_form_is_shown_again(client: Client, atomic: bool, where: str) -> None:
    """Keep what was typed, and say that nothing was submitted: that is so."""
    response = client.post(where, {"email": "eva@example.com"})
    if atomic and where == "/claiming/":  # the view has ended when the commit fails to queue
        assert (response.status_code, words(response)) == (302, [(ERROR, ONLY_SAVED)])
    else:
        assert response.status_code == 503
        assert response.context["form"]["email"].value() == "eva@example.com"
        assert response.context["form"].errors["__all__"] == [OUTAGE]
    assert is_free()


def test_what_is_saved_is_not_sent_again(client: Client, atomic: bool) -> None:
    """Say so in the place of the success, on the page of the success."""
    response = client.post("/creating/", {"name": "authors"})
    assert (response.status_code, response["Location"]) == (302, "/done/")
    assert words(response) == [(ERROR, ONLY_SAVED)]
    assert Group.objects.count() == 1
    assert is_free()


@pytest.mark.parametrize(
    ("headers", "status"), [({"Accept": "application/json"}, 503), ({"HX-Request": "true"}, 200)]
)
def test_programs_are_told_too(
    client: Client, atomic: bool, headers: dict[str, str], status: int
) -> None:
    """Answer in the form that they prefer."""
    response = client.post("/creating/", {"name": "authors"}, headers=headers)
    assert response.status_code == status
    assert ONLY_SAVED.partition("'")[0] in response.content.decode()
    if status == 503:
        assert response.json()["code"] == "broker_unavailable"


@pytest.mark.parametrize("where", ["/decorated/", "/plain/"])
def test_other_views_answer_503(client: Client, where: str) -> None:
    """By the decorator, or by the middleware."""
    response = client.get(where, headers={"Accept": "application/json"})
    assert (response.status_code, response.json()["code"]) == (503, "broker_unavailable")
    assert response.json()["detail"] == OUTAGE


def test_an_error_that_is_not_ours_stays_one(client: Client) -> None:
    """Do not answer for what other tasks raise."""
    with pytest.raises(OperationalError):
        client.get("/other/")


def test_a_commit_tells_its_signal(told: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """Raise nothing, log it, and free the key."""
    with transaction.atomic():
        result = report.delay_on_commit("a")
        before = result.published
    [(sender, task, error)] = told
    assert sender.name == task == report.name
    assert isinstance(error, BrokerUnavailable)
    assert f"{report.name}[{result.id}] could not be queued at the commit" in caplog.text
    assert (before, result.published) == (None, False)
    assert is_free()


def test_a_run_more_at_a_commit_tells_it_too(told: list[Any]) -> None:
    """Let its caller see that nothing came of it."""
    with welcome.reserve("all"):
        with transaction.atomic():
            asked = {"on_duplicate": "rerun"}
            result = welcome.apply_async_on_commit(("all",), once=asked)
            before = result.published
        assert (before, result.published) == (None, False)
    assert [each[1] for each in told] == [welcome.name]


@pytest.mark.parametrize("rolled_back", [False, True])
def test_what_is_queued_at_the_commit_says_so(rolled_back: bool) -> None:
    """Tell a commit from a rollback."""
    with transaction.atomic():
        result = reached.delay_on_commit("a")
        before = result.published
        transaction.set_rollback(rolled_back)
    leftovers.free_abandoned()
    assert (before, result.published) == (None, not rolled_back)
    assert cast("Any", reached.delay("b")).published is True
