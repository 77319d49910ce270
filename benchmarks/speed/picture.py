"""Draw the ratios as bars: ``results.svg``, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from benchmarks.speed.finding import Bars, Finding
from benchmarks.speed.settings import OURS

WIDTH, LEFT, RIGHT, HEAD, ROW, BAR, GAP = 760, 170, 70, 34, 24, 16, 18
#: Fill and border of our bars and of the others'.
MINE, OTHERS = ("#0969da", "#0a3069"), ("#d0d7de", "#59636e")
STYLE = (
    "text{font:13px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}"
    ".title{font-weight:600;font-size:15px}.name{text-anchor:end}"
)


def draw(findings: Iterable[Finding]) -> str:
    """Return the picture as SVG, a group of bars for each comparison with the peers."""
    charts = [bars for finding in findings for bars in finding.bars]
    height = GAP + sum(_height(bars) for bars in charts)
    words = escape(" ".join(map(describe, charts)))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" '
        f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f'<title id="title">Ratios beside the other packages</title><desc id="desc">{words}</desc>'
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" fill="#ffffff" '
        'stroke="#59636e"/>',
    ]
    top = GAP
    for bars in charts:
        lines.extend(_group(bars, top))
        top += _height(bars)
    return "\n".join([*lines, "</svg>", ""])


def describe(bars: Bars) -> str:
    """Return what a group of bars shows, in a sentence."""
    values = ", ".join(f"{name} {spread.median:.2f}" for name, spread in bars.rows)
    return f"{bars.title}: {values}; to reach: {_limit(bars)}."


def _limit(bars: Bars) -> str:
    return f"{'at least' if bars.least else 'at most'} {bars.limit:g}"


def _height(bars: Bars) -> int:
    return HEAD + ROW * len(bars.rows) + GAP


def _group(bars: Bars, top: int) -> Iterator[str]:
    widest = max([bars.limit, *(spread.high for _name, spread in bars.rows)])
    unit = (WIDTH - LEFT - RIGHT) / widest
    title = f"{bars.title} (to reach: {_limit(bars)})"
    yield f'<text class="title" x="16" y="{top + 14}">{escape(title)}</text>'
    for number, (name, spread) in enumerate(bars.rows):
        y = top + HEAD + ROW * number
        fill, border = MINE if name == OURS else OTHERS
        middle, end = y + BAR / 2, LEFT + spread.median * unit
        yield f'<text class="name" x="{LEFT - 8}" y="{y + 13}">{escape(name)}</text>'
        yield (
            f'<rect x="{LEFT}" y="{y}" width="{spread.median * unit:.1f}" height="{BAR}" '
            f'fill="{fill}" stroke="{border}"/>'
        )
        low, high = LEFT + spread.low * unit, LEFT + spread.high * unit
        yield f'<path d="M{low:.1f} {middle:g}H{high:.1f}" stroke="#1f2328" stroke-width="2"/>'
        yield f'<text x="{max(end, high) + 8:.1f}" y="{y + 13}">{spread.median:.2f}</text>'
    x, bottom = LEFT + bars.limit * unit, top + HEAD + ROW * len(bars.rows)
    yield (
        f'<path d="M{x:.1f} {top + HEAD - 6}V{bottom}" stroke="#a40e26" stroke-width="1.5" '
        'stroke-dasharray="5 3"/>'
    )
