"""The statements that a block sends to the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.test.utils import CaptureQueriesContext


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements of a block by their first word, those of transactions left out."""
    found: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield found
    words = [query["sql"].split()[0] for query in captured.captured_queries]
    found += [word for word in words if word in {"SELECT", "INSERT", "UPDATE", "DELETE"}]
