"""Refused calls with the journal on: SQL statements, and seconds in a storm."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from django.core.management import call_command
from django.db import connection, reset_queries
from django.test.utils import CaptureQueriesContext

from benchmarks.speed.bench import Bench, once_settings, refuse
from benchmarks.speed.finding import Finding, Target, compared
from benchmarks.speed.rounds import Spread, ratio
from django_celery_once import journal

#: To reach: statements for the first duplicate and for the next 19, and the time of later ones.
MOST_FIRST, MOST_NEXT, LIMIT = 3, 2, 1.5
#: Attempts with a row of their own; a storm is what comes after them.
ATTEMPTS = 20
#: Seconds of a storm in a round; its count is written about once a second.
STORM = 2.0
#: Incidents one right after the other, and how many of them make a mean.
INCIDENTS, SOME = 500, 50
ON, OFF = "journal on", "journal off"


def measure(bench: Bench) -> Finding:
    title = "Journal"
    if not os.environ.get("SPEED_DATABASE"):
        return Finding(title, "Left out: there was no PostgreSQL server.")
    call_command("migrate", verbosity=0)
    statements = _statements(bench)
    first, following = statements[0], max(statements[1:])
    early, late = _incidents(bench)
    times = bench.take_turns({OFF: _storm(bench, log=False), ON: _storm(bench, log=True)}, 8)
    journal.forget()  # what waits for its second to be over has no database by then
    connection.close()
    rows = (
        ("statements, 1st duplicate", str(first), ""),
        (f"statements, 2nd to {ATTEMPTS}th, at most", str(following), ""),
        (f"\u00b5s, 1st duplicate of the first {SOME} keys", early.told(1e-6, 0), ""),
        (f"\u00b5s, 1st duplicate of the last {SOME} of {INCIDENTS}", late.told(1e-6, 0), ""),
        *((f"\u00b5s in a storm, {name}", told, told_ratio)
          for name, told, told_ratio in compared(times, OFF)),
    )  # fmt: skip
    return Finding(
        title=title,
        words="Refused duplicates of one run with the journal on, on PostgreSQL. All statements "
        "count, also BEGIN, COMMIT and savepoints. A storm is what comes after the first "
        f"{ATTEMPTS}: its mean has the writes of its count, about one in a second, in it.",
        columns=("what", "found", "\u00f7 journal off"),
        rows=rows,
        targets=(
            Target("statements for an incident's 1st duplicate", first, MOST_FIRST),
            Target(f"statements for its 2nd to {ATTEMPTS}th", following, MOST_NEXT),
            Target("duplicate in a storm \u00f7 journal off", ratio(times, ON, OFF).median, LIMIT),
        ),
    )


def _statements(bench: Bench) -> list[int]:
    """Return how many statements each of the first duplicates took."""
    args, kwargs = bench.ours.arguments(0)
    bench.ours.task.delay(*args, **kwargs)
    counts = []
    with once_settings(LOG=True):
        for _attempt in range(ATTEMPTS):
            with CaptureQueriesContext(connection) as captured:
                refuse(bench.ours, 1)
            counts.append(len(captured))
    reset_queries()
    bench.forget(bench.ours)
    return counts


def _incidents(bench: Bench) -> tuple[Spread, Spread]:
    """Return the seconds of the first duplicates of many keys: of the first, of the last."""
    batch = [bench.ours.arguments(number) for number in range(INCIDENTS)]
    seconds = []
    for args, kwargs in batch:
        bench.ours.task.delay(*args, **kwargs)
    with once_settings(LOG=True):
        for number in range(INCIDENTS):
            begin = time.perf_counter()
            refuse(bench.ours, 1, number)
            seconds.append(time.perf_counter() - begin)
    bench.forget(bench.ours)
    return Spread.of(seconds[:SOME]), Spread.of(seconds[-SOME:])


def _storm(bench: Bench, *, log: bool) -> Callable[[], float]:
    """Return what tells the seconds of one duplicate in a storm."""

    def storm() -> float:
        args, kwargs = bench.ours.arguments(0)
        bench.ours.task.delay(*args, **kwargs)
        with once_settings(LOG=log):
            refuse(bench.ours, ATTEMPTS + 1)
            calls, begin = 0, time.perf_counter()
            end = begin + bench.many(1, 0) * STORM + 0.1
            while time.perf_counter() < end:
                refuse(bench.ours, 20)
                calls += 20
            seconds = time.perf_counter() - begin
        bench.forget(bench.ours)
        return seconds / calls

    return storm
