"""The message header with which a lock travels from the caller to the worker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from django_celery_once.record import record

NAME = "once"
#: How deep headers are looked for in each other. A message has one level, or two; see
#: https://github.com/celery/celery/issues/4875.
LEVELS = 4
#: Where a call's result keeps its key, the alias of the cache that holds its lock, and its
#: task's name.
KEY, CACHE, TASK = "once_key", "once_cache", "once_task"


@record
class Header:
    """What a message says of its lock.

    ``token`` is new at every publish. ``timeout`` (seconds) is there where the call had its
    own; ``kept_until`` (epoch seconds) where the key is kept until then whatever the result is,
    unless that is a failure and ``release_on_failure``. A header without a key belongs to a call
    that was forced: its run is not guarded. ``again`` marks a message that a worker sent back
    because another copy of it was running. ``run`` is no part of a message: the worker's main
    process gives it to the child, so that both know which run is meant, and with it when the
    message was ``received`` (epoch seconds). ``previous`` is an
    earlier token that the lock may still have, where moving it to this message had no answer.
    ``duplicate_of`` is the id of the task in flight where this message only stands for a
    duplicate within a canvas; with ``joins``, the key of that task, its value is to be that
    task's. ``follows`` is ``"turn"`` where the message waits for the run before it, and
    ``"rerun"`` where it only looks after a call that is published when that run ends. ``visits``
    counts how often the message was sent back to wait for its turn. ``cache`` is the alias of
    the lock's cache where that is not the setting's. ``keys`` are the names that the key is made
    of where the call had its own, and ``own_key`` says that a callable of its own made it.
    ``options`` are those of the caller's options that a message does not tell, to be given again
    where it is sent again. ``name`` is that of the key in its cache, as the caller spells it.
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
    keys: Sequence[str] | None = None
    own_key: bool = False
    received: float = 0.0
    options: Mapping[str, Any] | None = None
    name: str = ""

    @property
    def keeps(self) -> str:
        """Return what the lock is to know of ``until``."""
        return self.until if self.until == "expired" else ""

    @property
    def kept_seconds(self) -> float:
        """Return for how many seconds from now the key is kept at least."""
        return max(0.0, self.kept_until - time.time())

    def as_message(self, task_name: str, task_id: object) -> dict[str, Any]:
        """Return what one message carries: whose header it is, and what that says."""
        return {"id": str(task_id), "task": task_name, **self.plain()}

    def plain(self) -> dict[str, Any]:
        """Return the header's fields that differ from their defaults."""
        said = {}
        for name, default in _DEFAULTS:
            value = getattr(self, name)
            if value != default:
                said[name] = value
        return said

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Header:
        """Return the header that says this; what a later release added to it is skipped."""
        return cls(**{name: value for name, value in said.items() if name in _NAMES})


#: The fields and their defaults, looked up once.
_DEFAULTS = tuple((field.name, field.default) for field in fields(Header))
_NAMES = frozenset(name for name, _default in _DEFAULTS)


def read_header(message: object) -> Header | None:
    """Return the header of a message; ``None`` if it has none, or only another message's.

    ``message`` are its headers, with its task's ``id`` and name (``task``) among them, or a
    request of Celery's, which has them as attributes. Headers are handed on: by tasks to those
    that they call, and by tracers that nest a copy of them. A header of ours names its message.
    """
    said = message if isinstance(message, Mapping) else getattr(message, "__dict__", {})
    for level in levels(said):
        given = level.get(NAME)
        if isinstance(given, Mapping) and _is_of(given, said):
            return Header.of(given)
    return None


def _is_of(given: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    same_name = said.get("task") in (None, given.get("task"))
    return same_name and given.get("id") == str(said.get("id"))


def levels(headers: object) -> Iterator[Mapping[str, Any]]:
    """Yield a message's headers, then those that a tracer has nested in them."""
    for _level in range(LEVELS):
        if not isinstance(headers, Mapping):
            return
        yield headers
        headers = headers.get("headers")
