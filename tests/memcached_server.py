"""A Memcached server of one's own, where the program is on the PATH."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time

from testproject.redis_server import free_port

HOST = "127.0.0.1"
START_SECONDS = 10.0
STOP_SECONDS = 5.0


class MemcachedServer:
    """One ``memcached`` process on a free port of this machine."""

    def __init__(self, executable: str) -> None:
        self.executable = executable
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return ``host:port``."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Start, and return once the server answers.

        Raises ``RuntimeError`` where it does not within ten seconds.
        """
        command = [self.executable, "-l", HOST, "-p", str(self.port), "-U", "0", "-m", "16"]
        if os.geteuid() == 0:
            command += ["-u", "root"]  # Memcached refuses to run as root unasked.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{' '.join(command)} does not answer.")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server; to stop twice does no harm."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def flush(self) -> None:
        """Drop everything."""
        self._ask(b"flush_all\r\n")

    def _answers(self) -> bool:
        try:
            return self._ask(b"version\r\n").startswith(b"VERSION")
        except OSError:
            return False

    def _ask(self, command: bytes) -> bytes:
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(command)
            return connection.recv(1024)


def find_memcached() -> str | None:
    """Return the path of ``memcached``, ``None`` where it is not on the PATH."""
    return shutil.which("memcached")
