"""Values made to fit the columns of every database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils import timezone


def moment(epoch: float) -> datetime:
    """Return the time of ``epoch`` seconds as the project's databases keep it."""
    aware = datetime.fromtimestamp(epoch, UTC)
    if settings.USE_TZ:
        return aware
    return timezone.make_naive(aware, timezone.get_default_timezone())


def cut(text: str, length: int) -> str:
    """Return the storable text of at most ``length`` characters."""
    return storable(text)[:length]


def storable(text: str) -> str:
    """Return what every database takes: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode(errors="replace").decode()


def user_key(user_id: str) -> Any:
    """Return the primary key of a user; ``None`` for a visitor who is no row of that table."""
    try:
        return get_user_model()._meta.pk.to_python(user_id or None)
    except ValidationError:
        return None
