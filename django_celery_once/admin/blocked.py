"""The admin's *Blocked duplicates*: what was blocked, in whose favour, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from django_celery_once.admin.detail import explanation
from django_celery_once.admin.export import csv_response
from django_celery_once.admin.filters import StateFilter, TaskFilter, WindowFilter
from django_celery_once.admin.moments import to_the_second
from django_celery_once.admin.overview import OverviewMixin
from django_celery_once.admin.paging import CappedPaginator
from django_celery_once.admin.prune import PruneMixin
from django_celery_once.admin.readonly import ReadOnly
from django_celery_once.admin.search import search
from django_celery_once.conf import conf
from django_celery_once.models import BlockedDuplicate

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[BlockedDuplicate]
else:
    _Admin = admin.ModelAdmin

TEMPLATES = "admin/django_celery_once/blockedduplicate"
FILTERS = (WindowFilter, TaskFilter, StateFilter)


@admin.register(BlockedDuplicate)
class BlockedDuplicateAdmin(OverviewMixin, PruneMixin, ReadOnly, _Admin):
    """Incidents, the latest first; fast with millions of them."""

    change_list_template = f"{TEMPLATES}/change_list.html"
    change_form_template = f"{TEMPLATES}/change_form.html"

    # Every column is a method without an order: no other order has an index.
    list_display = ("what", "blocked", "last_blocked", "asked_by", "ended", "in_flight")
    list_display_links = ("what",)
    list_filter = FILTERS
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("holder_task_id",)
    search_help_text = _(
        "Finds a task id (also that of a blocked request), a person or a task by the full name, "
        "and a key or label by its beginning."
    )
    fieldsets = (
        (None, {"fields": ("task_name", "label", "key")}),
        (
            _("The request that went through"),
            {"fields": ("holder_task_id", "accepted", "freed", "ended")},
        ),
        (
            _("The requests that were blocked"),
            {"fields": ("blocked", "first_blocked", "last_blocked", "asked_by")},
        ),
    )

    class Media:
        css: ClassVar = {"all": ["django_celery_once/admin.css"]}

    def get_urls(self) -> list[URLPattern]:
        """Add the download."""
        name = "django_celery_once_blockedduplicate_export"
        view = self.admin_site.admin_view(require_safe(self.export_view))
        return [path("export/", view, name=name), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[BlockedDuplicate]:
        """Read where the journal writes."""
        return super().get_queryset(request).using(conf.log_database)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[BlockedDuplicate], search_term: str
    ) -> tuple[QuerySet[BlockedDuplicate], bool]:
        """Find by task id, key, label, task and person."""
        return search(queryset, search_term), False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Refuse an address that filters by anything else: it would read the whole table."""
        return lookup in {each.parameter_name for each in FILTERS}

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Return whether somebody may download what they may look at."""
        return self.has_view_permission(request) and request.user.has_perm(
            "django_celery_once.export_blockedduplicate"
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, with links to the download of what it shows and to pruning."""
        context = {
            "has_export_permission": self.has_export_permission(request),
            "has_prune_permission": self.has_prune_permission(request),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Put the explanation of an incident on its page."""
        incident = context["original"]
        context = {**context, **explanation(request, incident, self.admin_site)}
        return super().render_change_form(request, context, *args, **kwargs)

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send what the list shows at the same query string, all pages of it, as CSV."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        try:
            incidents = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            # As the list does with what it can't understand.
            name = "admin:django_celery_once_blockedduplicate_changelist"
            return HttpResponseRedirect(reverse(name, current_app=self.admin_site.name) + "?e=1")
        return csv_response(incidents, in_event_loop=isinstance(request, ASGIRequest))

    @admin.display(description=_("task"))
    def what(self, incident: BlockedDuplicate) -> str:
        """Return the developer's words for the request, or the task's name."""
        return incident.label or incident.task_name

    @admin.display(description=_("blocked"))
    def blocked(self, incident: BlockedDuplicate) -> int:
        """Return how many requests were refused."""
        return incident.rejections

    @admin.display(description=_("first blocked"))
    def first_blocked(self, incident: BlockedDuplicate) -> str:
        """Return when the first request was refused."""
        return to_the_second(incident.first_rejection)

    @admin.display(description=_("last blocked"))
    def last_blocked(self, incident: BlockedDuplicate) -> str:
        """Return when the last request was refused."""
        return to_the_second(incident.last_rejection)

    @admin.display(description=_("last asked by"))
    def asked_by(self, incident: BlockedDuplicate) -> str:
        """Return who asked last, as far as it is known."""
        return incident.last_requester or gettext("not logged in")

    @admin.display(description=_("task in flight"))
    def in_flight(self, incident: BlockedDuplicate) -> str:
        """Return the task id of the request that went through."""
        return incident.holder_task_id

    @admin.display(description=_("accepted"))
    def accepted(self, incident: BlockedDuplicate) -> str:
        """Return when the request that went through was accepted."""
        return to_the_second(incident.held_since)

    @admin.display(description=_("lock freed"))
    def freed(self, incident: BlockedDuplicate) -> str:
        """Return when the lock of the request that went through was freed."""
        end = incident.released_at
        return gettext("no end seen yet") if end is None else to_the_second(end)

    @admin.display(description=_("how it ended"))
    def ended(self, incident: BlockedDuplicate) -> str:
        """Return how the request that went through ended, as far as the log knows."""
        if incident.released_at is None:
            return gettext("no end seen yet")
        return incident.get_outcome_display() or gettext("not known")
