"""Settings of the tests; the addresses come from ``tests.surroundings``.

``TEST_DATABASE``  sqlite (default), postgresql or mariadb
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.services import mariadb_url, postgresql_url

SECRET_KEY = "tests-only"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_once",
    "testproject.reports",
    "tests",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_celery_once.middleware.AlreadyQueuedMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DJANGO_CELERY_ONCE: dict[str, Any] = {"CACHE": "locks"}


def database(suffix: str = "") -> dict[str, Any]:
    """Return the settings of one test database.

    Its name and its test name are the same, so that a program started by a test
    works on the test's own database.
    """
    name = os.environ.get("TEST_DATABASE_NAME", "once_test") + suffix
    kind = os.environ.get("TEST_DATABASE", "sqlite")
    if kind == "sqlite":
        return sqlite(name)
    address = urlsplit(postgresql_url() if kind == "postgresql" else mariadb_url())
    engine = "postgresql" if kind == "postgresql" else "mysql"
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": name,
        "HOST": address.hostname,
        "PORT": address.port,
        "USER": address.username,
        "PASSWORD": unquote(address.password or ""),
        "TEST": {"NAME": name},
    }


def sqlite(name: str) -> dict[str, Any]:
    """Return the settings of one SQLite file that several processes may write."""
    folder = os.environ.get("TEST_FOLDER")
    path = Path(folder, f"{name}.sqlite3") if folder else ":memory:"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        },
        "TEST": {"NAME": path},
    }


if os.environ.get("TEST_DATABASE") == "mariadb":
    import pymysql

    pymysql.install_as_MySQLdb()

DATABASES = {"default": database(), "locks": database("_locks")}
DATABASE_ROUTERS = ["tests.routers.LockTableRouter"]

# Nothing answers on port 1: only tests/conftest.py knows where the servers are.
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:1")

CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "locks": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"{REDIS_URL}/1",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 2, "SOCKET_TIMEOUT": 2},
    },
    "locks_django": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"{REDIS_URL}/2",
        "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 2},
    },
    "locks_valkey": {
        "BACKEND": "django_valkey.cache.ValkeyCache",
        "LOCATION": f"{REDIS_URL}/3",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 2, "SOCKET_TIMEOUT": 2},
    },
    "locks_db": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "once_test_locks",
    },
    "locks_locmem": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "locks",
    },
    "locks_memcached": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": os.environ.get("TEST_MEMCACHED", "127.0.0.1:1"),
        "OPTIONS": {"connect_timeout": 2, "timeout": 2},
    },
}

CELERY_BROKER_URL = os.environ.get("TEST_BROKER_URL", "memory://")
CELERY_RESULT_BACKEND = os.environ.get("TEST_RESULT_BACKEND", "cache+memory://")
CELERY_TIMEZONE = "UTC"

# What the pages and tasks of testproject.reports read.
EMAIL_FILE_PATH = Path(os.environ.get("TEST_FOLDER", ""), "outbox")
REPORT_SECONDS = 0.0
SUMMARY_SECONDS = 0.0
