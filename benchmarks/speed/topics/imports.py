"""Start-up: seconds of processor time to import the app, where Celery and Django are loaded."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial

from benchmarks.speed.bench import Bench
from benchmarks.speed.finding import Finding, Target
from benchmarks.speed.rounds import Spread, Times
from benchmarks.speed.workers import ROOT

LIMIT_MS = 20
#: Each runs in an interpreter of its own, with everything loaded that a site has without us.
BEGIN = """
import time
import celery.contrib.django.task, django, django_redis.cache, redis
from celery import Celery
from django.conf import settings
from django.core.cache.backends import redis as _redis
APPS = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
        "django.contrib.messages", "django.contrib.sessions"]
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://x"}},
)
import django.db.models
app = Celery("site")
app.config_from_object("django.conf:settings", namespace="CELERY")
def report(): pass
app.task(name="report")(report)
app.finalize()
"""
SETUP = """
settings.INSTALLED_APPS = %s
begin = time.process_time()
django.setup()
print(time.process_time() - begin)
"""
IMPORT = """
settings.INSTALLED_APPS = APPS
django.setup()
begin = time.process_time()
import django_celery_once
print(time.process_time() - begin)
"""
OURS = '["django_celery_once"]'
WITHOUT, WITH, WITHOUT_ADMIN, WITH_OURS_ALONE, BARE = (
    "`django.setup()` with the admin, without the app",
    "`django.setup()` with the admin and the app",
    "`django.setup()` without admin and app",
    "`django.setup()` without the admin, with the app",
    "`import django_celery_once` after `django.setup()` without it",
)


def measure(bench: Bench) -> Finding:
    programs: dict[str, Callable[[], float]] = {
        WITHOUT: partial(_seconds, BEGIN + SETUP % "APPS"),
        WITH: partial(_seconds, BEGIN + SETUP % f"APPS + {OURS}"),
        WITHOUT_ADMIN: partial(_seconds, BEGIN + SETUP % "APPS[1:3]"),
        WITH_OURS_ALONE: partial(_seconds, BEGIN + SETUP % f"APPS[1:3] + {OURS}"),
        BARE: partial(_seconds, BEGIN + IMPORT),
    }
    times = bench.take_turns(programs, 12)
    added = _difference(times, WITH, WITHOUT)
    alone = _difference(times, WITH_OURS_ALONE, WITHOUT_ADMIN)
    rows = [(name, Spread.of(seconds).told(1e-3, 1)) for name, seconds in times.items()]
    return Finding(
        title="Start-up",
        words="Processor time that the app takes at the start of a process, in processes of "
        "their own that have made a Celery app and loaded Django, redis-py and django-redis "
        "before; all files are compiled.",
        columns=("what", "ms"),
        rows=(
            *rows,
            ("added by the app in `INSTALLED_APPS`, with the admin", added.told(1e-3, 1)),
            ("added by the app in `INSTALLED_APPS`, without the admin", alone.told(1e-3, 1)),
        ),
        targets=(
            Target(
                "`import django_celery_once`", 1000 * Spread.of(times[BARE]).median, LIMIT_MS, "ms"
            ),
        ),
    )


def _difference(times: Times, name: str, control: str) -> Spread:
    return Spread.of([a - b for a, b in zip(times[name], times[control], strict=True)])


def _seconds(program: str) -> float:
    hidden = {"DJANGO_SETTINGS_MODULE", "PYTHONDONTWRITEBYTECODE"}  # the first round compiles
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PYTHONPYCACHEPREFIX"] = _compiled()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


@cache
def _compiled() -> str:
    """Return a folder for compiled files, which a checkout may not keep."""
    folder = tempfile.TemporaryDirectory(prefix="once-speed-")
    atexit.register(folder.cleanup)
    return folder.name
