"""A RabbitMQ node of one's own, where the program is on this machine.

It listens on free ports of 127.0.0.1, beside a node that may run as a service, and keeps its
queues in a temporary folder: durable messages survive ``kill``.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from testproject.redis_server import free_port

HOST = "127.0.0.1"
START_SECONDS = 90.0
STOP_SECONDS = 5.0
#: Debian's program on the PATH changes user and folder; the one it starts does not.
DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
UP = "Server startup complete"


def find_rabbitmq_server() -> str | None:
    """Return the path of ``rabbitmq-server``, ``None`` where it or Erlang's epmd is missing."""
    if not shutil.which("epmd"):
        return None
    return str(DEBIAN) if os.access(DEBIAN, os.X_OK) else shutil.which("rabbitmq-server")


class RabbitMQServer:
    """One RabbitMQ node: started, stopped, killed or frozen at will."""

    def __init__(self, executable: str) -> None:
        self._executable = executable
        self._folder = Path(tempfile.mkdtemp(prefix="once-rabbitmq-"))
        self._log = self._folder / "node.log"
        self._port, self._names_port, self._peers_port = free_port(), free_port(), free_port()
        self._names: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def url(self) -> str:
        """Return ``amqp://guest:guest@127.0.0.1:<port>//``; it stays over a restart."""
        return f"amqp://guest:guest@{HOST}:{self._port}//"

    def start(self) -> Self:
        """Start, and return once the node is up; on the old port after ``kill``.

        Raises ``RuntimeError`` with the node's own words where it can't.
        """
        if self._is_running():
            return self
        atexit.register(self.stop)
        if self._names is None:
            # Started by the node, this register of names would outlive it.
            self._names = self._run(["epmd", "-port", str(self._names_port)])
        self._log.write_bytes(b"")
        self._node = self._run([self._executable])
        deadline = time.monotonic() + START_SECONDS
        while UP not in self._log.read_text(errors="replace"):
            if self._node.poll() is not None or time.monotonic() > deadline:
                words = self._log.read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"{self._executable} does not start. It said:\n{words}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """End the node and remove its folder; to stop twice does no harm."""
        atexit.unregister(self.stop)
        self.kill()
        if self._names is not None:
            self._names.kill()
            self._names.wait(STOP_SECONDS)
            self._names = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End the node with SIGKILL, as a power cut would."""
        self._signal(signal.SIGKILL)
        if self._node is not None:
            self._node.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """Stop answering while connections stay open (SIGSTOP), as a hung host does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after ``freeze`` (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _is_running(self) -> bool:
        return self._node is not None and self._node.poll() is None

    def _signal(self, number: signal.Signals) -> None:
        if self._node is not None and self._is_running():
            os.killpg(self._node.pid, number)

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment()},
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        plugins = self._folder / "plugins"
        plugins.write_text("[].")
        return {
            "HOME": str(self._folder),  # of the cookie
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "none"),
            "RABBITMQ_DIST_PORT": str(self._peers_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_NODENAME": f"once-{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            # A delayed message that its queue was not ready for, after a crash, moves on in 2
            # seconds, not in 3 minutes.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-rabbit dead_letter_worker_publisher_confirm_timeout 2000"
            ),
        }
