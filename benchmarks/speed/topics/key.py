"""Keys: seconds to make the key of typical arguments, without a server."""

from __future__ import annotations

from functools import partial

from benchmarks.speed.bench import Bench, timed
from benchmarks.speed.finding import Finding, compared, set_beside
from benchmarks.speed.rounds import ratio

LIMIT = 1.5
CONTROL = "celery-once"


def measure(bench: Bench) -> Finding:
    calls = bench.many(500, 20)
    functions = {}
    for each in bench.guarded():
        assert each.key is not None
        functions[each.name] = timed(partial(each.key, *each.arguments(1)), calls)
    times = bench.take_turns(functions, 60)
    ratios = [(each.name, ratio(times, each.name, CONTROL)) for each in bench.guarded()]
    target, bars = set_beside("key \u00f7 celery-once's", ratios, LIMIT)
    return Finding(
        title="Key",
        words="The key of typical arguments (three strings, two numbers, a UUID and a date), as "
        "each package's own function makes it. celery-singleton's takes neither a UUID nor a date "
        "and gets their text. Only ours and celery-once's are the same for positional and named "
        "arguments.",
        columns=("package", "\u00b5s", "\u00f7 celery-once"),
        rows=compared(times, CONTROL, digits=1),
        targets=(target,),
        bars=(bars,),
    )
