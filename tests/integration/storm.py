"""Many calls for one key at the same moment, from threads of several processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from queue import Empty
from typing import Any

from tests.forks import context

ANSWERS_WITHIN = 60


def _threads_of_one_process(
    environment: dict[str, str], barrier: Barrier, answers: Any, names: list[str], threads: int
) -> None:
    os.environ.update(environment)
    import django

    django.setup()
    callers = [
        threading.Thread(target=_call_each, args=(barrier, answers, names), daemon=True)
        for _each in range(threads)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def _call_each(barrier: Barrier, answers: Any, names: list[str]) -> None:
    from django.db import connections

    for name in names:
        barrier.wait(ANSWERS_WITHIN)
        answers.put(_call(name))
        connections.close_all()


def _call(name: str) -> str:
    from django_celery_once import AlreadyQueued
    from tests.integration.tasks import play

    try:
        play.delay(name)
    except AlreadyQueued:
        return "refused"
    except Exception as error:
        return repr(error)
    return "accepted"


@contextmanager
def storm(names: list[str], processes: int, calls: int) -> Iterator[Any]:
    """Yield a function that lets all callers ask for the next name, and returns the answers."""
    barrier, answers = context.Barrier(calls + 1), context.Queue()
    shares = [calls // processes + (each < calls % processes) for each in range(processes)]
    children = [
        context.Process(
            target=_threads_of_one_process, args=({**os.environ}, barrier, answers, names, share)
        )
        for share in shares
    ]
    for child in children:
        child.start()

    def strike() -> list[str]:
        barrier.wait(ANSWERS_WITHIN)
        try:
            return [answers.get(timeout=ANSWERS_WITHIN) for _each in range(calls)]
        except Empty:
            return ["no answer"]

    try:
        yield strike
        for child in children:
            child.join(ANSWERS_WITHIN)
    finally:
        for child in children:
            child.kill()
