"""The thread that writes the journal where a caller has no connection, or has gone already.

To ask for a connection may take long: a pool has none to give, a server is away. Callers wait for
this thread instead, ``PATIENCE`` at most, and not at all while it is held up. So one waits for the
database, and one fails. It keeps no connection, which nobody would close in a process without
requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from django.db import connections

from django_celery_once.incidents import Incidents

#: Seconds that a caller waits for its rows, from the moment when the thread began to write.
PATIENCE = 1.0
#: Shortest sleep until it comes back for what has to wait, in seconds.
SHORTEST_SLEEP = 0.05


class JournalThread:
    """Writes incidents when it is asked to or their time has come; ends when nothing waits."""

    def __init__(self, incidents: Incidents, may_write: Callable[[], bool]) -> None:
        self.over = False
        self._incidents = incidents
        self._may_write = may_write
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        #: The rounds of writing: how many were asked for, were begun, and have ended.
        self._wanted = self._begun = self._ended = 0
        self._begun_at = 0.0

    def write(self) -> None:
        """Let it write, and wait for that for a little while."""
        with self._news:
            is_writing = self._begun > self._ended
            deadline = (self._begun_at if is_writing else time.monotonic()) + PATIENCE
            mine = self._wanted = self._begun + 1
            self.run()
            self._news.notify_all()
            while self.is_alive() and self._ended < mine:
                if (left := deadline - time.monotonic()) <= 0:
                    break
                self._news.wait(left)

    def run(self) -> None:
        """See to it that it runs, and comes back for what has to wait."""
        with self._news:
            if self.is_alive():
                return
            self._thread = threading.Thread(
                target=self._work, name="django-celery-once-journal", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter ends: its last functions write the rest
                self._thread = None

    def is_alive(self) -> bool:
        """Return whether it runs."""
        return self._thread is not None

    def join(self, seconds: float) -> None:
        """Wait for its end, at most so many seconds."""
        with self._news:
            self._news.wait_for(lambda: not self.is_alive(), seconds)

    def _work(self) -> None:
        while self._is_time():
            try:
                self._incidents.write()
                connections.close_all()  # this thread's own
            finally:
                with self._news:
                    self._ended = self._begun
                    self._news.notify_all()

    def _is_time(self) -> bool:
        """Wait for the next round; return whether there is one."""
        with self._news:
            seconds: float | None = 0.0
            if self._wanted <= self._begun:  # nobody asks
                seconds = self._incidents.seconds_to_wait()
                if seconds is not None:
                    self._news.wait(max(seconds, SHORTEST_SLEEP))
            if seconds is None or self.over or not self._may_write():
                self._thread = None
                self._news.notify_all()
                return False
            self._begun += 1
            self._begun_at = time.monotonic()
            return True
