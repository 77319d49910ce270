"""Where in a project's own code something is asked for."""

from __future__ import annotations

import sys
from types import CodeType

#: The code, and the line in it.
Place = tuple[CodeType, int]
#: What stands between a project's code and this app's, with its parts.
_BETWEEN = ("django_celery_once", "celery", "contextlib")


def here() -> Place | None:
    """Return the innermost place that is neither this app's nor Celery's; cheap to keep."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return frame.f_code, frame.f_lineno


def words(place: Place | None) -> str:
    """Return a place for a developer, as a traceback names it."""
    if place is None:
        return "an unknown place"
    code, line = place
    return f"{code.co_filename}:{line} (in {code.co_qualname})"
