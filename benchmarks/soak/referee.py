"""What became of the calls: did each accepted one run, and none beside another of its key?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.soak.stage import Stage
from tests.integration.referee import Entry

#: Seconds in which a call that was accepted would have been begun.
PROMPT = 25.0


def judge(stage: Stage, accepted: Mapping[str, float], entries: Sequence[Entry]) -> Counter[str]:
    """Count the ends of the accepted calls.

    A call is ``killed`` where its process was, or where it was accepted just before a kill and
    has never begun: it was on its way to a process that died.
    """
    begun = {entry.task_id for entry in entries if entry.event == "start"}
    ended = {entry.task_id for entry in entries if entry.event == "end"}
    in_killed = {entry.task_id for entry in entries if entry.pid in stage.killed}
    verdict: Counter[str] = Counter()
    for task_id, at in accepted.items():
        beside_kill = any(at - PROMPT <= kill <= at + PROMPT for kill in stage.kills)
        if task_id in ended:
            verdict["ran"] += 1
        elif task_id in in_killed or (task_id not in begun and beside_kill):
            verdict["killed"] += 1
        else:
            verdict["lost"] += 1
    return verdict


def overlaps(entries: Iterable[Entry], killed: set[int]) -> Iterator[tuple[Entry, Entry]]:
    """Yield each start of a run while another one of its key was there, with that one's start."""
    running: dict[str, dict[tuple[str, int], Entry]] = defaultdict(dict)
    for entry in entries:
        others, run = running[entry.name], (entry.task_id, entry.pid)
        if entry.event == "end":
            others.pop(run, None)
        else:
            yield from ((entry, other) for other in others.values() if other.pid not in killed)
            others[run] = entry
