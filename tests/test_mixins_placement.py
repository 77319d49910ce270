"""Mixins where they would do nothing are refused when the class is made."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task, shared_task
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.forms import formset_factory
from django.test import RequestFactory
from django.views.generic import CreateView, DeleteView, FormView, TemplateView, View
from extra_views import CreateWithInlinesView, FormSetView, ModelFormSetView
from formtools.wizard.views import SessionWizardView

from django_celery_once import QueueOnce
from django_celery_once.mixins import OnceFormMixin, OnceViewMixin
from tests.guarded_tasks import report
from tests.web import EmailForm

pytestmark = pytest.mark.django_db(transaction=True)


class Own(OnceFormMixin):
    """A project's own mixin, with its own words."""


class Form(FormView):  # type: ignore[type-arg]
    """A project's own view."""


@pytest.mark.parametrize(
    ("bases", "name"),
    [
        ((FormView, OnceFormMixin), "OnceFormMixin"),
        ((View, OnceViewMixin), "OnceViewMixin"),
        ((TemplateView, OnceViewMixin), "OnceViewMixin"),
        ((Form, OnceFormMixin), "OnceFormMixin"),
        ((CreateView, Own), "Own"),
    ],
)
def test_right_of_a_view(bases: tuple[type, ...], name: str) -> None:
    """Say what to write instead."""
    words = rf"Wrong: {name} does nothing right of a view. Name it first: class Wrong\({name}, …\)"
    with pytest.raises(ImproperlyConfigured, match=words):
        type("Wrong", bases, {})


@pytest.mark.parametrize("view", [View, TemplateView])
def test_no_form(view: type) -> None:
    """Say which mixin is for it."""
    with pytest.raises(ImproperlyConfigured, match=r"has none\. Use OnceViewMixin, or a Form"):
        type("Wrong", (OnceFormMixin, view), {})


@pytest.mark.parametrize(
    "bases",
    [
        (OnceFormMixin, FormView),
        (OnceFormMixin, CreateView),
        (OnceFormMixin, DeleteView),
        (OnceFormMixin, SessionWizardView),
        (OnceFormMixin, CreateWithInlinesView),
        (OnceFormMixin, FormSetView),
        (OnceFormMixin, ModelFormSetView),
        (OnceViewMixin, View),
        (OnceViewMixin, FormView),
        (Own, Form),
        (OnceFormMixin,),
    ],
)
def test_where_it_works(bases: tuple[type, ...]) -> None:
    """Refuse none of these, and no class that is derived from them."""
    right = type("Right", bases, {})
    type("Derived", (right,), {})


def body(email: str = "") -> None:
    """Stand for a task's body."""


@pytest.mark.parametrize("task", ["reports.tasks.send", body, Task(), Celery])
def test_a_once_task_that_is_none(task: Any) -> None:
    """Name the view, and what it has."""
    with pytest.raises(
        ImproperlyConfigured, match=r"Wrong.once_task must be a task with QueueOnce"
    ):
        type("Wrong", (OnceFormMixin, FormView), {"once_task": task})


@pytest.mark.parametrize("task", [report, None, property(lambda _view: report), QueueOnce()])
def test_a_once_task_that_is_one(task: Any) -> None:
    """Take what a view may have."""
    type("Right", (OnceFormMixin, FormView), {"once_task": task})


def test_a_proxy_is_looked_into_when_it_is_used() -> None:
    """Leave the making of a Celery app alone while views are imported."""
    plain = shared_task(name="tests.placement.plain")(body)
    view: Any = type(
        "Wrong",
        (OnceFormMixin, FormView),
        {"once_task": plain, "form_class": EmailForm, "success_url": "/"},
    )
    with pytest.raises(
        ImproperlyConfigured, match=r"Wrong.once_task must be a task with QueueOnce"
    ):
        view.as_view()(RequestFactory().post("/", {"email": "eva@example.com"}))


class Emails(OnceFormMixin, FormSetView):  # type: ignore[misc]
    """Several forms at once (django-extra-views)."""

    form_class = EmailForm
    template_name = "web/formset.html"
    success_url = "/done/"
    once_task = report

    def get_once_kwargs(self, formset: Any) -> dict[str, Any]:
        return {"email": formset[0].cleaned_data["email"]}


class Groups(OnceFormMixin, ModelFormSetView):  # type: ignore[misc]
    """Several rows at once."""

    model = Group
    fields = ("name",)
    template_name = "web/formset.html"
    success_url = "/done/"
    once_task = report

    def get_once_kwargs(self, formset: Any) -> dict[str, Any]:
        return {"email": "all"}


def post(view: Any, **fields: str) -> Any:
    """Send two forms."""
    management = {"form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "0"}
    return view(RequestFactory().post("/", {**management, **fields}))


def test_a_formset_is_queued_and_its_duplicate_redirected() -> None:
    """Do as for a form."""
    fields = {"form-0-email": "eva@example.com", "form-1-email": "ada@example.com"}
    for _each in range(2):
        response = post(Emails.as_view(), **fields)
        assert (response.status_code, response["Location"]) == (302, "/done/")
    other = {**fields, "form-0-email": "bob@example.com"}
    again = Emails.as_view(once_on_duplicate="rerender")
    assert post(again, **other).status_code == 302
    response = post(again, **other)
    assert response.status_code == 409
    assert "already being prepared" in response.rendered_content
    assert 'value="bob@example.com"' in response.rendered_content


def test_a_formset_of_rows_saves_once() -> None:
    """Claim before it saves."""
    for name in ("authors", "editors"):
        fields = {"form-0-name": name, "form-1-name": f"other {name}"}
        assert post(Groups.as_view(), **fields).status_code == 302
    assert sorted(Group.objects.values_list("name", flat=True)) == ["authors", "other authors"]


def test_a_formset_that_is_not_valid() -> None:
    """Show it again, and claim nothing."""
    assert formset_factory(EmailForm)
    response = post(Emails.as_view(), **{"form-0-email": "nobody", "form-1-email": ""})
    assert response.status_code == 200
