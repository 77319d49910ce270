"""One call at a time has a key, and a run that was promised is yet to begin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.chaos.faults import Fault
from tests.chaos.history import ACCEPTED, ASKED, Task
from tests.chaos.overlaps import excuse_unlocked
from tests.chaos.setups import until_of


def doubles(tasks: Iterable[Task], faults: Iterable[Fault]) -> Iterator[tuple[Task, Task]]:
    """Yield each two calls of one key of which the later was accepted under the earlier's lock.

    What is to follow another has no lock before that has ended, and what stands for a duplicate
    has none at all: such calls may be accepted at any time, and others beside them.
    """
    losses = [fault for fault in faults if fault.loses_locks]
    alone = [
        (task, task.holds)
        for task in tasks
        if task.answer == ACCEPTED and until_of(task.name) != "running"
    ]
    for call, _until in alone:
        for holder, until in alone:
            under = holder.accepted < call.asked and call.accepted < until
            if under and not any(each.overlaps(holder.asked, call.accepted) for each in losses):
                yield holder, call


def begun_before(tasks: Iterable[Task], faults: Iterable[Fault]) -> Iterator[tuple[Task, float]]:
    """Yield the tasks whose last run had begun when a call was answered with it, to see a change.

    That is a call with the policy "rerun" whose change a run under way may not have seen.
    """
    faults = list(faults)
    for task in tasks:
        run, asked = task.last, max(task.times(ASKED), default=0.0)
        if run and run.start < asked and not excuse_unlocked(run, asked, faults):
            yield task, asked
