"""The Celery apps of this process, and which of them has a task."""

from __future__ import annotations

import logging
from typing import Any

from celery import _state

logger = logging.getLogger(__name__)


def apps() -> list[Any]:
    """Return the Celery apps that have tasks here, the current one first."""
    current = _state.get_current_app()
    every = _state._get_active_apps()  # type: ignore[attr-defined]  # there is no other list
    others = [app for app in every if app is not current and _has_tasks(app)]
    return [current, *sorted(others, key=lambda app: str(app.main))]


def find_task(name: str, main: str | None = None) -> Any:
    """Return the task of this name, or ``None``; that of the app called ``main`` before others'."""
    known = [app for app in apps() if name in app.tasks]
    for app in sorted(known, key=lambda app: bool(main) and app.main != main):
        return app.tasks[name]
    return None


def app_of(name: str, main: str | None = None) -> Any:
    """Return the app that has a task of this name (as ``find_task``), or the current one."""
    task = find_task(name, main)
    return _state.get_current_app() if task is None else task.app


def _has_tasks(app: Any) -> bool:
    """Return whether an app has been given tasks: Celery makes one by itself, which has none."""
    if not (app.finalized or (app.autofinalize and app._pending)):
        return False
    try:
        return bool(app.tasks)
    except Exception:
        logger.warning("The tasks of the Celery app %r can't be had", app.main, exc_info=True)
        return False
