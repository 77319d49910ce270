"""What is compared: a plain task, ours, and four packages, each set up as its README says.

Only this module imports the peers, and only ``make bench`` installs them.
"""

from __future__ import annotations

import datetime
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery

from benchmarks.speed.finding import BOUND
from benchmarks.speed.settings import BARE, OURS, PEERS, REDIS_URL, SCRIPTS

PLAIN = "plain task"
#: The least that any lock in Redis sends: one command for a call, two for a run.
COMMANDS = f"{BOUND}bare commands"
#: The least that one does whose refusals tell who holds it and whose runs have a lease.
TELLING = f"{BOUND}our scripts"
BOUNDS = (COMMANDS, TELLING)
DOCUMENT = uuid.UUID("6b0f3c1e-3f43-4f0a-9d3d-0c1c5f0c7a11")
DAY = datetime.date(2026, 5, 1)
#: Seconds after which a lock lapses, everywhere.
TIMEOUT = 3600

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Contender:
    """A task, what a refused call of it raises (nothing: it returns), and its key's function.

    ``plain_values``: its key can't be made of a UUID and a date, so it gets their text.
    """

    name: str
    task: Any
    refusals: tuple[type[Exception], ...] = ()
    key: Callable[[tuple[Any, ...], dict[str, Any]], str] | None = None
    plain_values: bool = False

    def arguments(self, number: int) -> Arguments:
        """Return typical arguments: three strings, two numbers, a UUID and a date."""
        document, day = (str(DOCUMENT), str(DAY)) if self.plain_values else (DOCUMENT, DAY)
        args = ("monthly report", "ada@example.com", "221b Baker Street", number, 30)
        return args, {"document": document, "day": day}


def _task(app: Celery, name: str, **options: Any) -> Any:
    """Register the no-op under a name of 40 characters."""

    def report(
        title: str, address: str, place: str, customer: int, days: int, *, document: Any, day: Any
    ) -> None:
        """Do nothing."""

    decorate: Any = app.task
    return decorate(name=f"reports.tasks.send_{name}".ljust(40, "_"), **options)(report)


def plain(app: Celery) -> Contender:
    return Contender(PLAIN, _task(app, "plain"))


def ours(app: Celery) -> Contender:
    from django_celery_once import AlreadyQueued, QueueOnce

    task = _task(app, "ours", base=QueueOnce, once={"timeout": TIMEOUT})
    return Contender(OURS, task, (AlreadyQueued,), task.get_key)


def celery_once(app: Celery) -> Contender:
    from celery_once import AlreadyQueued, QueueOnce

    task = _task(app, "celery_once", base=QueueOnce, once={"timeout": TIMEOUT})
    return Contender("celery-once", task, (AlreadyQueued,), task.get_key)


def celery_singleton(app: Celery) -> Contender:
    from celery_singleton import DuplicateTaskError, Singleton

    app.conf.singleton_backend_url = f"{REDIS_URL}/{PEERS['celery-singleton']}"
    task = _task(app, "singleton", base=Singleton, raise_on_duplicate=True, lock_expiry=TIMEOUT)

    def key(args: Any, kwargs: Any) -> str:
        return str(task.generate_lock(task.name, args, kwargs))

    return Contender("celery-singleton", task, (DuplicateTaskError,), key, plain_values=True)


def celery_once_task(app: Celery) -> Contender:
    from celery_once_task import (
        OnceTask,
        OnceTaskUnlockBootStep,
        configure,
        setup_once_task_signals,
    )
    from celery_once_task.utils import generate_lock_key

    configure(redis_url=f"{REDIS_URL}/{PEERS['celery-once-task']}", queue_lock_timeout=TIMEOUT)
    setup_once_task_signals()
    app.steps["worker"].add(OnceTaskUnlockBootStep)
    task = _task(app, "once_task", base=OnceTask)

    def key(args: Any, kwargs: Any) -> str:
        return str(generate_lock_key(task.name, args, kwargs, "queue"))

    return Contender("celery-once-task", task, (), key)


