"""Who is asking for a task: the person and page, or the process, behind a call."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.crypto import salted_hmac

from django_celery_once.record import record

if TYPE_CHECKING:
    from django.http import HttpRequest

logger = logging.getLogger(__name__)

Source = Literal["web", "worker", "beat", "command", "other"]


class Asked(TypedDict):
    """Who asked, as a lock says it."""

    requester: str
    visitor: str


@record
class Known:
    """What is known of who asked, in words that can be kept for as long as one likes."""

    source: Source
    user_id: str
    label: str
    path: str
    view_name: str


@record
class Requester:
    """Where a call came from. ``request`` is the Django request of a web call.

    Its user is loaded when first asked for, which is impossible in an event loop or a broken
    transaction: then nobody is known, and may be known later.
    """

    source: Source
    name: str = ""
    request: HttpRequest | None = None
    user: Any = None

    @property
    def user_id(self) -> str:
        """Return the primary key of the logged-in user, or an empty string."""
        return self._tell(lambda user: user.pk)

    @property
    def visitor(self) -> str:
        """Return a digest that tells the browser of somebody who is not logged in, or nothing.

        That is of the cookie that secures its forms (CSRF), which is there before the first submit,
        or else of the session, which may begin with it.
        """
        if self.request is None or not self._is_visitor():
            return ""
        session = getattr(getattr(self.request, "session", None), "session_key", None)
        key = self.request.COOKIES.get(settings.CSRF_COOKIE_NAME) or session
        return salted_hmac(__name__, key, algorithm="sha256").hexdigest()[:32] if key else ""

    @property
    def is_staff(self) -> bool:
        """Return whether that is a user of the staff."""
        return bool(self._tell(lambda user: "staff" if user.is_staff else None))

    @property
    def label(self) -> str:
        """Return words for a person: the user's name, or the name of the task or process."""
        return self._tell(str) or self.name

    @property
    def path(self) -> str:
        """Return the path of the request, or an empty string."""
        return "" if self.request is None else self.request.path

    @property
    def view_name(self) -> str:
        """Return the name of the view, such as ``reports:index``, or an empty string."""
        match = None if self.request is None else self.request.resolver_match
        return "" if match is None else match.view_name

    def seen(self) -> Requester:
        """Return this requester with the user of now: the view may log out later."""
        return replace(self, user=self._user())

    def known(self) -> Known:
        """Return the same in words, without the request and all that it holds."""
        return Known(self.source, self.user_id, self.label, self.path, self.view_name)

    def _is_visitor(self) -> bool:
        user = getattr(self.request, "user", None)
        try:
            return not self.user_id and (user is None or not user.is_authenticated)
        except Exception:
            # In an event loop or a broken transaction nobody can tell.
            logger.debug("Whether a visitor is logged in can't be told now", exc_info=True)
            return False

    def _user(self) -> Any:
        try:
            try:
                return _logged_in(self.user or getattr(self.request, "user", None))
            except SynchronousOnlyOperation:  # an async view may have asked for it: auser()
                return _logged_in(getattr(self.request, "_acached_user", None))
        except Exception:
            # Who asked is no reason to fail what was asked for.
            logger.debug("Who asked can't be told now", exc_info=True)
            return None

    def _tell(self, what: Callable[[Any], object]) -> str:
        if self.user is None and self.request is None:
            return ""
        user = self._user()
        try:
            told = None if user is None else what(user)
        except Exception:
            logger.debug("Nothing can be told of who asked", exc_info=True)
            return ""
        return "" if told is None else str(told)


def _logged_in(user: Any) -> Any:
    return user if getattr(user, "is_authenticated", False) else None


_asking: ContextVar[Requester | None] = ContextVar("django_celery_once_requester", default=None)
_process_source: Source | None = None


def current() -> Requester:
    """Return who is asking in this context: a request if one is bound, else the process."""
    return bound() or _this_process(_process_source, sys.argv[0] if sys.argv else "")


def bound() -> Requester | None:
    """Return who is asking by the request that is bound here: one object for each request."""
    return _asking.get()


@contextmanager
def asking(requester: Requester) -> Iterator[None]:
    """Make ``requester`` the one who is asking, for the length of a block."""
    token = _asking.set(requester)
    try:
        yield
    finally:
        _asking.reset(token)


@contextmanager
def asking_by(request: HttpRequest | None) -> Iterator[None]:
    """Make whoever sends a request the one who is asking, where that is not known already."""
    if bound() is not None or request is None:
        yield
        return
    with asking(Requester("web", request=request)):
        yield


def set_process_source(source: Source) -> None:
    """Say what this process is; only Celery's signals know that it is a beat."""
    global _process_source
    _process_source = source


def is_flower() -> bool:
    """Return whether this process is Flower, which Celery's own program starts.

    That program loads Flower's module whatever it is told to do.
    """
    return "flower.app" in sys.modules and "flower" in sys.argv


@functools.lru_cache(maxsize=4)
def _this_process(source: Source | None, path: str) -> Requester:
    program = PurePath(path).name
    guessed: Source = "command" if program in {"manage.py", "django-admin"} else "other"
    return Requester(source or guessed, name=source or program)
