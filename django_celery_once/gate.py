"""What every run passes before its body; the worker's side puts it up when the app is ready."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured

Guard = Callable[[Any, str], None]

#: Marks a hook that passes the guard.
GUARDED = "once_guarded"
#: Where a request keeps what its run returns instead of running its body.
ANSWER = "once_answer"
#: Where it keeps its guarded run or, once it has passed the guard, that it has none.
RUN = "once_run"


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
    """Let a run in, once, or raise what ends it before its body."""
    request = vars(task.request)
    if RUN not in request:
        request[RUN] = None
        _guard(task, task_id)


def keep_guard(cls: Any) -> None:
    """Put the guard before the hooks of a class, where they have been replaced."""
    for name, behind_guard in (("before_start", _guarded_start), ("__call__", _guarded_call)):
        own = inspect.getattr_static(cls, name)
        if not hasattr(own, GUARDED):
            hook = behind_guard(own)
            setattr(hook, GUARDED, True)
            setattr(cls, name, hook)


def _guarded_start(own: Any) -> Callable[..., None]:
    def before_start(self: Any, task_id: str, args: Any, kwargs: Any) -> None:
        pass_guard(self, task_id)
        own.__get__(self, type(self))(task_id, args, kwargs)

    return before_start


def _guarded_call(own: Any) -> Callable[..., Any]:
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        request = self.request_stack.top
        answer = answer_of(self, request) if is_traced(request) else None
        if answer is not None:
            return answer[0]
        return own.__get__(self, type(self))(*args, **kwargs)

    return __call__


def answer_of(task: Any, request: Any) -> tuple[Any] | None:
    """Return what a run returns instead of running its body, if it passes the guard at all.

    Most have passed it in ``before_start``, unless an instance has its own.
    """
    pass_guard(task, request.id)
    answer: tuple[Any] | None = vars(request).get(ANSWER)
    return answer


def is_traced(request: Any) -> bool:
    """Return whether a call of a task is that of Celery's tracer, and not one out of its body."""
    return not (request is None or request.called_directly or request._protected)
