"""The transactions around a view that answers where it would have raised."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


def roll_back() -> None:
    """Undo at their end what the open transactions have done, as an exception would.

    Nothing else may be asked of their databases until then, so build the answer first.
    """
    for connection in _open():
        connection.set_rollback(True)


def are_open() -> bool:
    """Return whether ``roll_back`` has something to undo."""
    return bool(_open())


def _open() -> list[BaseDatabaseWrapper]:
    return [each for each in connections.all(initialized_only=True) if _is_open(each)]


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    blocks: list[Any] = connection.atomic_blocks
    return bool(blocks) and not blocks[-1]._from_testcase  # a TestCase's own is no view's
