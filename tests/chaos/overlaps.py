"""At most one run per key at any time, under its lock, but for what no lock can prevent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tests.chaos.faults import Fault
from tests.chaos.history import Run
from tests.chaos.stage import LEASE
from tests.chaos.watch import Sample

#: Seconds without a renewal after which a lease may have lapsed: the last one may have been
#: a third of the lease before.
LAPSE = LEASE * 2 / 3
#: Seconds after a run's start and before its end in which its lock is looked for, but no more.
MARGIN = 0.5


def overlaps(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Yield each two runs of one key that were there at the same time, the earlier first."""
    for number, later in enumerate(runs):
        for earlier in runs[:number]:
            if earlier.over > later.start and earlier.pid != later.pid:
                yield earlier, later


def unlocked(runs: Iterable[Run], samples: Iterable[Sample]) -> Iterator[tuple[Run, float]]:
    """Yield the runs whose lock was not there or another's, and when that was seen first."""
    times = [(sample.at, {lock.owner for lock in sample.locks}) for sample in samples]
    for run in runs:
        for at, owners in times:
            if run.start + MARGIN < at < run.over - MARGIN and run.task_id not in owners:
                yield run, at
                break


def excuse_unlocked(run: Run, at: float, faults: Iterable[Fault]) -> str:
    """Return why a run could be without its lock; nothing where it must not."""
    return excuse(run, Run(run.name, "", 0, at, at), faults)


def excuse(earlier: Run, later: Run, faults: Iterable[Fault]) -> str:
    """Return why two runs could be there at once; nothing where they must not."""
    begin, end = earlier.prerun, later.start
    near = [fault for fault in faults if fault.overlaps(min(begin, later.prerun), end)]
    if any(fault.loses_locks for fault in near):
        return "the store lost its locks"
    away = [fault for fault in near if fault.takes_store_away]
    if any(fault.overlaps(run.prerun, run.start) for fault in away for run in (earlier, later)):
        return "one started while the store was away"
    stopped = [
        fault for fault in near if "stopped" in fault.kind and {earlier.pid, later.pid} & fault.pids
    ]
    if any(fault.seconds_between(begin, end) >= LAPSE for fault in stopped):
        return "its worker was stopped for a lease"
    if sum(fault.seconds_between(begin, end) for fault in away + stopped) >= LAPSE:
        return "the store was away for a lease"
    return ""
