"""The guarded tasks of this process' Celery apps, and the caches that hold their locks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery.app.annotations import resolve_all
from celery.utils.imports import symbol_by_name
from django.conf import settings

from django_celery_once.celery_apps import apps
from django_celery_once.conf import conf
from django_celery_once.task import QueueOnce

#: What Celery looks at before it runs the checks (``celery.fixups.django``).
SKIP_CHECKS = "CELERY_SKIP_CHECKS"

#: What a task's lock needs as ``QueueOnce`` has it, or as a subclass has built upon it.
NEEDED = ("Request", "apply_async", "apply_async_on_commit", "get_key", "once_options")

logger = logging.getLogger(__name__)

_tried_to_import = False


def import_tasks() -> None:
    """Import the modules of tasks as a worker does; raise what importing or defining raises."""
    global _tried_to_import
    _tried_to_import = True
    with _celery_skips_checks():
        for app in apps():
            app.loader.import_default_modules()


def known_tasks() -> list[QueueOnce]:
    """Return the guarded tasks that have been imported, of each name the current app's."""
    tasks = [task for task in _all_tasks() if isinstance(task, QueueOnce)]
    return [task for task in tasks if not task.once_exempt]


def unguarded_tasks() -> list[Any]:
    """Return the others that have ``once`` options, but no base that reads them.

    celery-once's have one.
    """
    return [
        task
        for task in _all_tasks()
        if isinstance(getattr(task, "once", None), Mapping)
        and "QueueOnce" not in [each.__name__ for each in type(task).__mro__]
    ]


def _all_tasks() -> list[Any]:
    named = {name: task for app in reversed(apps()) for name, task in list(app.tasks.items())}
    return list(named.values())


def replaced_hooks(task: QueueOnce) -> list[tuple[str, str]]:
    """Return what sets something that a task's lock needs, and what it sets."""
    annotated = {name for each in resolve_all(task.app.annotations, task) for name in each}
    found = [("task_annotations", name) for name in NEEDED if name in annotated]
    found += [("An attribute of the instance", name) for name in NEEDED if name in vars(task)]
    if hasattr(symbol_by_name(task.Request), "once_header"):  # derived from OnceRequest
        return [each for each in found if each[1] != "Request"]
    return found if ("task_annotations", "Request") in found else [*found, ("Its class", "Request")]


def import_tasks_once() -> None:
    """Import them unless that has been tried; never raise.

    A web process knows only the tasks that its views call, and others may have other caches.
    """
    if _tried_to_import:
        return
    try:
        import_tasks()
    except Exception:
        # The check of tasks says more; a person wants to see what locks there are.
        logger.warning("The tasks can't be imported; some may have other caches", exc_info=True)


def aliases() -> list[str]:
    """Return the aliases in ``CACHES`` that hold locks, that of the setting ``CACHE`` first.

    One that a task names but ``CACHES`` lack holds none; the check of caches says so.
    """
    if len(settings.CACHES) > 1:
        import_tasks_once()
    return [alias for alias in users() if alias in {*settings.CACHES, conf.cache}]


def users() -> dict[str, list[str]]:
    """Return each alias that is to hold locks, ``CACHE`` first, with the tasks that name it."""
    named = {name: conf.task_options(name) for name in conf.named_tasks()}
    for task in known_tasks():
        named[task.name] = {**task.once, **conf.task_options(task.name)}
    found: dict[str, list[str]] = {}
    for name, once in named.items():
        if once.get("cache"):
            found.setdefault(str(once["cache"]), []).append(name)
    return {conf.cache: [], **{alias: sorted(found[alias]) for alias in sorted(found)}}


@contextmanager
def _celery_skips_checks() -> Iterator[None]:
    """Keep Celery from running every check once more before it imports the tasks."""
    before = os.environ.get(SKIP_CHECKS)
    os.environ[SKIP_CHECKS] = "1"
    try:
        yield
    finally:
        del os.environ[SKIP_CHECKS]
        if before is not None:
            os.environ[SKIP_CHECKS] = before
