"""Results that the garbage collector finds: let them go without a word, for nobody asks any more.

Before Celery 5.7 they unsubscribe there and then, also in the middle of redis-py's reading another
answer, and wait for ever.
"""

from __future__ import annotations

from celery.backends.redis import ResultConsumer  # type: ignore[attr-defined]
from celery.result import AsyncResult


def take_off() -> None:
    """Do so, once, where Celery is that old."""
    if not hasattr(ResultConsumer, "_flush_pending_unsubscribe") and hasattr(
        AsyncResult, "__del__"
    ):
        del AsyncResult.__del__
