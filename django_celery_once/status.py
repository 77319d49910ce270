"""How a call stands now, for the person who waits for it: by its lock, then by its result."""

from __future__ import annotations

import logging
from dataclasses import field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from django.core import signing
from django.http import HttpRequest
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from django_celery_once.audience import Named, Reader, Sight, sight, who
from django_celery_once.celery_apps import app_of
from django_celery_once.conf import conf
from django_celery_once.exceptions import AlreadyQueued, LockUnavailable
from django_celery_once.header import CACHE, KEY, TASK
from django_celery_once.keys import task_in
from django_celery_once.live import look_up
from django_celery_once.locks import Lock, Phase
from django_celery_once.record import record
from django_celery_once.wording import MINUTE, ago, at

SALT = "django_celery_once.status"

logger = logging.getLogger(__name__)


class State(StrEnum):
    """How a call stands."""

    RESERVED = "reserved"
    """It is queued if its caller's transaction commits."""
    PLANNED = "planned"
    """It is queued for a time to come."""
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


#: What its lock calls it. One that is kept says nothing of its call, which has ended.
_OF_PHASE = {
    Phase.RESERVED: State.RESERVED,
    Phase.PLANNED: State.PLANNED,
    Phase.QUEUED: State.QUEUED,
    Phase.RUNNING: State.RUNNING,
}
#: What an address tells of a call, signed.
SIGNED = (
    "task_id", "key", "label", "result_url", "user_id", "cache", "task", "app", "own",
)  # fmt: skip
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

    ``label`` are words for it, ``result_url`` is where its result will be and ``user_id`` is who
    looks (``audience.who``); ``cache`` is the alias of the lock's cache, ``task`` its task's name
    and ``app`` that of its Celery app, where they are known. ``own`` says that the result is that
    reader's, too. How a page has ``named`` the call, and who has ``asked`` for that, is not signed.
    """

    task_id: str = ""
    key: str = ""
    label: str = ""
    result_url: str = ""
    user_id: str = ""
    cache: str = ""
    task: str = field(default="", compare=False)
    app: str = field(default="", compare=False)
    own: bool = False
    named: Named = field(default=Named.LINK, compare=False)
    asked: str = field(default="", compare=False)

    @classmethod
    def of(cls, call: Any, key: str = "") -> Reference:
        """Return the reference of an ``AsyncResult``, ``AlreadyQueued``, reservation or task id."""
        if call is None or isinstance(call, str):
            return cls(call or "", key, named=Named.TASK_ID if call else Named.KEY)
        if not hasattr(call, "task_id"):
            raise TypeError(
                "once_status takes what delay() returned, an AlreadyQueued or a task id, "
                f"not {call!r}"
            )
        lock = getattr(call, "lock", call)
        known = getattr(call, KEY, "") or getattr(lock, "key", "")
        cache = getattr(call, CACHE, "") or getattr(lock, "alias", "")
        names = (getattr(call, TASK, ""), getattr(call, "task_name", ""), getattr(lock, "task", ""))
        task = next(filter(None, names), "")
        app = getattr(getattr(call, "app", None), "main", None) or ""
        named = Named.RESULT if hasattr(call, KEY) or lock is not call else Named.TASK_ID
        asked = ""
        if isinstance(call, AlreadyQueued):
            named, asked = Named.EXCEPTION, who(call.requested_by, call.visitor)
        return cls(
            call.task_id or "", key or known,
            cache=cache, task=task, app=app, named=named, asked=asked,
        )  # fmt: skip

    @classmethod
    def read(cls, token: str) -> Reference:
        """Return what ``token`` was made of; raise ``signing.BadSignature`` for a made-up one."""
        return cls(*signing.loads(token, salt=SALT))

    def token(self) -> str:
        """Return it signed, to be part of an address."""
        parts = [getattr(self, name) for name in SIGNED]
        return signing.dumps(parts, salt=SALT, compress=True)


@record
class Status:
    """How a call stands; ``since`` is when it was accepted or, while it runs, when it began.

    ``begins`` is for when it is planned, or its next try.
    """

    state: State
    reference: Reference
    since: datetime | None = None
    lock: Lock | None = None
    result: Any = None
    begins: datetime | None = None

    @property
    def finished(self) -> bool:
        """Return whether nothing more will happen."""
        return self.state in _FINISHED

    @property
    def sentence(self) -> str:
        """Return it in words that stand alone."""
        return _sentence(self.state, self.since, self.begins)

    def as_json(self, result_url: str, *, own: bool = True) -> dict[str, Any]:
        """Return it for programs; the task's id where the result is the reader's ``own``, too."""
        return {
            "state": str(self.state),
            "finished": self.finished,
            "sentence": self.sentence,
            "since": self.since and self.since.isoformat(),
            "begins": self.begins and self.begins.isoformat(),
            "task_id": self.reference.task_id if own else "",
            "result_url": result_url,
        }


def find_out(reference: Reference) -> Status:
    """Return how a call stands: two questions at most. Never raise for a server that is away."""
    try:
        lock = look_up(reference.key, reference.cache) if reference.key else None
    except LockUnavailable:
        logger.warning("The lock %s can't be looked up", reference.key, exc_info=True)
        return Status(State.UNREACHABLE, reference)
    kept = None
    if lock is not None and reference.task_id in ("", lock.owner):
        kept, reference = lock, replace(reference, task_id=lock.owner, cache=lock.alias)
        if lock.phase is not Phase.KEPT:
            return _by_lock(reference, lock)
    following = None if lock is None else lock.follow_up
    if following is not None and following.owner == reference.task_id:
        return _by_lock(reference, following)
    result = _result_of(reference)
    state = _OF_RESULT.get(_state_of(result))
    if state is None:
        state = State.ENDED if reference.key else State.UNKNOWN
    return Status(state, reference, lock=kept, result=result)


class StatusPolicy:
    """Who may see how a call stands, and where its result is: by default ``audience.sight``.

    Name a subclass in the setting ``STATUS_POLICY`` for other answers.
    """

    def may_see(self, request: HttpRequest, status: Status) -> bool:
        """Return whether somebody may see how it stands."""
        return _sight(request, status) is not Sight.NOTHING

    def owns_result(self, request: HttpRequest, status: Status) -> bool:
        """Return whether somebody's own call ends with its result: to have its link and task id."""
        return _sight(request, status) is Sight.RESULT

    def get_result_url(self, request: HttpRequest, status: Status) -> str:
        """Return where the result of a finished call is; by default what the tag was given."""
        done = status.state is State.DONE and self.owns_result(request, status)
        return status.reference.result_url if done else ""


