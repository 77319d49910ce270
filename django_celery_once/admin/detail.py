"""What the page of an incident says beside its fields."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest

from django_celery_once.admin.causes import probable_cause
from django_celery_once.admin.explanations import advice, story
from django_celery_once.admin.holder import Standing, find_result, holder_name, look_up
from django_celery_once.admin.links import lock_url, releases_url, result_url
from django_celery_once.admin.permissions import may_release_locks
from django_celery_once.admin.timeline import timeline
from django_celery_once.models import BlockedAttempt, BlockedDuplicate


def explanation(
    request: HttpRequest, incident: BlockedDuplicate, site: AdminSite
) -> dict[str, Any]:
    """Return the template's words, timeline and links of an incident."""
    attempts = list(
        BlockedAttempt.objects.using(incident._state.db)
        .filter(incident_id=incident.pk)
        .order_by("number")
    )
    holder = look_up(incident)
    name = holder_name(incident)
    stuck = holder.standing is Standing.SILENT
    released = incident.outcome == BlockedDuplicate.Outcome.RELEASED
    # The last of all queries: where that table is broken, no other may follow it.
    result = find_result(incident.holder_task_id)
    return {
        "story": story(incident, name),
        "advice": advice(incident, holder, getattr(result, "status", "")),
        "stuck": stuck,
        "needs_a_releaser": stuck and not may_release_locks(request),
        "cause": probable_cause(incident, attempts, stuck=stuck).label,
        "timeline": list(timeline(incident, attempts, holder, name)),
        "lock_url": lock_url(request, incident, site) if holder.lock else "",
        "releases_url": releases_url(request, incident, site) if released else "",
        "result_url": result_url(request, result, site),
    }
