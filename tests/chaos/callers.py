"""Callers that ask for a few keys all the time, and revoke some of what they asked for."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from typing import Any

from celery import uuid
from celery.result import EagerResult

from tests.chaos.history import ACCEPTED, ASKED, DUE, MAY_FOLLOW, STANDS_IN
from tests.chaos.setups import ANSWERS, NAMES, until_of

PROCESSES, THREADS = 2, 2
#: Seconds between two calls of a caller, at most.
PAUSE = 0.3
#: One accepted task in so many is revoked.
REVOKED = 15
#: How often each kind of key is asked for, beside the others; few where none is refused.
SHARES = {"finished": 16, "started": 8, "expired": 8, "running": 2}
#: Seconds of a run that others wait for, at most.
TURN = 0.5
#: Seconds that a call waits for its key, if it is to wait.
BLOCKING_TIMEOUT = 1.0


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
    shares = [SHARES[until_of(name)] for name in NAMES]
    while time.monotonic() < until:
        (name,) = dice.choices(NAMES, shares)
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
    seconds = BEYOND_THE_LIMIT if ending in LIMITS else _draw_seconds(name, dice)
    options = {**_draw_options(name, dice), **LIMITS.get(ending, {})}
    task_id, asked = uuid(), time.time()
    try:
        result = TASKS[name].apply_async((name, ending, seconds), task_id=task_id, **options)
    except AlreadyQueued:
        answer = "refused"
    except LockUnavailable:
        answer = "unavailable"
    except Exception as error:
        answer = f"not published: {type(error).__name__}"
    else:
        answer = _answer(task_id, result, options)
        if answer in (ACCEPTED, MAY_FOLLOW):
            note(name, DUE, task_id, asked + options.get("countdown", 0))
        if answer == ACCEPTED or options["once"]["on_duplicate"] == "rerun":
            note(name, ASKED, result.id, asked)  # another's run may be to see what this one's was
    note(name, answer, task_id)
    return task_id if answer in (ACCEPTED, MAY_FOLLOW) else ""


def _answer(task_id: str, result: Any, options: Mapping[str, Any]) -> str:
    """Return what a call was answered that raised nothing."""
    if result.id == task_id:
        return MAY_FOLLOW if options["once"]["on_duplicate"] == "rerun" else ACCEPTED
    if isinstance(result, EagerResult):
        return "rejected"
    return "joined" if "ignore_result" in options else STANDS_IN


def _draw_options(name: str, dice: random.Random) -> dict[str, Any]:
    policy = dice.choice(ANSWERS[until_of(name)])
    once = {"on_duplicate": policy, "blocking_timeout": BLOCKING_TIMEOUT}
    options: dict[str, Any] = {"once": once}
    if not dice.randrange(5):
        options["countdown"] = dice.choice([1, 2])  # a quorum queue's delay has whole seconds
    if not dice.randrange(4):
        options["ignore_result"] = True
    return options


def _draw_seconds(name: str, dice: random.Random) -> float:
    """Return a short run's length; one in five outlives leases and a visibility time-out."""
    if until_of(name) == "running":
        return dice.uniform(0.1, TURN)
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
