"""The bars of the overview's drawing, in whole units of its view box."""

from __future__ import annotations

from django.utils.formats import date_format

from django_celery_once.admin.figures import DayFigure
from django_celery_once.record import record

WIDTH = 720
#: The height of the bars, and the room below them for the days' names.
HEIGHT, FOOT = 160, 24
#: The room at the left for the highest figure.
LEFT = 48


@record
class Bar:
    """One day; the numbers are texts, so that no language puts a comma into them."""

    x: str
    y: str
    width: str
    height: str
    end: str
    label: str
    title: str


@record
class Chart:
    """What a template draws."""

    view_box: str
    left: str
    right: str
    bottom: str
    foot: str
    highest: int
    bars: tuple[Bar, ...]


def draw(figures: list[DayFigure]) -> Chart:
    """Return the bars of some days; each seventh from the last is named, if there is room."""
    highest = max((each.count for each in figures), default=0)
    step = (WIDTH - LEFT) // max(1, len(figures))
    bars = []
    for number, each in enumerate(figures):
        # A day with one in a million is no day without any.
        height = max(round(HEIGHT * each.count / highest), 1) if each.count else 0
        named = (len(figures) - 1 - number) % 7 == 0 and number > 2
        bars.append(
            Bar(
                x=str(LEFT + number * step + 2),
                y=str(HEIGHT - height + FOOT),
                width=str(step - 4),
                height=str(height),
                end=str(LEFT + (number + 1) * step - 2),
                label=date_format(each.day, "MONTH_DAY_FORMAT") if named else "",
                title=f"{date_format(each.day)}: {each.count}",
            )
        )
    return Chart(
        view_box=f"0 0 {WIDTH} {HEIGHT + 2 * FOOT}",
        left=str(LEFT),
        right=str(WIDTH),
        bottom=str(HEIGHT + FOOT),
        foot=str(HEIGHT + FOOT + 16),
        highest=highest,
        bars=tuple(bars),
    )
