"""No lock is older than its promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.chaos.faults import Fault
from tests.chaos.history import FINAL, Task
from tests.chaos.stage import LEASE

#: Seconds within which the end of a run frees its lock, and what a busy machine adds.
FREED, SLACK = 1.0, 1.5
#: Seconds after an outage in which late releases are made.
LATE_RELEASE = 3.0
#: Seconds after which the lock of a dead run is gone. One that a call follows does not lapse with
#: its lease: workers look for such once a lease.
DEAD = 2 * LEASE


class Promises:
    """Tells until when a lock may be there."""

    def __init__(self, faults: Iterable[Fault], parents: Mapping[int, int]) -> None:
        self._faults = list(faults)
        self._parents = parents

    def latest(self, task: Task) -> float:
        """Return when the lock of a task that did all it had to do must be gone.

        That is never for one that may run again, and never for one that did not run: their
        locks are looked for when all has settled.
        """
        run = task.last
        if run is None:
            return float("inf")
        pids = {run.pid, self._parents.get(run.pid, 0)}
        since = max(task.last_entry, run.over) if not run.outcome else task.last_entry
        if run.outcome in FINAL:
            promised = since + FREED + SLACK
        elif run.outcome or task.name.startswith("stubborn"):
            return float("inf")
        elif not self._worker_died(pids, since, since + FREED + SLACK):
            promised = since + FREED + SLACK
        elif task.acks_late:
            return float("inf")
        else:  # killed, and its message with it
            promised = since + DEAD + SLACK
        promised = self._put_off(since, max(promised, task.kept + SLACK), pids)
        # Killed with its release under way: the lock waits for a redelivery.
        if task.acks_late and self._worker_died(pids, since, promised):
            return float("inf")
        return promised

    def _worker_died(self, pids: set[int], since: float, before: float) -> bool:
        return any(
            fault.kills_worker and fault.pids & pids and since - FREED < fault.begin < before
            for fault in self._faults
        )

    def _put_off(self, since: float, promised: float, pids: set[int]) -> float:
        """Add what faults after the end of a run cost."""
        for fault in sorted(self._faults, key=lambda fault: fault.begin):
            if self._delays(fault, pids) and fault.overlaps(since - FREED, promised):
                promised = max(promised, fault.end + LEASE + LATE_RELEASE + SLACK)
        return promised

    @staticmethod
    def _delays(fault: Fault, pids: set[int]) -> bool:
        if fault.takes_store_away or fault.takes_broker_away:
            return True
        return bool(fault.pids & pids)
