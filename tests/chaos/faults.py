"""Faults: what was done to whom, from when to when, drawn from a seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.stage import ChaosWorker, Stage

#: Seconds between the beginnings of two faults.
PAUSE = (1.0, 3.0)
#: Seconds of a fault that no lease may lapse over, and of one that leases lapse over.
SHORT, LONG = (0.2, 1.0), (2.5, 6.0)


@dataclass(slots=True, eq=False)
class Fault:
    """One fault. ``end`` is infinite while it lasts; ``pids`` are the processes it hit."""

    kind: str
    begin: float
    end: float = float("inf")
    pids: frozenset[int] = frozenset()

    @property
    def takes_store_away(self) -> bool:
        """Whether the lock store does not answer meanwhile."""
        return self.kind.startswith("store frozen") or self.kind == "store killed"

    @property
    def takes_broker_away(self) -> bool:
        """Whether the broker, and the results, can't be reached meanwhile."""
        return self.kind.startswith("broker")

    @property
    def kills_worker(self) -> bool:
        """Whether a worker's main process is dead from then on."""
        return self.kind in ("worker killed", "worker crashed")

    @property
    def loses_locks(self) -> bool:
        """Whether the lock store forgets what it held."""
        return self.kind in ("store killed", "store flushed")

    def overlaps(self, begin: float, end: float) -> bool:
        """Return whether it was there at any time between the two."""
        return self.begin <= end and self.end >= begin

    def seconds_between(self, begin: float, end: float) -> float:
        """Return for how long of that time it was there."""
        return max(0.0, min(end, self.end) - max(begin, self.begin))


Act = Callable[[Fault], None]


class Faults:
    """Does one thing after the other, some at the same time, each to another target."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.done: list[Fault] = []
        self._stage = stage
        self._dice = random.Random(seed)
        self._busy: set[int] = set()
        self._pool = ThreadPoolExecutor(max_workers=6)
        self._under_way: list[Future[None]] = []

    def wreak(self, seconds: float) -> None:
        """Do damage for so long, and repair all of it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._pause(self._dice.uniform(*PAUSE))
            self._begin(*self._draw())
        wait(self._under_way)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.supervise()
            time.sleep(0.1)

    def supervise(self) -> None:
        """Start workers in place of those that crashed, as their supervisor would.

        Celery's worker gives up where a Redis broker refuses the connection.
        """
        for worker in list(self._stage.workers):
            if worker.crashed:
                self._begin("worker crashed", worker, partial(self._stage.kill_worker, worker))

    def close(self) -> None:
        """Wait for the end of all that was begun; raise what it ran into."""
        self._pool.shutdown()
        for fault in self._under_way:
            fault.result()  # raises what a fault ran into

    def _begin(self, kind: str, target: object, act: Act) -> None:
        if id(target) not in self._busy:
            self._busy.add(id(target))
            self._under_way.append(self._pool.submit(self._do, kind, id(target), act))

    def _do(self, kind: str, target: int, act: Act) -> None:
        fault = Fault(kind, time.time())
        self.done.append(fault)
        try:
            act(fault)
        finally:
            fault.end = time.time()
            self._busy.discard(target)

    def _draw(self) -> tuple[str, object, Act]:
        """Return a fault's kind, what it is done to and how."""
        dice, stage = self._dice, self._stage
        worker = dice.choice(stage.workers)
        short, long = dice.uniform(*SHORT), dice.uniform(*LONG)
        whole = dice.random() < 0.7
        who = "worker" if whole else "main process"
        store, broker = stage.store, stage.broker
        choices: list[tuple[str, object, Act]] = [
            ("child killed", worker, partial(stage.kill_child, worker)),
            ("child killed", worker, partial(stage.kill_child, worker)),
            ("worker killed", worker, partial(stage.kill_worker, worker)),
            (f"{who} stopped briefly", worker, _stop(stage, worker, short, whole)),
            (f"{who} stopped for long", worker, _stop(stage, worker, long, whole)),
            ("store frozen briefly", store, lambda _fault: stage.freeze(store, short)),
            ("store frozen for long", store, lambda _fault: stage.freeze(store, long)),
            ("store killed", store, lambda _fault: stage.kill(store, long / 2)),
            ("store flushed", store, lambda _fault: stage.flush_store()),
            ("broker frozen", broker, lambda _fault: stage.freeze(broker, long / 2)),
            ("broker killed", broker, lambda _fault: stage.kill(broker, short)),
        ]
        return dice.choice(choices)


def _stop(stage: Stage, worker: ChaosWorker, seconds: float, whole: bool) -> Act:
    return partial(stage.stop_worker, worker, seconds=seconds, whole=whole)
