"""What the search box finds, each way by an index."""

from __future__ import annotations

from uuid import UUID

from django.db import connections
from django.db.models import Q, QuerySet

from django_celery_once.models import BlockedAttempt, BlockedDuplicate

#: Refused calls of one person through which incidents are found, the latest first. What
#: nobody else asked for after them is found without this limit.
MOST_ATTEMPTS = 1000

# Neither a subquery of the list's query nor one condition with an OR: for both, databases
# read the whole table. SQLite limits a part of a UNION only where it is a subquery.
OF_ATTEMPTS = """
SELECT incident_id FROM (
    SELECT incident_id FROM {table} WHERE task_id = %s LIMIT %s
) AS of_task
UNION
SELECT incident_id FROM (
    SELECT incident_id FROM {table} WHERE requester = %s ORDER BY at DESC LIMIT %s
) AS of_person
"""


def search(queryset: QuerySet[BlockedDuplicate], words: str) -> QuerySet[BlockedDuplicate]:
    """Return the incidents of a task id (the holder's or a refused one), key, label or person.

    Keys and labels are found by their beginning, the others by the whole of it.
    """
    words = words.replace("\0", "").strip()
    if not words:
        return queryset
    return queryset.filter(
        Q(holder_task_id=words)
        | Q(key__startswith=words)
        | Q(label__startswith=words)
        | Q(task_name=words)
        | Q(last_requester=words)
        | Q(pk__in=_incidents_of_attempts(words, queryset.db))
    )


def _incidents_of_attempts(words: str, database: str) -> list[UUID]:
    connection = connections[database]
    table = connection.ops.quote_name(BlockedAttempt._meta.db_table)
    with connection.cursor() as cursor:
        limited: list[str | int] = [words, MOST_ATTEMPTS]
        cursor.execute(OF_ATTEMPTS.format(table=table), limited * 2)
        return [UUID(str(incident)) for (incident,) in cursor.fetchall()]
