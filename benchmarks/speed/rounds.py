"""Contenders take turns, so that a noisy neighbour disturbs them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: Seconds of each contender, one for each round.
Times = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of one value or more."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def told(self, unit: float = 1.0, digits: int = 2) -> str:
        """Return it in words, in ``unit`` (of the values' unit)."""
        median, low, high = (
            f"{value / unit:,.{digits}f}" for value in (self.median, self.low, self.high)
        )
        return f"{median} ({low}\N{EN DASH}{high})"


def interleave(contenders: Mapping[str, Callable[[], float]], rounds: int) -> Times:
    """Let each contender run once in every round, in a rotated order, and tell the seconds.

    A contender returns what it took. What the first round says is dropped: it warms up.
    """
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds = contenders[name]()
            if number:
                times[name].append(seconds)
    return times


def ratio(times: Times, name: str, control: str) -> Spread:
    """Return how many times as long as the control's of the same round a contender took."""
    return Spread.of(
        [mine / floor for mine, floor in zip(times[name], times[control], strict=True)]
    )
