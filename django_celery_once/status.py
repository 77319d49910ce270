"""How a call stands now, for the person who waits for it: by its lock, then by its result."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from celery import current_app
from django.core import signing
from django.http import HttpRequest
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from django_celery_once.conf import conf
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.header import CACHE, KEY
from django_celery_once.live import look_up
from django_celery_once.locks import Lock, Phase
from django_celery_once.record import record
from django_celery_once.requester import Requester
from django_celery_once.wording import MINUTE, ago

SALT = "django_celery_once.status"

logger = logging.getLogger(__name__)


class State(StrEnum):
    """How a call stands."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    """It waits for another try."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ENDED = "ended"
    """Its lock is free, and there is no result that tells how it went."""
    UNKNOWN = "unknown"
    """Nothing is known of it: no key was given to look up, and there is no result."""
    UNREACHABLE = "unreachable"
    """The lock store does not answer."""


#: What Celery's result backend calls it.
_OF_RESULT = {
    "SUCCESS": State.DONE,
    "FAILURE": State.FAILED,
    "REVOKED": State.CANCELLED,
    "REJECTED": State.CANCELLED,
    "IGNORED": State.ENDED,
    "RETRY": State.RETRYING,
    "RECEIVED": State.QUEUED,
    "STARTED": State.RUNNING,
    "PROGRESS": State.RUNNING,
}
_FINISHED = {State.DONE, State.FAILED, State.CANCELLED, State.ENDED}


@record
class Reference:
    """Which call is meant, and for whom a page shows it.

    ``label`` are words for it, ``result_url`` is where its result will be and ``user_id``
    the primary key of the person who looks, as a string; ``cache`` is the alias of the lock's
    cache, where that is known.
    """

    task_id: str = ""
    key: str = ""
    label: str = ""
    result_url: str = ""
    user_id: str = ""
    cache: str = ""

    @classmethod
    def of(cls, call: Any, key: str = "") -> Reference:
        """Return the reference of an ``AsyncResult``, ``AlreadyQueued``, reservation or task id."""
        if call is None or isinstance(call, str):
            return cls(call or "", key)
        if not hasattr(call, "task_id"):
            raise TypeError(
                "once_status takes what delay() returned, an AlreadyQueued or a task id, "
                f"not {call!r}"
            )
        lock = getattr(call, "lock", call)
        known = getattr(call, KEY, "") or getattr(lock, "key", "")
        cache = getattr(call, CACHE, "") or getattr(lock, "alias", "")
        return cls(call.task_id or "", key or known, cache=cache)

    @classmethod
    def read(cls, token: str) -> Reference:
        """Return what ``token`` was made of; raise ``signing.BadSignature`` for a made-up one."""
        return cls(*signing.loads(token, salt=SALT))

    def token(self) -> str:
        """Return it signed, to be part of an address."""
        parts = (self.task_id, self.key, self.label, self.result_url, self.user_id, self.cache)
        return signing.dumps(parts, salt=SALT, compress=True)


@record
class Status:
    """How a call stands; ``since`` is when it was accepted or, while it runs, when it began."""

    state: State
    reference: Reference
    since: datetime | None = None
    lock: Lock | None = None
    result: Any = None

    @property
    def finished(self) -> bool:
        """Return whether nothing more will happen."""
        return self.state in _FINISHED

    @property
    def sentence(self) -> str:
        """Return it in words that stand alone."""
        return _sentence(self.state, self.since)

    def as_json(self, result_url: str) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "state": str(self.state),
            "finished": self.finished,
            "sentence": self.sentence,
            "since": self.since and self.since.isoformat(),
            "task_id": self.reference.task_id,
            "result_url": result_url,
        }


def find_out(reference: Reference) -> Status:
    """Return how a call stands: two questions at most. Never raise for a server that is away."""
    try:
        lock = look_up(reference.key, reference.cache) if reference.key else None
    except LockUnavailable:
        logger.warning("The lock %s can't be looked up", reference.key, exc_info=True)
        return Status(State.UNREACHABLE, reference)
    if lock is not None and reference.task_id in ("", lock.owner):
        reference = replace(reference, task_id=lock.owner, cache=lock.alias)
        if lock.phase is not Phase.KEPT:
            return _by_lock(reference, lock)
    following = None if lock is None else lock.follow_up
    if following is not None and following.owner == reference.task_id:
        return _by_lock(reference, following)
    result = current_app.AsyncResult(reference.task_id) if reference.task_id else None
    state = _OF_RESULT.get(_state_of(result))
    if state is None:
        state = State.ENDED if reference.key else State.UNKNOWN
    return Status(state, reference, result=result)


class StatusPolicy:
    """Who may see how a call stands, and where its result is.

    Name a subclass in the setting ``STATUS_POLICY`` for other answers.
    """

    def may_see(self, request: HttpRequest, status: Status) -> bool:
        """Return whether somebody may see it: staff, and whoever asked for it.

        That is in the lock while there is one; then, whoever a page has shown it to.
        """
        if getattr(getattr(request, "user", None), "is_staff", False):
            return True
        asked = status.reference.user_id if status.lock is None else status.lock.requester
        return asked == Requester("web", request=request).user_id

    def get_result_url(self, request: HttpRequest, status: Status) -> str:
        """Return where the result of a finished call is; by default what the tag was given."""
        return status.reference.result_url if status.state is State.DONE else ""


def policy() -> StatusPolicy:
    """Return the policy that the settings name."""
    made: StatusPolicy = import_string(conf.status_policy)()
    return made


def _by_lock(reference: Reference, lock: Lock) -> Status:
    running = lock.phase is Phase.RUNNING
    since = datetime.fromtimestamp(lock.started if running else lock.since, UTC)
    return Status(State.RUNNING if running else State.QUEUED, reference, since, lock)


def _state_of(result: Any) -> str:
    try:
        return "" if result is None else str(result.state)
    except Exception:
        # Each backend's client has errors of its own, and "disabled" is one of them.
        logger.debug("The result of %s can't be looked up", result.id, exc_info=True)
        return ""


def _sentence(state: State, since: datetime | None) -> str:
    seconds = 0.0 if since is None else timezone.now().timestamp() - since.timestamp()
    if state is State.RUNNING and seconds >= MINUTE:  # a new sentence is read out: not each second
        return _("Being prepared (started %(ago)s).") % {"ago": ago(seconds)}
    return {
        State.QUEUED: _("Waiting for its turn."),
        State.RUNNING: _("Being prepared."),
        State.RETRYING: _("Waiting for another try."),
        State.DONE: _("Done."),
        State.FAILED: _("It didn't work. Please ask again."),
        State.CANCELLED: _("It was cancelled."),
        State.ENDED: _("No longer in progress."),
        State.UNKNOWN: _("Nothing is known of it yet."),
        State.UNREACHABLE: _("Its status can't be told right now."),
    }[state]
