"""A message in the worker's main process, which sees the ends that its run can't see."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.request import Request

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
    #: Whether the run was cut off in this process: then it left its lock to its message.
    once_cut_off = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.once_header = endings.mark_run(self.task, self.request_dict)
        if self.once_header is not None:
            know_message(self.once_header.run, self)

    def acknowledge(self) -> None:
        """Release the lock of a run that was cut off in this process, and comes no more."""
        super().acknowledge()
        if self.once_cut_off:
            endings.end_killed(self.task, self.id, self.once_header)

    def reject(self, requeue: bool = False) -> None:
        """Remember that the message comes again, and wait for it under its lock."""
        if requeue and not self.acknowledged:
            self.once_requeued = True
            if not self.once_run_ended:
                endings.back_to_the_queue(self.task, self.id, self.once_header)
        super().reject(requeue=requeue)

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        """Release the lock of a child that could not; ``return_ok``: it could."""
        self.once_run_ended = return_ok
        try:
            return super().on_failure(
                exc_info, send_failed_event=send_failed_event, return_ok=return_ok
            )
        finally:
            if not return_ok:
                self._release_if_done()

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Let the lock of a run beyond its hard time limit go as soon as it is killed."""
        super().on_timeout(soft, timeout)
        if not soft and self.acknowledged and not self.once_requeued:
            endings.shorten(self.id, self.once_header, endings.KILL_SECONDS)

    def _release_if_done(self) -> None:
        if self.acknowledged and not self.once_requeued:
            endings.end_killed(self.task, self.id, self.once_header)
