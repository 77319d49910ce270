"""What every topic needs: the server, the contenders, and how long to measure."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from django.conf import settings as django_settings
from redis import Redis

from benchmarks.speed.contenders import BOUNDS, COMMANDS, PLAIN, TELLING, Contender
from benchmarks.speed.rounds import Times, interleave
from benchmarks.speed.settings import BARE, BROKER, LOCKS, OURS, PEERS, SCRIPTS

#: Celery's default queue.
QUEUE = "celery"


@dataclass(frozen=True)
class Bench:
    """A Redis server at ``url`` with all contenders on it; ``quick``: only to see that it runs."""

    url: str
    contenders: dict[str, Contender]
    quick: bool
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def ours(self) -> Contender:
        return self.contenders[OURS]

    def guarded(self) -> list[Contender]:
        """Return ours and the peers."""
        return [each for each in self.contenders.values() if each.name not in (PLAIN, *BOUNDS)]

    def locking(self) -> list[Contender]:
        """Return ours, the peers and what no lock can do without."""
        return [*self.guarded(), *(self.contenders[name] for name in BOUNDS)]

    def many(self, count: int, few: int = 2) -> int:
        """Return how many of something to do."""
        return few if self.quick else count

    def redis(self, database: int) -> Any:
        """Return a client of redis-py as it comes, always the same."""
        return _client(f"{self.url}/{database}")

    def take_turns(self, contenders: dict[str, Callable[[], float]], rounds: int) -> Times:
        """Interleave; in a quick run for two rounds."""
        return interleave(contenders, self.many(rounds))

    def store_of(self, contender: Contender) -> Any:
        """Return a client of the database with a contender's locks."""
        return self.redis({OURS: LOCKS, COMMANDS: BARE, TELLING: SCRIPTS, **PEERS}[contender.name])

    def forget(self, contender: Contender) -> None:
        """Empty the queue and free the contender's keys."""
        self.redis(BROKER).delete(QUEUE)
        if contender.name != PLAIN:
            self.store_of(contender).flushdb()

    def accept(self, contender: Contender, calls: int) -> float:
        """Return the seconds of one accepted ``delay()``, the mean of calls with new keys."""
        delay = contender.task.delay
        batch = [contender.arguments(next(self.numbers)) for _call in range(calls)]
        begin = time.perf_counter()
        for args, kwargs in batch:
            delay(*args, **kwargs)
        seconds = time.perf_counter() - begin
        accepted = self.redis(BROKER).llen(QUEUE)
        assert accepted == calls, f"{contender.name} queued {accepted} of {calls} calls"
        self.forget(contender)
        return seconds / calls

    def refuse(self, contender: Contender, calls: int) -> float:
        """Return the seconds of one refused ``delay()``, the mean of calls with one key."""
        args, kwargs = contender.arguments(0)
        contender.task.delay(*args, **kwargs)
        begin = time.perf_counter()
        refuse(contender, calls)
        seconds = time.perf_counter() - begin
        accepted = self.redis(BROKER).llen(QUEUE)
        assert accepted == 1, f"{contender.name} queued {accepted} calls with one key"
        self.forget(contender)
        return seconds / calls


@cache
def _client(url: str) -> Any:
    return Redis.from_url(url)


def refuse(contender: Contender, calls: int, number: int = 0) -> None:
    """Ask for what is under way, that often."""
    args, kwargs = contender.arguments(number)
    delay, refusals = contender.task.delay, contender.refusals
    for _call in range(calls):
        try:  # noqa: SIM105 (suppress() would take its time)
            delay(*args, **kwargs)
        except refusals:
            pass


def timed(function: Callable[[], object], calls: int) -> Callable[[], float]:
    """Return what tells the seconds of one of so many calls of a function."""
    return partial(_time, function, calls)


def _time(function: Callable[[], object], calls: int) -> float:
    begin = time.perf_counter()
    for _call in range(calls):
        function()
    return (time.perf_counter() - begin) / calls


@contextmanager
def once_settings(**changes: object) -> Iterator[None]:
    """Change settings of the app for a while."""
    before = django_settings.DJANGO_CELERY_ONCE
    django_settings.DJANGO_CELERY_ONCE = {**before, **changes}
    try:
        yield
    finally:
        django_settings.DJANGO_CELERY_ONCE = before
