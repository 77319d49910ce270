"""Locks as the fields of a hash, and as what scripts tell of one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django_celery_once.keys import task_in
from django_celery_once.locks.base import Lock, Phase, Start, with_own_time

_PHASES = {phase.value: phase for phase in Phase}

#: Where a record is: the cache's alias, the key, and the name that this has there.
Place = tuple[str, str, str]


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))


def fields_of(lock: Lock) -> list[str]:
    """Return the hash's fields and values, flat; empty ones take no room."""
    fields = [
        ("owner", lock.owner),
        ("token", lock.token),
        ("run", lock.run),
        ("phase", lock.phase.value),
        ("task", "" if lock.task == task_in(lock.key) else lock.task),  # the key says it
        ("since", f"{lock.since:.3f}"),
        ("started", f"{lock.started:.3f}" if lock.started else ""),
        ("worker", lock.worker),
        ("requester", lock.requester),
        ("visitor", lock.visitor),
        ("label", lock.label),
        ("hits", str(lock.hits or "")),
        ("until", lock.until),
        ("copied", "1" if lock.copied else ""),
        ("grace", f"{lock.grace:.3f}" if lock.grace else ""),
        ("begins", f"{lock.begins:.3f}" if lock.begins else ""),
        ("schema", lock.schema),
    ]
    return [part for name, value in fields if value for part in (name, value)]


def start_words(lock: Lock, lease: float, mode: str, again: float | None = None) -> list[str | int]:
    """Return the words of the script ``START``; ``lease`` and ``again`` are in seconds."""
    started, now = f"{lock.started:.3f}", time.time()
    noted = "" if again is None else f"{now - again:.3f}"
    return [
        milliseconds(lease), mode, lock.owner, lock.token, lock.run, started, lock.worker,
        lock.previous, f"{now:.3f}", "1" if lock.copied else "", noted, *fields_of(lock)
    ]  # fmt: skip


def found_at_start(place: Place, reply: bytes | str) -> tuple[Start, Lock | None]:
    """Read the answer of the script ``START``."""
    word, _blank, record = text_of(reply).partition(" ")
    return Start[word], (told(place, record) if record else None)


def told(place: Place, reply: bytes | str) -> Lock:
    """Return the lock whose record a script tells."""
    record = json.loads(text_of(reply))
    return lock_of(place, record, record["pttl"])


def lock_of(place: Place, record: Mapping[str, Any], left: int) -> Lock:
    """Return the lock of a record, with ``left`` milliseconds to live."""
    held = _record(place, record, left)
    if "next.owner" not in record:
        return held
    following = {name[5:]: value for name, value in record.items() if name.startswith("next.")}
    follow_up = _record(place, following, int(following["ttl"]))
    return with_own_time(replace(held, follow_up=follow_up))


def _record(place: Place, fields: Mapping[str, Any], left: int) -> Lock:
    alias, key, name = place
    told = fields.get
    return Lock(
        key=key,
        owner=fields["owner"],
        token=fields["token"],
        run=told("run", ""),
        phase=_PHASES[fields["phase"]],
        task=told("task") or task_in(key),
        since=float(fields["since"]),
        started=float(told("started", 0)),
        worker=told("worker", ""),
        requester=told("requester", ""),
        visitor=told("visitor", ""),
        label=told("label", ""),
        hits=int(told("hits", 0)),
        lease=float(told("lease", 0)),
        sent_back=float(told("sent_back", 0)),
        until=told("until", ""),
        remaining=max(0.0, int(left) / 1000),
        call=told("call", ""),
        seen=float(told("seen", 0)),
        copied="copied" in fields,
        grace=float(told("grace", 0)),
        begins=float(told("begins", 0)),
        instead="instead" in fields,
        schema=told("schema", ""),
        alias=alias,
        name=name,
    )


def text_of(value: bytes | str) -> str:
    """Return what a server sent as text, whether or not the client decodes it."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
