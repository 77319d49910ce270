"""What beat may run for this app."""

from __future__ import annotations

from celery import shared_task

from django_celery_once import pruning
from django_celery_once.conf import conf
from django_celery_once.models import BlockedDuplicate


@shared_task(ignore_result=True)
def prune(days: float | None = None, batch: int = 1000) -> int:
    """Delete blocked duplicates older than ``days`` (default: ``LOG_RETENTION_DAYS``).

    ``batch`` incidents at a time, each batch in a transaction of its own. Return how many
    incidents were deleted. The command ``once_prune`` does the same.
    """
    old = BlockedDuplicate.objects.using(conf.log_database).aged(
        conf.log_retention_days if days is None else days
    )
    return pruning.prune(old, batch)
