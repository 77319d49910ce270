"""The kind of class that this package keeps what it knows in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a dataclass with slots whose fields stay as they are; type checkers see to that.

    With ``frozen=True``, Python would, too: a lock would take three times as long to make, and
    the class half as long again when it is imported.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
