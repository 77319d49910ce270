"""What really ran, written down beside the lock store."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass

import redis

_LIST = "referee"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a run did."""

    name: str
    event: str
    task_id: str
    pid: int
    at: float


def _client() -> redis.Redis:
    return redis.Redis.from_url(os.environ["INTEGRATION_REFEREE"])


def note(name: str, event: str, task_id: str) -> None:
    """Write down that a run of the call ``name`` did something."""
    with _client() as client:
        write(client, name, event, task_id)


def write(client: redis.Redis, name: str, event: str, task_id: str) -> None:
    """Do so through a client that is there already."""
    entry = Entry(name, event, task_id, os.getpid(), time.time())
    client.rpush(_LIST, json.dumps(asdict(entry)))


def entries(name: str) -> list[Entry]:
    """Return what the runs of a call did, in order."""
    return [entry for entry in all_entries() if entry.name == name]


def all_entries() -> list[Entry]:
    """Return what the runs of all calls did, in order."""
    with _client() as client:
        return [Entry(**json.loads(line)) for line in client.lrange(_LIST, 0, -1)]


def events(name: str) -> list[str]:
    """Return the names of what the runs of a call did, in order."""
    return [entry.event for entry in entries(name)]


def change(name: str) -> int:
    """Make a change that a run is to see; return how many there are."""
    with _client() as client:
        return int(client.incr(f"changes:{name}"))


def count(name: str) -> int:
    """Return how many changes there are."""
    with _client() as client:
        return int(client.get(f"changes:{name}") or 0)
