"""The servers, the web process and the workers of a soak, and what is done to them."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil

from testproject.demo.programs import Program, Programs
from testproject.demo.site import ROOT, START_SECONDS, answers
from testproject.redis_server import HOST, RedisServer, free_port


class Stage:
    """Redis for locks and Redis for messages, one web process and two workers.

    The first worker is left alone; the second one is killed, child by child or as a whole.
    """

    def __init__(self, pool: str, concurrency: int, *, results: bool, seed: int) -> None:
        self.locks, self.broker = RedisServer(), RedisServer()
        self.kills: list[float] = []
        self.killed: set[int] = set()
        self._worker = ["--pool", pool, "--concurrency", str(concurrency)]
        self._results = results
        self._dice = random.Random(seed)
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            self.folder = Path(
                parts.enter_context(tempfile.TemporaryDirectory(prefix="once-soak-"))
            )
            for server in (self.locks, self.broker):
                parts.enter_context(server)
            os.environ.update(self._environment())
            logs = self.folder / "logs"
            self._programs = parts.enter_context(Programs(logs, os.environ, ROOT))
            self._programs.run("migrate", sys.executable, "-m", "django", "migrate", "-v0")
            self.calm, self.hit = self._start_worker("calm"), self._start_worker("hit")
            for worker in (self.calm, self.hit):
                worker.wait_for_line(" ready.", START_SECONDS)
            self.web = self._start_web()
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_exit: object) -> None:
        self._parts.close()

    def _environment(self) -> dict[str, str]:
        environment = {
            "DJANGO_SETTINGS_MODULE": "benchmarks.soak.settings",
            "TEST_DATABASE": "sqlite",
            "TEST_DATABASE_NAME": "soak",
            "TEST_FOLDER": str(self.folder),
            "TEST_REDIS_URL": self.locks.url().rpartition("/")[0],
            "SOAK_BROKER": self.broker.url(),
            "INTEGRATION_REFEREE": self.broker.url(6),
            "PYTHONUNBUFFERED": "1",
        }
        if self._results:
            environment["SOAK_RESULTS"] = self.broker.url(5)
        return environment

    def _start_worker(self, name: str) -> Program:
        return self._programs.start(
            name, sys.executable, "-m", "celery", "--app=benchmarks.soak.tasks", "worker",
            f"--hostname={name}@%h", "--loglevel=INFO", *self._worker,
        )  # fmt: skip

    def _start_web(self) -> Program:
        address = f"{HOST}:{free_port()}"
        self.address = f"http://{address}"
        web = self._programs.start(
            "web", sys.executable, "-m", "django", "runserver", "--noreload", address
        )
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.address):
            assert web.process.poll() is None, web.output()
            assert time.monotonic() < deadline, web.output()
            time.sleep(0.1)
        return web

    def children(self, worker: Program) -> list[psutil.Process]:
        """Return the processes of a worker's pool that live, the oldest first."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(worker.process.pid).children()
            return sorted(found, key=lambda child: (child.create_time(), child.pid))
        return []

    def kill_child(self) -> None:
        """Kill one process of the second worker's pool."""
        children = self.children(self.hit)
        if children:
            self._note_kill(victim := self._dice.choice(children))
            victim.kill()

    def kill_worker(self) -> None:
        """Kill the second worker with its children, and start it again."""
        self._note_kill(psutil.Process(self.hit.process.pid), *self.children(self.hit))
        self.hit.kill_group()
        self._programs.running.remove(self.hit)
        self.hit = self._start_worker("hit")

    def _note_kill(self, *victims: psutil.Process) -> None:
        self.kills.append(time.time())
        self.killed.update(victim.pid for victim in victims)
