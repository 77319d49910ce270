"""Draw the timelines of docs/policies.md.

    python -m testproject.timelines docs/images

writes one SVG for each answer to a duplicate and for each lifetime of a key.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 760, 84, 12, 52, 44, 26
#: Pixels of a hundredth of the time that is shown, and of a character at 13 px.
UNIT, CHARACTER = (WIDTH - LEFT - RIGHT) / 100, 7.0
#: Fill, border, dashes and colour of the words of what a bar's first word tells.
LOOKS = {
    "queued": ("#fff8c5", "#7d4e00", "5 3", "#1f2328"),
    "running": ("#0969da", "#0a3069", "none", "#ffffff"),
    "held": ("#1a7f37", "#044f1e", "none", "#ffffff"),
    "kept": ("#dafbe1", "#044f1e", "8 4", "#1f2328"),
    "waits": ("#fbefff", "#6639ba", "8 4", "#1f2328"),
    "shares": ("#fbefff", "#6639ba", "8 4", "#1f2328"),
}
WAITS = ("#ffffff", "#59636e", "1 4", "#1f2328")
STYLE = (
    "text{font:13px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}"
    ".title{font-weight:600;font-size:15px}.name{text-anchor:end}.word{text-anchor:middle}"
)

#: A name, then moments and what lasts between them ("": nothing), in hundredths of the time
#: shown. What stands behind the last moment is why the call was refused then.
Row = tuple[str | float, ...]


@dataclass(frozen=True)
class Timeline:
    """A picture: its file, its heading, and all that it shows in words."""

    name: str
    title: str
    words: str
    rows: tuple[Row, ...]


FIRST = ("1st call", 2, "queued", 14, "running", 60)
THIRD = ("3rd call", 72, "queued", 83, "running", 100)
TWO_RUNS = ("key", 2, "held: 1st", 60, "", 72, "held: 3rd", 100)
TIMELINES = [
    Timeline(
        "raise",
        'on_duplicate = "raise" (the default)',
        "The first call is queued and runs. A second call meanwhile is refused at once: "
        "AlreadyQueued. A third call, after the end of the run, is accepted.",
        (FIRST, ("2nd call", 30, "AlreadyQueued"), THIRD, TWO_RUNS),
    ),
    Timeline(
        "reject",
        'on_duplicate = "reject"',
        "The first call is queued and runs. A second call meanwhile is dropped: it returns a "
        "result with the status REJECTED. A third call, after the end of the run, is accepted.",
        (FIRST, ("2nd call", 30, "status REJECTED, get() is None"), THIRD, TWO_RUNS),
    ),
    Timeline(
        "join",
        'on_duplicate = "join"',
        "The first call is queued and runs. A second call meanwhile returns the first one's "
        "result. A third call, after the end of the run, is accepted and has its own.",
        (FIRST, ("2nd call", 30, "shares the 1st\u2019s result", 60), THIRD, TWO_RUNS),
    ),
    Timeline(
        "wait",
        'on_duplicate = "wait"',
        "The first call is queued and runs. A second call waits in its caller until the key is "
        "free, is queued then and runs. A third call's blocking_timeout is over before: "
        "AlreadyQueued.",
        (
            FIRST,
            ("2nd call", 26, "its caller waits", 60, "queued", 72, "running", 100),
            ("3rd call", 32, "its caller waits", 52, "blocking_timeout is up: AlreadyQueued"),
            ("key", 2, "held: 1st", 60, "held: 2nd", 100),
        ),
    ),
    Timeline(
        "rerun",
        'on_duplicate = "rerun"',
        "The first call is queued and runs. A second call meanwhile is to run once more when that "
        "run has ended. A third call shares this run, which has its arguments, the newest ones.",
        (
            ("1st call", 2, "queued", 13, "running", 50),
            ("2nd call", 22, "waits for the end", 50, "queued", 62, "running", 100),
            ("3rd call", 34, "shares the 2nd\u2019s run", 100),
            ("key", 2, "held: 1st", 50, "held: 2nd, with the 3rd\u2019s arguments", 100),
        ),
    ),
    Timeline(
        "finished",
        'until = "finished" (the default)',
        "The key is held from the accepted call to the end of its last run, also while a retry "
        "waits: a second call then is a duplicate. A third call, after the end, is accepted.",
        (
            ("1st call", 2, "queued", 13, "running", 30, "a retry waits", 50, "running", 66),
            ("2nd call", 38, "a duplicate"),
            THIRD,
            ("key", 2, "held: 1st", 66, "", 72, "held: 3rd", 100),
        ),
    ),
    Timeline(
        "started",
        'until = "started"',
        "The key is held while the call is queued: a second call then is a duplicate. When the "
        "run begins the key is free, so that a third call is queued and may run beside the first.",
        (
            ("1st call", 2, "queued", 18, "running", 70),
            ("2nd call", 9, "a duplicate"),
            ("3rd call", 36, "queued", 52, "running", 96),
            ("key", 2, "held: 1st", 18, "", 36, "held: 3rd", 52),
        ),
    ),
    Timeline(
        "running",
        'until = "running"',
        "Three calls are queued, none is refused. The first runs; the other two are sent back "
        "while the key is held, and run one after the other.",
        (
            ("1st call", 2, "queued", 13, "running", 37),
            ("2nd call", 5, "queued", 16, "sent back", 41, "running", 66),
            ("3rd call", 8, "queued", 19, "sent back", 70, "running", 95),
            ("key", 13, "held: 1st", 37, "", 41, "held: 2nd", 66, "", 70, "held: 3rd", 95),
        ),
    ),
    Timeline(
        "expired",
        'until = "expired"',
        "The key is held from the accepted call for timeout seconds, longer than its run: a "
        "second call after the run is a duplicate. A third call, when the time is up, is accepted.",
        (
            ("1st call", 2, "queued", 13, "running", 32),
            ("2nd call", 44, "a duplicate: the key is kept"),
            ("3rd call", 76, "queued", 87, "running", 100),
            ("key", 2, "held: 1st", 32, "kept until timeout is up", 72, "", 76, "held: 3rd", 100),
        ),
    ),
]


def draw(timeline: Timeline) -> str:
    """Return the picture as SVG; raise ``ValueError`` for words that do not fit."""
    height = TOP + ROW * len(timeline.rows) + 18
    title, words = escape(timeline.title), escape(timeline.words)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" '
        f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f'<title id="title">{title}</title><desc id="desc">{words}</desc><style>{STYLE}</style>',
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" fill="#ffffff" '
        'stroke="#59636e"/>',
        f'<text class="title" x="16" y="28">{title}</text>',
        f'<text class="name" x="{WIDTH - RIGHT}" y="{height - 8}">time \u2192</text>',
    ]
    for number, row in enumerate(timeline.rows):
        lines.extend(_row(row, TOP + ROW * number))
    return "\n".join([*lines, "</svg>", ""])


def _row(row: Row, top: int) -> Iterator[str]:
    name, moments, words = str(row[0]), row[1::2], [str(each) for each in row[2::2]]
    places = [LEFT + float(moment) * UNIT for moment in moments]
    yield f'<text class="name" x="{LEFT - 12}" y="{top + BAR - 8}">{name}</text>'
    for place, end, what in zip(places, places[1:], words, strict=False):
        if what:
            yield from _bar(place, end - place, what, top)
    if len(words) == len(places):
        yield from _refusal(places[-1], words[-1], top)
    if name != "key":
        yield f'<path d="M{places[0] - 5:g} {top - 11}h10l-5 9z" fill="#1f2328"/>'


def _bar(x: float, width: float, words: str, top: int) -> Iterator[str]:
    _check_fits(words, width - 4)
    fill, border, dashes, colour = LOOKS.get(words.split()[0].rstrip(":"), WAITS)
    yield (
        f'<rect x="{x:g}" y="{top}" width="{width:g}" height="{BAR}" rx="3" fill="{fill}" '
        f'stroke="{border}" stroke-width="1.5" stroke-dasharray="{dashes}"/>'
    )
    place = f'x="{x + width / 2:g}" y="{top + BAR - 8}"'
    yield f'<text class="word" {place} style="fill:{colour}">{escape(words)}</text>'


def _refusal(x: float, words: str, top: int) -> Iterator[str]:
    _check_fits(words, WIDTH - RIGHT - x - 23)
    x, y = x + 9, top + BAR / 2
    yield f'<circle cx="{x:g}" cy="{y:g}" r="8" fill="#ffffff" stroke="#a40e26"/>'
    yield f'<path d="M{x - 4:g} {y - 4:g}l8 8m0 -8l-8 8" stroke="#a40e26" stroke-width="2"/>'
    yield f'<text x="{x + 14:g}" y="{top + BAR - 8}">{escape(words)}</text>'


def _check_fits(words: str, room: float) -> None:
    if len(words) * CHARACTER > room:
        raise ValueError(f"{words!r} does not fit into {room:g} pixels")


def pictures() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {f"policy-{each.name}.svg": draw(each) for each in TIMELINES}


if __name__ == "__main__":
    for file, text in pictures().items():
        Path(sys.argv[1], file).write_text(text)
