"""What can go wrong for the caller of a task that may be queued only once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from django_celery_once.locks import Lock


class CeleryOnceError(Exception):
    """Base of every error this app raises on purpose."""


class AlreadyQueued(CeleryOnceError):
    """The same call is already queued or running.

    ``countdown`` is what is left of the lock, in float seconds: after it the lock is gone
    unless a worker renews it, which it does for as long as the task runs. ``task_id`` is the
    id of the task that holds the lock, ``phase`` is ``"reserved"`` (it is queued if its
    caller's transaction commits), ``"planned"`` (queued for a time to come, ``begins``),
    ``"queued"``, ``"running"`` or ``"kept"`` (it has ended, but runs at most once in its time),
    ``since`` the aware time of the accepted call, ``begins`` that of its countdown or ``eta``
    (``None`` without one), ``label`` the words that the developer chose for it and
    ``requested_by`` the primary key of the user who asked for it (a string, empty when nobody
    was logged in; then ``visitor`` is a digest that tells the browser). ``alias`` is
    the cache in ``CACHES`` that holds the lock.

    ``AlreadyQueued(60)`` works as in celery-once. Instances survive pickle whole; through a
    JSON result backend they keep ``countdown`` and ``message``.
    """

    def __init__(
        self,
        countdown: float = 0.0,
        message: str = "",
        *,
        task_name: str = "",
        key: str = "",
        task_id: str = "",
        phase: str = "",
        since: datetime | None = None,
        label: str = "",
        requested_by: str = "",
        alias: str = "",
        begins: datetime | None = None,
        visitor: str = "",
    ) -> None:
        self.countdown = countdown
        self.task_name = task_name
        self.key = key
        self.task_id = task_id
        self.phase = phase
        self.since = since
        self.label = label
        self.requested_by = requested_by
        self.alias = alias
        self.begins = begins
        self.visitor = visitor
        self.message = message or self._describe()
        super().__init__(countdown, self.message)

    @classmethod
    def met(cls, task_name: str, holder: Lock, message: str = "") -> Self:
        """Return what the caller of a refused call is to be told of the holder of its key."""
        return cls(
            holder.remaining,
            message,
            task_name=task_name,
            key=holder.key,
            task_id=holder.owner,
            phase=holder.phase_now.value,
            since=datetime.fromtimestamp(holder.since, UTC),
            begins=datetime.fromtimestamp(holder.begins, UTC) if holder.begins else None,
            label=holder.label,
            requested_by=holder.requester,
            visitor=holder.visitor,
            alias=holder.alias,
        )

    def __str__(self) -> str:
        return self.message

    def _describe(self) -> str:
        if not self.task_name:
            return f"The task is already queued; its lock expires in {self.countdown:g} seconds."
        if self.phase == "kept":
            return (
                f"{self.task_name} has run as task {self.task_id}, and does so at most once in its "
                f"time; its lock {self.key} is kept for {self.countdown:.1f} seconds more."
            )
        left = f"has {self.countdown:.1f} seconds left"
        if self.phase == "reserved":
            return (
                f"{self.task_name} is reserved for task {self.task_id}, which is queued only if "
                f"its caller's transaction commits; its lock {self.key} {left}."
            )
        if self.phase == "planned" and self.begins is not None:
            return (
                f"{self.task_name} is planned as task {self.task_id} for "
                f"{self.begins.isoformat(timespec='seconds')}; its lock {self.key} {left}."
            )
        phase = "running" if self.phase == "running" else "queued"
        return (
            f"{self.task_name} is already {phase} as task {self.task_id}; its lock {self.key} "
            f"{'is renewed while it runs' if phase == 'running' else left}."
        )


class AlreadyQueuedHere(AlreadyQueued):
    """The key is held by the very request, transaction or task that asks for it once more.

    A fault of the program, and so no answer for a person: the mixins, the decorator and the
    middleware let it through. ``message`` names both places and says what to write.
    """


class NotQueued(CeleryOnceError):
    """What was asked for could not be queued, since a server is away; ``code`` says which."""

    code = ""


class LockUnavailable(NotQueued):
    """The cache that holds the locks can't be reached, so nothing was queued.

    ``alias`` is the entry in ``CACHES`` and ``key`` the lock that was asked for. The cause
    is chained (``__cause__``).
    """

    code = "lock_unavailable"

    def __init__(self, message: str = "", *, alias: str = "", key: str = "") -> None:
        self.alias = alias
        self.key = key
        self.message = message or f"The lock store (cache {alias!r}) can't be reached."
        super().__init__(self.message)
