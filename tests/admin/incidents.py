"""Incidents for the pages to show, and what a browser makes of these."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_celery_once.columns import moment
from django_celery_once.models import BlockedDuplicate
from django_celery_once.requester import Known, Source
from django_celery_once.signals import Rejection
from tests.factories import NOON, make_lock, make_rejection

APP = "admin:django_celery_once_blockedduplicate"
LIST = f"{APP}_changelist"
CHANGE = f"{APP}_change"
EXPORT = f"{APP}_export"
HISTORY = f"{APP}_history"


def refused(
    hits: int = 1,
    who: str = "",
    *,
    user: Any = "",
    source: Source = "web",
    path: str = "/reports/",
    view_name: str = "",
    holder: dict[str, Any] | None = None,
    **fields: Any,
) -> Rejection:
    """Return a refused call of somebody, as many seconds after noon as it has hits."""
    lock = make_lock(hits=hits, **(holder or {}))
    requester = Known(source, str(user), who, path, view_name)
    return make_rejection(
        hits, holder=lock, task_name=lock.task, requester=requester, **{"label": "", **fields}
    )


def save(*rejections: Rejection, database: str = "default") -> BlockedDuplicate:
    """Save an incident, all these calls kept, and return it."""
    last = max(rejections, key=lambda each: each.holder.hits)
    rows = BlockedDuplicate.objects.using(database)
    rows.record(last, rejections)
    return rows.get(holder_task_id=last.holder.owner)


def make_incident(number: int = 1, attempts: int = 1, **holder: Any) -> BlockedDuplicate:
    """Save an incident of some attempts of one person, and return it."""
    holder = {
        "key": f"once:reports.send:{number}",
        "owner": f"holder-{number}",
        "label": f"Report {number}",
        **holder,
    }
    calls = [
        refused(hits, f"asker-{number}", holder=holder, task_id=f"refused-{number}-{hits}")
        for hits in range(1, attempts + 1)
    ]
    return save(*calls)


def end(incident: BlockedDuplicate, outcome: str, after: float = 240) -> BlockedDuplicate:
    """Let the lock of an incident be freed so many seconds after noon."""
    incident.released_at, incident.outcome = moment(NOON + after), outcome
    incident.save(using=incident._state.db)
    return incident


def age(incident: BlockedDuplicate, **ago: float) -> BlockedDuplicate:
    """Let the last call of an incident be refused that long ago."""
    incident.last_rejection = timezone.now() - timedelta(**ago)
    incident.save()
    return incident


def change_url(incident: BlockedDuplicate) -> str:
    """Return the address of an incident's page."""
    return reverse(CHANGE, args=[incident.pk])


def words(markup: str) -> str:
    """Return what a browser shows of some markup."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def detail(client: Client, incident: BlockedDuplicate) -> str:
    """Return the words of an incident's page, those around it left out."""
    page = client.get(change_url(incident)).content.decode()
    return words(page[page.index('id="content-main"') :])


def listed(client: Client, **query: str) -> list[str]:
    """Return the holders' task ids on the first page of the list."""
    changelist = client.get(reverse(LIST), query).context["cl"]
    return [incident.holder_task_id for incident in changelist.result_list]
