"""Waiting for a key that another task has, boundedly."""

from __future__ import annotations

import asyncio
import random
import time

from django.core.exceptions import SynchronousOnlyOperation

from django_celery_once import claims
from django_celery_once.claims import Claim

#: Seconds between two looks at a key, drawn anew each time so that waiters do not march in step.
PAUSES = (0.1, 0.4)
#: The least of them: at most 20 looks a second.
LEAST = 0.05


def take_within(claim: Claim, seconds: float) -> Claim:
    """Take the lock of a new call as soon as it is free; return the claim, with the holder if not.

    Whoever has waited longer looks more often, so that of many waiters none starves. Raise
    ``LockUnavailable`` as ``claims.take``, ``SynchronousOnlyOperation`` in an event loop.
    """
    _check_may_sleep(claim)
    began = time.monotonic()
    taken = claims.take(claim, counted=False)
    while taken.holder is not None:
        left = began + seconds - time.monotonic()
        if left <= 0:
            return claims.take(claim)  # the last look counts as a duplicate
        time.sleep(min(left, _pause(left / seconds)))
        taken = claims.take(claim, counted=False)
    return taken


def _pause(left: float) -> float:
    """Return how long to sleep where this fraction of the time is left."""
    return max(LEAST, random.uniform(*PAUSES) * max(0.3, left))  # noqa: S311


def _check_may_sleep(claim: Claim) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SynchronousOnlyOperation(
        f"{claim.lock.task} waits for its key (on_duplicate='wait'), which would stop this event "
        "loop: call it through sync_to_async, or with another once['on_duplicate']"
    )
