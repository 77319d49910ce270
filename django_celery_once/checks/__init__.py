"""System checks that find a wrong set-up. They never touch the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_celery_once import conf as configuration
from django_celery_once.checks import caches, predecessor, settings, tasks
from django_celery_once.checks.messages import Message


def register() -> None:
    """Register every check of this package with Django."""
    for check in CHECKS:
        checks.register(check, checks.Tags.caches)


def _after_settings(check: Callable[..., Any]) -> Callable[..., list[Message]]:
    """Run a check only on settings that can be read; E001 speaks for the others."""

    def run(**kwargs: Any) -> list[Message]:
        try:
            return list(check(**kwargs))
        except ImproperlyConfigured:
            if configuration.problems():
                return []
            raise

    run.__name__, run.__doc__ = check.__name__, check.__doc__
    return run


CHECKS: list[Callable[..., list[Message]]] = [
    settings.check_settings,
    *map(
        _after_settings,
        (
            caches.check_alias,
            caches.check_shared,
            caches.check_database_cache,
            caches.check_known,
            caches.check_culling,
            caches.check_hidden_outages,
            caches.check_socket_timeouts,
            caches.check_default_alias,
            settings.check_middleware,
            settings.check_enabled,
            settings.check_log_database,
            settings.check_status_policy,
            tasks.check_tasks,
            predecessor.check_celery_once,
            predecessor.check_default_timeout,
        ),
    ),
]
