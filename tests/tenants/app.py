"""The Celery application of the project of two tenants, and its tasks."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import redis
from tenant_schemas_celery.app import CeleryApp
from tenant_schemas_celery.task import TenantTask

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.tenants import current_schema

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.tenants.settings")

app = CeleryApp("tenants", set_as_current=False)
app.conf.update(
    broker_url=os.environ.get("TENANTS_BROKER", "memory://"),
    result_backend=os.environ.get("TENANTS_RESULTS", "cache+memory://"),
    task_default_queue="tenants",
    worker_prefetch_multiplier=1,
)


task: Any = app.task


class OnceFirst(QueueOnce, TenantTask):  # type: ignore[misc]
    """Our class before that of the tenants."""

    abstract = True


class TenantFirst(TenantTask, QueueOnce):  # type: ignore[misc]
    """Our class behind it."""

    abstract = True


def notes() -> redis.Redis:
    """Return where runs leave the schema that they were in."""
    return redis.Redis.from_url(os.environ["TENANTS_RESULTS"], decode_responses=True)


def note(name: str) -> None:
    """Leave a word of a run."""
    notes().rpush(f"note:{name}", current_schema())


def _play(played: Any, name: str, kind: str = "run") -> None:
    note(name)
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "wait":
        until = time.monotonic() + 60
        while not notes().exists(f"go:{name}") and time.monotonic() < until:
            time.sleep(0.05)
    if kind == "ask":
        try:
            played.delay(name.removesuffix("-asker"))
        except AlreadyQueued:
            notes().rpush(f"note:{name}", "refused")


@task(base=OnceFirst, bind=True, name="once_first", once={"keys": ["name"]})  # type: ignore[untyped-decorator]
def once_first(self: Any, name: str, kind: str = "run") -> None:
    """Play a part."""
    _play(self, name, kind)


@task(base=TenantFirst, bind=True, name="tenant_first", once={"keys": ["name"]})  # type: ignore[untyped-decorator]
def tenant_first(self: Any, name: str, kind: str = "run") -> None:
    """Play a part."""
    _play(self, name, kind)


TASKS = {"once_first": once_first, "tenant_first": tenant_first}
