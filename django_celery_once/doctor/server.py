"""Examinations of the Redis server behind the locks, by what its INFO says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_celery_once.doctor.findings import Finding, not_examined, ok, warning, wrong

#: Since 5.0 a script may write after it has read a time-out (replication by effects), since
#: 6.0 SCAN knows TYPE, by which locks are listed.
OLDEST, OLDEST_THAT_LISTS = (5, 0), (6, 0)
NEVER_EVICTS = "noeviction"

Info = Mapping[str, Any]


def examine_version(info: Info) -> Finding:
    """Compare the server's version with what the lock store's commands need."""
    version = str(info.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    name = str(info.get("server_name", "") or "redis").capitalize()
    own = info.get(f"{name.lower()}_version", version)
    seen = f"{name} {own}" + (f", as Redis {version}" if own != version else "")
    if not numbers:
        return not_examined("The server does not tell its version.")
    if numbers < OLDEST:
        return wrong(f"{seen} is too old for the lock store's scripts.", "Use Redis 6 or newer.")
    if numbers < OLDEST_THAT_LISTS:
        return warning(
            f"{seen} holds locks, but can't list them: once_locks and the admin's list of live "
            "locks need SCAN with TYPE.",
            "Use Redis 6 or newer.",
        )
    return ok(f"{seen}.")


def examine_eviction(info: Info) -> Finding:
    """Tell whether the server may drop locks when its memory is full.

    Every lock has a time-out, so that the volatile-* policies drop locks as allkeys-* do.
    """
    policy = str(info.get("maxmemory_policy", ""))
    limit = int(info.get("maxmemory", 0))
    evicted = int(info.get("evicted_keys", 0))
    full = info.get("maxmemory_human", f"{limit} bytes") if limit else "not set"
    seen = f"maxmemory-policy is {policy}, maxmemory {full}"
    if evicted:
        seen += f", {evicted} keys dropped since the server's start"
    advice = f"Set maxmemory-policy {NEVER_EVICTS}, or give locks a server of their own."
    if not policy:
        return not_examined("The server does not tell its maxmemory-policy.")
    if policy == NEVER_EVICTS:
        return ok(f"{seen}: no lock is dropped for want of memory.")
    if limit:
        return wrong(
            f"{seen}: locks may be dropped when the memory is full, and their tasks run twice.",
            advice,
        )
    return warning(f"{seen}: locks may be dropped once a maxmemory is set.", advice)


def examine_replication(info: Info) -> Finding:
    """Tell the server's role; a replica refuses to write."""
    role = str(info.get("role", ""))
    replicas = int(info.get("connected_slaves", 0))
    if not role:
        return not_examined("The server does not tell its role.")
    if role != "master":
        return wrong(
            "The server is a replica, which takes no locks (or loses them).",
            "Let the cache's LOCATION name the primary first.",
        )
    if replicas:
        return ok(
            f"The primary of {replicas} replica{'s'[: replicas != 1]}; a failover can lose the "
            "locks that were not copied yet."
        )
    return ok("A primary without replicas.")


def examine_persistence(info: Info) -> Finding:
    """Tell, as information, what a restart of the server does to locks."""
    if "aof_enabled" not in info:
        return not_examined("The server does not tell whether it writes to disk.")
    if int(info["aof_enabled"]):
        return ok("The server writes an append-only file: locks survive its restart.")
    return ok(
        "The server writes no append-only file: its restart forgets the locks that are in no "
        "snapshot. Running tasks take theirs back, queued ones go unguarded."
    )
