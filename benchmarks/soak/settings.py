"""Settings of the site and its workers: as for the tests, with a short lease."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.soak.urls"
WSGI_APPLICATION = None
#: Seconds after which the lock of a killed worker is free.
DJANGO_CELERY_ONCE.update(LEASE=10, TIMEOUT=60)  # noqa: F405
CACHES["locks"]["BACKEND"] = os.environ.get(  # noqa: F405
    "SOAK_CACHE", "django_redis.cache.RedisCache"
)
if "core" in CACHES["locks"]["BACKEND"]:  # noqa: F405
    CACHES["locks"]["OPTIONS"] = {"socket_connect_timeout": 2, "socket_timeout": 2}  # noqa: F405
DJANGO_REDIS_CLOSE_CONNECTION = os.environ.get("SOAK_CLOSE_CONNECTION") == "1"
