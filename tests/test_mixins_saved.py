"""A duplicate, or an outage, that is found when the form is saved: say no more than is true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from celery import shared_task
from django.contrib.auth.models import Group
from django.contrib.messages import ERROR, INFO, WARNING, get_messages
from django.db import connections
from django.forms import modelform_factory
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from django.views.generic import CreateView, FormView, UpdateView
from extra_views import ModelFormSetView
from kombu.exceptions import OperationalError

from django_celery_once import QueueOnce
from django_celery_once.mixins import OnceFormMixin
from testproject.redis_server import RedisServer
from tests.celery_app import app
from tests.outages import caches_at
from tests.web import GroupForm

if TYPE_CHECKING:
    _CreateView = CreateView[Group, GroupForm]
    _UpdateView = UpdateView[Group, GroupForm]
    _FormView = FormView[GroupForm]
else:
    _CreateView, _UpdateView, _FormView = CreateView, UpdateView, FormView

pytestmark = pytest.mark.django_db(transaction=True)

TOO_LATE = (
    "What you sent was saved, but nothing new was started for it, since the same was already asked "
    "for."
)
ONLY_SAVED = (
    "What you sent was saved, but we couldn't start to work on it. Please tell us, and don't send "
    "it again."
)
MANAGED = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "0", "form-0-name": "editors"}


@shared_task(base=QueueOnce, name="tests.mixins_saved.index")
def index() -> None: ...


class After(OnceFormMixin):
    """Queue when the view has saved."""

    template_name = "web/form.html"
    success_url = "/done/"

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        index.delay()
        return response


class Before(OnceFormMixin):
    """Queue before the view saves."""

    template_name = "web/form.html"
    success_url = "/done/"

    def form_valid(self, form: Any) -> HttpResponse:
        index.delay()
        return super().form_valid(form)


class Create(After, _CreateView):
    model = Group
    form_class = GroupForm


class Update(After, _UpdateView):
    model = Group
    form_class = GroupForm


class Form(OnceFormMixin, _FormView):
    """Save in ``form_valid``, as many do."""

    form_class = GroupForm
    template_name = "web/form.html"
    success_url = "/done/"

    def form_valid(self, form: GroupForm) -> HttpResponse:
        form.save()
        index.delay()
        return super().form_valid(form)


class QueueingForm(modelform_factory(Group, fields=["name"])):  # type: ignore[misc]
    """Queue in ``save()``."""

    def save(self, commit: bool = True) -> Any:
        saved = super().save(commit=commit)
        index.delay()
        return saved


class SavingForm(OnceFormMixin, _CreateView):
    model = Group
    form_class = QueueingForm
    template_name = "web/form.html"
    success_url = "/done/"


class Rows(OnceFormMixin, ModelFormSetView):  # type: ignore[misc]
    model = Group
    fields = ("name",)
    template_name = "web/formset.html"
    success_url = "/done/"

    def formset_valid(self, formset: Any) -> Any:
        response = super().formset_valid(formset)
        index.delay()
        return response

    def get_queryset(self) -> Any:
        return Group.objects.none()


class CreateBefore(Before, _CreateView):
    model = Group
    form_class = GroupForm


class NotCommitted(OnceFormMixin, _FormView):
    """Save no more than in memory."""

    form_class = GroupForm
    template_name = "web/form.html"
    success_url = "/done/"

    def form_valid(self, form: GroupForm) -> HttpResponse:
        form.save(commit=False)
        index.delay()
        return super().form_valid(form)


urlpatterns = [
    path("create/", Create.as_view()),
    path("create-rerender/", Create.as_view(once_on_duplicate="rerender")),
    path("update/<int:pk>/", Update.as_view()),
    path("form/", Form.as_view()),
    path("saving-form/", SavingForm.as_view()),
    path("rows/", Rows.as_view()),
    path("before/", CreateBefore.as_view()),
    path("not-committed/", NotCommitted.as_view()),
]
SAVING = ["/create/", "/create-rerender/", "/form/", "/saving-form/", "/rows/"]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def _atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)


def post(where: str) -> Any:
    return Client().post(where, {"name": "editors", **MANAGED})


def told(response: Any) -> list[tuple[int, str]]:
    return [(each.level, str(each.message)) for each in get_messages(response.wsgi_request)]


@pytest.mark.parametrize("where", SAVING)
def test_a_duplicate(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """Say what was saved, and that nothing was started; name the view for its developer."""
    index.delay()
    response = post(where)
    assert (response.status_code, response["Location"]) == (302, "/done/")
    assert told(response) == [(WARNING, TOO_LATE)]
    assert Group.objects.count() == 1
    [record] = [each for each in caplog.records if each.name == "django_celery_once.mixins"]
    assert record.levelname == "WARNING"
    assert "saved its form before its task could be queued" in record.getMessage()
    assert "Let once_task queue it" in record.getMessage()


def test_a_duplicate_of_a_change(caplog: pytest.LogCaptureFixture) -> None:
    """Know a row that was there before, too."""
    group = Group.objects.create(name="authors")
    index.delay()
    assert told(post(f"/update/{group.pk}/")) == [(WARNING, TOO_LATE)]
    group.refresh_from_db()
    assert group.name == "editors"
    assert "Update saved its form" in caplog.text


@pytest.mark.usefixtures("_atomic_requests")
@pytest.mark.parametrize("where", [each for each in SAVING if "rerender" not in each])
def test_what_is_undone_was_not_saved(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """Tell a duplicate as ever where its transaction is rolled back."""
    index.delay()
    ((level, text),) = told(post(where))
    assert level == INFO
    assert "You don't need to send it again." in text
    assert not Group.objects.exists()
    assert "saved its form" not in caplog.text


@pytest.mark.parametrize("where", ["/before/", "/not-committed/"])
def test_what_is_not_saved_yet(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """Tell a duplicate as ever where it is found in time."""
    index.delay()
    ((level, _text),) = told(post(where))
    assert level == INFO
    assert not Group.objects.exists()
    assert "saved its form" not in caplog.text


@contextmanager
def _no_broker(_server: RedisServer, _settings: Any) -> Iterator[None]:
    with patch.object(app, "send_task", side_effect=OperationalError("away")):
        yield


@contextmanager
def _no_locks(server: RedisServer, settings: Any) -> Iterator[None]:
    settings.CACHES = caches_at(server)
    server.stop()
    yield


@pytest.mark.parametrize("outage", [_no_broker, _no_locks])
@pytest.mark.parametrize("where", ["/create/", "/saving-form/", "/rows/"])
def test_an_outage(
    spare_redis_server: RedisServer, settings: Any, outage: Callable[..., Any], where: str
) -> None:
    """Do not say that nothing was submitted."""
    with outage(spare_redis_server, settings):
        response = post(where)
    assert (response.status_code, response["Location"]) == (302, "/done/")
    assert told(response) == [(ERROR, ONLY_SAVED)]
    assert Group.objects.count() == 1


def test_an_outage_in_time() -> None:
    """Show the form again."""
    with patch.object(app, "send_task", side_effect=OperationalError("away")):
        response = post("/before/")
    assert response.status_code == 503
    assert not Group.objects.exists()
