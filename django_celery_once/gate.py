"""What every run passes before its body; the worker's side puts it up when the app is ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured

Guard = Callable[[Any, str], None]

#: Marks a ``before_start`` that passes the guard.
GUARDED = "once_guarded"


def check_installed(_task: Any = None, _task_id: str = "") -> None:
    """Raise ``ImproperlyConfigured`` while no guard is there."""
    if _guard is check_installed:
        raise ImproperlyConfigured(
            "QueueOnce needs 'django_celery_once' in INSTALLED_APPS, and django.setup() before "
            "tasks are queued or run"
        )


_guard: Guard = check_installed


def install_guard(guard: Guard) -> None:
    """Set what every run passes first."""
    global _guard
    _guard = guard


def pass_guard(task: Any, task_id: str) -> None:
    """Let a run in, or raise what ends it before its body."""
    _guard(task, task_id)


def guarded(own: Any) -> Callable[..., None]:
    """Return a class' ``own`` ``before_start`` behind the guard."""

    def before_start(self: Any, task_id: str, args: Any, kwargs: Any) -> None:
        _guard(self, task_id)
        own.__get__(self, type(self))(task_id, args, kwargs)

    setattr(before_start, GUARDED, True)
    return before_start
