"""The network between a primary and its replica: slow, stalled or cut."""

from __future__ import annotations

import queue
import socket
import threading
import time
from contextlib import suppress

from testproject.redis_server import HOST


class Link:
    """A TCP port that leads to another; what comes back from there is late by ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._open = threading.Event()
        self._open.set()
        self._cut = False
        self._listener = socket.create_server((HOST, 0))
        self._sockets = [self._listener]

    def to(self, port: int) -> int:
        """Lead to a port; return where."""
        self._start(self._accept, port)
        own: int = self._listener.getsockname()[1]
        return own

    def stall(self) -> None:
        """Let nothing through any more, in either direction."""
        self._open.clear()

    def cut(self) -> None:
        """Lose what is on its way, as with a machine that has no power."""
        self._cut = True
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, port: int) -> None:
        while not self._cut:
            with suppress(OSError):
                replica, _address = self._listener.accept()
                primary = socket.create_connection((HOST, port))
                self._sockets += [replica, primary]
                late: queue.Queue[tuple[float, bytes]] = queue.Queue()
                self._start(self._forward, replica, primary)
                self._start(self._take, primary, late)
                self._start(self._deliver, late, replica)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(data)

    def _take(self, source: socket.socket, late: queue.Queue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            data = b""
            with suppress(OSError):
                data = source.recv(65536)
            late.put((time.monotonic() + self.delay, data))

    def _deliver(self, late: queue.Queue[tuple[float, bytes]], target: socket.socket) -> None:
        with suppress(OSError):
            while (found := late.get())[1]:
                time.sleep(max(0.0, found[0] - time.monotonic()))
                self._open.wait()
                if self._cut:
                    break
                target.sendall(found[1])
            target.close()

    def _start(self, what: object, *arguments: object) -> None:
        threading.Thread(target=what, args=arguments, daemon=True).start()  # type: ignore[arg-type]
