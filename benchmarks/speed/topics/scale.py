"""Scale: do calls cost the same beside 100,000 held locks, and with 1,000 keys in turn?"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.cache import caches

from benchmarks.speed.bench import QUEUE, Bench, once_settings, timed
from benchmarks.speed.contenders import TIMEOUT
from benchmarks.speed.finding import Finding, Target
from benchmarks.speed.rounds import Spread, Times, ratio
from benchmarks.speed.settings import BROKER

LIMIT = 1.1
SMALL, LARGE = 1_000, 100_000
FEW_KEYS, MANY_KEYS = 10, 1_000


def measure(bench: Bench) -> Finding:
    held = {"small": SMALL, "large": bench.many(LARGE, 2 * SMALL)}
    for alias, count in held.items():
        _fill(bench, alias, count)
    calls = bench.many(100, 10)
    kinds: dict[str, Callable[[str], float]] = {
        "accepted call": partial(_accept, bench, calls),
        "refused duplicate": partial(_refuse, bench, calls, FEW_KEYS),
        "bare `SET NX`": partial(_bare, calls),
    }
    times = bench.take_turns(
        {
            f"{kind} {alias}": partial(measured, alias)
            for kind, measured in kinds.items()
            for alias in held
        },
        40,
    )
    keys = bench.take_turns(
        {
            str(count): partial(_refuse, bench, bench.many(MANY_KEYS, 20), count, "small")
            for count in (FEW_KEYS, MANY_KEYS)
        },
        12,
    )
    rows = [
        (f"{kind}, {SMALL:,} \u2192 {held['large']:,} locks", *_compared(times, kind))
        for kind in kinds
    ]
    turns = ratio(keys, str(MANY_KEYS), str(FEW_KEYS))
    few, many = (Spread.of(keys[str(count)]) for count in (FEW_KEYS, MANY_KEYS))
    what = f"refused duplicate, {FEW_KEYS} \u2192 {MANY_KEYS:,} keys in turn"
    rows.append((what, few.told(1e-6, 0), many.told(1e-6, 0), turns.told()))
    targets = [
        Target(
            f"{kind} beside many locks \u00f7 few",
            ratio(times, f"{kind} large", f"{kind} small").median,
            LIMIT,
        )
        for kind in list(kinds)[:2]
    ]
    return Finding(
        title="Scale",
        words="The same calls on a server with few and on one with many held locks, and on few "
        "and on many keys in turn, as fast as one process calls (which is about "
        f"{1 / many.median:,.0f} refused calls in a second).",
        columns=("what", "few, \u00b5s", "many, \u00b5s", "many \u00f7 few"),
        rows=tuple(rows),
        targets=(
            *targets,
            Target(f"{MANY_KEYS:,} keys in turn \u00f7 {FEW_KEYS}", turns.median, LIMIT),
        ),
    )


def _compared(times: Times, kind: str) -> tuple[str, str, str]:
    few, many = (Spread.of(times[f"{kind} {alias}"]) for alias in ("small", "large"))
    told = ratio(times, f"{kind} large", f"{kind} small").told()
    return few.told(1e-6, 0), many.told(1e-6, 0), told


def _client(alias: str) -> Any:
    return caches[alias].client.get_client(write=True)  # type: ignore[attr-defined]


def _fill(bench: Bench, alias: str, count: int) -> None:
    """Hold that many locks: copies of one, under other keys."""
    client, key = _client(alias), _take(bench, alias, 0)
    record, stem = client.dump(key), key.rpartition(b":")[0]
    for begin in range(0, count, 1000):
        pipeline = client.pipeline(transaction=False)
        for number in range(begin, begin + 1000):
            pipeline.restore(stem + b":%032x" % number, 1000 * TIMEOUT, record)
        pipeline.execute()
    client.delete(key)


def _take(bench: Bench, alias: str, number: int) -> bytes:
    """Let ours take the key of a call; return its name, which must be the server's only one."""
    args, kwargs = bench.ours.arguments(number)
    with once_settings(CACHE=alias):
        bench.ours.task.delay(*args, **kwargs)
    (key,) = _client(alias).keys()
    bench.redis(BROKER).delete(QUEUE)
    return bytes(key)


def _accept(bench: Bench, calls: int, alias: str) -> float:
    delay = bench.ours.task.delay
    batch = [bench.ours.arguments(next(bench.numbers)) for _call in range(calls)]
    with once_settings(CACHE=alias):
        begin = time.perf_counter()
        for args, kwargs in batch:
            delay(*args, **kwargs)
        seconds = time.perf_counter() - begin
    _free(bench, alias, batch)
    return seconds / calls


def _refuse(bench: Bench, calls: int, keys: int, alias: str) -> float:
    delay, refusals = bench.ours.task.delay, bench.ours.refusals
    batch = [bench.ours.arguments(-number) for number in range(keys)]
    with once_settings(CACHE=alias):
        for args, kwargs in batch:
            delay(*args, **kwargs)
        begin = time.perf_counter()
        for args, kwargs in itertools.islice(itertools.cycle(batch), calls):
            try:  # noqa: SIM105 (suppress() would take its time)
                delay(*args, **kwargs)
            except refusals:
                pass
        seconds = time.perf_counter() - begin
    assert bench.redis(BROKER).llen(QUEUE) == keys
    _free(bench, alias, batch)
    return seconds / calls


def _free(bench: Bench, alias: str, batch: list[Any]) -> None:
    names = [caches[alias].make_key(bench.ours.task.get_key(*each)) for each in batch]
    _client(alias).delete(*names)
    bench.redis(BROKER).delete(QUEUE)


def _bare(calls: int, alias: str) -> float:
    client = _client(alias)
    seconds = timed(lambda: client.set("bare", "x" * 36, nx=True, px=1000 * TIMEOUT), calls)()
    client.delete("bare")
    return seconds
