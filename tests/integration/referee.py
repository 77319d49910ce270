"""What really ran, written down beside the lock store."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from functools import cache

import redis

#: What the names of the lists begin with: each call has one, so that looking is cheap.
_LISTS = "referee:"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a run did."""

    name: str
    event: str
    task_id: str
    pid: int
    at: float


def _client() -> redis.Redis:
    return _client_of(os.environ["INTEGRATION_REFEREE"])


@cache
def _client_of(address: str) -> redis.Redis:
    return redis.Redis.from_url(address)


def note(name: str, event: str, task_id: str, at: float | None = None) -> None:
    """Write down that a run of the call ``name`` did something, now or ``at`` another time."""
    write(_client(), name, event, task_id, at)


def write(
    client: redis.Redis, name: str, event: str, task_id: str, at: float | None = None
) -> None:
    """Do so through a client that is there already."""
    entry = Entry(name, event, task_id, os.getpid(), time.time() if at is None else at)
    client.rpush(f"{_LISTS}{name}", json.dumps(asdict(entry)))


def entries(name: str) -> list[Entry]:
    """Return what the runs of a call did, in order."""
    return _read(f"{_LISTS}{name}")


def all_entries() -> list[Entry]:
    """Return what the runs of all calls did, in order."""
    found = [entry for key in _client().scan_iter(f"{_LISTS}*") for entry in _read(key)]
    return sorted(found, key=lambda entry: entry.at)


def _read(key: str | bytes) -> list[Entry]:
    return [Entry(**json.loads(line)) for line in _client().lrange(key, 0, -1)]


def events(name: str) -> list[str]:
    """Return the names of what the runs of a call did, in order."""
    return [entry.event for entry in entries(name)]


def change(name: str) -> int:
    """Make a change that a run is to see; return how many there are."""
    return int(_client().incr(f"changes:{name}"))


def count(name: str) -> int:
    """Return how many changes there are."""
    return int(_client().get(f"changes:{name}") or 0)
