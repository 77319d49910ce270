"""The message header with which a lock travels from the caller to the worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from django_celery_once.record import record

NAME = "once"
#: Where a call's result keeps its key, and the alias of the cache that holds its lock.
KEY, CACHE = "once_key", "once_cache"


@record
class Header:
    """What a message says of its lock.

    ``token`` is new at every publish. ``timeout`` (seconds) is there where the call had its
    own; ``kept_until`` (epoch seconds) where the key is kept until then whatever the result is,
    unless that is a failure and ``release_on_failure``. A header without a key belongs to a call
    that was forced: its run is not guarded. ``again`` marks a message that a worker sent back
    because another copy of it was running. ``run`` is no part of a message: the worker's main
    process gives it to the child, so that both know which run is meant. ``previous`` is an
    earlier token that the lock may still have, where moving it to this message had no answer.
    ``duplicate_of`` is the id of the task in flight where this message only stands for a
    duplicate within a canvas; with ``joins``, the key of that task, its value is to be that
    task's. ``follows`` is ``"turn"`` where the message waits for the run before it, and
    ``"rerun"`` where it only looks after a call that is published when that run ends. ``visits``
    counts how often the message was sent back to wait for its turn. ``cache`` is the alias of
    the lock's cache where that is not the setting's.
    """

    key: str = ""
    token: str = ""
    until: str = "finished"
    timeout: float | None = None
    again: bool = False
    run: str = ""
    previous: str = ""
    duplicate_of: str = ""
    joins: str = ""
    kept_until: float = 0.0
    release_on_failure: bool = False
    follows: str = ""
    visits: int = 0
    cache: str = ""

    @property
    def keeps(self) -> str:
        """Return what the lock is to know of ``until``."""
        return self.until if self.until == "expired" else ""

    @property
    def kept_seconds(self) -> float:
        """Return for how many seconds from now the key is kept at least."""
        return max(0.0, self.kept_until - time.time())

    def as_message(self) -> dict[str, Any]:
        """Return the header's fields that differ from their defaults."""
        message = {}
        for name, default in _DEFAULTS:
            value = getattr(self, name)
            if value != default:
                message[name] = value
        return message


#: The fields and their defaults, looked up once.
_DEFAULTS = tuple((field.name, field.default) for field in fields(Header))
_NAMES = frozenset(name for name, _default in _DEFAULTS)


def read_header(headers: Mapping[str, Any] | None) -> Header | None:
    """Return the header of a message or of publish options; ``None`` if it has none."""
    given = (headers or {}).get(NAME)
    if not isinstance(given, Mapping):
        return None
    return Header(**{name: value for name, value in given.items() if name in _NAMES})
