"""A duplicate at the end of a wizard of several forms (django-formtools)."""

from __future__ import annotations

from typing import Any

import pytest
from celery import shared_task
from django import forms
from django.contrib.auth.models import Group
from django.contrib.messages import get_messages
from django.http import HttpResponse, HttpResponseRedirect
from django.test import Client, override_settings
from django.urls import path
from formtools.wizard.views import CookieWizardView, NamedUrlSessionWizardView, SessionWizardView

from django_celery_once import QueueOnce
from django_celery_once.locks import open_store
from django_celery_once.mixins import OnceFormMixin
from testproject.redis_server import RedisServer
from tests.outages import caches_at

pytestmark = pytest.mark.django_db(transaction=True)

WORDS = "Your export is already being prepared. You don't need to send it again."


@shared_task(base=QueueOnce, name="tests.mixins_wizards.export", once={"keys": ["feed"]})
def export(feed: str, pk: int | None = None) -> None: ...


class Feed(forms.Form):
    feed = forms.CharField()


class Month(forms.Form):
    month = forms.CharField()


class Steps(OnceFormMixin):
    """Two forms, then a row and a task."""

    form_list = (("feed", Feed), ("month", Month))
    template_name = "web/form.html"
    once_label = "export"
    success_url = "/done/"

    def done(self, form_list: Any, **kwargs: Any) -> HttpResponse:
        Group.objects.create(name="saved " * (1 + Group.objects.count()))
        export.delay(form_list[0].cleaned_data["feed"])
        return HttpResponseRedirect("/done/")


class InSession(Steps, SessionWizardView):  # type: ignore[misc]
    prefix = "w"

    def get_prefix(self, *args: Any, **kwargs: Any) -> str:
        return "w"


class InCookie(Steps, CookieWizardView):  # type: ignore[misc]
    def get_prefix(self, *args: Any, **kwargs: Any) -> str:
        return "w"


class Anew(InSession):
    success_url = ""


class Again(InSession):
    once_on_duplicate = "rerender"


class Claiming(InSession):
    """One whose key is taken before it saves."""

    once_task = export

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        view: Any = self
        return {"feed": view.get_all_cleaned_data()["feed"]}

    def get_task_kwargs(self, form: Any) -> dict[str, Any]:
        return {**self.get_once_kwargs(form), "pk": Group.objects.get().pk}

    def done(self, form_list: Any, **kwargs: Any) -> HttpResponse:
        Group.objects.create(name="saved")
        return HttpResponseRedirect("/done/")


class ByAddress(Steps, NamedUrlSessionWizardView):  # type: ignore[misc]
    """Its steps have addresses, the last of which ends it by GET."""

    def get_prefix(self, *args: Any, **kwargs: Any) -> str:
        return "w"


urlpatterns = [
    path("session/", InSession.as_view()),
    path("cookie/", InCookie.as_view()),
    path("anew/", Anew.as_view()),
    path("again/", Again.as_view()),
    path("claiming/", Claiming.as_view()),
    path("named/<path:step>/", ByAddress.as_view(url_name="step"), name="step"),
]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


def walk(client: Client, where: str) -> Any:
    """Fill in both forms; return the answer to the last."""
    client.get(where)
    client.post(where, {"w-current_step": "feed", "feed-feed": "a"})
    return client.post(where, {"w-current_step": "month", "month-month": "May"})


def told(response: Any) -> list[str]:
    return [str(each) for each in get_messages(response.wsgi_request)]


@pytest.mark.parametrize("where", ["/session/", "/cookie/", "/anew/", "/claiming/"])
def test_a_duplicate_looks_like_a_success(client: Client, where: str) -> None:
    """It is over then: what was sent is forgotten, and the wizard begins anew."""
    first, second = walk(client, where), walk(client, where)
    assert (first.status_code, first["Location"]) == (302, "/done/")
    expected = where if where == "/anew/" else "/done/"
    assert (second.status_code, second["Location"]) == (302, expected)
    assert told(second) == [WORDS]
    last = client.post(where, {"w-current_step": "month", "month-month": "May"})
    assert last.status_code == 200  # a form of the wizard's, since the first step is missing


def test_what_saves_claims_first(client: Client) -> None:
    """``once_task`` is queued when it is done, and a duplicate saves nothing."""
    for _each in range(2):
        walk(client, "/claiming/")
    assert Group.objects.count() == 1
    held = open_store("locks").inspect(export.once_key("a"))
    assert held is not None
    assert held.hits == 1


def test_the_last_form_is_shown_again(client: Client) -> None:
    """On demand, with the sentence and what was sent."""
    walk(client, "/again/")
    response = walk(client, "/again/")
    assert (response.status_code, response.context["form"].errors) == (409, {"__all__": [WORDS]})
    assert response.context["form"]["month"].value() == "May"


@pytest.mark.parametrize("where", ["/session/", "/cookie/", "/claiming/"])
def test_an_outage_keeps_what_was_sent(client: Client, where: str) -> None:
    """The last form can be sent once more."""
    with RedisServer() as server, override_settings(CACHES=caches_at(server)):
        server.stop()
        response = walk(client, where)
    assert response.status_code == 503
    assert response.context["form"]["month"].value() == "May"
    again = client.post(where, {"w-current_step": "month", "month-month": "May"})
    assert (again.status_code, again["Location"]) == (302, "/done/")


def test_steps_with_addresses(client: Client) -> None:
    """The end is looked at: the message is on the page where a success goes."""
    answers = []
    for _each in range(2):
        client.get("/named/feed/")
        client.post("/named/feed/", {"w-current_step": "feed", "feed-feed": "a"})
        last = client.post("/named/month/", {"w-current_step": "month", "month-month": "May"})
        answers.append(client.get(last["Location"]))
    assert [(each.status_code, each["Location"]) for each in answers] == [(302, "/done/")] * 2
    assert told(answers[1]) == [WORDS]
