"""The demo site: Redis, database, workers, beat and web servers."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from testproject.demo.programs import Program, ProgramError, Programs
from testproject.demo.visitor import Visitor
from testproject.redis_server import HOST, PORT_ATTEMPTS, RedisServer, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60.0


class Site:
    """Everything the demo starts; leaving the ``with`` block ends it.

    ``data`` is the folder of database and mails. A ``REDIS_URL`` in the
    environment is used, otherwise a Redis of the site's own is started.
    """

    def __init__(self, data: Path, **environment: str) -> None:
        self.data = data
        self.user = "staff"
        self.password = secrets.token_urlsafe(9)
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "testproject.settings",
            "DEMO_DATA": str(data),
            "DEMO_PASSWORD": self.password,
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self._parts = ExitStack()
        self._unique = secrets.token_hex(4)

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            if "REDIS_URL" not in self.environment:
                server = parts.enter_context(RedisServer())
                self.environment["REDIS_URL"] = server.url().rpartition("/")[0]
            logs = parts.enter_context(tempfile.TemporaryDirectory(prefix="once-demo-"))
            self.logs = Path(logs)
            self.programs = parts.enter_context(Programs(self.logs, self.environment, ROOT))
            self.run("migrate")
            self.run("prepare_demo")
            self._parts = parts.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._parts.close()

    @property
    def outbox(self) -> Path:
        return self.data / "outbox"

    def run(self, command: str, *arguments: str) -> None:
        """Run a management command."""
        self.programs.run(command, sys.executable, "manage.py", command, *arguments)

    def start_worker(self, number: int = 1, *arguments: str) -> Program:
        """Start a Celery worker, with two processes by default; return once it takes tasks."""
        name = f"worker{number}"
        hostname = f"--hostname={name}-{self._unique}@%h"
        worker = self._celery(name, "worker", "--concurrency=2", hostname, *arguments)
        worker.wait_for_line(" ready.", START_SECONDS)
        return worker

    def start_beat(self) -> Program:
        return self._celery("beat", "beat", f"--schedule={self.logs / 'schedule'}", "--pidfile=")

    def start_web_somewhere(self, number: int = 1) -> str:
        """Start a web server on a free port; on another one where the port is lost to a race."""
        for _ in range(PORT_ATTEMPTS - 1):
            with suppress(ProgramError):
                return self.start_web(free_port(), number)
        return self.start_web(free_port(), number)

    def start_web(self, port: int, number: int = 1) -> str:
        """Start a web server; return its address once it answers."""
        address = f"http://{HOST}:{port}"
        arguments = ["runserver", "--noreload", f"{HOST}:{port}"]
        web = self.programs.start(
            f"web{number}", sys.executable, "manage.py", *arguments, DEBUG="1"
        )
        deadline = time.monotonic() + START_SECONDS
        while not answers(address):
            if web.process.poll() is not None or time.monotonic() > deadline:
                raise ProgramError(f"{web.name} does not answer:\n{web.output()[-2000:]}")
            time.sleep(0.1)
        return address

    def _celery(self, name: str, command: str, *arguments: str) -> Program:
        celery = [sys.executable, "-m", "celery", "--app=testproject", command]
        return self.programs.start(name, *celery, "--loglevel=INFO", *arguments)


def answers(address: str) -> bool:
    """Tell whether anything is served there, be it an error page."""
    try:
        Visitor(address).get("/")
    except OSError:
        return False
    return True
