"""The admin's *Overview*: how much is blocked, of which tasks, and which locks are stuck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from django_celery_once.admin.chart import draw
from django_celery_once.admin.figures import read_figures
from django_celery_once.admin.listing import read_listing
from django_celery_once.admin.permissions import may_see_locks
from django_celery_once.admin.windows import WINDOWS
from django_celery_once.models import BlockedDuplicate
from django_celery_once.record import record

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[BlockedDuplicate]
else:
    _Admin = object


@record
class Line:
    """A line of the table: a task's figures, each with the query of the list behind it."""

    name: str
    query: str
    cells: tuple[tuple[int, str], ...]


class OverviewMixin(_Admin):
    """Add the overview to the admin of incidents."""

    overview_template = "django_celery_once/admin/overview.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the page."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_overview"
        view = self.admin_site.admin_view(require_safe(self.overview_view))
        return [path("overview/", view, name=name), *super().get_urls()]

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """Show the figures, and the locks to whoever may see them."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        figures = read_figures()
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Overview"),
            "opts": self.opts,
            "windows": [window.label for window in WINDOWS.values()],
            "lines": [line(each.task, each.counts, task=each.task) for each in figures.tasks],
            "total": line(gettext("All tasks"), figures.totals()),
            "days": list(reversed(figures.days)),
            "chart": draw(figures.days),
            "listing": read_listing() if may_see_locks(request) else None,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.overview_template, context)


def line(name: str, counts: Mapping[str, int], **query: str) -> Line:
    """Return a line of the table, from the figures of its windows."""
    cells = [(count, urlencode({**query, "window": window})) for window, count in counts.items()]
    return Line(name, urlencode(query), tuple(cells))
