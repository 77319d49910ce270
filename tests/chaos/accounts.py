"""Every accepted task ended, or is accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from celery import states

from tests.chaos.faults import Fault
from tests.chaos.history import ACCEPTED, ENDED, FINAL, TURNED_AWAY, Run, Task
from tests.chaos.messages import Messages
from tests.chaos.overlaps import excuse
from tests.chaos.setups import timeout_of
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
        turned_away = max(task.times(TURNED_AWAY), default=0.0)
        if turned_away and (task.last is None or _is_cut_short(task.last, turned_away)):
            return self._of_one_turned_away(task, turned_away)
        state = str(app.AsyncResult(task.task_id).state)
        ends_as_another = task.answer != ACCEPTED  # and may be revoked as that was
        if state == states.REVOKED and not (turned_away or task.revoked or ends_as_another):
            return ""
        if state in states.READY_STATES:
            return state.lower()
        if any(run.outcome in FINAL for run in task.runs) or task.times(ENDED):
            return "ended without a result"
        if task.revoked:
            return "revoked, and another result stored over it"
        if not task.acks_late and self._died(task):
            return "killed, acknowledged early"
        if self._messages.lost(task.task_id):
            return "its message lost by a broker's or worker's death"
        return ""

    def _of_one_turned_away(self, task: Task, at: float) -> str:
        """Return why another could have its key, which was its own since it was asked for.

        It may have been accepted much later than that: publishing waits for the broker. Its lock
        may go before, and what takes the key away after it was turned away explains nothing.
        """
        last = task.last
        since = task.due if last is None else max(task.due, last.over)
        lost = any(fault.loses_locks and fault.overlaps(task.asked, at) for fault in self._faults)
        if lost or (last and excuse(last, Run(task.name, "", 0, at, at), self._faults)):
            return "turned away, its lock was lost"
        return "turned away, its lock lapsed" if at - since > timeout_of(task.name) else ""

    def _died(self, task: Task) -> bool:
        """Return whether its message or its run ended with a process, of which no result may tell.

        A message has gone where the worker that got it last, after any run, is dead.
        """
        last = task.last
        if last is not None and (last.outcome == "exit" or self._killed(last)):
            return True
        since = 0.0 if last is None else last.start
        got = [each for each in task.entries if each.event == "received" and each.at > since]
        mains = {each.pid for each in got[-1:]}
        return any(fault.kills_worker and fault.pids & mains for fault in self._faults)

    def _killed(self, run: Run) -> bool:
        main = self._parents.get(run.pid, 0)
        return any(
            {run.pid, main} & fault.pids and fault.begin <= max(run.over, run.start) + SETTLED
            for fault in self._faults
            if fault.kills_worker or fault.kind == "child killed"
        )


def _is_cut_short(run: Run, at: float) -> bool:
    """Return whether a run was over by then without a final outcome."""
    return run.start < at and run.outcome not in FINAL
