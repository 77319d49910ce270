"""The tenant of a call, where a database has a schema for each.

django-tenants and its kin set it on the connections of a thread: the web's middleware for a
request, a receiver of ``task_prerun`` for a run. Threads and processes that see to the ends of
calls have none, and take that of the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.connection import ConnectionDoesNotExist

from django_celery_once.conf import conf


def current_schema() -> str:
    """Return the schema of the tenant here; empty where no database has one for each."""
    return next((connection.schema_name for connection in _connections()), "") or ""


@contextmanager
def in_schema(schema: str) -> Iterator[None]:
    """Be that tenant for the length of a block."""
    with ExitStack() as stack:
        for connection in _connections() if schema else ():
            stack.enter_context(_switched(connection, schema))
        yield


def _connections() -> Iterator[Any]:
    """Yield the connections that have schemas, of the journal's database first."""
    found: list[Any] = []
    # A wrong setting is no caller's trouble: whoever writes to the database says so.
    with suppress(ImproperlyConfigured, ConnectionDoesNotExist):
        found.append(connections[conf.log_database])
    with suppress(ImproperlyConfigured, ConnectionDoesNotExist):
        found.append(connections[DEFAULT_DB_ALIAS])
    for connection in dict.fromkeys(found):
        if hasattr(connection, "set_schema"):
            yield connection


@contextmanager
def _switched(connection: Any, schema: str) -> Iterator[None]:
    before = connection.tenant
    connection.set_schema(schema)
    try:
        yield
    finally:
        if before is None:
            connection.set_schema_to_public()
        else:
            connection.set_tenant(before)
