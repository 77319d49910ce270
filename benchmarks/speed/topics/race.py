"""A race: duplicates refused in a second, by 16 threads on one key."""

from __future__ import annotations

import threading
import time
from functools import partial

from benchmarks.speed.bench import QUEUE, Bench, refuse
from benchmarks.speed.contenders import Contender
from benchmarks.speed.finding import Finding, set_beside
from benchmarks.speed.rounds import Spread
from benchmarks.speed.settings import BROKER

LIMIT = 2.0
CONTROL = "celery-once"
THREADS = 16


def measure(bench: Bench) -> Finding:
    calls = bench.many(40, 4)
    times = bench.take_turns(
        {each.name: partial(_race, bench, each, calls) for each in bench.locking()}, 10
    )
    ratios = [
        (
            name,
            Spread.of(
                [theirs / mine for mine, theirs in zip(seconds, times[CONTROL], strict=True)]
            ),
        )
        for name, seconds in times.items()
    ]
    rows = tuple(
        (name, Spread.of([1 / each for each in times[name]]).told(digits=0), spread.told())
        for name, spread in ratios
    )
    target, bars = set_beside("refusals in a race \u00f7 celery-once's", ratios, LIMIT, least=True)
    return Finding(
        title="Race",
        words=f"{THREADS} threads of one process call at once with one free key, {calls} times "
        "each: one call is accepted, the others are refused. Ours ask together while one of them "
        "has no answer yet, in one command for several calls; all others ask each for itself.",
        columns=("package", "refusals in a second", "\u00f7 celery-once"),
        rows=rows,
        targets=(target,),
        bars=(bars,),
    )


def _race(bench: Bench, contender: Contender, calls: int) -> float:
    """Return the seconds of one refusal."""
    start = threading.Barrier(THREADS + 1)

    def run() -> None:
        start.wait()
        refuse(contender, calls)

    threads = [threading.Thread(target=run) for _thread in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    accepted = bench.redis(BROKER).llen(QUEUE)
    assert accepted == 1, f"{contender.name} queued {accepted} calls in a race"
    bench.forget(contender)
    return seconds / (THREADS * calls - 1)
