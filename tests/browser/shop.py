"""A shop whose pages queue tasks: forms, an upload, a download, parts for htmx, an API."""

from __future__ import annotations

import hashlib
from io import BytesIO
from threading import Event
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import include, path
from django.views.generic import FormView
from rest_framework.response import Response
from rest_framework.views import APIView

from django_celery_once.decorators import once_view
from django_celery_once.mixins import OnceFormMixin
from tests import web
from tests.npm_packages import npm_file
from tests.web import send

if TYPE_CHECKING:
    _AskView = FormView["AskForm"]
    _UploadView = FormView["UploadForm"]
else:
    _AskView = _UploadView = FormView

#: What the slow view waits for, and a sign that it has begun to.
GO, BEGUN = Event(), Event()
SLOW_SECONDS = 30
STARTED = "Your monthly report is being prepared."


class AskForm(forms.Form):
    email = forms.EmailField()
    note = forms.CharField(required=False)


class Asking(OnceFormMixin, _AskView):
    """Ask for a report and come back; the page tells how it stands."""

    form_class = AskForm
    template_name = "shop/ask.html"
    success_url = "/ask/"
    once_label = "monthly report"

    def form_valid(self, form: AskForm) -> HttpResponse:
        email = form.cleaned_data["email"]
        result = send.delay(email)
        self.request.session["asked"] = [result.id, send.once_key(email)]
        messages.success(self.request, STARTED)
        return super().form_valid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        task_id, key = self.request.session.get("asked", ["", ""])
        return super().get_context_data(task_id=task_id, key=key, **kwargs)


class AskingSlowly(Asking):
    """Take a long time before the task is queued."""

    def form_valid(self, form: AskForm) -> HttpResponse:
        BEGUN.set()
        GO.wait(SLOW_SECONDS)
        return super().form_valid(form)


class FailingAfterTheClaim(OnceFormMixin, _AskView):
    form_class = AskForm
    template_name = "shop/ask.html"
    once_task = send

    def get_once_kwargs(self, form: AskForm) -> dict[str, Any]:
        return {"email": form.cleaned_data["email"]}

    def get_success_url(self) -> str:
        raise ZeroDivisionError


class UploadForm(forms.Form):
    subject = forms.CharField()
    file = forms.FileField()


class Uploading(OnceFormMixin, _UploadView):
    """Take a file; one letter of a subject at a time."""

    form_class = UploadForm
    template_name = "shop/upload.html"
    success_url = "/upload/"
    once_label = "letter"
    once_on_duplicate = "rerender"

    def form_valid(self, form: UploadForm) -> HttpResponse:
        send.delay(form.cleaned_data["subject"])
        file = form.cleaned_data["file"]
        messages.success(self.request, f"{file.name} {hashlib.sha256(file.read()).hexdigest()}")
        return super().form_valid(form)


def buttons(request: HttpRequest) -> HttpResponse:
    """Tell which button was clicked, by which method."""
    return render(request, "shop/buttons.html", {"sent": request.POST or request.GET})


def download(request: HttpRequest) -> HttpResponse | FileResponse:
    """Answer with a file, which leaves the page where it is."""
    if request.method == "GET":
        return render(request, "shop/download.html")
    return FileResponse(BytesIO(b"May"), as_attachment=True, filename="report.txt")


@once_view(label="monthly report")
def export(request: HttpRequest) -> HttpResponse:
    """Queue, and answer with a part of a page."""
    send.delay(request.POST["email"])
    return HttpResponse('<p class="done">On its way.</p>')


@once_view(label="monthly report")
def export_and_look(request: HttpRequest) -> HttpResponse:
    """Queue even when it is only looked at."""
    send.delay("eva@example.com")
    return redirect("/ask/")


class Api(APIView):  # type: ignore[misc]
    authentication_classes = ()
    once_label = "monthly report"

    def post(self, request: Any) -> Response:
        return Response({"task_id": send.delay("eva@example.com").id}, status=202)


def htmx(request: HttpRequest, major: int) -> HttpResponse:
    return render(request, "shop/htmx.html", {"major": major})


def htmx_script(request: HttpRequest, major: int) -> FileResponse:
    file = npm_file(f"htmx.org@{major}", "dist/htmx.min.js")
    return FileResponse(file.open("rb"), content_type="text/javascript")


#: What takes the place of pages by itself, with its file.
LIBRARIES = {
    "turbo": ("@hotwired/turbo@8", "dist/turbo.es2017-umd.js"),
    "htmx": ("htmx.org@2", "dist/htmx.min.js"),
}


def swapped(request: HttpRequest, library: str) -> HttpResponse:
    """Refuse what was sent, or with ``again`` in its address lead back here."""
    if request.method == "POST" and "again" in request.GET:
        return HttpResponseRedirect(request.get_full_path(), status=303)
    context = {"library": library, "key": send.once_key("eva@example.com")}
    status = 422 if request.method == "POST" else 200
    return render(request, "shop/swapped.html", context, status=status)


def library_script(request: HttpRequest, library: str) -> FileResponse:
    file = npm_file(*LIBRARIES[library])
    return FileResponse(file.open("rb"), content_type="text/javascript")


def nothing(request: HttpRequest) -> HttpResponse:
    """Answer with nothing, which leaves the page where it is."""
    return HttpResponse(status=204)


urlpatterns = [
    path("swapped/<library>.js", library_script),
    path("swapped/<library>/", swapped),
    path("nothing/", nothing),
    path("ask/", Asking.as_view()),
    path("ask/elsewhere/", Asking.as_view()),
    path("ask/again/", Asking.as_view(once_on_duplicate="rerender")),
    path("ask/slowly/", AskingSlowly.as_view()),
    path("ask/failing/", FailingAfterTheClaim.as_view()),
    path("upload/", Uploading.as_view()),
    path("buttons/", buttons),
    path("download/", download),
    path("export/", export),
    path("export-and-look/", export_and_look),
    path("api/", web.queue),
    path("api/drf/", Api.as_view()),
    path("htmx/<int:major>/", htmx),
    path("htmx/<int:major>.js", htmx_script),
    path("refuse/", web.refuse),
    path("outage/", web.outage),
    path("once/", include("django_celery_once.urls")),
    path("admin/", admin.site.urls),
]
