"""The referee of the chaos run knows a broken promise; ``make chaos`` is the run."""

from __future__ import annotations

import pytest

from django_celery_once.locks import Lock
from tests.chaos.accounts import Accounts
from tests.chaos.admissions import begun_before, doubles
from tests.chaos.faults import Fault
from tests.chaos.history import ACCEPTED, MAY_FOLLOW, STANDS_IN, Run, Task, read_runs, read_tasks
from tests.chaos.messages import Messages
from tests.chaos.overlaps import excuse, excuse_unlocked, overlaps, unlocked
from tests.chaos.setups import BROKERS, SetUp
from tests.chaos.staleness import Promises
from tests.chaos.watch import Sample
from tests.integration.app import app
from tests.integration.referee import Entry

EARLY = "early-finished"
Events = tuple[tuple[str, int, float], ...]


def _entries(*events: tuple[str, int, float], task_id: str = "a", name: str = EARLY) -> list[Entry]:
    return [Entry(name, event, task_id, pid, at) for event, pid, at in events]


def _task(*events: tuple[str, int, float], task_id: str = "a", name: str = EARLY) -> Task:
    entries = _entries(*events, task_id=task_id, name=name)
    return read_tasks(entries, read_runs(entries, {}))[task_id]


def test_two_runs_at_once_are_seen() -> None:
    """Pair a run with one that started before it was over, and with no other."""
    runs = read_runs(
        _entries(("start", 1, 0), ("start", 2, 1), ("end:success", 1, 2), ("start", 1, 3)),
        alive={1: 5, 2: 2.5},
    )
    assert [(earlier.start, later.start) for earlier, later in overlaps(runs)] == [(0, 1)]


def test_a_run_without_an_end_lasts_while_its_process_was_seen() -> None:
    """Take a killed run for over, not for endless."""
    (run,) = read_runs(_entries(("prerun", 1, 0.5), ("start", 1, 1)), alive={1: 4})
    assert (run.prerun, run.over, run.outcome) == (0.5, 4, "")


EARLIER = Run(EARLY, "a", 1, 10, 10.1, over=20)
LATER = Run(EARLY, "b", 2, 15, 15.1, over=16)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("store flushed", 12, 12), "the store lost its locks"),
        (Fault("store flushed", 9, 9), ""),
        (Fault("store frozen for long", 14, 16), "one started while the store was away"),
        (Fault("store frozen for long", 11, 14), "the store was away for a lease"),
        (Fault("store frozen briefly", 11, 12), ""),
        (Fault("worker stopped for long", 11, 14, frozenset({1})), "its worker was stopped"),
        (Fault("worker stopped for long", 11, 14, frozenset({3})), ""),
        (Fault("worker stopped briefly", 11, 12, frozenset({1})), ""),
        (Fault("worker killed", 11, 12, frozenset({1})), ""),
        (Fault("broker frozen", 11, 14), ""),
    ],
)
def test_only_what_no_lock_can_prevent_is_excused(fault: Fault, reason: str) -> None:
    """Let nothing else explain two runs of one key."""
    found = excuse(EARLIER, LATER, [fault])
    assert found.startswith(reason)
    assert bool(found) is bool(reason)


def test_a_run_without_its_lock_is_seen() -> None:
    """Look for the lock well after the start and well before the end of a run."""
    run = Run(EARLY, "a", 1, 10, 10.1, over=20)
    mine, other = (Lock("once:a", owner, "token") for owner in "ab")
    samples = [Sample(10.2, ()), Sample(15, (mine,)), Sample(16, (other,)), Sample(19.9, ())]
    assert list(unlocked([run], samples)) == [(run, 16)]
    assert excuse_unlocked(run, 16, []) == ""
    assert excuse_unlocked(run, 16, [Fault("store flushed", 15.9, 15.9)])


#: A call whose publishing waited ten seconds for the broker.
SLOWLY = (("asked", 1, 10.0), ("due", 1, 10.0), (ACCEPTED, 1, 20.0))
KILLED = "killed, acknowledged early"
LOST = "turned away, its lock was lost"
LAPSED = "turned away, its lock lapsed"


