"""The referee of the chaos run knows a broken promise; ``make chaos`` is the run."""

from __future__ import annotations

import pytest

from django_celery_once.locks import Lock
from tests.chaos.faults import Fault
from tests.chaos.history import Run, read_runs
from tests.chaos.overlaps import excuse, excuse_unlocked, overlaps, unlocked
from tests.chaos.watch import Sample
from tests.integration.referee import Entry


def _entries(*events: tuple[str, int, float], task_id: str = "a") -> list[Entry]:
    return [Entry("early-1", event, task_id, pid, at) for event, pid, at in events]


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


EARLIER = Run("early-1", "a", 1, 10, 10.1, over=20)
LATER = Run("early-1", "b", 2, 15, 15.1, over=16)


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
    run = Run("early-1", "a", 1, 10, 10.1, over=20)
    mine, other = (Lock("once:a", owner, "token") for owner in "ab")
    samples = [Sample(10.2, ()), Sample(15, (mine,)), Sample(16, (other,)), Sample(19.9, ())]
    assert list(unlocked([run], samples)) == [(run, 16)]
    assert excuse_unlocked(run, 16, []) == ""
    assert excuse_unlocked(run, 16, [Fault("store flushed", 15.9, 15.9)])
