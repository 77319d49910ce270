"""What is seen from outside while the chaos lasts: live processes, locks, lost messages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, open_store
from tests.chaos.stage import Stage
from tests.integration.app import app

logger = logging.getLogger(__name__)

#: Seconds that listing the locks may take, to say something about one moment.
ONE_MOMENT = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """The locks that were there at one time (epoch seconds)."""

    at: float
    locks: tuple[Lock, ...]


class Watch:
    """Threads that look again and again, until it is left."""

    def __init__(self, stage: Stage) -> None:
        #: When each process of a pool was last seen alive, and its worker's main process.
        self.alive: dict[int, float] = {}
        self.parents: dict[int, int] = {}
        self.samples: list[Sample] = []
        self._stage = stage
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._again, args=(look, pause), daemon=True)
            for look, pause in (
                (self._see_processes, 0.1),
                (self._see_locks, 0.3),
                (_redeliver, 2.0),
            )
        ]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)

    def _again(self, look: Callable[[], None], pause: float) -> None:
        while not self._ended.wait(pause):
            try:
                look()
            except Exception:
                logger.exception("A look failed; looking again")

    def _see_processes(self) -> None:
        for worker in list(self._stage.workers):
            now = time.time()
            for child in worker.children():
                self.alive[child.pid] = now
                self.parents[child.pid] = worker.pid

    def _see_locks(self) -> None:
        now = time.time()
        with suppress(LockUnavailable):
            locks = open_store("locks").scan().locks
            if time.time() - now < ONE_MOMENT:
                self.samples.append(Sample(now, locks))


def _redeliver() -> None:
    """Let Kombu deliver again what was taken from Redis and not acknowledged, not in 100 s.

    Whoever did so before may have died meanwhile: nobody else would for 300 s.
    """
    with suppress(Exception), app.connection_for_write() as connection:
        if connection.transport_cls != "redis":
            return
        channel: Any = connection.default_channel
        channel.client.delete(channel.unacked_mutex_key)
        channel.qos.restore_visible(num=100, interval=1)
