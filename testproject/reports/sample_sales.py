"""Sales of a small shop, made up: the same month always has the same ones."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from testproject.reports.models import Sale
from testproject.reports.months import Month

PRICES = {
    "Coffee beans, 1 kg": 1890,
    "Espresso cups, set of six": 3450,
    "Filter papers": 420,
    "Hand grinder": 6900,
    "Kettle": 5490,
    "Travel mug": 2250,
}


def sales_of(month: Month) -> Iterator[Sale]:
    """Yield four sales of every product, spread over the month."""
    for number, (product, price) in enumerate(PRICES.items(), start=1):
        for week in range(4):
            yield Sale(
                sold_on=dt.date(month.year, month.month, 7 * week + number),
                product=product,
                quantity=1 + (month.month * number + 3 * week) % 9,
                unit_price=price,
            )


def amount_of(month: Month) -> int:
    """Return what the month's sales add up to, in cents."""
    return sum(sale.quantity * sale.unit_price for sale in sales_of(month))
