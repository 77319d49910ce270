"""What there is to draw: servers that are set up in several ways, and keys of several kinds."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from celery.app import defaults

BROKERS = ("redis", "rabbitmq")
#: Seconds that a lock stays with a task that no worker runs, and that one is kept which expires.
TIMEOUT, EXPIRY = 20.0, 5.0
#: How a key's messages are acknowledged: the first half of its name.
KINDS: dict[str, dict[str, Any]] = {
    "early": {},
    "late": {"acks_late": True},
    "stubborn": {"acks_late": True, "reject_on_worker_lost": True},
}
#: How long a key is held, the other half, and what duplicates may get there.
ANSWERS: dict[str, list[str | None]] = {
    "finished": ["raise", "reject", "join", "wait", "rerun"],
    "started": ["raise", "reject", "join", "wait"],
    "expired": ["raise", "reject", "join", "wait"],
    "running": [None],
}
#: The keys that callers fight for.
NAMES = [f"{kind}-{until}" for kind in KINDS for until in ANSWERS]


def until_of(name: str) -> str:
    """Return how long a key is held."""
    return name.partition("-")[2]


def timeout_of(name: str) -> float:
    """Return the seconds for which a call of a key is waited for."""
    return EXPIRY if until_of(name) == "expired" else TIMEOUT


@dataclass(frozen=True, slots=True)
class SetUp:
    """The choices that hold for a whole chaos run."""

    broker: str
    quorum: bool
    track_started: bool

    @classmethod
    def draw(cls, broker: str, seed: int) -> SetUp:
        """Return those of a seed; Celery knows quorum queues since 5.5."""
        dice = random.Random(f"set-up {seed}")
        quorum, track_started = dice.random() < 0.5, dice.random() < 0.5
        known = "default_queue_type" in defaults.NAMESPACES["task"]
        return cls(broker, broker == "rabbitmq" and known and quorum, track_started)

    def __str__(self) -> str:
        quorum = " with quorum queues" if self.quorum else ""
        return f"{self.broker}{quorum}{', task_track_started' if self.track_started else ''}"

    def environment(self) -> dict[str, str]:
        """Return what tells the workers and the callers."""
        queue_type, exchange_type = ("quorum", "topic") if self.quorum else ("classic", "direct")
        return {
            "INTEGRATION_QUEUE_TYPE": queue_type,
            "INTEGRATION_EXCHANGE_TYPE": exchange_type,
            "INTEGRATION_CELERY": json.dumps({"task_track_started": self.track_started}),
        }
