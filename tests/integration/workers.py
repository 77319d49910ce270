"""Real ``celery worker`` and ``celery beat`` processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from types import TracebackType
from typing import Self

from tests.forks import Fork
from tests.integration.app import app


def wait_until(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait for another process, boundedly; say what never came."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"never seen within {seconds:g} s: {what}"
        time.sleep(0.02)


class Program:
    """A ``celery`` program of ``tests.integration.app``, in a process group of its own.

    It is ready when it has logged the words ``ready``.
    """

    def __init__(self, log: Path, ready: str, *words: str) -> None:
        self.log = log
        self._ready = ready
        self._words = [
            "-m", "celery", "-A", "tests.integration.app", *words, "--loglevel", "INFO",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | Fork | None = None

    def __enter__(self) -> Self:
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.integration.settings"}
        self.log.touch()
        # gevent patches, and billiard reads the variable, while modules are imported.
        if "gevent" in self._words or "REMAP_SIGTERM" in environment:
            self._process = _started(self._words, environment, self.log)
        else:
            self._process = Fork(self._words, environment, (Path(os.devnull), self.log, self.log))
        wait_until(lambda: self._is_ready(), f"{self._ready!r} in {self.log.name}", 60)
        return self

    @property
    def pid(self) -> int:
        """The process id of the main process."""
        assert self._process is not None
        return self._process.pid

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Shut down warmly; kill what does not go."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with suppress(Exception):  # of a dead broker
            app.control.broadcast("ping")  # an idle worker looks up when something comes
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the program and its children, as a lost machine would."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def signal(self, number: signal.Signals, *, whole_group: bool = False) -> None:
        """Send a signal to the main process, or to its children, too."""
        assert self._process is not None
        (os.killpg if whole_group else os.kill)(self._process.pid, number)

    def wait(self, seconds: float = 30) -> None:
        """Wait for the end of a program that was told to shut down."""
        assert self._process is not None
        self._process.wait(seconds)

    def text(self) -> str:
        """Return what the program has logged so far."""
        return self.log.read_text(errors="replace")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.text()
        return self._ready in self.text()


def _started(words: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as written:
        return subprocess.Popen(
            [sys.executable, *words],
            stdout=written,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


class Worker(Program):
    """A worker. One of gevent is ready before it listens to what it is told, as to revoke."""

    def __init__(
        self, folder: Path, pool: str = "prefork", concurrency: int = 2, *options: str
    ) -> None:
        self.pool = pool
        log = folder / f"worker-{pool}-{time.monotonic_ns()}.log"
        super().__init__(
            log, " ready.", "worker", "--pool", pool, "--concurrency", str(concurrency),
            "--hostname", f"{log.stem}@%h",
            "--without-mingle", "--without-gossip", "--without-heartbeat", *options,
        )  # fmt: skip

    def _is_ready(self) -> bool:
        if not super()._is_ready():
            return False
        name = f"{self.log.stem}@{gethostname()}"
        return self.pool != "gevent" or bool(app.control.ping([name], timeout=1, limit=1))


class Beat(Program):
    """A beat."""

    def __init__(self, folder: Path, *options: str) -> None:
        log = folder / f"beat-{time.monotonic_ns()}.log"
        schedule = str(log.with_suffix(".schedule"))
        super().__init__(log, "beat: Starting", "beat", "--pidfile=", "-s", schedule, *options)
