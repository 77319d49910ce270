"""The servers and workers of a chaos run, and what can be done to them."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil
import redis

from testproject.redis_server import RedisServer
from tests.chaos.faults import Fault
from tests.chaos.setups import SetUp
from tests.integration.workers import Worker
from tests.rabbitmq_server import RabbitMQServer
from tests.services import find_rabbitmq_program

LEASE = 2.0
VISIBILITY = 5
QUEUE = "chaos"


class ChaosWorker(Worker):
    """A worker that knows the tasks of the chaos run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._words += ["--include", "tests.chaos.tasks"]

    @property
    def crashed(self) -> bool:
        """Whether the main process ended without having been told to."""
        return self._process is not None and self._process.poll() is not None

    def signal(self, number: signal.Signals, *, whole_group: bool = False) -> None:
        """Send a signal to a worker that may have crashed."""
        with suppress(ProcessLookupError):
            super().signal(number, whole_group=whole_group)

    def kill(self) -> None:
        """Kill what is left of it; its children may have outlived it."""
        with suppress(ProcessLookupError):
            super().kill()

    def children(self) -> list[psutil.Process]:
        """Return the processes of the pool that live."""
        try:
            found = psutil.Process(self.pid).children()
            return [child for child in found if _lives(child)]
        except (psutil.NoSuchProcess, AssertionError):
            return []


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


Server = RabbitMQServer | RedisServer


def new_broker(kind: str) -> Server:
    """Return a broker whose messages survive its death; raise ``Missing`` without its program."""
    if kind == "rabbitmq":
        return RabbitMQServer(find_rabbitmq_program())
    # Its file is the book of all messages: never rewritten.
    return RedisServer({"appendonly": "yes", "auto-aof-rewrite-percentage": "0"})


class Stage:
    """Servers for locks, messages and the referee's log, and a few workers.

    Results are beside the messages where these are in Redis, else beside the log.
    """

    def __init__(self, set_up: SetUp, workers: int = 3) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="once-chaos-"))
        self.store = RedisServer()
        self.broker = new_broker(set_up.broker)
        self.referee = RedisServer()
        self.workers: list[ChaosWorker] = []
        self.keep_folder = False
        self._drawn = set_up
        self._count = workers

    def __enter__(self) -> Self:
        for server in (self.store, self.broker, self.referee):
            server.start()
        os.environ.update(self._environment())
        self._set_up()
        self.workers = [ChaosWorker(self.folder) for _each in range(self._count)]
        for worker in self.workers:
            worker.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        for worker in self.workers:
            worker.stop()
        for server in (self.store, self.broker, self.referee):
            server.stop()
        if not self.keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _results(self) -> RedisServer:
        return self.broker if isinstance(self.broker, RedisServer) else self.referee

    def _environment(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "tests.integration.settings",
            "TEST_DATABASE": "sqlite",
            "TEST_DATABASE_NAME": "once_chaos",
            "TEST_FOLDER": str(self.folder),
            "TEST_REDIS_URL": self.store.url().rpartition("/")[0],
            "INTEGRATION_BROKER": self.broker.url(),
            "INTEGRATION_RESULTS": self._results.url(5),
            "INTEGRATION_REFEREE": self.referee.url(6),
            "INTEGRATION_QUEUE": QUEUE,
            "INTEGRATION_LEASE": str(LEASE),
            "INTEGRATION_VISIBILITY": str(VISIBILITY),
            **self._drawn.environment(),
        }

    @staticmethod
    def _set_up() -> None:
        import django
        from django.core.management import call_command

        from tests.integration.app import configure

        configure()
        django.setup()
        call_command("migrate", verbosity=0)

    def kill_child(self, worker: ChaosWorker, fault: Fault) -> None:
        """Kill a process of a worker's pool."""
        children = worker.children()
        if children:
            fault.pids = frozenset({children[0].pid})
            children[0].kill()

    def kill_worker(self, worker: ChaosWorker, fault: Fault) -> None:
        """Kill a worker with its children, and start another."""
        fault.pids = frozenset({worker.pid, *(child.pid for child in worker.children())})
        worker.kill()
        self.replace(worker)

    def replace(self, worker: ChaosWorker) -> None:
        """Start another worker in place of one that died."""
        self.workers[self.workers.index(worker)] = another = ChaosWorker(self.folder)
        with suppress(AssertionError):  # one that crashed meanwhile is replaced in its turn
            another.__enter__()

    def stop_worker(
        self, worker: ChaosWorker, fault: Fault, seconds: float, *, whole: bool
    ) -> None:
        """Stop a worker for a while, with its children or its main process alone."""
        children = [child.pid for child in worker.children()] if whole else []
        fault.pids = frozenset({worker.pid, *children})
        worker.signal(signal.SIGSTOP, whole_group=whole)
        time.sleep(seconds)
        worker.signal(signal.SIGCONT, whole_group=whole)

    @staticmethod
    def freeze(server: Server, seconds: float) -> None:
        """Let a server answer nobody for a while."""
        server.freeze()
        time.sleep(seconds)
        server.thaw()

    @staticmethod
    def kill(server: Server, seconds: float) -> None:
        """Kill a server and start it again a while later."""
        server.kill()
        time.sleep(seconds)
        server.start()

    def flush_store(self) -> None:
        """Take all locks from the store."""
        with redis.Redis.from_url(self.store.url()) as client:
            client.flushall()
