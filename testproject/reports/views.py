from __future__ import annotations

from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import FormView, ListView

from django_celery_once.mixins import OnceFormMixin
from testproject.reports.forms import ReportForm
from testproject.reports.models import ReportRequest
from testproject.reports.outbox import mails_in
from testproject.reports.tasks import send_pdf_report

LISTED = 10


def latest_requests() -> QuerySet[ReportRequest]:
    return ReportRequest.objects.all()[:LISTED]


class ReportView(OnceFormMixin, FormView):  # type: ignore[type-arg]
    """Ask for a report; a second click finds the first still at work."""

    form_class = ReportForm
    template_name = "reports/index.html"
    success_url = reverse_lazy("reports:index")
    once_label = gettext_lazy("monthly report")

    def get_initial(self) -> dict[str, Any]:
        return self.asked_before

    @property
    def asked_before(self) -> dict[str, str]:
        """What this visitor has asked for last."""
        asked: dict[str, str] = self.request.session.get("report", {})
        return asked

    def form_valid(self, form: ReportForm) -> HttpResponse:
        self.request.session["report"] = form.cleaned_data
        email, month = form.cleaned_data["email"], form.cleaned_data["month"]
        result = send_pdf_report.delay(email, month)
        ReportRequest.objects.note(result.id, email, month)
        messages.success(
            self.request,
            _("Your monthly report is being prepared and will be mailed to %(email)s.")
            % {"email": email},
        )
        return super().form_valid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        asked = ReportRequest.objects.filter(**self.asked_before).first()
        return super().get_context_data(
            requests=latest_requests(),
            asked=asked if self.asked_before else None,
            outbox=reverse("reports:outbox"),
            **kwargs,
        )


class RequestListView(ListView):  # type: ignore[type-arg]
    """The list alone, for the page's script to show how the work goes on."""

    template_name = "reports/_requests.html"
    context_object_name = "requests"

    def get_queryset(self) -> QuerySet[ReportRequest]:
        return latest_requests()


def outbox(request: HttpRequest) -> HttpResponse:
    """Show what was mailed; a real site would have no such page."""
    mails = islice(mails_in(Path(settings.EMAIL_FILE_PATH)), LISTED)
    return render(request, "reports/outbox.html", {"mails": mails})


def attachment(request: HttpRequest, mail_id: str) -> FileResponse:
    """Open the PDF that came with a mail."""
    for mail in mails_in(Path(settings.EMAIL_FILE_PATH)):
        if mail.id == mail_id and mail.attachment is not None:
            return FileResponse(BytesIO(mail.attachment.content), filename=mail.attachment.name)
    raise Http404
