"""A message in the worker's main process, which sees the ends that its run can't see."""

from __future__ import annotations

import logging
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined]
from celery.exceptions import Ignore, Reject, Retry, TimeLimitExceeded
from celery.worker.request import Request
from celery.worker.state import successful_requests
from kombu.asynchronous import get_event_loop

from django_celery_once import endings
from django_celery_once.header import Header
from django_celery_once.running import know_message

logger = logging.getLogger(__name__)


class OnceRequest(Request):
    """Celery's request, releasing the lock of a run that died (``Task.Request``).

    A killed child, a hard time limit and a terminated task end without ``task_postrun``. The
    hooks here run in the worker's event loop: they may wait for the socket time-outs of the
    lock store, and raise nothing.
    """

    once_header: Header | None = None
    once_requeued = False
    #: Whether the run ended by itself: then it has seen to its lock.
    once_run_ended = False
    #: What ended the run instead of a value.
    once_failure: type[BaseException] | None = None
    #: Whether the run was cut off in this process: then it left its lock to its message.
    once_cut_off = False
    #: Whether the message was given to those that its queue rejects, and may come again.
    once_rejected = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.once_header = endings.mark_run(self.task, self.request_dict)
        if self.once_header is not None:
            know_message(self.once_header.run, self)

    def acknowledge(self) -> None:
        """Release the lock of a run that comes no more, where the run could not do so itself.

        It was cut off in this process. Or it is a copy, and Celery itself found that the message
        had succeeded. Or its child may still wait for the store.
        """
        super().acknowledge()
        if self.once_cut_off:
            endings.end_killed(self.task, self.id, self.once_header)
        elif self._may_be_left_out():
            endings.end_copy(self.task, self.id, self.once_header)
        elif self._has_ended():
            endings.release_again(self.task, self.id, self.once_header)

    def reject(self, requeue: bool = False) -> None:
        """Remember that the message comes again, and wait for it under its lock."""
        if not requeue:
            self.once_rejected = not self.acknowledged
        elif not self.acknowledged:
            self.once_requeued = True
            if not self.once_run_ended:
                endings.back_to_the_queue(self.task, self.id, self.once_header)
        super().reject(requeue=requeue)

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Release the lock of a child that could not; ``return_ok``: it could."""
        exc = exc_info.exception
        self.once_failure = type(exc.exc if isinstance(exc, ExceptionWithTraceback) else exc)
        self.once_run_ended = return_ok
        try:
            return super().on_failure(
                exc_info, send_failed_event=send_failed_event, return_ok=return_ok
            )
        finally:
            if not return_ok:
                self._let_go_when_dead()

    def _let_go_when_dead(self) -> None:
        """Wait for the end of a run beyond its hard time limit.

        The pool first tells of it and then kills it, before the worker's event loop goes on.
        """
        beyond = self.once_failure is not None and issubclass(self.once_failure, TimeLimitExceeded)
        loop = get_event_loop() if beyond else None
        if loop is None:
            self._let_go()
        else:
            loop.call_soon(self._let_go)

    def _let_go(self) -> None:
        """Release the lock of a dead run, or leave it to its message that waits for a worker."""
        cancelled: bool = self._already_cancelled  # type: ignore[attr-defined]
        if not self.acknowledged and cancelled:
            endings.back_to_the_queue(self.task, self.id, self.once_header)
        elif self.acknowledged and not self.once_requeued:
            ended = not self.once_rejected
            endings.end_killed(self.task, self.id, self.once_header, ended=ended)

    def _may_be_left_out(self) -> bool:
        """Return whether Celery may have ended a copy by itself, before the guard."""
        return bool(
            self.task.app.conf.worker_deduplicate_successful_tasks
            and self.delivery_info["redelivered"]
            and self.once_failure is None
            and self._has_ended()
        )

    def _has_ended(self) -> bool:
        """Return whether the run ended with a value or an error, before its acknowledgement."""
        if self.once_failure is None:
            return self.task.acks_late and self.id in successful_requests
        return self.once_run_ended and not issubclass(self.once_failure, (Ignore, Reject, Retry))
