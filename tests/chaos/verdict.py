"""The referee's verdict on a chaos run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from django_celery_once.locks import Lock
from tests.chaos.accounts import Accounts
from tests.chaos.admissions import begun_before, doubles
from tests.chaos.faults import Fault
from tests.chaos.history import (
    ACCEPTED,
    MAY_FOLLOW,
    STANDS_IN,
    Run,
    Task,
    read_runs,
    read_tasks,
)
from tests.chaos.messages import Messages
from tests.chaos.overlaps import excuse, excuse_unlocked, overlaps, unlocked
from tests.chaos.setups import NAMES, until_of
from tests.chaos.staleness import Promises
from tests.chaos.watch import Watch
from tests.integration.app import app
from tests.integration.referee import Entry, entries

#: What the callers note of each call; some say why after a colon.
ANSWERS = {
    *(ACCEPTED, MAY_FOLLOW, STANDS_IN),
    *("joined", "refused", "rejected", "unavailable", "not published"),
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise, and when it was seen broken."""

    name: str
    at: float
    words: str


@dataclass(slots=True)
class Verdict:
    """What was seen, counted, and what must not have been."""

    calls: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    unlocked: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    entries: dict[str, list[Entry]] = field(default_factory=dict)


def judge(
    faults: Sequence[Fault], watch: Watch, messages: Messages, left: Sequence[Lock]
) -> Verdict:
    """Read the log; compare it with what was promised."""
    verdict = Verdict(entries={name: entries(name) for name in NAMES})
    accounts = Accounts(faults, watch.parents, messages)
    promises = Promises(faults, watch.parents)
    latest: dict[str, float] = {}
    for name, noted in verdict.entries.items():
        runs = read_runs(noted, watch.alive)
        verdict.runs += len(runs)
        words = (entry.event.partition(":")[0] for entry in noted)
        verdict.calls.update(word for word in words if word in ANSWERS)
        if until_of(name) != "started":  # whose runs have no locks
            _judge_overlaps(verdict, runs, faults)
            _judge_unlocked(verdict, runs, watch, faults)
        tasks = read_tasks(noted, runs)
        _judge_admissions(verdict, tasks.values(), faults)
        _judge_losses(verdict, tasks.values(), accounts)
        latest.update((task_id, promises.latest(task)) for task_id, task in tasks.items())
    _judge_locks(verdict, watch, latest)
    for lock in left:
        verdict.violations.append(Violation(_name(lock, verdict), lock.since, f"left: {lock}"))
    return verdict


def _judge_overlaps(verdict: Verdict, runs: Sequence[Run], faults: Sequence[Fault]) -> None:
    for earlier, later in overlaps(runs):
        reason = excuse(earlier, later, faults)
        if reason:
            verdict.excluded[reason] += 1
            continue
        same = "the same task" if earlier.task_id == later.task_id else "two tasks"
        words = f"{same} at once: {_words(earlier)} and {_words(later)}"
        verdict.violations.append(Violation(later.name, later.start, words))


def _judge_unlocked(
    verdict: Verdict, runs: Sequence[Run], watch: Watch, faults: Sequence[Fault]
) -> None:
    for run, at in unlocked(runs, watch.samples):
        reason = excuse_unlocked(run, at, faults)
        if reason:
            verdict.unlocked[reason] += 1
        else:
            words = f"no lock of {_words(run)} that is running"
            verdict.violations.append(Violation(run.name, at, words))


def _judge_admissions(verdict: Verdict, tasks: Collection[Task], faults: Sequence[Fault]) -> None:
    for holder, call in doubles(tasks, faults):
        words = f"accepted: {call.task_id}, under the lock of {holder.task_id}"
        verdict.violations.append(Violation(call.name, call.accepted, words))
    for task, asked in begun_before(tasks, faults):
        words = f"answered with {task.task_id}, which had begun"
        verdict.violations.append(Violation(task.name, asked, words))


def _judge_losses(verdict: Verdict, tasks: Iterable[Task], accounts: Accounts) -> None:
    for task in tasks:
        account = accounts.of(task)
        verdict.ends[account or "lost"] += 1
        if not account:
            state = app.AsyncResult(task.task_id).state
            seconds = task.last_entry - task.accepted
            words = f"lost: {task.task_id} ({state}), last heard of {seconds:.1f} s later"
            verdict.violations.append(Violation(task.name, task.last_entry, words))


def _judge_locks(verdict: Verdict, watch: Watch, latest: dict[str, float]) -> None:
    told = set()
    for sample in watch.samples:
        for lock in sample.locks:
            late = sample.at - latest.get(lock.owner, float("inf"))
            if late > 0 and lock.owner not in told:
                told.add(lock.owner)
                words = f"kept {late:.1f} s longer than promised: {lock}"
                verdict.violations.append(Violation(_name(lock, verdict), sample.at, words))


def _words(run: Run) -> str:
    return f"{run.task_id[:8]} (process {run.pid})"


def _name(lock: Lock, verdict: Verdict) -> str:
    """Return the key's name among the tasks."""
    for name, noted in verdict.entries.items():
        if any(entry.task_id == lock.owner for entry in noted):
            return name
    return ""
