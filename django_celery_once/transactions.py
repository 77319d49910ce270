"""The transactions that are open here: a view's, to undo, and a caller's, to wait for."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError


def roll_back() -> None:
    """Undo at their end what the open transactions have done, as an exception would.

    Nothing else may be asked of their databases until then, so build the answer first.
    """
    for connection in _views():
        connection.set_rollback(True)


def are_open() -> bool:
    """Return whether ``roll_back`` has something to undo."""
    return bool(_views())


def to_wait_for(using: str | None = None) -> BaseDatabaseWrapper | None:
    """Return the database whose commit a call is to wait for, if one is under way.

    That is ``using`` or, without it, the one that has a transaction open here. Raise
    ``TransactionManagementError`` where several have, and ``ConnectionDoesNotExist`` for an
    alias that is not in ``DATABASES``.
    """
    known = connections.all(initialized_only=True) if using is None else [connections[using]]
    found = [each for each in known if _is_open(each)]
    # A test's own transactions are no caller's: they count where there is no other.
    callers = [each for each in found if is_callers(each)]
    if len(callers) > 1:
        listed = " and ".join(repr(each.alias) for each in callers)
        raise TransactionManagementError(
            f"Transactions are open on the databases {listed}: say whose commit is to queue the "
            f"call, as in apply_async_on_commit(..., using={callers[0].alias!r})"
        )
    tests = sorted(found, key=lambda each: each.alias != DEFAULT_DB_ALIAS)
    return next(iter(callers or tests), None)


def is_open(using: str) -> bool:
    """Return whether a database has a transaction open here."""
    return _is_open(connections[using])


def is_callers(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a caller's transaction is open; a ``TestCase``'s own is not a caller's."""
    blocks: list[Any] = connection.atomic_blocks
    return _by_hand(connection) or any(not block._from_testcase for block in blocks)


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    return connection.in_atomic_block or _by_hand(connection)


def _by_hand(connection: BaseDatabaseWrapper) -> bool:
    within = connection.in_atomic_block
    return connection.connection is not None and not connection.autocommit and not within


def _views() -> list[BaseDatabaseWrapper]:
    return [each for each in connections.all(initialized_only=True) if _is_views(each)]


def _is_views(connection: BaseDatabaseWrapper) -> bool:
    blocks: list[Any] = connection.atomic_blocks
    return bool(blocks) and not blocks[-1]._from_testcase  # a TestCase's own is no view's
