"""What a chaos run prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.chaos.faults import Fault
from tests.chaos.verdict import Verdict, Violation

#: Seconds of the timeline before and after a violation.
BEFORE, AFTER = 12.0, 4.0
#: What is left out of it, since it changes nothing.
UNTOLD = ("refused", "rejected", "joined")


def summary(verdict: Verdict, faults: Sequence[Fault]) -> Iterable[str]:
    """Yield the lines of the summary."""
    yield f"calls:       {_counts(verdict.calls)}"
    yield f"runs:        {verdict.runs}"
    yield f"tasks:       {_counts(verdict.ends)}"
    yield f"faults:      {_counts(Counter(fault.kind for fault in faults))}"
    yield f"excluded:    {_counts(verdict.excluded) or 'no overlap'}"
    yield f"unlocked:    {_counts(verdict.unlocked) or 'no run'}"
    yield f"violations:  {len(verdict.violations)}"


def timeline(violation: Violation, verdict: Verdict, faults: Sequence[Fault]) -> Iterable[str]:
    """Yield a violation and what happened around it."""
    yield f"VIOLATION of {violation.name}: {violation.words}"
    begin, end = violation.at - BEFORE, violation.at + AFTER
    lines = [
        (entry.at, f"{entry.event:<12} {entry.task_id[:8]} process {entry.pid}")
        for entry in verdict.entries.get(violation.name, ())
        if begin <= entry.at <= end and entry.event not in UNTOLD
    ]
    for fault in faults:
        if fault.overlaps(begin, end):
            pids = " ".join(map(str, sorted(fault.pids)))
            lines.append((fault.begin, f"FAULT {fault.kind} {pids}".rstrip()))
            lines.append((fault.end, f"      no longer {fault.kind}"))
    for at, words in sorted(lines):
        yield f"  {at - violation.at:+8.3f}  {words}"


def _counts(counter: Counter[str]) -> str:
    total = sum(counter.values())
    each = ", ".join(f"{number} {what}" for what, number in counter.most_common())
    return f"{total} ({each})" if each else ""
