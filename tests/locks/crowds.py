"""Calls that come while a server takes its time."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django_celery_once.locks import Lock, coalescing, open_store
from tests.integration.workers import wait_until
from tests.locks.stores import lock

KEY = "once:tests.report:k"
CROWD = 5


class Gate:
    """A store that answers when it is told to, and notes for how many calls it was asked."""

    alias = "locks"

    def __init__(self) -> None:
        self.store = open_store("locks")
        self.asked: list[int] = []
        self.errors: dict[int, BaseException] = {}
        self._turns = threading.Semaphore(0)
        self._numbers = itertools.count(1)

    def name_of(self, key: str) -> str:
        return self.store.name_of(key)

    def acquire(self, lock: Lock, timeout: float, *, hits: int = 1) -> Lock | None:
        """Wait for a turn; fail or ask the real store."""
        number = next(self._numbers)
        self.asked.append(hits)
        assert self._turns.acquire(timeout=20)
        if number in self.errors:
            raise self.errors[number]
        return open_store("locks").acquire(lock, timeout, hits=hits)

    def answer(self, commands: int = 1) -> None:
        """Let so many commands have their answer."""
        self._turns.release(commands)


class Crowd:
    """Calls in threads of their own."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.pool = ThreadPoolExecutor(2 * CROWD + 2)

    def come(self, calls: int = 1) -> list[Future[Lock | None]]:
        """Let calls come, and return when each of them waits or asks."""
        before = waiting() + len(self.gate.asked)
        futures = [self.pool.submit(self.call) for _call in range(calls)]
        wait_until(lambda: waiting() + len(self.gate.asked) == before + calls, "all have come")
        return futures

    def call(self) -> Lock | None:
        store: Any = self.gate
        return coalescing.acquire(store, lock(KEY), 60)

    def end(self) -> None:
        """Let all that still ask have their answer."""
        self.gate.answer(100)
        self.pool.shutdown()


def waiting() -> int:
    """Return how many calls wait for others."""
    return sum(len(question.came) for question in list(coalescing._questions.values()))


def held() -> Lock:
    """Return the lock under the key."""
    found = open_store("locks").inspect(KEY)
    assert found is not None
    return found


def answers(futures: list[Future[Lock | None]]) -> list[Lock | None]:
    """Return what calls were told."""
    return [future.result(20) for future in futures]


def refusals(futures: list[Future[Lock | None]]) -> list[Lock]:
    """Return the holders that calls were told, all of which were refused."""
    told = [answer for answer in answers(futures) if answer is not None]
    assert len(told) == len(futures)
    return told
