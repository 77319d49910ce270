"""What the processes of a soak hold, looked at again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil
import redis

from benchmarks.soak.stage import Stage
from testproject.demo.programs import Program


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process.

    ``kind`` is what it is, ``position`` its place among those of its kind (the oldest is 0),
    ``at`` in seconds since the begin, ``rss`` in bytes; ``locks`` are its connections to the
    lock server.
    """

    kind: str
    position: int
    pid: int
    at: float
    requests: int
    rss: int
    fds: int
    threads: int
    locks: int


@dataclass(frozen=True, slots=True)
class ServerSample:
    """One look at the lock server: its clients, and the connections that processes have to it."""

    at: float
    clients: int
    known: int


class Sampler:
    """Takes samples of the web process, the workers and their children."""

    def __init__(self, stage: Stage) -> None:
        self.samples: list[Sample] = []
        self.server: list[ServerSample] = []
        self._stage = stage
        self._begin = time.monotonic()
        self._client = redis.Redis.from_url(stage.locks.url())

    def take(self, requests: int) -> None:
        """Look at all of them once."""
        at = time.monotonic() - self._begin
        found = [sample for sample in self._look(at, requests) if sample is not None]
        self.samples += found
        clients = len(self._client.client_list()) - 1  # this one
        self.server.append(ServerSample(at, clients, sum(each.locks for each in found)))

    def lasting_keys(self) -> int:
        """Return how many keys in the lock server have no end, but for the set of follow-ups."""
        told = self._client.info("keyspace").values()
        return sum(each["keys"] - each["expires"] for each in told)

    def _look(self, at: float, requests: int) -> Iterator[Sample | None]:
        stage = self._stage
        processes = [("web", 0, psutil.Process(stage.web.process.pid))]
        for name, worker in (("calm", stage.calm), ("hit", stage.hit)):
            processes += _processes(f"{name} worker", worker)
            processes += [
                (f"{name} child", position, child)
                for position, child in enumerate(stage.children(worker))
            ]
        for kind, position, process in processes:
            yield self._sample(kind, position, process, at, requests)

    def _sample(
        self, kind: str, position: int, process: psutil.Process, at: float, requests: int
    ) -> Sample | None:
        with suppress(psutil.Error), process.oneshot():
            held = [
                each
                for each in process.net_connections("tcp")
                if each.raddr[1:] == (self._stage.locks.port,)
                and each.status == psutil.CONN_ESTABLISHED
            ]  # fmt: skip
            return Sample(
                kind, position, process.pid, at, requests, process.memory_info().rss,
                process.num_fds(), process.num_threads(), len(held),
            )  # fmt: skip
        return None


def _processes(kind: str, worker: Program) -> list[tuple[str, int, psutil.Process]]:
    with suppress(psutil.NoSuchProcess):
        return [(kind, 0, psutil.Process(worker.process.pid))]
    return []
