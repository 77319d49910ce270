"""Accepted calls: seconds of one ``delay()`` with a new key, beside a plain task's."""

from __future__ import annotations

from functools import partial

from benchmarks.speed.bench import Bench
from benchmarks.speed.contenders import PLAIN
from benchmarks.speed.finding import Finding, compared, set_beside
from benchmarks.speed.rounds import ratio

LIMIT = 1.15


def measure(bench: Bench) -> Finding:
    calls = bench.many(60, 10)
    times = bench.take_turns(
        {name: partial(bench.accept, each, calls) for name, each in bench.contenders.items()}, 40
    )
    ratios = [(each.name, ratio(times, each.name, PLAIN)) for each in bench.locking()]
    target, bars = set_beside("accepted `delay()` \u00f7 plain `delay()`", ratios, LIMIT)
    return Finding(
        title="Accepted call",
        words="One accepted `delay()`, every call with a new key, beside that of a plain task. "
        "No call has a result.",
        columns=("task", "\u00b5s", "\u00f7 plain"),
        rows=compared(times, PLAIN),
        targets=(target,),
        bars=(bars,),
    )
