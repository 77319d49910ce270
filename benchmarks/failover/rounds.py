"""One round: callers that take locks, a primary that dies, and what its replica has of them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from django.conf import settings
from django.core.cache import caches
from django.test import override_settings

from benchmarks.failover.link import Link
from django_celery_once import LockUnavailable
from django_celery_once.locks import Lock
from django_celery_once.locks.redis import RedisStore
from testproject.redis_server import RedisServer
from tests.distributed.sentinel import Constellation, wait_until
from tests.locks.stores import lock

CALLERS, LOCKS = 4, 1000


@dataclass(frozen=True)
class Variant:
    """What is tried: ``options`` of redis.conf, ``delay`` and ``stall`` in seconds.

    ``wait`` is for how many milliseconds an acquired lock waits for its copy (``WAIT``), and
    ``restart`` lets a supervisor start the primary again at once, before any failover.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    stall: float = 0.0
    wait: int = 0
    restart: bool = False


@dataclass(frozen=True)
class Round:
    """How many of the last thousand accepted locks were lost, and of all; seconds without any."""

    lost: int
    lost_in_all: int
    outage: float
    per_second: float


class CopiedStore(RedisStore):
    """A store that has a lock only when a replica has it."""

    def __init__(self, milliseconds: int) -> None:
        super().__init__("locks", caches["locks"])
        self._milliseconds = milliseconds
        self._single: Any = None

    def acquire(self, lock: Lock, timeout: float, *args: Any, **kwargs: Any) -> Lock | None:
        """Take the key, then wait for its copy."""
        try:
            return self._acquire(lock, timeout, *args, **kwargs)
        except LockUnavailable:  # such a connection goes to its old server for ever
            self._single = None
            raise

    def _acquire(self, lock: Lock, timeout: float, *args: Any, **kwargs: Any) -> Lock | None:
        holder = super().acquire(lock, timeout, *args, **kwargs)
        if self._milliseconds and holder is None:
            with self._client(lock.key) as client:
                copies = client.execute_command("WAIT", 1, self._milliseconds)
            if copies < 1:
                raise LockUnavailable("no copy", alias=self.alias, key=lock.key)
        return holder

    def _primary(self) -> Any:
        self._single = self._single or super()._primary().client()  # WAIT is of a connection
        return self._single


class Callers:
    """Threads that take new locks as fast as they can, until they are told to stop."""

    def __init__(self, wait: int) -> None:
        self.accepted: list[str] = []
        self._wait = wait
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._take) for _ in range(CALLERS)]
        self._begin = time.perf_counter()
        for each in self._threads:
            each.start()

    def per_second(self) -> float:
        """Return how many locks a second were accepted so far."""
        return len(self.accepted) / (time.perf_counter() - self._begin)

    def stop(self) -> None:
        """Wait for the last call of each."""
        self._stop.set()
        for each in self._threads:
            each.join()

    def _take(self) -> None:
        store = CopiedStore(self._wait)
        while not self._stop.is_set():
            each = lock(f"once:t:{time.monotonic_ns()}-{threading.get_ident()}")
            try:
                store.acquire(each, 600)
            except LockUnavailable:
                self._stop.wait(0.01)
            else:
                self.accepted.append(each.key)


def play(variant: Variant) -> Round:
    """Play one round on servers of its own."""
    link = Link(variant.delay)
    through = link.to if variant.delay or variant.stall else int
    with Constellation(2, options=variant.options, through=through) as servers:
        locks = {**servers.cache(), "TIMEOUT": None}
        with override_settings(CACHES={**settings.CACHES, "locks": locks}):
            return _play(variant, servers, link)


def _play(variant: Variant, servers: Constellation, link: Link) -> Round:
    callers = Callers(variant.wait)
    try:
        wait_until(lambda: len(callers.accepted) >= LOCKS, "a thousand locks", 60)
        per_second = callers.per_second()
        if variant.stall:
            link.stall()
            time.sleep(variant.stall)
        else:
            time.sleep(random.random() / 20)
        servers.primary.kill()
        link.cut()
        killed, before = time.perf_counter(), list(callers.accepted)
        count = len(callers.accepted)
        if variant.restart:
            servers.primary.start()
            primary = servers.primary
        else:
            primary = servers.wait_for_failover()
        wait_until(lambda: len(callers.accepted) > count + CALLERS, "an accepted call", 60)
        outage = time.perf_counter() - killed
    finally:
        callers.stop()
    lost = _lost(primary, before)
    return Round(sum(lost[-LOCKS:]), sum(lost), outage, per_second)


def _lost(primary: RedisServer, names: list[str]) -> list[bool]:
    with redis.Redis.from_url(primary.url(1)) as client, client.pipeline() as pipeline:
        for name in names:
            pipeline.exists(caches["locks"].make_key(name))
        return [not there for there in pipeline.execute()]
