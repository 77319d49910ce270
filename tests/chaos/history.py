"""The referee's entries, read as runs and as the lives of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.integration.referee import Entry

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
    runs: list[Run] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    @property
    def acks_late(self) -> bool:
        """Whether its message is acknowledged after the run."""
        return not self.name.startswith("early")

    @property
    def last(self) -> Run | None:
        """The run that started last."""
        return self.runs[-1] if self.runs else None

    @property
    def last_entry(self) -> float:
        """When something was last heard of it."""
        return max([self.accepted, *(entry.at for entry in self.entries)])


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
        entry.task_id: Task(entry.name, entry.task_id, entry.at)
        for entry in entries
        if entry.event == "accepted"
    }
    for entry in entries:
        if entry.task_id in tasks:
            tasks[entry.task_id].entries.append(entry)
    for run in runs:
        if run.task_id in tasks:
            tasks[run.task_id].runs.append(run)
    return tasks
