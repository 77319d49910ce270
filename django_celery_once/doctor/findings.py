"""What an examination tells."""

from __future__ import annotations

from enum import StrEnum

from django_celery_once.record import record


class State(StrEnum):
    """How an examination ended."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    NOT_EXAMINED = "not examined"


@record
class Finding:
    """What was seen, and what to do about it (empty where there is nothing to do).

    ``cache`` is the alias of the cache that was examined, if it was one.
    """

    state: State
    seen: str
    advice: str = ""
    cache: str = ""


def ok(seen: str) -> Finding:
    """Return that all is well."""
    return Finding(State.OK, seen)


def warning(seen: str, advice: str) -> Finding:
    """Return what works, though not as well as it might."""
    return Finding(State.WARNING, seen, advice)


def wrong(seen: str, advice: str) -> Finding:
    """Return what breaks a promise."""
    return Finding(State.WRONG, seen, advice)


def not_examined(why: str) -> Finding:
    """Return that there was no way to tell, or no need."""
    return Finding(State.NOT_EXAMINED, why)
