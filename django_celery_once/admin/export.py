"""Incidents as CSV, for a spreadsheet: part by part, and nothing in it is a formula."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

from django_celery_once.models import BlockedDuplicate

COLUMNS = (
    "task_name",
    "label",
    "key",
    "rejections",
    "first_rejection",
    "last_rejection",
    "last_requester",
    "holder_task_id",
    "held_since",
    "released_at",
    "outcome",
)
#: Rows that are fetched at once.
CHUNK = 2000
#: Without it, Excel takes the file for the machine's old encoding.
BYTE_ORDER_MARK = "\ufeff"
#: What spreadsheets take for the beginning of a formula, full-width forms included.
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def csv_response(
    incidents: QuerySet[BlockedDuplicate], *, in_event_loop: bool = False
) -> StreamingHttpResponse:
    """Return a download of all these incidents, which never has them in memory together.

    ``in_event_loop``: an ASGI server sends it, and would make one list of a plain iterator.
    """
    day = timezone.now().date().isoformat()
    return StreamingHttpResponse(
        _from_thread(_parts(incidents)) if in_event_loop else _parts(incidents),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="blocked-duplicates-{day}.csv"'},
    )


async def _from_thread(parts: Iterator[str]) -> AsyncIterator[str]:
    while part := await sync_to_async(lambda: next(parts, ""))():
        yield part


def _parts(incidents: QuerySet[BlockedDuplicate]) -> Iterator[str]:
    yield BYTE_ORDER_MARK
    lines = _lines(incidents)
    while part := "".join(islice(lines, CHUNK)):
        yield part


def _lines(incidents: QuerySet[BlockedDuplicate]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    rows: Iterable[tuple[Any, ...]] = incidents.values_list(*COLUMNS).iterator(chunk_size=CHUNK)
    yield writer.writerow(COLUMNS)
    for row in rows:
        yield writer.writerow([cell(value) for value in row])


def cell(value: object) -> str:
    """Write a value so that a spreadsheet shows it: moments in UTC, text as text."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        aware = value
        if timezone.is_naive(value):
            aware = timezone.make_aware(value, timezone.get_default_timezone())
        return aware.astimezone(UTC).isoformat()
    text = str(value)
    # A spreadsheet may drop blanks, tabs and line ends before it looks at the rest.
    risky = text.startswith(("\t", "\r", "\n")) or text.lstrip().startswith(FORMULA)
    return f"'{text}" if risky else text
