"""Time as staff read it: points in the current time zone, to the second, and spans in words."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import ngettext


def to_the_second(moment: datetime) -> str:
    """Return ``2026-05-01 12:00:02``, the same in every language."""
    return date_format(_local(moment), "Y-m-d H:i:s")


def in_a_sentence(moment: datetime) -> str:
    """Return ``12:00``, with the date unless it is today."""
    local = _local(moment)
    today = _local(timezone.now()).date()
    return date_format(local, "H:i" if local.date() == today else "Y-m-d H:i")


def from_epoch(seconds: float) -> datetime:
    """Return a lock's time in the current time zone."""
    return datetime.fromtimestamp(seconds, timezone.get_current_timezone())


def duration(seconds: float) -> str:
    """Return a time span in words; the first two minutes count by the second."""
    whole = max(0, round(seconds))
    if whole < 120:
        return ngettext("%(count)d second", "%(count)d seconds", whole) % {"count": whole}
    now = timezone.now()
    return timesince(now - timedelta(seconds=whole), now)


def _local(moment: datetime) -> datetime:
    # Naive moments, where USE_TZ is off, are local already.
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment
