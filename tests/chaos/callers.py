"""Callers that ask for a few keys all the time, and revoke some of what they asked for."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from multiprocessing.process import BaseProcess
from typing import Any

from celery import uuid

PROCESSES, THREADS = 2, 2
#: Seconds between two calls of a caller, at most.
PAUSE = 0.3
#: One accepted task in so many is revoked.
REVOKED = 15


def start_callers(seed: int, seconds: float) -> list[BaseProcess]:
    """Start processes that call for ``seconds``."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_call_from_threads, args=(seed * 100 + number, seconds))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    return list(processes)


def _call_from_threads(seed: int, seconds: float) -> None:
    import django

    django.setup()
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_call_until, args=(random.Random(seed * 100 + number), until))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _call_until(dice: random.Random, until: float) -> None:
    from tests.chaos.tasks import TASKS

    while time.monotonic() < until:
        name = dice.choice(list(TASKS))
        task_id = _call(name, dice)
        if task_id and not dice.randrange(REVOKED):
            time.sleep(dice.uniform(0, 0.5))
            _revoke(name, task_id, terminate=dice.random() < 0.5)
        time.sleep(dice.uniform(0, PAUSE))


def _call(name: str, dice: random.Random) -> str:
    """Ask for a key; return the id of the task, if it was accepted."""
    from django_celery_once import AlreadyQueued, LockUnavailable
    from tests.chaos.tasks import BEYOND_THE_LIMIT, ENDINGS, LIMITS, TASKS
    from tests.integration.referee import note

    ending = dice.choice([*ENDINGS, "success", "success"])
    seconds = BEYOND_THE_LIMIT if ending in LIMITS else _draw_seconds(dice)
    options: dict[str, Any] = dict(LIMITS.get(ending, {}))
    if not dice.randrange(5):
        options["countdown"] = dice.uniform(0.2, 2)
    task_id = uuid()
    try:
        TASKS[name].apply_async((name, ending, seconds), task_id=task_id, **options)
    except AlreadyQueued:
        answer = "refused"
    except LockUnavailable:
        answer = "unavailable"
    except Exception as error:
        answer = f"not published: {type(error).__name__}"
    else:
        answer = "accepted"
    note(name, answer, task_id)
    return task_id if answer == "accepted" else ""


def _draw_seconds(dice: random.Random) -> float:
    """Return a short run's length; one in five outlives leases and a visibility time-out."""
    return dice.uniform(3, 9) if not dice.randrange(5) else dice.uniform(0.1, 2)


def _revoke(name: str, task_id: str, *, terminate: bool) -> None:
    from tests.integration.app import app
    from tests.integration.referee import note

    try:
        app.control.revoke(task_id, terminate=terminate)
    except Exception as error:
        note(name, f"not revoked: {type(error).__name__}", task_id)
    else:
        note(name, "terminated" if terminate else "revoked", task_id)
