"""How long a lock may wait for a worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

#: Seconds that a lock may outlive the moment at which its message expires.
EXPIRY_GRACE = 60.0
#: The least and the most that a message waits for its turn when it first comes, in seconds.
TURN_SECONDS = (1.0, 10.0)


#: Those of Celery's options for a call that say when it is to run.
MOMENTS = frozenset({"countdown", "eta"})


def queued_seconds(timeout: float, options: Mapping[str, Any], timezone: tzinfo) -> float:
    """Return for how many seconds to lock a call that is published with these options.

    That is the wait until its ``countdown`` or ``eta``, and ``timeout`` seconds more; but a
    message with ``expires`` is not waited for much longer than it lives. Times without a
    zone are in ``timezone``, the Celery app's, as for the worker.
    """
    seconds = _seconds_to_begin(options, timezone) + timeout
    expires = _seconds_until(options.get("expires"), timezone)
    return seconds if expires is None else min(seconds, max(0.0, expires) + EXPIRY_GRACE)


def begins_at(options: Mapping[str, Any], timezone: tzinfo) -> float:
    """Return when a call with these options may begin, in epoch seconds; 0 where that is now."""
    seconds = _seconds_to_begin(options, timezone)
    return time.time() + seconds if seconds else 0.0


def expired_seconds(seconds: float, expires: Any, timezone: tzinfo) -> float:
    """Return how many of a lock's ``seconds`` are left when its message ``expires``."""
    return max(0.0, seconds - max(0.0, _seconds_until(expires, timezone) or 0.0))


def turn_seconds(run_seconds: float, visits: int) -> float:
    """Return how long a message is to wait before it looks for its turn again.

    The longer the run before it has lasted, the longer it may still last; and whoever has
    come more often comes back sooner. That, and that none of it is left to chance, keeps
    roughly the order of the calls.
    """
    pause = min(max(run_seconds / 4, TURN_SECONDS[0]), TURN_SECONDS[1])
    return pause * max(0.25, 0.8**visits)


def _seconds_to_begin(options: Mapping[str, Any], timezone: tzinfo) -> float:
    countdown = options.get("countdown")
    wait = countdown if countdown else _seconds_until(options.get("eta"), timezone)
    return max(0.0, float(wait or 0.0))


def _seconds_until(moment: Any, timezone: tzinfo) -> float | None:
    if moment is None or isinstance(moment, int | float):
        return moment
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone)
    return float((aware - datetime.now(UTC)).total_seconds())
