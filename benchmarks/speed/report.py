"""The results in words: tables for a terminal and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.speed.finding import Finding

HEAD = """# How fast it is

Measured by `make bench`, which writes this file. Every ratio is made in one run, of contenders
that took turns: in each round every contender ran once, in a rotated order, and is compared with
the control of the same round. Told are the median of the rounds and, in parentheses, their
quartiles. Other machines, servers across a network or hiredis change the times, and the ratios
too.

Two contenders are limits: `bare commands` sends one `SET NX` for a call, a `SET` and a `DEL` for a
run, and knows no more than that its key was taken. `our scripts` sends ours, from a task with
nothing around them: a refused caller gets the holder's record, and a run a lease. Whatever tells
as much takes as long, unless several ask together; what we take beyond is Python.

![Ratios beside the other packages](results.svg)
"""
HOW = """## How to run it

```sh
make bench                            # all of it; rewrites this file and the picture
make bench ARGS="refuse key"          # some topics; prints only
make bench ARGS=--quick               # only see whether it runs
```

It makes its own environment, starts its own Redis servers and workers, and ends them. The journal
is measured where a PostgreSQL server answers (`TEST_POSTGRES_URL`).
"""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def as_text(finding: Finding) -> str:
    """Return a finding as a chapter."""
    parts = [f"## {finding.title}", finding.words]
    if finding.rows:
        parts.append(table(finding.columns, finding.rows))
    return "\n\n".join(parts)


def targets(findings: Iterable[Finding]) -> str:
    """Return the table of what was to be reached."""
    rows = [target.cells() for finding in findings for target in finding.targets]
    return table(("what", "to reach", "found", "reached", "the least there is"), rows)


def as_markdown(findings: Sequence[Finding], facts: Mapping[str, str]) -> str:
    """Return RESULTS.md."""
    parts = [
        HEAD.rstrip(),
        "## Targets",
        targets(findings),
        *map(as_text, findings),
        "## Machine and versions",
        table(("what", "is"), facts.items()),
        HOW,
    ]
    return "\n\n".join(parts)
