"""Locks as the values that caches other than Redis hold, and the keys beside them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from django_celery_once.locks.base import Lock, Phase, with_own_time


def lock_of(alias: str, name: str, record: Mapping[str, Any]) -> Lock:
    """Return the lock of a value, which has this ``name`` in the cache."""
    fields = dict(record)
    remaining = max(0.0, fields.pop("expires") - time.time())
    following = fields.pop("follow_up")
    if following is not None:
        following = {**following, "phase": Phase(following["phase"])}
        following = Lock(**following, alias=alias, name=name)
    known = {**fields, "phase": Phase(fields["phase"]), "follow_up": following}
    return with_own_time(Lock(**known, remaining=remaining, alias=alias, name=name))


def belongs(held: Lock, lock: Lock) -> bool:
    """Return whether a held lock is that of a message and run."""
    return held.token == lock.token and (not held.run or lock.run in ("", held.run))


def follows(held: Lock, lock: Lock) -> bool:
    """Return whether a message is to follow a held lock."""
    return held.follow_up is not None and held.follow_up.token == lock.token


def is_dead(held: Lock, again: float | None) -> bool:
    """Return whether a lock's run was silent for so long since a copy of its message came."""
    return again is not None and 0 < held.sent_back <= time.time() - again


def hits_name(name: str) -> str:
    """Return where the duplicates of the lock with this name are counted."""
    return f"{name}:hits"


def end_name(name: str, token: str) -> str:
    """Return what is there while the message of a token is known to have ended."""
    return f"{name}:ended:{token}"


def record_of(lock: Lock, timeout: float) -> dict[str, object]:
    """Return the value of a lock that is kept for ``timeout`` seconds."""
    record = asdict(lock)
    record["phase"] = lock.phase.value
    record["expires"] = time.time() + timeout
    if lock.follow_up is not None:
        record["follow_up"] = {**asdict(lock.follow_up), "phase": lock.follow_up.phase.value}
        del record["follow_up"]["alias"], record["follow_up"]["name"]
    del record["remaining"], record["previous"], record["alias"], record["name"]
    return record


def successor(held: Lock, lock: Lock) -> Lock:
    """Return the next lock on a key: the same task's goes on with what was said of it."""
    if held.owner != lock.owner:
        return replace(lock, follow_up=held.follow_up)
    following = held.follow_up
    return replace(
        lock,
        follow_up=None if following is not None and following.instead else following,
        since=held.since,
        hits=held.hits,
        until=held.until,
        copied=held.copied and held.token == lock.token,
        label=lock.label or held.label,
        requester=lock.requester or held.requester,
        visitor=lock.visitor or held.visitor,
    )
