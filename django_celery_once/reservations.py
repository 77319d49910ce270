"""A key that is kept for a call to come: claimed before the data is saved, queued after."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from django_celery_once import leftovers, places, requester, transactions
from django_celery_once.binding import bind, key_of_call
from django_celery_once.claims import Claim
from django_celery_once.exceptions import AlreadyQueued
from django_celery_once.locks import Lock
from django_celery_once.options import OnceOptions
from django_celery_once.signals import not_queued

if TYPE_CHECKING:
    from types import TracebackType

    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_celery_once.task import Guarded

logger = logging.getLogger(__name__)


class Reservation:
    """A key that is kept for one call, for ``RESERVE`` seconds; ``task.reserve()`` makes it.

    Publish the call with one of the four methods that a task has. As a context manager it
    frees its key at the end, unless the call was published, or waits for a commit. Also a
    transaction that takes longer than ``RESERVE`` publishes its call, unless another has
    taken the key by then.
    """

    def __init__(self, task: Guarded, claim: Claim, asked: OnceOptions) -> None:
        self.asked = asked
        #: Where it was made, for errors that name it, and in which request.
        self.made_at, self.made_in = places.here(), requester.bound()
        self._task = task
        self._claim = claim
        self._lapses = time.monotonic() + claim.seconds
        self._held, self._ended = claim.guarded, False
        self._at_commit: Callable[[], None] | None = None
        self._connection: BaseDatabaseWrapper | None = None
        self._held_back = False
        self._promised: Any = None
        self._due: Callable[[], Any] | None = None
        self._among = leftovers.here()
        self._among.add(self)

    @property
    def task_id(self) -> str:
        """Return the id that the call's task will have."""
        return self._claim.lock.owner

    @property
    def lock(self) -> Lock:
        """Return the lock as it was reserved; without a key for a call that is not guarded."""
        return self._claim.lock

    @property
    def waits(self) -> bool:
        """Return whether an open transaction publishes the call, or whoever holds it back."""
        if self._due is not None:
            return True
        if self._at_commit is None or self._connection is None:
            return False
        # Django takes out what a rollback, also that of a savepoint, has discarded.
        return any(waiting[1] is self._at_commit for waiting in self._connection.run_on_commit)

    @property
    def abandoned(self) -> bool:
        """Return whether the transaction that was to publish the call was rolled back."""
        return self._at_commit is not None and not self.waits

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Publish the call now, as ``apply_async`` does."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Any = None, kwargs: dict[str, Any] | None = None, **options: Any
    ) -> Any:
        """Publish the call now, with Celery's ``options``; return its ``AsyncResult``.

        Raise ``ValueError`` for arguments whose key is another than the reserved one and
        ``RuntimeError`` for a second call; neither costs the reservation. Raise what
        publishing raises, after which the key is free. If the reservation has lapsed and the
        key is another's, this is a duplicate as in the task's ``apply_async``.
        """
        self._check(args, kwargs, options)
        return self._publish(args, kwargs, options)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> Any:
        """Publish the call when the transaction commits, as ``apply_async_on_commit`` does."""
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        *,
        using: str | None = None,
        **options: Any,
    ) -> Any:
        """Publish the call when the transaction commits; return its ``AsyncResult`` now.

        That has ``published``: ``None`` before the commit, then whether the call was queued.
        The transaction is that of the database ``using`` or, without it, the one that is open;
        raise ``TransactionManagementError`` where several are. Outside a transaction, do as
        ``apply_async``. Raise at once what that raises about the arguments. At the commit the
        data is saved, so nothing is raised: a duplicate, after the reservation has lapsed, leaves
        its usual traces, and errors are logged.
        """
        self._check(args, kwargs, options)
        connection = transactions.to_wait_for(using)
        if connection is None:
            return self._publish_when_let_go(partial(self._publish, args, kwargs, options))

        def publish() -> None:
            if self._at_commit is publish:
                self._publish_when_let_go(partial(self._publish_at_commit, args, kwargs, options))

        try:
            connection.on_commit(publish, robust=True)
        except BaseException:
            self.release()
            raise
        self._at_commit, self._connection = publish, connection
        return self._promise()

    def hold_back(self) -> None:
        """Publish nothing on a commit, or in its place, before ``let_go``."""
        self._held_back = True

    def let_go(self) -> None:
        """Publish what would have been published since ``hold_back``; raise as that would."""
        due, self._due, self._held_back = self._due, None, False
        if due is not None:
            due()

    def _publish_when_let_go(self, publish: Callable[[], Any]) -> Any:
        if not self._held_back:
            return publish()
        self._due = publish
        return self._promise()

    def _promise(self) -> Any:
        """Return the result of a call to come; ``published`` says what has become of it."""
        self._promised = self._task.result_of(self.lock)
        self._promised.published = None
        return self._promised

    def _keep_promise(self, *, published: bool) -> None:
        if self._promised is not None:
            self._promised.published = published

    def release(self) -> None:
        """Give the key back; the call will not be published. Never raise."""
        self._ended, self._at_commit, self._due = True, None, None
        self.free()

    def free(self) -> None:
        """Give the key back. A commit that comes all the same asks for it again."""
        self._among.discard(self)
        self._keep_promise(published=False)
        held, self._held = self._held, False
        if held and (self.lock.instead or time.monotonic() < self._lapses):
            last = self._claim.give_back(type(self._task))
            if last is not None and (last.hits or self.lock.instead):
                self._end_result()

    def _end_result(self) -> None:
        """End the result that a duplicate may have been given; never raise."""
        task, reason = self._task, "the reservation of its key was given back"
        try:
            store = not task.ignore_result
            task.backend.mark_as_revoked(self.task_id, reason, store_result=store)
        except Exception:
            # Each backend's client has errors of its own.
            logger.warning("Can't store that %s was revoked", self.task_id, exc_info=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.waits:
            self.release()

    def _check(self, args: Any, kwargs: Mapping[str, Any] | None, options: Any) -> None:
        task, reserved = self._task, self.lock
        if settled := {"once", "task_id"} & set(options):
            raise TypeError(f"{task.name}: give {min(settled)!r} to reserve_with() instead")
        if self._ended or self.waits:
            raise RuntimeError(
                f"{task.name}: the reservation of {self.task_id} is used up; reserve another"
            )
        if not self._claim.guarded:
            return
        key = key_of_call(task.name, bind(task, args, kwargs), self.asked)
        if key != reserved.key:
            raise ValueError(
                f"{task.name}: this is another call than the one reserved: its arguments make "
                f"the key {key}, not {reserved.key}. Nothing was queued; the reservation stays"
            )

    def _publish(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        self._ended, self._at_commit = True, None
        try:
            result = self._task.apply_async(
                args, kwargs, task_id=self.task_id, once=self, **options
            )
        except BaseException:
            self.free()  # as far as it did not move to the message
            raise
        self._held = False
        self._among.discard(self)
        self._keep_promise(published=result.id == self.task_id)
        return result

    def _publish_at_commit(self, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
        name = f"{self._task.name}[{self.task_id}]"
        try:
            refused = self._publish(args, kwargs, options).id != self.task_id
        except AlreadyQueued:
            refused = True
        except Exception as error:
            logger.exception("%s could not be queued at the commit", name)
            leftovers.note_failed(self.task_id)
            not_queued.send_robust(sender=type(self._task), lock=self.lock, error=error)
            return
        if refused:
            logger.warning(
                "%s was not queued at the commit: its reservation lapsed after %g seconds, and "
                "another has the key",
                name,
                self._claim.seconds,
            )