@pytest.mark.parametrize(
    ("events", "faults", "account"),
    [
        # The store forgot its lock while it was being published: then another took the key.
        ([("turned away", 2, 21)], [Fault("store flushed", 12, 12)], LOST),
        ([("turned away", 2, 21)], [Fault("store killed", 9, 11)], LOST),
        # It forgot nothing of this lock, or too late to explain anything.
        ([("turned away", 2, 21)], [], ""),
        ([("turned away", 2, 21)], [Fault("store flushed", 9, 9)], ""),
        ([("turned away", 2, 21), ("revoked", 1, 25)], [Fault("store flushed", 23, 23)], ""),
        ([("turned away", 2, 21)], [Fault("store frozen for long", 12, 17)], ""),
        ([("turned away", 2, 21)], [Fault("broker frozen", 11, 20)], ""),
        # Its lock waits for a time-out after it was due.
        ([("turned away", 2, 30.1)], [], LAPSED),
        ([("turned away", 2, 29.9)], [], ""),
        # A retry is turned away.
        ([("start", 2, 21), ("end:retry", 2, 22), ("turned away", 2, 23)], [], ""),
        (
            [("start", 2, 21), ("end:retry", 2, 25), ("turned away", 2, 26)],
            [Fault("worker stopped for long", 22, 24, frozenset({2}))],
            LOST,
        ),
        # It ran after all, or had run: what was turned away is a copy.
        (
            [("turned away", 2, 21), ("start", 3, 22), ("end:success", 3, 23)],
            [],
            "ended without a result",
        ),
        (
            [("start", 3, 21), ("end:success", 3, 22), ("turned away", 2, 23)],
            [],
            "ended without a result",
        ),
        ([("ended", 2, 21)], [], "ended without a result"),
        ([("start", 2, 21)], [], ""),
        ([("start", 2, 21), ("end:retry", 2, 22)], [], ""),
        (
            [("start", 2, 21), ("end:retry", 2, 22), ("received", 7, 23)],
            [Fault("worker killed", 30, 31, frozenset({7}))],
            KILLED,
        ),
        (
            [("received", 7, 20), ("start", 2, 21), ("end:retry", 2, 22)],
            [Fault("worker killed", 30, 31, frozenset({7}))],
            "",
        ),
        # No result tells of the process's end where the broker has been away.
        ([("start", 2, 21), ("end:exit", 2, 22)], [Fault("broker killed", 22, 23)], KILLED),
        ([("start", 2, 21)], [Fault("child killed", 22, 23, frozenset({2}))], KILLED),
        ([("start", 2, 21)], [Fault("child killed", 22, 23, frozenset({3}))], ""),
        # Only the worker that had its message last took it along.
        ([("received", 7, 20)], [Fault("worker killed", 21, 22, frozenset({7}))], KILLED),
        ([("received", 7, 20)], [Fault("worker killed", 21, 22, frozenset({8}))], ""),
        (
            [("received", 7, 20), ("received", 8, 30)],
            [Fault("worker killed", 21, 22, frozenset({7}))],
            "",
        ),
    ],
)
def test_a_call_that_did_not_run_is_lost_unless_something_explains_it(
    events: Events, faults: list[Fault], account: str
) -> None:
    """Count from when it was asked for, which is before its lock was taken."""
    assert Accounts(faults, {}, Messages()).of(_task(*SLOWLY, *events)) == account


@pytest.mark.parametrize(
    ("answer", "events", "account"),
    [
        (ACCEPTED, (), ""),
        (ACCEPTED, [("revoked", 1, 21)], "revoked"),
        # A copy, which the store had forgotten, met another's lock.
        (ACCEPTED, [("start", 2, 21), ("end:ignore", 2, 22), ("turned away", 3, 23)], "revoked"),
        (MAY_FOLLOW, (), "revoked"),
        (STANDS_IN, (), "revoked"),
    ],
)
def test_nothing_is_revoked_by_itself(answer: str, events: Events, account: str) -> None:
    """Take that result for an answer only if its caller has revoked it, or it ends as another."""
    task = _task((answer, 1, 20), *events, task_id=f"{answer} {len(events)}")
    app.backend.mark_as_revoked(task.task_id, "as told")
    assert Accounts([], {}, Messages()).of(task) == account


@pytest.mark.parametrize(
    ("events", "answer", "at", "name", "seen"),
    [
        ([("received", 2, 12), ("prerun", 3, 20)], ACCEPTED, 15, EARLY, True),
        ([("prerun", 3, 14.5)], ACCEPTED, 15, EARLY, False),
        ([("ended", 2, 13)], ACCEPTED, 15, EARLY, False),
        ([("revoked", 1, 13), ("prerun", 3, 20)], ACCEPTED, 15, EARLY, False),
        ([("prerun", 3, 40)], ACCEPTED, 31, EARLY, False),  # it may have lapsed
        ([("prerun", 3, 20)], MAY_FOLLOW, 15, EARLY, False),
        ([("prerun", 3, 20)], ACCEPTED, 15, "late-started", True),
        ([("prerun", 3, 20)], ACCEPTED, 15, "late-running", False),
        ([("prerun", 3, 11.5)], ACCEPTED, 14.9, "late-expired", True),
        ([("prerun", 3, 11.5)], ACCEPTED, 15.1, "late-expired", False),
        ([("revoked", 1, 11.5)], ACCEPTED, 14.9, "late-expired", False),
    ],
)
def test_a_call_accepted_under_another_lock_is_seen(
    events: Events, answer: str, at: float, name: str, *, seen: bool
) -> None:
    """Let only one call wait for its run, unless it is to follow another, or none is refused."""
    holder = _task(("asked", 1, 10), (ACCEPTED, 1, 11), *events, name=name)
    call = _task(("asked", 1, at - 1), (answer, 1, at), task_id="b", name=name)
    assert list(doubles([holder, call], [])) == [(holder, call)] * seen
    assert list(doubles([holder, call], [Fault("store flushed", 10.5, 10.5)])) == []
    assert len(list(doubles([holder, call], [Fault("store flushed", 9, 9)]))) == seen


@pytest.mark.parametrize(("asked", "seen"), [(19.9, False), (20.2, True)])
def test_an_answer_that_had_begun_is_seen(asked: float, *, seen: bool) -> None:
    """Let a run that is to see a change begin after that."""
    task = _task(("asked", 1, 10), (MAY_FOLLOW, 1, 11), ("start", 2, 20), ("asked", 1, asked))
    assert list(begun_before([task], [])) == [(task, asked)] * seen
    assert list(begun_before([task], [Fault("store flushed", 20.1, 20.1)])) == []


def test_a_key_is_kept_until_it_has_expired() -> None:
    """Count its time from when the call was due, which was not before it was accepted."""
    events = (("asked", 1, 10), ("due", 1, 12), (ACCEPTED, 1, 11), ("start", 2, 12))
    kept, freed = (
        Promises([], {}).latest(_task(*events, ("end:success", 2, 13), name=name))
        for name in ("early-expired", EARLY)
    )
    assert freed < 16 < 18 < kept < 20


def test_a_seed_draws_the_same_set_up_again() -> None:
    """Draw each of them for some seed."""
    drawn = {str(SetUp.draw(broker, seed)) for seed in range(20) for broker in BROKERS}
    assert len(drawn) == 2 + 4
    assert SetUp.draw("redis", 7) == SetUp.draw("redis", 7)
