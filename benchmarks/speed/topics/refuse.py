"""Refused calls: seconds of one duplicate, beside one bare ``SET key value NX PX``."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial

from celery import uuid as new_task_id
from django.core.cache import caches

from benchmarks.speed.bench import Bench, refuse, timed
from benchmarks.speed.contenders import TIMEOUT
from benchmarks.speed.finding import Finding, compared, set_beside
from benchmarks.speed.rounds import ratio
from benchmarks.speed.settings import FLOOR, LOCKS
from benchmarks.speed.wiretap import sent

LIMIT = 1.3
BARE, ADD = "`SET \u2026 NX PX` (redis-py)", "`cache.add()` (django-redis)"


def measure(bench: Bench) -> Finding:
    calls = bench.many(200, 10)
    refusals: dict[str, Callable[[], float]] = {
        each.name: partial(bench.refuse, each, calls) for each in bench.locking()
    }
    times = bench.take_turns({**_floors(bench, calls), **refusals, **_parts(bench, calls)}, 40)
    ratios = [(each.name, ratio(times, each.name, BARE)) for each in bench.locking()]
    target, bars = set_beside("refused duplicate \u00f7 bare `SET NX`", ratios, LIMIT)
    return Finding(
        title="Refused duplicate",
        words="One refused `delay()` on a key that is held, the journal off (`LOG: False`), beside "
        "one bare command to the same server. The last rows are parts of ours by themselves: the "
        "very command that the lock store sends, through redis-py, and what is computed before.",
        columns=("call", "\u00b5s", "\u00f7 `SET`"),
        rows=compared(times, BARE),
        targets=(target,),
        bars=(bars,),
    )


def _floors(bench: Bench, calls: int) -> dict[str, Callable[[], float]]:
    client, cache = bench.redis(FLOOR), caches["add"]
    value = str(uuid.uuid4())
    return {
        BARE: timed(lambda: client.set("bare", value, nx=True, px=1000 * TIMEOUT), calls),
        ADD: timed(lambda: cache.add("add", value, TIMEOUT), calls),
    }


def _parts(bench: Bench, calls: int) -> dict[str, Callable[[], float]]:
    """Return what a refused call of ours is made of."""
    ours, client = bench.ours, bench.redis(LOCKS)
    args, kwargs = ours.arguments(0)
    ours.task.delay(*args, **kwargs)
    (words,) = sent(bench.url, lambda: refuse(ours, 1))
    key = words[3]

    def script() -> float:
        client.restore(key, 1000 * TIMEOUT, record, replace=True)
        seconds = timed(lambda: client.execute_command(*words), calls)()
        client.delete(key)
        return seconds

    record = client.dump(key)
    bench.forget(ours)
    return {
        "part: our script, by redis-py": script,
        "part: the key": timed(partial(ours.task.get_key, args, kwargs), calls),
        "part: a task id": timed(new_task_id, calls),
    }
