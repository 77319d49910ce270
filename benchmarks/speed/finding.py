"""What a topic has found: a table, what was to be reached, and bars to draw."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.speed.rounds import Spread, Times, ratio

#: What the names of contenders begin with that only send what cannot be done without.
BOUND = "limit: "


@dataclass(frozen=True)
class Target:
    """A number to reach: at most ``limit``, or at least where ``least`` says so.

    ``bounds`` are what the contenders have that do no more than they must.
    """

    what: str
    value: float
    limit: float
    unit: str = ""
    least: bool = False
    bounds: tuple[tuple[str, float], ...] = ()

    @property
    def reached(self) -> bool:
        """Whether the value is on the right side of the limit."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return a row: what, the limit, the value, yes or no, and what bounds it."""
        sign = "\u2265" if self.least else "\u2264"
        unit = f" {self.unit}" if self.unit else ""
        return (
            self.what,
            f"{sign} {self.limit:,g}{unit}",
            f"{shortly(self.value)}{unit}",
            "yes" if self.reached else "**no**",
            ", ".join(f"{name} {shortly(value)}{unit}" for name, value in self.bounds),
        )


@dataclass(frozen=True)
class Bars:
    """Ratios side by side: to a control, which is 1; ``limit`` is ours to reach."""

    title: str
    limit: float
    rows: tuple[tuple[str, Spread], ...]
    least: bool = False


@dataclass(frozen=True)
class Finding:
    """A topic's part of the results."""

    title: str
    words: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    targets: tuple[Target, ...] = ()
    bars: tuple[Bars, ...] = field(default=())


def set_beside(
    what: str, ratios: Iterable[tuple[str, Spread]], limit: float, *, least: bool = False
) -> tuple[Target, Bars]:
    """Return our ratio, the first, as a target bounded by the limits', and those of all as bars.

    ``what`` is in lower case and Markdown; a picture has neither.
    """
    rows = tuple(ratios)
    bounds = tuple(
        (name.removeprefix(BOUND), spread.median) for name, spread in rows if name.startswith(BOUND)
    )
    plain = what.replace("`", "")
    return (
        Target(what, rows[0][1].median, limit, least=least, bounds=bounds),
        Bars(plain[0].upper() + plain[1:], limit, rows, least),
    )


def shortly(value: float) -> str:
    """Return a number with three figures or so."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def compared(
    times: Times, control: str, *, unit: float = 1e-6, digits: int = 0
) -> tuple[tuple[str, ...], ...]:
    """Return a row for each contender: its name, its time in ``unit`` and its ratio."""
    return tuple(
        (name, Spread.of(seconds).told(unit, digits), ratio(times, name, control).told())
        for name, seconds in times.items()
    )
