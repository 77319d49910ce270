"""Counts of incidents for the overview, each row read once, from an index alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.db.models import Count, IntegerField, Value
from django.utils import timezone

from django_celery_once.admin.windows import WINDOWS
from django_celery_once.conf import conf
from django_celery_once.models import BlockedDuplicate
from django_celery_once.record import record

#: The days that the overview draws, today included.
DAYS = 30
#: Slices of time that one statement counts: none is to take long.
SLICES_AT_ONCE = 12


@record
class TaskFigures:
    """How many incidents of a task each window has, by the window's name."""

    task: str
    counts: Mapping[str, int]


@record
class DayFigure:
    """How many incidents had their last duplicate on a day."""

    day: date
    count: int


@record
class Figures:
    """What the overview shows: the busiest task first, today last."""

    tasks: list[TaskFigures]
    days: list[DayFigure]

    def totals(self) -> dict[str, int]:
        """Return how many incidents of all tasks each window has."""
        return {name: sum(each.counts[name] for each in self.tasks) for name in WINDOWS}


@record
class Slice:
    """How many incidents of a task had their last duplicate between two limits."""

    begin: datetime
    task: str
    count: int


def read_figures() -> Figures:
    """Count incidents for each task and window, and for each day in the current time zone.

    Windows and days overlap. What lies between any two of their limits is counted once and
    then added up: adding costs nothing, counting millions of rows does. The limits are
    reckoned here, since MariaDB knows no time zones unless they are loaded.
    """
    now = timezone.now()
    windows = {name: window.begin(now) for name, window in WINDOWS.items()}
    today = (timezone.localtime(now) if timezone.is_aware(now) else now).date()
    days = [today - timedelta(days=back) for back in reversed(range(-1, DAYS))]
    midnights = {day: _midnight(day) for day in days}
    slices = _slices(sorted({*windows.values(), *midnights.values()}))
    return Figures(_per_task(slices, windows), _per_day(slices, midnights))


def _per_task(slices: Iterable[Slice], windows: Mapping[str, datetime]) -> list[TaskFigures]:
    counts: dict[str, Counter[str]] = {}
    for each in slices:
        for name, begin in windows.items():
            if each.begin >= begin:
                counts.setdefault(each.task, Counter())[name] += each.count
    found = [
        TaskFigures(task, {name: its[name] for name in windows}) for task, its in counts.items()
    ]
    return sorted(found, key=lambda each: (-max(each.counts.values()), each.task))


def _per_day(slices: Sequence[Slice], midnights: Mapping[date, datetime]) -> list[DayFigure]:
    return [
        DayFigure(day, sum(each.count for each in slices if begin <= each.begin < end))
        for (day, begin), (_next, end) in pairwise(midnights.items())
    ]


def _slices(limits: Sequence[datetime]) -> list[Slice]:
    """Count what lies between each two limits, and after the last."""
    ends = [*limits[1:], None]
    counted = [
        _count(number, begin, end)
        for number, (begin, end) in enumerate(zip(limits, ends, strict=True))
    ]
    found = []
    for first in range(0, len(counted), SLICES_AT_ONCE):
        query, *others = counted[first : first + SLICES_AT_ONCE]
        # Django 6.1 would order the union as the model says, by a column that it has not.
        found += query.union(*others, all=True).order_by()
    return [Slice(limits[number], task, count) for task, number, count in found]


def _count(number: int, begin: datetime, end: datetime | None) -> Any:
    incidents = BlockedDuplicate.objects.using(conf.log_database).order_by()
    incidents = incidents.filter(last_rejection__gte=begin)
    if end is not None:
        incidents = incidents.filter(last_rejection__lt=end)
    return (
        incidents.values("task_name")
        # Not of the primary key, which no index has along with the time.
        .annotate(slice=Value(number, IntegerField()), count=Count("last_rejection"))
        .values_list("task_name", "slice", "count")
    )


def _midnight(day: date) -> datetime:
    zone = timezone.get_current_timezone() if settings.USE_TZ else None
    return datetime.combine(day, time.min, tzinfo=zone)
