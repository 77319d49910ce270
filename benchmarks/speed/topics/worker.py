"""Workers: seconds of one no-op task in a real worker, beside a plain task."""

from __future__ import annotations

from functools import partial

from benchmarks.speed.bench import Bench
from benchmarks.speed.contenders import PLAIN
from benchmarks.speed.finding import Finding, compared, set_beside
from benchmarks.speed.rounds import ratio
from benchmarks.speed.workers import run_all, started

#: For each pool: how many at a time, and the ratio to reach.
POOLS = {"solo": (1, 1.15), "prefork": (2, 1.07)}


def measure(bench: Bench) -> Finding:
    tasks = bench.many(500, 40)
    rows: list[tuple[str, ...]] = []
    reached = []
    for pool, (concurrency, limit) in POOLS.items():
        with started(bench, pool, concurrency):
            times = bench.take_turns(
                {n: partial(run_all, bench, each, tasks) for n, each in bench.contenders.items()},
                8,
            )
        rows += [(pool, *row) for row in compared(times, PLAIN)]
        ratios = [(each.name, ratio(times, each.name, PLAIN)) for each in bench.locking()]
        reached.append(set_beside(f"task in a {pool} worker \u00f7 plain", ratios, limit))
    return Finding(
        title="Worker",
        words=f"One no-op task, from {tasks} that wait at once, in a worker that serves one "
        "package only: `solo`, and `prefork` with two processes. Both prefetch four messages for "
        "each process.",
        columns=("pool", "task", "\u00b5s", "\u00f7 plain"),
        rows=tuple(rows),
        targets=tuple(target for target, _bars in reached),
        bars=tuple(bars for _target, bars in reached),
    )
