"""Records with sensible fields, for tests that care about one or two of them."""

from __future__ import annotations

from typing import Any

from django_celery_once.locks import Lock
from django_celery_once.requester import Requester
from django_celery_once.signals import Rejection

#: 2026-05-01 12:00:00 UTC, with a fraction that every database keeps.
NOON = 1777636800.25


def make_lock(**fields: Any) -> Lock:
    """Return the lock of a task that was queued at noon."""
    given = {
        "key": "once:reports.send:abc",
        "owner": "holder-1",
        "token": "t0",
        "task": "reports.send",
        "since": NOON,
        "hits": 1,
    }
    return Lock(**{**given, **fields})


def make_rejection(hits: int = 1, **fields: Any) -> Rejection:
    """Return the refusal number ``hits`` of an incident, as many seconds after noon."""
    given = {
        "task_name": "reports.send",
        "task_id": f"refused-{hits}",
        "holder": make_lock(hits=hits),
        "policy": "raise",
        "at": NOON + hits,
        "label": "",
        "requester": Requester("other", name="script.py"),
    }
    return Rejection(**{**given, **fields})
