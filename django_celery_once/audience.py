"""Who may see what of a call: one rule, for every phase and every way to name a call.

README.md has it as a table, whose rows the tests try.
"""

from __future__ import annotations

import logging
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from django_celery_once.record import record
from django_celery_once.requester import Requester

if TYPE_CHECKING:
    from django.http import HttpRequest

logger = logging.getLogger(__name__)

#: Where a session keeps whose calls have blocked its person, and how many of them.
BLOCKED_BY = "django_celery_once_blocked_by"
MOST = 20


class Named(StrEnum):
    """How a page names the call that it means."""

    RESULT = "result"
    """By what ``delay()`` or ``reserve()`` returned: a call of the reader ends with its result."""
    EXCEPTION = "exception"
    """By the ``AlreadyQueued`` that this person met."""
    TASK_ID = "task id"
    KEY = "key"
    LINK = "link"
    """By an address that a page has signed, for one reader."""


class Sight(IntEnum):
    """What somebody may see."""

    NOTHING = 0
    STANDING = 1
    """How the call stands."""
    RESULT = 2
    """Also where its result is, and its task id."""


@record
class Reader:
    """Somebody who looks: a user, or the browser of a visitor (``who``); empty for nobody known.

    ``blocked_by`` are the ids of others' calls that have blocked the same person.
    """

    who: str = ""
    is_staff: bool = False
    blocked_by: frozenset[str] = frozenset()

    @classmethod
    def of(cls, request: HttpRequest | None) -> Reader:
        """Return who sends a request."""
        known = Requester("web", request=request)
        name = who(known.user_id, known.visitor)
        return cls(name, known.is_staff, frozenset(_blocked_by(request)))


def who(user_id: str, visitor: str) -> str:
    """Return one word for a person, by the user or by the browser; empty for nobody known."""
    return user_id or (f"~{visitor}" if visitor else "")


def sight(
    named: Named,
    reader: Reader,
    asked: str = "",
    *,
    task_id: str = "",
    made_for: str = "",
    own: bool = False,
) -> Sight:
    """Return what a reader may see of a call.

    ``asked`` is who has asked for it, where that is known. A link was ``made_for`` somebody, and
    says whether the result is that one's ``own``.
    """
    if reader.is_staff:
        return Sight.RESULT
    if named is Named.LINK:
        unknown = not made_for and (not reader.who or reader.who.startswith("~"))
        if made_for != reader.who and not unknown:
            return Sight.NOTHING
        return Sight.RESULT if own else Sight.STANDING
    if asked and asked == reader.who:
        return Sight.RESULT
    if named is Named.KEY:
        return Sight.NOTHING
    blocked = named is Named.EXCEPTION
    if named is Named.TASK_ID:
        blocked = task_id in reader.blocked_by
    return Sight.STANDING if blocked else Sight.RESULT


def note_blocked(request: HttpRequest | None, task_id: str, asked: str) -> None:
    """Remember in a session that another's call has blocked its person; never raise.

    No session is made for that.
    """
    if request is None or (asked and asked == Reader.of(request).who):
        return
    try:
        session: Any = getattr(request, "session", None)
        if session is not None and session.session_key:
            others = [each for each in session.get(BLOCKED_BY, []) if each != task_id]
            session[BLOCKED_BY] = [*others, task_id][-MOST:]
    except Exception:
        # An event loop, a broken transaction: no reason to answer otherwise.
        logger.debug("Can't remember what has blocked this session", exc_info=True)


def _blocked_by(request: HttpRequest | None) -> list[str]:
    session: Any = getattr(request, "session", None)
    try:
        return list(session.get(BLOCKED_BY, [])) if session is not None else []
    except Exception:
        logger.debug("Can't tell what has blocked this session", exc_info=True)
        return []
