"""How a check speaks: what is wrong, what to write, where to read on."""

from __future__ import annotations

from collections.abc import Callable

from django.core import checks

Message = checks.CheckMessage


def message(kind: Callable[..., Message], number: str, text: str, hint: str) -> Message:
    """Return a message of ``kind`` (``Error``, ``Warning``) with its id and what to read."""
    more = f"See {number} in the README of django-celery-once."
    text = text.replace("?.", "?")
    return kind(text, hint=f"{hint} {more}", id=f"django_celery_once.{number}")
