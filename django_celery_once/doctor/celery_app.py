"""Examinations of each Celery app: eager mode, broker, result backend, workers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from django_celery_once import live, registry
from django_celery_once.celery_apps import apps
from django_celery_once.conf import conf
from django_celery_once.doctor.findings import Finding, State, not_examined, ok, warning, wrong
from django_celery_once.doctor.probe import SECONDS, probing
from django_celery_once.doctor.waiting import WORKER_SECONDS
from django_celery_once.locks import Lock, open_store
from django_celery_once.look import COMMAND

#: What Celery calls the app that it makes where a project has none.
NO_APP = "default"


def examine_eager() -> Iterator[Finding]:
    """Look for calls that run at once, in the process of their caller."""
    for app in apps():
        if app.conf.task_always_eager:
            yield warning(
                f"task_always_eager of the Celery app {app.main!r} is on: a call has run, and its "
                "key is free, before the next can be a duplicate. Nothing is ever blocked.",
                "Remove CELERY_TASK_ALWAYS_EAGER, and start a worker.",
            )
        else:
            yield ok(f"The Celery app {app.main!r} queues its calls.")


def examine_broker() -> Iterator[Finding]:
    """Connect to each app's broker."""
    for app in apps():
        yield _of_broker(app)


def examine_results() -> Iterator[Finding]:
    """Ask each app's result backend for something that is not there."""
    for app in apps():
        yield _of_results(app)


def examine_workers() -> Iterator[Finding]:
    """Let the workers of each app look at a lock that is taken here, in each cache."""
    with ExitStack() as probes:
        stores = {alias: open_store(alias) for alias in registry.aliases()}
        locks = {alias: probes.enter_context(probing(each)) for alias, each in stores.items()}
        for alias, store in stores.items():
            store.acquire(locks[alias], SECONDS)
        for app in apps():
            yield from _of_workers(app, locks)


def _of_broker(app: Any) -> Finding:
    if app.main == NO_APP and app._config_source is None:
        return warning(
            "No Celery app is loaded: what a view calls goes to Celery's default broker.",
            "Import your app in the project's __init__.py, as Celery's guide for Django says.",
        )
    place = f"The broker of the Celery app {app.main!r}, {app.connection_for_write().as_uri()},"
    try:
        with live.broker_of(app):
            return ok(f"{place} answers.")
    except Exception as error:
        # Each transport has errors of its own.
        return wrong(
            f"{place} can't be reached: {error}", "Start it, or correct CELERY_BROKER_URL."
        )


def _of_results(app: Any) -> Finding:
    place = f"The result backend of the Celery app {app.main!r}"
    try:
        backend = app.backend
        if isinstance(backend, DisabledBackend):
            return ok(f"{place} is disabled: how a call has ended is not kept.")
        if isinstance(backend, RPCBackend):
            return not_examined(f"{place} is rpc://, which keeps results for their callers alone.")
        _ask(backend)()
    except Exception as error:
        # Each backend's client has errors of its own.
        return wrong(f"{place} fails: {error}", "Start it, or correct CELERY_RESULT_BACKEND.")
    return ok(f"{place} answers.")


def _ask(backend: Any) -> Callable[[], object]:
    """Return what asks a backend once; Celery's Redis backend tries for long."""
    ping: Any = getattr(getattr(backend, "client", None), "ping", None)
    return ping or (lambda: backend.get_state(str(uuid.uuid4())))


def _of_workers(app: Any, locks: Mapping[str, Lock]) -> Iterator[Finding]:
    asked = {"keys": {alias: lock.key for alias, lock in locks.items()}}
    try:
        with live.broker_of(app) as connection:
            replies = app.control.broadcast(
                COMMAND,
                arguments=asked,
                connection=connection,
                reply=True,
                timeout=WORKER_SECONDS,
            )
    except Exception as error:
        # Each transport has errors of its own.
        yield not_examined(f"The workers of the Celery app {app.main!r} can't be asked: {error}")
        return
    answers = {
        name: said
        for reply in replies or ()
        for name, said in reply.items()
        if not isinstance(said, Mapping) or said.get("app", app.main) == app.main
    }
    if not answers:
        yield warning(
            f"No worker of the Celery app {app.main!r} answers within {WORKER_SECONDS:g} s: what "
            "is called waits for one.",
            "Start one: celery -A … worker.",
        )
    found = [_of_worker(name, said, locks) for name, said in sorted(answers.items())]
    yield from [each for each in found if each.state is not State.OK] or found[:1]


def _of_worker(name: str, said: Any, locks: Mapping[str, Lock]) -> Finding:
    if not isinstance(said, Mapping) or "error" in said:
        return not_examined(f"The worker {name} can't look at locks: is it of this version?")
    seen = said.get("locks", {})
    blind = [alias for alias in locks if not seen.get(alias, {}).get("held")]
    if not blind:
        return ok(f"The worker {name} sees the locks that are taken here.")
    alias = blind[0]
    here, there = open_store(alias or conf.cache).name_of(locks[alias].key), seen.get(alias, {})
    return wrong(
        f"The worker {name} does not see a lock that was taken here: CACHES[{alias!r}] is another "
        f"server, database, KEY_PREFIX or VERSION there. It looked for {there.get('name')!r}"
        f"{there.get('trouble', '')}, here that is {here!r}.",
        "Give web processes and workers the same CACHES: what a worker can't see it can't free.",
    )
