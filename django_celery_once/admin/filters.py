"""The filters of the list: from fixed choices, each served by an index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_celery_once.admin.windows import WINDOWS
from django_celery_once.models import BlockedDuplicate

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

#: Tasks that the filter offers; any other can be given in the address.
MOST_TASKS = 100

# One look into the index for each name. A DISTINCT reads all rows.
TASK_NAMES = """
WITH RECURSIVE names(name) AS (
    SELECT MIN(task_name) FROM {table}
    UNION ALL
    SELECT (SELECT MIN(task_name) FROM {table} WHERE task_name > names.name)
    FROM names WHERE names.name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL LIMIT %s
"""


def task_names(database: str) -> list[str]:
    """Return the names of tasks of which something was blocked, in order."""
    connection = connections[database]
    table = connection.ops.quote_name(BlockedDuplicate._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(TASK_NAMES.format(table=table), [MOST_TASKS])
        return [name for (name,) in cursor.fetchall()]


class ChoiceFilter(admin.SimpleListFilter):
    """A filter that answers a value which is none of its choices with the plain list."""

    def chosen(self) -> str | None:
        """Return the value that was asked for; raise ``IncorrectLookupParameters``."""
        value = self.value()
        if value is not None and value not in {str(key) for key, _label in self.lookup_choices}:
            raise IncorrectLookupParameters(f"{self.parameter_name}={value}")
        return value


class WindowFilter(ChoiceFilter):
    """When the last duplicate was blocked: ``?window=24h``."""

    title = _("time last blocked")
    parameter_name = "window"

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, _StrOrPromise]]:
        """Offer the windows that the overview counts."""
        return [(name, window.label) for name, window in WINDOWS.items()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[BlockedDuplicate]
    ) -> QuerySet[BlockedDuplicate]:
        """Keep the incidents whose last duplicate is in the window."""
        chosen = self.chosen()
        if chosen is None:
            return queryset
        return queryset.filter(last_rejection__gte=WINDOWS[chosen].begin())


class StateFilter(ChoiceFilter):
    """How the request that went through ended: ``?state=failure``."""

    title = _("how it ended")
    parameter_name = "state"

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, _StrOrPromise]]:
        """Offer the ends there are, and that there was none."""
        return [
            ("held", _("no end seen yet (under way, or expired)")),
            ("freed", _("it ended, in any way")),
            *((str(value), label) for value, label in BlockedDuplicate.Outcome.choices),
        ]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[BlockedDuplicate]
    ) -> QuerySet[BlockedDuplicate]:
        """Keep the incidents with that end."""
        chosen = self.chosen()
        if chosen is None:
            return queryset
        if chosen == "held":
            return queryset.filter(outcome="", released_at__isnull=True)
        if chosen == "freed":
            return queryset.filter(released_at__isnull=False)
        return queryset.filter(outcome=chosen)


class TaskFilter(admin.SimpleListFilter):
    """Which task was blocked: ``?task=reports.tasks.send``."""

    title = _("task")
    parameter_name = "task"

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, _StrOrPromise]]:
        """Offer the tasks of which something was blocked, and the one that was asked for."""
        names = task_names(model_admin.get_queryset(request).db)
        chosen = self.value()
        if chosen and chosen not in names:
            names.append(chosen)
        return [(name, name) for name in names]

    def has_output(self) -> bool:
        """Apply a task from the address even where nothing was blocked yet."""
        return True

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[BlockedDuplicate]
    ) -> QuerySet[BlockedDuplicate]:
        """Keep the incidents of that task."""
        chosen = self.value()
        return queryset.filter(task_name=chosen) if chosen else queryset

    def choices(self, changelist: Any) -> Any:
        """Say what a list without this filter shows."""
        first, *others = super().choices(changelist)
        return [{**first, "display": gettext("All tasks")}, *others]
