"""The Django settings of whatever is measured; the servers' addresses come from outside.

``SPEED_REDIS_URL``  the server, without a database
``SPEED_ONLY``       the one contender that a worker serves ("": all)
``SPEED_DATABASE``   the PostgreSQL database of the journal ("": SQLite, in memory)
``SPEED_SCALE_URLS`` the servers of the small and of the large store, with a blank between
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

REDIS_URL = os.environ.get("SPEED_REDIS_URL", "redis://127.0.0.1:1")
ONLY = os.environ.get("SPEED_ONLY", "")
OURS = "django_celery_once"

#: Each contender has a database of its own on the same server.
BROKER, LOCKS, FLOOR, ADD, BARE, SCRIPTS = 0, 1, 6, 7, 8, 9
PEERS = {"celery-once": 2, "celery-singleton": 3, "celery-once-task": 4, "celery-heimdall": 5}


def cache(url: str) -> dict[str, Any]:
    """Return the settings of a django-redis cache as its users have it."""
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
    }


def database() -> dict[str, Any]:
    """Return the settings of the journal's database."""
    url = os.environ.get("SPEED_DATABASE", "")
    if not url:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    address = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.path.lstrip("/"),
        "HOST": address.hostname,
        "PORT": address.port,
        "USER": address.username,
        "PASSWORD": unquote(address.password or ""),
    }


SECRET_KEY = "benchmarks-only"  # noqa: S105
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
if ONLY in ("", OURS):
    INSTALLED_APPS.append("django_celery_once")
DATABASES = {"default": database()}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "locks": cache(f"{REDIS_URL}/{LOCKS}"),
    "add": cache(f"{REDIS_URL}/{ADD}"),
}
for alias, server in zip(
    ("small", "large"), os.environ.get("SPEED_SCALE_URLS", "").split(), strict=False
):
    CACHES[alias] = cache(f"{server}/{LOCKS}")
DJANGO_CELERY_ONCE: dict[str, Any] = {"CACHE": "locks", "LOG": False}

CELERY_BROKER_URL = f"{REDIS_URL}/{BROKER}"
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_ONCE = {
    "backend": "celery_once.backends.Redis",
    "settings": {"url": f"{REDIS_URL}/{PEERS['celery-once']}", "default_timeout": 3600},
}
