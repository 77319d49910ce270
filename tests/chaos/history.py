"""The referee's entries, read as runs and as the lives of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.chaos.setups import EXPIRY, timeout_of, until_of
from tests.integration.referee import Entry

#: What a caller notes of a call that was queued: plainly, with the policy "rerun", which may
#: follow another, and in the place of a duplicate that ends as the call which it joined.
ACCEPTED, MAY_FOLLOW, STANDS_IN = "accepted", "accepted, may follow", "accepted, stands in"
#: When a call was asked for, and when it was to be run: later, if it had a countdown.
ASKED, DUE = "asked", "due"
#: Noted where a message met another's lock, and so did not run.
TURNED_AWAY = "turned away"
#: Noted where Celery tells of a success or a failure.
ENDED = "ended"
#: What is noted of a call while its lock waits for its run.
WAITING = (ACCEPTED, MAY_FOLLOW, STANDS_IN, ASKED, DUE, "received")
#: Endings after which a task runs no more, unless its message is delivered again.
FINAL = ("success", "failure", "ignore", "soft", "hard")


@dataclass(slots=True, eq=False)
class Run:
    """One run of a body. ``over`` is when it had ended, as far as is known for certain.

    ``prerun`` is when the worker turned to it, before its lock was asked for. ``outcome`` is
    empty where the run did not come to its end.
    """

    name: str
    task_id: str
    pid: int
    prerun: float
    start: float
    over: float = float("inf")
    outcome: str = ""


@dataclass(slots=True, eq=False)
class Task:
    """What is known of one accepted call."""

    name: str
    task_id: str
    accepted: float
    answer: str = ACCEPTED
    runs: list[Run] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    @property
    def acks_late(self) -> bool:
        """Whether its message is acknowledged after the run."""
        return not self.name.startswith("early")

    @property
    def asked(self) -> float:
        """When it was asked for: its lock was taken after that, and before it was accepted."""
        return min(self.times(ASKED), default=self.accepted)

    @property
    def due(self) -> float:
        """When it was to run: for its time-out after that, its lock stays."""
        return min(self.times(DUE), default=self.asked)

    @property
    def kept(self) -> float:
        """When its lock must be gone if that is kept until it has expired."""
        if until_of(self.name) != "expired":
            return 0.0
        return self.accepted + (self.due - self.asked) + EXPIRY

    @property
    def holds(self) -> float:
        """Until when it has its key for certain, but for faults and for its being revoked."""
        lapses = self.due + timeout_of(self.name)
        begins = min(
            (each.at for each in self.entries if each.event not in WAITING), default=lapses
        )
        if until_of(self.name) == "expired" and not self.revoked:
            return lapses
        return min(begins, lapses)

    @property
    def revoked(self) -> bool:
        """Whether its caller has tried to revoke it."""
        return any("revoked" in each.event or each.event == "terminated" for each in self.entries)

    @property
    def last(self) -> Run | None:
        """The run that started last."""
        return self.runs[-1] if self.runs else None

    @property
    def last_entry(self) -> float:
        """When something was last heard of it."""
        heard = [entry.at for entry in self.entries if entry.event not in (ASKED, DUE)]
        return max([self.accepted, *heard])

    def times(self, event: str) -> list[float]:
        """Return when this was noted of it."""
        return [entry.at for entry in self.entries if entry.event == event]


def read_runs(entries: Iterable[Entry], alive: Mapping[int, float]) -> list[Run]:
    """Return the runs of one key in the order of their starts.

    ``alive`` tells when each process was last seen: a run without an end lasted till then.
    """
    preruns: dict[tuple[int, str], float] = {}
    under_way: dict[int, Run] = {}
    runs: list[Run] = []
    for entry in entries:
        if entry.event == "prerun":
            preruns[entry.pid, entry.task_id] = entry.at
        elif entry.event == "start":
            _cut_short(under_way.pop(entry.pid, None), entry.at)
            prerun = preruns.get((entry.pid, entry.task_id), entry.at)
            run = Run(entry.name, entry.task_id, entry.pid, prerun, entry.at)
            under_way[entry.pid] = run
            runs.append(run)
        elif entry.event.startswith("end:") and entry.pid in under_way:
            run = under_way.pop(entry.pid)
            run.over, run.outcome = entry.at, entry.event.removeprefix("end:")
    for run in under_way.values():
        _cut_short(run, alive.get(run.pid, run.start))
    return sorted(runs, key=lambda run: run.start)


def _cut_short(run: Run | None, at: float) -> None:
    if run is not None:
        run.over = max(at, run.start)


def read_tasks(entries: Iterable[Entry], runs: Iterable[Run]) -> dict[str, Task]:
    """Return the accepted calls of one key, by their ids."""
    entries = list(entries)
    tasks = {
        entry.task_id: Task(entry.name, entry.task_id, entry.at, entry.event)
        for entry in entries
        if entry.event in (ACCEPTED, MAY_FOLLOW, STANDS_IN)
    }
    for entry in entries:
        if entry.task_id in tasks:
            tasks[entry.task_id].entries.append(entry)
    for run in runs:
        if run.task_id in tasks:
            tasks[run.task_id].runs.append(run)
    return tasks
