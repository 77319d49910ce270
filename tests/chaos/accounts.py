"""Every accepted task ended, or is accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from celery import states

from tests.chaos.faults import Fault
from tests.chaos.history import FINAL, Run, Task
from tests.chaos.messages import Messages
from tests.chaos.tasks import TIMEOUT
from tests.integration.app import app

#: Seconds after a run in which the worker's death still takes its outcome with it.
SETTLED = 3.0


class Accounts:
    """Tells what became of a task."""

    def __init__(
        self, faults: Iterable[Fault], parents: Mapping[int, int], messages: Messages
    ) -> None:
        self._faults = list(faults)
        self._messages = messages
        self._parents = parents

    def of(self, task: Task) -> str:
        """Return how a task ended or why it could not; nothing where it was lost."""
        result = app.AsyncResult(task.task_id)
        state = str(result.state)
        if state == states.REVOKED and not task.runs:
            return self._of_one_that_never_ran(task, str(result.result))
        if state in states.READY_STATES:
            return state.lower()
        if task.last is not None and task.last.outcome in FINAL:
            return "ended without a result"
        if any(entry.event in ("revoked", "terminated") for entry in task.entries):
            return "revoked, and another result stored over it"
        if not task.acks_late and self._died_with_its_worker(task):
            return "killed, acknowledged early"
        if self._messages.lost(task.task_id):
            return "its message lost by a broker's or worker's death"
        return ""

    def _of_one_that_never_ran(self, task: Task, reason: str) -> str:
        if "duplicate of" not in reason:
            return "revoked"
        waited = task.last_entry - task.accepted
        excused = waited > TIMEOUT or any(
            fault.overlaps(task.accepted - 1, task.last_entry)
            for fault in self._faults
            if fault.takes_store_away or fault.loses_locks
        )
        return "turned away, its lock was lost" if excused else ""

    def _died_with_its_worker(self, task: Task) -> bool:
        if task.last is not None:
            return self._killed(task.last)
        mains = {entry.pid for entry in task.entries if entry.event == "received"}
        return any(fault.pids & mains for fault in self._worker_kills())

    def _killed(self, run: Run) -> bool:
        main = self._parents.get(run.pid, 0)
        return any(
            {run.pid, main} & fault.pids and fault.begin <= max(run.over, run.start) + SETTLED
            for fault in self._worker_kills()
        )

    def _worker_kills(self) -> list[Fault]:
        return [fault for fault in self._faults if fault.kills_worker]