def policy() -> StatusPolicy:
    """Return the policy that the settings name."""
    made: StatusPolicy = import_string(conf.status_policy)()
    return made


def _sight(request: HttpRequest, status: Status) -> Sight:
    reference, lock = status.reference, status.lock
    asked = reference.asked or ("" if lock is None else who(lock.requester, lock.visitor))
    return sight(
        reference.named,
        Reader.of(request),
        asked,
        task_id=reference.task_id,
        made_for=reference.user_id,
        own=reference.own,
    )


def _by_lock(reference: Reference, lock: Lock) -> Status:
    state = _OF_PHASE[lock.phase_now]
    since = datetime.fromtimestamp(lock.started if state is State.RUNNING else lock.since, UTC)
    if state is not State.PLANNED:
        return Status(state, reference, since, lock)
    if _state_of(_result_of(reference)) == "RETRY":
        state = State.RETRYING
    begins = datetime.fromtimestamp(lock.begins, UTC)
    return Status(state, reference, since, lock, begins=begins)


def _result_of(reference: Reference) -> Any:
    app = app_of(reference.task or task_in(reference.key), reference.app)
    return app.AsyncResult(reference.task_id) if reference.task_id else None


def _state_of(result: Any) -> str:
    try:
        return "" if result is None else str(result.state)
    except Exception:
        # Each backend's client has errors of its own, and "disabled" is one of them.
        logger.debug("The result of %s can't be looked up", result.id, exc_info=True)
        return ""


def _sentence(state: State, since: datetime | None, begins: datetime | None) -> str:
    if begins is not None:
        words = _("Planned (for %(when)s).")
        if state is State.RETRYING:
            words = _("Waiting for another try (at %(when)s).")
        return words % {"when": at(begins)}
    seconds = 0.0 if since is None else timezone.now().timestamp() - since.timestamp()
    if state is State.RUNNING and seconds >= MINUTE:  # a new sentence is read out: not each second
        return _("Being prepared (started %(ago)s).") % {"ago": ago(seconds)}
    return {
        State.RESERVED: _("Being submitted."),
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
