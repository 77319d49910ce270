"""Taking old incidents away, a batch at a time."""

from __future__ import annotations

import math
import time
from datetime import datetime

from django.db import transaction

from django_celery_once.models import BlockedAttempt, BlockedDuplicate, IncidentQuerySet


def prune(old: IncidentQuerySet, batch: int, seconds: float = math.inf) -> int:
    """Delete incidents and their attempts, the oldest first; return how many.

    Each ``batch`` of incidents is a transaction of its own, so that nobody waits for more than
    one, and an end before the last keeps what was done. No batch begins after ``seconds``.
    """
    if batch < 1:
        raise ValueError(f"batch must be 1 or more, not {batch}")
    end = time.monotonic() + seconds
    pruned, rest = 0, old.order_by("last_rejection")
    while time.monotonic() < end and (rows := _prune_batch(rest, batch)):
        pruned += len(rows)
        # An index keeps what was deleted for a while: don't walk over it again.
        rest = old.filter(last_rejection__gte=rows[-1]).order_by("last_rejection")
    return pruned


def _prune_batch(rest: IncidentQuerySet, batch: int) -> list[datetime]:
    database = rest.db
    with transaction.atomic(using=database):
        oldest = rest.using(database).select_for_update()  # a writer may be about to add to it
        rows = list(oldest.values_list("pk", "last_rejection")[:batch])
        numbers = [number for number, _last in rows]
        attempts = BlockedAttempt.objects.using(database).filter(incident__in=numbers)
        attempts._raw_delete(database)
        BlockedDuplicate.objects.using(database).filter(pk__in=numbers)._raw_delete(database)
    return [last for _number, last in rows]
