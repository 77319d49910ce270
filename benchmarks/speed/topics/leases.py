"""Many leases in one process: seconds, round trips and memory of a renewal of 10,000."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import psutil
from celery import uuid
from redis.connection import AbstractConnection

from benchmarks.speed.bench import Bench
from benchmarks.speed.finding import Finding, Target
from benchmarks.speed.rounds import Spread
from benchmarks.speed.settings import FLOOR, LOCKS
from django_celery_once.locks import Lock, LockStore, Phase, Start, open_store

LIMIT_MS = 150
LEASE = 60.0
#: Seconds of renewals one after the other, to see whether memory grows.
MINUTE = 60.0
KEYS = 10_000


def measure(bench: Bench) -> Finding:
    store, count = open_store("locks"), bench.many(KEYS, 200)
    locks = [_running(store, number) for number in range(count)]
    floor = bench.redis(FLOOR)
    for lock in locks:
        floor.set(lock.key, "", px=3_600_000)
    pipelined = "`PEXPIRE` of as many, one redis-py pipeline"
    times = bench.take_turns(
        {
            "renewal": partial(_renew, store, locks),
            pipelined: partial(_expire_all, bench, locks),
        },
        15,
    )
    with _sends() as sends:
        _renew(store, locks)
    renewals, before, after = _repeat(store, locks, MINUTE if not bench.quick else 0.5)
    bench.redis(FLOOR).flushdb()
    bench.redis(LOCKS).flushdb()
    hours = renewals * LEASE / 3 / 3600
    rows = (
        *((f"{name}, ms", Spread.of(seconds).told(1e-3, 0)) for name, seconds in times.items()),
        ("times something is sent in a renewal", str(len(sends))),
        ("bytes sent in a renewal", f"{sum(sends):,}"),
        (f"memory after {renewals} more renewals, MB", f"{before:.1f} \u2192 {after:.1f}"),
    )
    return Finding(
        title="Leases",
        words=f"{count:,} running leases in one process, renewed at once. At the usual pause of "
        f"{LEASE / 3:g} seconds the renewals of the last row stand for {hours:.1f} hours.",
        columns=("what", "found"),
        rows=rows,
        targets=(
            Target(
                f"renewal of {count:,} leases",
                1000 * Spread.of(times["renewal"]).median,
                LIMIT_MS,
                unit="ms",
                bounds=(("bare `PEXPIRE`", 1000 * Spread.of(times[pipelined]).median),),
            ),
        ),
    )


def _running(store: LockStore, number: int) -> Lock:
    """Return a lock that was taken by a run."""
    now = time.time()
    lock = Lock(
        key=f"once:reports.tasks.send_ours:{number:032x}", owner=uuid(), token=f"{number:016x}",
        run=f"{number:016x}", phase=Phase.RUNNING, task="reports.tasks.send_ours",
        since=now, started=now, worker="reports@worker-1",
    )  # fmt: skip
    store.start(lock, LEASE)
    return lock


def _renew(store: LockStore, locks: list[Lock]) -> float:
    begin = time.perf_counter()
    found = store.renew(locks, LEASE)
    seconds = time.perf_counter() - begin
    assert all(start is Start.MINE for _lock, start in found)
    return seconds


def _expire_all(bench: Bench, locks: list[Lock]) -> float:
    client = bench.redis(FLOOR)
    begin = time.perf_counter()
    pipeline = client.pipeline(transaction=False)
    for lock in locks:
        pipeline.pexpire(lock.key, 3_600_000)
    pipeline.execute()
    return time.perf_counter() - begin


@contextmanager
def _sends() -> Iterator[list[int]]:
    """Yield the bytes of each time that something is sent to a server."""
    sends: list[int] = []
    send: Any = AbstractConnection.send_packed_command

    def counted(connection: AbstractConnection, command: object, *args: bool) -> None:
        chunks = command if isinstance(command, list | tuple) else [command]
        sends.append(sum(map(len, chunks)))
        send(connection, command, *args)

    with mock.patch.object(AbstractConnection, "send_packed_command", counted):
        yield sends


def _repeat(store: LockStore, locks: list[Lock], seconds: float) -> tuple[int, float, float]:
    """Renew for so long; return how often, and the process's megabytes before and after."""
    process = psutil.Process()
    before, count, end = process.memory_info().rss, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        _renew(store, locks)
        count += 1
    return count, before / 1e6, process.memory_info().rss / 1e6
