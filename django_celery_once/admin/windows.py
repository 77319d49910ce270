"""The spans of time that the admin counts and filters by, up to now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_celery_once.record import record

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise


@record
class Window:
    """The time from ``length`` ago until now; ``label`` names it for people."""

    length: timedelta
    label: _StrOrPromise

    def begin(self, now: datetime | None = None) -> datetime:
        """Return the earliest moment of the window that ends ``now``."""
        return (now or timezone.now()) - self.length


#: By the value of the parameter ``window`` of the list's address.
WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        "1h": Window(timedelta(hours=1), _("Past hour")),
        "24h": Window(timedelta(hours=24), _("Past 24 hours")),
        "7d": Window(timedelta(days=7), _("Past 7 days")),
        "30d": Window(timedelta(days=30), _("Past 30 days")),
    }
)
