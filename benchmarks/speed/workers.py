"""Workers of every contender, each a process of its own with a queue of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.speed.bench import QUEUE, Bench
from benchmarks.speed.contenders import Contender
from benchmarks.speed.settings import BROKER

ROOT = Path(__file__).resolve().parent.parent.parent
#: The messages that workers of the one broker have and did not acknowledge.
UNACKED = "unacked"
START_SECONDS, RUN_SECONDS, STOP_SECONDS = 60.0, 120.0, 20.0
POLL_SECONDS = 0.01


@contextmanager
def started(bench: Bench, pool: str, concurrency: int) -> Iterator[None]:
    """Run a worker for each contender, ready for messages, for the length of a block."""
    with ExitStack() as stack:
        for contender in bench.contenders.values():
            stack.enter_context(_worker(contender, pool, concurrency))
        for contender in bench.contenders.values():
            run_all(bench, contender, 2)
        yield


@contextmanager
def _worker(contender: Contender, pool: str, concurrency: int) -> Iterator[None]:
    command = [
        sys.executable, "-W", "ignore", "-m", "celery", "--app", "benchmarks.speed.app", "worker",
        "--queues", queue_of(contender), "--hostname", f"{queue_of(contender)}@bench",
        "--pool", pool, "--concurrency", str(concurrency), "--prefetch-multiplier", "4",
        "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "SPEED_ONLY": contender.name},
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def queue_of(contender: Contender) -> str:
    """Return the name of the queue that a contender's worker serves."""
    return contender.name.replace(" ", "-")


def run_all(bench: Bench, contender: Contender, tasks: int) -> float:
    """Return the seconds of one task, of many with keys of their own that wait all at once.

    They are published where nobody looks and moved to the worker in one step. The last is
    counted when its message is acknowledged, which is when it starts.
    """
    for _task in range(tasks):
        args, kwargs = contender.arguments(next(bench.numbers))
        contender.task.delay(*args, **kwargs)
    client = bench.redis(BROKER)
    assert client.llen(QUEUE) == tasks
    begin = time.perf_counter()
    client.rename(QUEUE, queue_of(contender))
    limit = begin + START_SECONDS + RUN_SECONDS
    while client.exists(queue_of(contender), UNACKED):
        assert time.perf_counter() < limit, f"the worker of {contender.name} does not work"
        time.sleep(POLL_SECONDS)
    seconds = time.perf_counter() - begin
    _settle(bench, contender)
    return seconds / tasks


def _settle(bench: Bench, contender: Contender) -> None:
    """Wait for the end of the last tasks, which frees their keys."""
    if contender.refusals or contender.key:
        client, limit = bench.store_of(contender), time.perf_counter() + STOP_SECONDS
        while left := client.dbsize():
            assert time.perf_counter() < limit, f"{contender.name} left {left} keys"
            time.sleep(POLL_SECONDS)
