"""A month of a year, as the form offers it and the report prints it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Self

from django.utils.formats import date_format


@dataclass(frozen=True, order=True)
class Month:
    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str()`` wrote: ``"2026-05"``. Raises ``ValueError``."""
        day = dt.date.fromisoformat(f"{text}-01")
        return cls(day.year, day.month)

    @classmethod
    def of(cls, day: dt.date) -> Self:
        return cls(day.year, day.month)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def name(self) -> str:
        """The month in words: ``"May 2026"``."""
        return date_format(dt.date(self.year, self.month, 1), "F Y")

    def previous(self) -> Month:
        if self.month == 1:
            return Month(self.year - 1, 12)
        return Month(self.year, self.month - 1)


def last_months(today: dt.date, count: int = 12) -> list[Month]:
    """Return the ``count`` whole months before this one, the latest first."""
    months = [Month.of(today).previous()]
    while len(months) < count:
        months.append(months[-1].previous())
    return months
