"""Views that queue tasks, for the tests of the middleware and the mixins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from celery import shared_task
from django import forms
from django.contrib import messages
from django.contrib.auth.models import Group, User
from django.contrib.messages.views import SuccessMessageMixin
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import include, path
from django.views.generic import CreateView, DeleteView, FormView, UpdateView

from django_celery_once import AlreadyQueued, LockUnavailable, QueueOnce
from django_celery_once.mixins import OnceFormMixin

if TYPE_CHECKING:
    _EmailView = FormView["EmailForm"]
    _SuccessMessage = SuccessMessageMixin["EmailForm"]
    _GroupForm = forms.ModelForm[Group]
    _CreateView = CreateView[Group, "GroupForm"]
    _UpdateView = UpdateView[Group, "GroupForm"]
    _DeleteView = DeleteView[User, forms.Form]
else:
    _EmailView, _SuccessMessage, _GroupForm = FormView, SuccessMessageMixin, forms.ModelForm
    _CreateView, _UpdateView, _DeleteView = CreateView, UpdateView, DeleteView


@shared_task(base=QueueOnce, name="tests.web.send")
def send(email: str) -> None: ...


class EmailForm(forms.Form):
    email = forms.EmailField()


# ---- plain views: they catch nothing


def queue(request: HttpRequest) -> HttpResponse:
    """Save something, then queue a task."""
    Group.objects.create(name=f"group {Group.objects.count()}")
    in_transaction = connection.in_atomic_block
    send.delay("eva@example.com")
    return HttpResponse(f"queued {in_transaction}")


async def queue_async(request: HttpRequest) -> HttpResponse:
    """Queue a task from within the event loop."""
    send.delay("eva@example.com")
    return HttpResponse("queued")


async def queue_in_thread(request: HttpRequest) -> HttpResponse:
    """Queue a task from an async view, in a thread."""
    await sync_to_async(send.delay)("eva@example.com")
    return HttpResponse("queued")


def refuse(request: HttpRequest) -> HttpResponse:
    """Raise ``AlreadyQueued`` with the countdown asked for."""
    raise AlreadyQueued(float(request.GET["countdown"]))


def outage(request: HttpRequest) -> HttpResponse:
    raise LockUnavailable(alias="locks")


def fail(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


# ---- forms


class Queueing(OnceFormMixin, _EmailView):
    """Queue, then succeed."""

    form_class = EmailForm
    template_name = "web/form.html"
    success_url = "/done/"
    once_label = "monthly report"

    def form_valid(self, form: EmailForm) -> HttpResponse:
        send.delay(form.cleaned_data["email"])
        return super().form_valid(form)


class QueueingAfterwards(OnceFormMixin, _EmailView):
    """Succeed, then queue."""

    form_class = EmailForm
    template_name = "web/form.html"
    success_url = "/done/"

    def form_valid(self, form: EmailForm) -> HttpResponse:
        response = super().form_valid(form)
        send.delay(form.cleaned_data["email"])
        return response


class Rerendering(Queueing):
    once_on_duplicate = "rerender"


class RerenderingOwnForm(Rerendering):
    """Make the form without asking the classes above."""

    def get_form(self, form_class: Any = None) -> EmailForm:
        return EmailForm(**self.get_form_kwargs())


class SuccessLeft(_SuccessMessage, Queueing):
    success_message = "It is on its way."


class SuccessRightBase(OnceFormMixin, _SuccessMessage, _EmailView):
    form_class = EmailForm
    template_name = "web/form.html"
    success_url = "/done/"
    success_message = "It is on its way."


class SuccessBefore(SuccessRightBase):
    """Queue before the success is told."""

    def form_valid(self, form: EmailForm) -> HttpResponse:
        send.delay(form.cleaned_data["email"])
        return super().form_valid(form)


class SuccessTooSoon(SuccessRightBase):
    """Queue after the success was told."""

    def form_valid(self, form: EmailForm) -> HttpResponse:
        response = super().form_valid(form)
        send.delay(form.cleaned_data["email"])
        return response


class Welcoming(SuccessTooSoon):
    """Tell something before the form is handled."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        messages.success(request, "Welcome back.")
        return super().dispatch(request, *args, **kwargs)


class GroupForm(_GroupForm):
    class Meta:
        model = Group
        fields = ("name",)


class CreatingFirst(OnceFormMixin, _CreateView):
    """Save, then queue."""

    model = Group
    form_class = GroupForm
    template_name = "web/form.html"
    success_url = "/groups/{id}/"

    def form_valid(self, form: GroupForm) -> HttpResponse:
        response = super().form_valid(form)
        send.delay("eva@example.com")
        return response


class Creating(OnceFormMixin, _CreateView):
    """Queue, then save."""

    model = Group
    form_class = GroupForm
    template_name = "web/form.html"
    success_url: str | None = "/groups/{id}/"

    def form_valid(self, form: GroupForm) -> HttpResponse:
        send.delay("eva@example.com")
        return super().form_valid(form)


class CreatingWithPlainUrl(Creating):
    success_url = "/done/"


class CreatingWithoutUrl(Creating):
    success_url = None


class CreatingRerender(Creating):
    once_on_duplicate = "rerender"


class BrokenSuccessUrl(Queueing):
    success_url = ""


class Updating(OnceFormMixin, _UpdateView):
    model = Group
    form_class = GroupForm
    template_name = "web/form.html"
    success_url = "/groups/{id}/"

    def form_valid(self, form: GroupForm) -> HttpResponse:
        send.delay("eva@example.com")
        return super().form_valid(form)


class Deleting(OnceFormMixin, _DeleteView):
    model = User
    template_name = "web/form.html"
    success_url = "/done/"

    def form_valid(self, form: Any) -> HttpResponse:
        send.delay("eva@example.com")
        return super().form_valid(form)


plain = [
    path("queue/", queue, name="queue"),
    path("queue-async/", queue_async),
    path("queue-in-thread/", queue_in_thread),
    path("refuse/", refuse),
    path("outage/", outage),
    path("fail/", fail),
]

urlpatterns = [
    path("", include((plain, "plain"))),
    path("form/", Queueing.as_view()),
    path("afterwards/", QueueingAfterwards.as_view()),
    path("rerender/", Rerendering.as_view()),
    path("rerender-own-form/", RerenderingOwnForm.as_view()),
    path("success-left/", SuccessLeft.as_view()),
    path("success-before/", SuccessBefore.as_view()),
    path("success-too-soon/", SuccessTooSoon.as_view()),
    path("welcoming/", Welcoming.as_view()),
    path("create/", Creating.as_view()),
    path("create-first/", CreatingFirst.as_view()),
    path("create-plain-url/", CreatingWithPlainUrl.as_view()),
    path("create-without-url/", CreatingWithoutUrl.as_view()),
    path("create-rerender/", CreatingRerender.as_view()),
    path("broken-success-url/", BrokenSuccessUrl.as_view()),
    path("update/<int:pk>/", Updating.as_view()),
    path("delete/<int:pk>/", Deleting.as_view()),
]
