"""Admin pages for staff: the locks held now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.text import capfirst

from django_celery_once.admin.listing import read_listing
from django_celery_once.admin.permissions import may_release_locks
from django_celery_once.admin.readonly import ReadOnly
from django_celery_once.admin.release import ReleaseView
from django_celery_once.models import HeldLock

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[HeldLock]
else:
    _Admin = admin.ModelAdmin


@admin.register(HeldLock)
class HeldLockAdmin(ReadOnly, _Admin):
    """The locks in the store, those held longest first; there is no table behind them."""

    change_list_template = "admin/django_celery_once/heldlock/change_list.html"
    release_template = "admin/django_celery_once/heldlock/release.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the pages of this admin; the usual ones would ask the database."""
        view = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            path("<path:object_id>/release/", view(self.release_view), name=f"{name}_release"),
            path("<path:object_id>/history/", view(self.history_view), name=f"{name}_history"),
            path("<path:object_id>/change/", view(self.change_view), name=f"{name}_change"),
        ]

    def has_release_permission(self, request: HttpRequest) -> bool:
        """Return whether somebody may release a lock."""
        return may_release_locks(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Show the locks to whoever may release them, too."""
        return bool(super().has_view_permission(request, obj)) or self.has_release_permission(
            request
        )

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> HeldLock:
        """Return what stands for a lock, held or not, in the history."""
        return HeldLock(key=object_id)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show all locks, a task's (``?task=``) or the one under a key (``?key=``)."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        task, key = (request.GET.get(name, "").strip() for name in ("task", "key"))
        listing = read_listing(task, key)
        context = {
            "title": capfirst(self.opts.verbose_name_plural),
            "listing": listing,
            "asked": {"task": task, "key": key},
            "may_release": self.has_release_permission(request),
            **(extra_context or {}),
        }
        status = 200 if listing.reachable else 503
        return self.render(request, self.change_list_template, context, status)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Lead to the lock in the list: the history and the log of the index link here."""
        return redirect(self.list_url(key=unquote(object_id)))

    def release_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a reason, then free a lock (POST only)."""
        return ReleaseView(self, request, unquote(object_id)).answer()

    def list_url(self, **query: str) -> str:
        """Return the address of the list."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        address = reverse(f"admin:{name}", current_app=self.admin_site.name)
        return f"{address}?{urlencode(query)}" if query else address

    def render(
        self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
    ) -> TemplateResponse:
        """Return a page in the look of the site."""
        request.current_app = self.admin_site.name
        around = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, template, {**around, **context}, status=status)
