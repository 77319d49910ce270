"""Checks of this app's setting and of what it wants of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.utils.module_loading import import_string

from django_celery_once import conf as configuration
from django_celery_once.checks.messages import Message, message
from django_celery_once.conf import conf
from django_celery_once.status import StatusPolicy

MIDDLEWARE = "django_celery_once.middleware.AlreadyQueuedMiddleware"


def check_settings(**_kwargs: Any) -> list[Message]:
    """E001: a key is unknown or its value can't be used."""
    return [
        message(checks.Error, "E001", f"{problem}.", f"Correct it in {configuration.NAME}.")
        for _key, problem in configuration.problems()
    ]


def has_middleware() -> bool:
    """Return whether the middleware, or a subclass of it, is in ``MIDDLEWARE``."""
    return any(map(_is_our_middleware, settings.MIDDLEWARE))


def check_middleware(**_kwargs: Any) -> Iterator[Message]:
    """W009: views run in transactions, and nobody knows who asked."""
    atomic = [
        alias for alias, database in settings.DATABASES.items() if database.get("ATOMIC_REQUESTS")
    ]
    if atomic and not has_middleware():
        yield message(
            checks.Warning,
            "W009",
            f"DATABASES[{atomic[0]!r}] has ATOMIC_REQUESTS, but the middleware is missing: who "
            "asked is not known, and an AlreadyQueued that a view lets through becomes a 500.",
            f"Add {MIDDLEWARE!r} to MIDDLEWARE, after AuthenticationMiddleware.",
        )


def _is_our_middleware(path: str) -> bool:
    if path == MIDDLEWARE:
        return True
    try:
        middleware = import_string(path)
    except ImportError:
        return False  # Django says so at the first request
    return isinstance(middleware, type) and any(
        f"{each.__module__}.{each.__qualname__}" == MIDDLEWARE for each in middleware.__mro__
    )


def check_enabled(**_kwargs: Any) -> Iterator[Message]:
    """W011: the kill switch is thrown."""
    if not conf.enabled:
        yield message(
            checks.Warning,
            "W011",
            f"{configuration.NAME}['ENABLED'] is False: every task is queued unguarded.",
            "Remove it once the reason is gone.",
        )


def check_log_database(**_kwargs: Any) -> Iterator[Message]:
    """E012: the log's database is not in DATABASES."""
    if conf.log and conf.log_database not in settings.DATABASES:
        yield message(
            checks.Error,
            "E012",
            f"{configuration.NAME}['LOG_DATABASE'] is {conf.log_database!r}, which is not in "
            f"DATABASES ({', '.join(sorted(settings.DATABASES))}).",
            f"Name one of them in {configuration.NAME}['LOG_DATABASE'].",
        )


def check_status_policy(**_kwargs: Any) -> Iterator[Message]:
    """E015: the class that says who may see how a call stands is none."""
    path = conf.status_policy
    try:
        found = import_string(path)
    except ImportError as error:
        problem = f"which can't be imported: {error}"
    else:
        if isinstance(found, type) and issubclass(found, StatusPolicy):
            return
        problem = "which is no subclass of django_celery_once.status.StatusPolicy"
    yield message(
        checks.Error,
        "E015",
        f"{configuration.NAME}['STATUS_POLICY'] is {path!r}, {problem}.",
        "Name a subclass of StatusPolicy, or remove the key.",
    )
