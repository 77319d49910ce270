"""Locks as the fields of a hash, and as what scripts tell of one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django_celery_once import keys
from django_celery_once.locks.base import Lock, Phase, Start

_PHASES = {phase.value: phase for phase in Phase}


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
        ("task", "" if lock.task == _task_in(lock.key) else lock.task),
        ("since", f"{lock.since:.3f}"),
        ("started", f"{lock.started:.3f}" if lock.started else ""),
        ("worker", lock.worker),
        ("requester", lock.requester),
        ("label", lock.label),
        ("hits", str(lock.hits or "")),
        ("until", lock.until),
    ]
    return [part for name, value in fields if value for part in (name, value)]


def start_words(lock: Lock, lease: float, mode: str) -> list[str | int]:
    """Return the words of the script ``START``; ``lease`` is in seconds."""
    started = f"{lock.started:.3f}"
    return [
        milliseconds(lease), mode, lock.owner, lock.token, lock.run, started, lock.worker,
        lock.previous, f"{time.time():.3f}", *fields_of(lock)
    ]  # fmt: skip


def found_at_start(alias: str, key: str, reply: bytes | str) -> tuple[Start, Lock | None]:
    """Read the answer of the script ``START``."""
    word, _blank, record = text_of(reply).partition(" ")
    return Start[word], (told(alias, key, record) if record else None)


def told(alias: str, key: str, reply: bytes | str) -> Lock:
    """Return the lock whose record a script tells."""
    record = json.loads(text_of(reply))
    return lock_of(alias, key, record, record["pttl"])


def lock_of(alias: str, key: str, record: Mapping[str, Any], left: int) -> Lock:
    """Return the lock of a record, with ``left`` milliseconds to live."""
    held = _record(alias, key, record, left)
    if "next.owner" not in record:
        return held
    following = {name[5:]: value for name, value in record.items() if name.startswith("next.")}
    return replace(held, follow_up=_record(alias, key, following, int(following["ttl"])))


def _record(alias: str, key: str, fields: Mapping[str, Any], left: int) -> Lock:
    told = fields.get
    return Lock(
        key=key,
        owner=fields["owner"],
        token=fields["token"],
        run=told("run", ""),
        phase=_PHASES[fields["phase"]],
        task=told("task") or _task_in(key),
        since=float(fields["since"]),
        started=float(told("started", 0)),
        worker=told("worker", ""),
        requester=told("requester", ""),
        label=told("label", ""),
        hits=int(told("hits", 0)),
        lease=float(told("lease", 0)),
        sent_back="sent_back" in fields,
        until=told("until", ""),
        remaining=max(0.0, int(left) / 1000),
        call=told("call", ""),
        seen=float(told("seen", 0)),
        alias=alias,
    )


def _task_in(key: str) -> str:
    """Return the name of the task as a key spells it, which a record need not say again."""
    return key[len(keys.PREFIX) + 1 :].rpartition(":")[0]


def text_of(value: bytes | str) -> str:
    """Return what a server sent as text, whether or not the client decodes it."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
