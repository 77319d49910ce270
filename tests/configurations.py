"""Settings to check, and what the checks of this app find in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from django.core import checks as django_checks
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.test import override_settings

from tests.celery_app import app

DATABASES = itertools.count(100)
DJANGO_CORE = "django.core.cache.backends"
DATABASE_CACHE = {"BACKEND": f"{DJANGO_CORE}.db.DatabaseCache", "LOCATION": "once_checks"}
ENOUGH = {"MAX_ENTRIES": 100_000}
NO_WAIT = {"SOCKET_CONNECT_TIMEOUT": 1, "SOCKET_TIMEOUT": 1}


def nowhere() -> str:
    """Return a URL that nobody answers at.

    It is new each time: django-redis keeps one pool for all aliases of an address.
    """
    return f"redis://127.0.0.1:1/{next(DATABASES)}"


def django_redis(**options: Any) -> dict[str, Any]:
    """Return a django-redis alias."""
    backend = "django_redis.cache.RedisCache"
    return {"BACKEND": backend, "LOCATION": nowhere(), "OPTIONS": options}


def django_valkey(**options: Any) -> dict[str, Any]:
    """Return a django-valkey alias."""
    location = nowhere().replace("redis://", "valkey://")
    return {"BACKEND": "django_valkey.cache.ValkeyCache", "LOCATION": location, "OPTIONS": options}


def core(backend: str, **more: Any) -> dict[str, Any]:
    """Return an alias of one of Django's own backends."""
    return {"BACKEND": f"{DJANGO_CORE}.{backend}", **more}


def locks_in(cache: dict[str, Any], **once: Any) -> AbstractContextManager[None]:
    """Return settings with locks in ``cache``."""
    return cast(
        "AbstractContextManager[None]",
        override_settings(
            CACHES={DEFAULT_CACHE_ALIAS: core("locmem.LocMemCache"), "locks": cache},
            DJANGO_CELERY_ONCE={"CACHE": "locks", **once},
        ),
    )


def once(**keys: Any) -> override_settings:
    """Return settings with sound locks and these keys."""
    return override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", **keys})


@contextmanager
def celery_once(once: object, **older: object) -> Iterator[None]:
    """Configure the Celery app of the tests as for celery-once."""
    given = {"ONCE": once, **older}
    app.conf.update(given)
    try:
        yield
    finally:
        for key in given:
            del app.conf[key]


def found() -> list[django_checks.CheckMessage]:
    """Run all checks of the app, as ``manage.py check`` does."""
    messages = django_checks.run_checks()
    return [each for each in messages if (each.id or "").startswith("django_celery_once.")]


def ids() -> list[str]:
    """Return the numbers of what is found, in order."""
    return sorted((each.id or "").removeprefix("django_celery_once.") for each in found())
