"""Pages of a list that may have millions of rows."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.formats import number_format
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

#: Rows that are counted and paged through.
MOST = 10_000


class MoreThan(int):
    """A number that stands for all that are greater, and says so."""

    def __str__(self) -> str:
        return _("more than %(count)s") % {"count": number_format(int(self), force_grouping=True)}


class CappedPaginator(_Paginator):
    """Count no further than ``MOST``: what a count costs does not grow with the table."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, or ``MoreThan(MOST)``."""
        rows = cast("QuerySet[Any]", self.object_list)
        found = rows.order_by()[: MOST + 1].count()
        return found if found <= MOST else MoreThan(MOST)
