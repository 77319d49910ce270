"""Memory: bytes of Redis for one held lock, by itself and in the whole."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

from benchmarks.speed.bench import QUEUE, Bench
from benchmarks.speed.contenders import Contender
from benchmarks.speed.finding import Finding, Target
from benchmarks.speed.settings import BROKER
from django_celery_once.locks import Phase, open_store

LIMIT = 400
LEASE = 60.0


def measure(bench: Bench) -> Finding:
    count = bench.many(1000, 20)
    rows, largest = [], 0.0
    for contender in bench.guarded():
        each, whole = _queued(bench, contender, count)
        rows.append((f"{contender.name}, queued", f"{each:,.0f}", f"{whole:,.0f}"))
        if contender is bench.ours:
            running = _as_running(bench)
            rows.append((f"{contender.name}, running", f"{running:,.0f}", ""))
            largest = max(each, running)
        bench.forget(contender)
    return Finding(
        title="Memory",
        words=f"Bytes of one lock of a task with a name of 40 characters, the mean of {count:,}: "
        "what `MEMORY USAGE` says of its key, and what the server's `used_memory` grew by, "
        "buffers of connections apart. The "
        "peers keep a task id or a token; ours keeps what staff and a refused caller are told.",
        columns=("lock", "`MEMORY USAGE`", "`used_memory`"),
        rows=tuple(rows),
        targets=(Target("memory of a held lock", largest, LIMIT, unit="bytes"),),
    )


def _queued(bench: Bench, contender: Contender, count: int) -> tuple[float, float]:
    """Take locks; return the bytes of each key, and of each in the whole."""
    store, broker = bench.store_of(contender), bench.redis(BROKER)
    _take(bench, contender, count)  # connections and scripts take room, too, once
    bench.forget(contender)
    before = _used(store)
    _take(bench, contender, count)
    broker.delete(QUEUE)
    return _usage(store), (_used(store) - before) / count


def _take(bench: Bench, contender: Contender, count: int) -> None:
    for _call in range(count):
        args, kwargs = contender.arguments(next(bench.numbers))
        contender.task.delay(*args, **kwargs)


def _as_running(bench: Bench) -> float:
    """Start the runs behind all locks; return the bytes of each key."""
    store = open_store("locks")
    for lock in store.scan(limit=10_000).locks:
        run = replace(
            lock, phase=Phase.RUNNING, run=lock.token[::-1], started=time.time(),
            worker="reports@worker-1.example.com",
        )  # fmt: skip
        store.start(run, LEASE)
    return _usage(bench.store_of(bench.ours))


def _used(client: Any) -> int:
    told = client.info("memory")
    return int(told["used_memory"]) - int(told["mem_clients_normal"])


def _usage(client: Any) -> float:
    sizes = [client.memory_usage(key, samples=0) for key in client.scan_iter()]
    return float(statistics.mean(sizes))