def celery_heimdall(app: Celery) -> Contender:
    from celery_heimdall import AlreadyQueuedError, HeimdallTask
    from celery_heimdall.task import unique_key_for_task
    from redis import Redis

    class Task(HeimdallTask):  # type: ignore[misc]
        abstract = True

        def setup_redis(self) -> Any:
            return Redis.from_url(f"{REDIS_URL}/{PEERS['celery-heimdall']}")

    options = {
        "unique": True,
        "unique_timeout": TIMEOUT,
        "unique_lock_blocking": False,
        "unique_raises": True,
    }
    task = _task(app, "heimdall", base=Task, heimdall=options)

    def key(args: Any, kwargs: Any) -> str:
        return str(unique_key_for_task(task, args, kwargs, prefix="h-lock:"))

    return Contender("celery-heimdall", task, (AlreadyQueuedError,), key)


def bare(app: Celery) -> Contender:
    from celery import Task, uuid
    from redis import Redis

    client = Redis.from_url(f"{REDIS_URL}/{BARE}")

    class Bare(Task):  # type: ignore[type-arg]
        abstract = True

        def apply_async(  # type: ignore[override]
            self, args: Any = None, kwargs: Any = None, **options: Any
        ) -> Any:
            task_id = uuid()
            if not client.set(f"bare:{args[3]}", task_id, nx=True, px=1000 * TIMEOUT):
                return None
            return super().apply_async(args, kwargs, task_id=task_id, **options)

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            client.set(f"bare:{args[3]}", task_id, xx=True, px=1000 * TIMEOUT)

        def after_return(self, status: Any, retval: Any, task_id: Any, args: Any, *_: Any) -> None:
            client.delete(f"bare:{args[3]}")

    return Contender(COMMANDS, _task(app, "bare", base=Bare))


class Held(Exception):
    """The record of the lock that a call has met."""


def telling(app: Celery) -> Contender:
    from celery import Task, uuid
    from redis import Redis

    from django_celery_once.keys import key_of
    from django_celery_once.locks import scripts, wire

    client, milliseconds = Redis.from_url(f"{REDIS_URL}/{SCRIPTS}"), 1000 * TIMEOUT

    class Telling(Task):  # type: ignore[type-arg]
        abstract = True

        def apply_async(  # type: ignore[override]
            self, args: Any = None, kwargs: Any = None, **options: Any
        ) -> Any:
            task_id, key = uuid(), key_of(self.name, f"{args}{kwargs}")
            now = f"{time.time():.3f}"
            fields = ("owner", task_id, "token", task_id, "phase", "queued", "since", now)
            words = (milliseconds, "", "", task_id, task_id, 1, "", "", now, "", 0, *fields)
            found = wire.run(client, scripts.ACQUIRE, key, words)
            if found is not None:
                raise Held(json.loads(found))
            headers = {"key": key}
            return super().apply_async(args, kwargs, task_id=task_id, headers=headers, **options)

        @property
        def key(self) -> str:
            return str((self.request.headers or {})["key"])

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            words = (60_000, "start", task_id, task_id, task_id, "", "", "", "", "")
            wire.run(client, scripts.START, self.key, words, f"{self.key}:ended:{task_id}")

        def after_return(self, status: Any, retval: Any, task_id: str, *_: Any) -> None:
            words, end = (task_id, task_id, uuid(), "", 0), f"{self.key}:ended:{task_id}"
            json.loads(wire.run(client, scripts.RELEASE, self.key, words, end))

    return Contender(TELLING, _task(app, "telling", base=Telling), (Held,))


MAKERS: Mapping[str, Callable[[Celery], Contender]] = {
    PLAIN: plain,
    OURS: ours,
    "celery-once": celery_once,
    "celery-singleton": celery_singleton,
    "celery-once-task": celery_once_task,
    "celery-heimdall": celery_heimdall,
    COMMANDS: bare,
    TELLING: telling,
}
