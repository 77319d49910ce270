"""Settings of the demo: everything embedded, unless the environment says otherwise.

``REDIS_URL``     server of the broker, the results and the caches (databases 0-3)
``BROKER_URL``    another broker, e.g. ``amqp://guest:guest@127.0.0.1//``
``DATABASE_URL``  another database, e.g. ``postgres://user:password@127.0.0.1/demo``
``DEMO_DATA``     folder of the SQLite file and of the mails, by default ``var/``
``DEBUG``         1 switches Django's debug mode on
``SECRET_KEY``    to be set wherever anybody but you can reach the site
"""

from __future__ import annotations

import os
from pathlib import Path

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("DEMO_DATA", BASE_DIR / "var"))
DATA_DIR.mkdir(parents=True, exist_ok=True)

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379").rstrip("/")

DEBUG = os.environ.get("DEBUG") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY", "good-enough-for-a-demo-on-this-machine")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_once",
    "testproject.reports",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_celery_once.middleware.AlreadyQueuedMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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

# The lock store: the one setting django-celery-once needs here. The locks have a
# cache of their own, which nobody clears, and which answers or fails within seconds.
DJANGO_CELERY_ONCE = {"CACHE": "locks"}

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"{REDIS_URL}/2",
    },
    "locks": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"{REDIS_URL}/3",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 2, "SOCKET_TIMEOUT": 2},
    },
}

CELERY_BROKER_URL = os.environ.get("BROKER_URL", f"{REDIS_URL}/0")
CELERY_RESULT_BACKEND = f"{REDIS_URL}/1"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "sales summary": {
        "task": "testproject.reports.tasks.send_sales_summary",
        "schedule": float(os.environ.get("SUMMARY_EVERY", "60")),
    },
}

if "DATABASE_URL" in os.environ:
    DATABASES = {"default": dj_database_url.config()}
else:
    # Web processes and workers write at once: readers don't wait for the writer
    # (WAL), and a writer waits for the one before it instead of failing.
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(DATA_DIR / "demo.sqlite3"),
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
            },
        },
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Every mail becomes a file that a mail program, or the site itself, can open.
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = DATA_DIR / "outbox"
DEFAULT_FROM_EMAIL = "reports@example.com"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"

# Seconds that the work takes here: a report slow enough to be asked for twice, and
# a summary that is not ready yet when beat asks for the next one.
REPORT_SECONDS = float(os.environ.get("REPORT_SECONDS", "5"))
SUMMARY_SECONDS = float(os.environ.get("SUMMARY_SECONDS", "75"))
