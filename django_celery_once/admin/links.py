"""Links of an incident's page, each for those who may follow it."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode

from django_celery_once.admin.permissions import may_see_locks
from django_celery_once.models import BlockedDuplicate


def lock_url(request: HttpRequest, incident: BlockedDuplicate, site: AdminSite) -> str:
    """Return the address of the incident's lock among the live locks."""
    if not may_see_locks(request):
        return ""
    address = _url("heldlock_changelist", site)
    return f"{address}?{urlencode({'key': incident.key})}" if address else ""


def releases_url(request: HttpRequest, incident: BlockedDuplicate, site: AdminSite) -> str:
    """Return the address of the history of releases under the incident's key."""
    if not may_see_locks(request):
        return ""
    return _url("heldlock_history", site, quote(incident.key))


def result_url(request: HttpRequest, result: Any, site: AdminSite) -> str:
    """Return the address of a row of django-celery-results; ``None`` has none."""
    app = "django_celery_results"
    names = (f"{app}.view_taskresult", f"{app}.change_taskresult")
    if result is None or not any(request.user.has_perm(name) for name in names):
        return ""
    return _url("taskresult_change", site, result.pk, app=app)


def _url(name: str, site: AdminSite, *args: Any, app: str = "django_celery_once") -> str:
    """Return an address on this admin site; an empty string where it has no such page."""
    try:
        return reverse(f"admin:{app}_{name}", args=args, current_app=site.name)
    except NoReverseMatch:
        return ""
