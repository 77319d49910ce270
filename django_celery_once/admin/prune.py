"""The admin's *Prune*: old incidents are deleted, on request and never one by one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.core.exceptions import PermissionDenied
from django.db import Error, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from django_celery_once.conf import conf
from django_celery_once.models import BlockedDuplicate, IncidentQuerySet
from django_celery_once.pruning import prune

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[BlockedDuplicate]
else:
    _Admin = object

#: Incidents in one transaction, and the seconds that one request may take.
BATCH = 1000
MOST_SECONDS = 10.0
#: How far the question counts.
COUNTED = 10_000

logger = logging.getLogger(__name__)


class PruneForm(forms.Form):
    """How old is old."""

    days = forms.FloatField(
        label=_("Older than (days)"),
        min_value=0,
        help_text=_("Counted from the last duplicate that was blocked."),
        widget=forms.NumberInput(attrs={"class": "vTextField"}),
    )


class PruneMixin(_Admin):
    """Add pruning to the admin of incidents: a question first, a bounded piece of work then."""

    prune_template = "django_celery_once/admin/prune.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the page, with no transaction around it: each batch has its own."""
        view: Any = require_http_methods(["GET", "HEAD", "POST"])(self.prune_view)
        for alias in connections:
            view = transaction.non_atomic_requests(using=alias)(view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_prune"
        return [path("prune/", self.admin_site.admin_view(view), name=name), *super().get_urls()]

    def has_prune_permission(self, request: HttpRequest) -> bool:
        """Return whether somebody may delete what is old."""
        return self.has_view_permission(request) and request.user.has_perm(
            "django_celery_once.delete_blockedduplicate"
        )

    def prune_view(self, request: HttpRequest) -> HttpResponse:
        """Ask how old, then ask whether that many, then delete them."""
        if not self.has_prune_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            days = request.GET.get("days", f"{conf.log_retention_days:g}")
            return self._ask(request, PruneForm(initial={"days": days}))
        form = PruneForm(request.POST)
        if not form.is_valid():
            return self._ask(request, form)
        days = form.cleaned_data["days"]
        old = BlockedDuplicate.objects.using(conf.log_database).aged(days)
        if "confirmed" not in request.POST:
            found = old[: COUNTED + 1].count()
            seen = {"found": min(found, COUNTED), "more": found > COUNTED}
            return self._ask(request, form, days=number_format(f"{days:g}"), **seen)
        return self._prune(request, old, days)

    def _ask(self, request: HttpRequest, form: PruneForm, **context: Any) -> HttpResponse:
        request.current_app = self.admin_site.name
        around = {**self.admin_site.each_context(request), "opts": self.opts}
        words = {"title": gettext("Prune blocked duplicates"), "form": form}
        return TemplateResponse(request, self.prune_template, {**around, **words, **context})

    def _prune(self, request: HttpRequest, old: IncidentQuerySet, days: float) -> HttpResponse:
        try:
            count = prune(old, BATCH, MOST_SECONDS)
            rest = old.exists()
        except Error:
            logger.exception("Pruning blocked duplicates older than %g days failed", days)
            words = gettext("The database failed. What was deleted until then stays deleted.")
            self.message_user(request, words, messages.ERROR)
            return redirect(self._url("prune"))
        if count:
            self._log(request, count, days)
        self.message_user(request, deleted(count), messages.SUCCESS)
        if not rest:
            return redirect(self._url("changelist"))
        words = gettext("More are left: time was up. Go on here, or run once_prune.")
        self.message_user(request, words, messages.WARNING)
        return redirect(f"{self._url('prune')}?days={days:g}")

    def _log(self, request: HttpRequest, count: int, days: float) -> None:
        what = gettext("Blocked duplicates older than %(days)s days")
        LogEntry.objects.create(
            user_id=request.user.pk,  # type: ignore[misc]
            content_type_id=get_content_type_for_model(BlockedDuplicate).pk,
            object_repr=what % {"days": number_format(f"{days:g}")},
            action_flag=DELETION,
            change_message=deleted(count),
        )

    def _url(self, page: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, current_app=self.admin_site.name)


def deleted(count: int) -> str:
    """Return what was done, in words."""
    text = ngettext(
        "Deleted %(count)s blocked duplicate.", "Deleted %(count)s blocked duplicates.", count
    )
    return text % {"count": number_format(count, force_grouping=True)}
