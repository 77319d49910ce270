"""Where a run took place: the machine, and the versions of everything in it."""

from __future__ import annotations

import datetime
import importlib.util
import os
import platform
from importlib.metadata import version
from pathlib import Path

from redis import Redis

PACKAGES = (
    "celery", "kombu", "redis", "Django", "django-redis", "django-celery-once", "celery-once",
    "celery-singleton", "celery-once-task", "celery-heimdall", "psycopg",
)  # fmt: skip


def facts(redis_url: str) -> dict[str, str]:
    """Return what a reader must know to compare."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "load at the end (1, 5, 15 minutes)": load,
        "system": system(),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "Redis": str(Redis.from_url(redis_url).info("server")["redis_version"]),
        "hiredis": "installed" if importlib.util.find_spec("hiredis") else "not installed",
        **{name: version(name) for name in PACKAGES},
    }


def processor() -> str:
    """Return the processor's model, as Linux tells it; elsewhere its kind."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def system() -> str:
    """Return the system's name and kernel."""
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        name = platform.system()
    return f"{name}, {platform.system()} {platform.release()}"
