"""The Celery application of a soak and its short tasks, which tell the referee what they do."""

from __future__ import annotations

import gc
import itertools
import os
import time
from typing import Any

import redis
from celery import Celery, signals

from django_celery_once import QueueOnce
from tests.integration.referee import write

#: Seconds that a run takes.
RUN = 0.15
#: Runs of a process after which it collects its garbage, so that what is seen is what is held.
COLLECT = 50

app = Celery("soak")
app.conf.update(
    broker_url=os.environ.get("SOAK_BROKER", "memory://"),
    result_backend=os.environ.get("SOAK_RESULTS", "disabled://"),
    result_expires=60,
    task_default_queue="soak",
    broker_transport_options={"visibility_timeout": 20},
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
)


#: One for each process: what a new one leaves to the garbage collector would be seen as growth.
_referee = redis.Redis.from_url(os.environ.get("INTEGRATION_REFEREE", "redis://127.0.0.1:1"))


def _play(task: QueueOnce, name: str) -> None:
    key, task_id = task.once_key(name), task.request.id or ""
    write(_referee, key, "start", task_id)
    try:
        time.sleep(RUN)
    finally:
        write(_referee, key, "end", task_id)


@app.task(bind=True, base=QueueOnce)
def early(self: QueueOnce, name: str) -> None:
    """Sleep; acknowledged before it runs."""
    _play(self, name)


@app.task(bind=True, base=QueueOnce, acks_late=True)
def late(self: QueueOnce, name: str) -> None:
    """Sleep; acknowledged after it ran."""
    _play(self, name)


@app.task(bind=True, base=QueueOnce)
def failing(self: QueueOnce, name: str) -> None:
    """Sleep and fail."""
    _play(self, name)
    raise ValueError(name)


@app.task(bind=True, base=QueueOnce, max_retries=1)
def retried(self: QueueOnce, name: str) -> None:
    """Sleep, and once more a second later."""
    _play(self, name)
    if not self.request.retries:
        raise self.retry(countdown=1)


_runs = itertools.count(1)


@signals.task_postrun.connect
def collect(**_signal: Any) -> None:
    """Collect garbage now and then.

    Celery leaves 200 kB of it for each task that fails or is retried, guarded or not (the frames
    of its traceback), and Python lets it lie until there is a quarter more of everything.
    """
    if next(_runs) % COLLECT == 0:
        gc.collect()


TASKS: dict[str, QueueOnce] = {
    "early": early,
    "late": late,
    "failing": failing,
    "retried": retried,
}
