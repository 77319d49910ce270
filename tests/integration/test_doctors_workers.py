"""The doctor lets running workers look at a lock that it has taken."""

from __future__ import annotations

from functools import partial
from socket import gethostname
from typing import Any
from unittest.mock import patch

import pytest
from celery.worker.control import Panel
from django.conf import settings
from django.test import override_settings

from django_celery_once import look
from django_celery_once.doctor import celery_app
from django_celery_once.doctor.findings import Finding, State
from django_celery_once.locks import open_store
from tests.integration.app import app
from tests.integration.calls import new_name, value
from tests.integration.conftest import on_each_pool, on_pools
from tests.integration.tasks import play
from tests.integration.workers import Worker, wait_until


@pytest.fixture(autouse=True)
def _only_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_app, "apps", lambda: [app])
    # On a busy machine; one answer is enough.
    monkeypatch.setattr(celery_app, "WORKER_SECONDS", 20.0)


def found(worker: Worker | None = None) -> Finding:
    """Return the one finding; other processes of these tests may have workers at the broker."""
    name = [f"{worker.log.stem}@{gethostname()}"] if worker else None
    ask = partial(app.control.broadcast, destination=name, limit=1)
    with patch.object(app.control, "broadcast", ask):
        (finding,) = celery_app.examine_workers()
    return finding


def elsewhere(**changed: Any) -> override_settings:
    """Return settings in which the locks of the callers are elsewhere."""
    return override_settings(
        CACHES={**settings.CACHES, "locks": {**settings.CACHES["locks"], **changed}}
    )


@on_each_pool()
def test_a_worker_with_the_same_caches(worker: Worker) -> None:
    """Say that it sees the lock, and leave none behind."""
    finding = found(worker)
    assert finding.state is State.OK, finding
    assert "sees the locks that are taken here" in finding.seen
    assert open_store("locks").scan("once:once_doctor").locks == ()


@on_pools("threads")
@pytest.mark.parametrize("changed", ["KEY_PREFIX", "VERSION", "LOCATION"])
def test_a_worker_with_others(worker: Worker, changed: str) -> None:
    """Name the worker, the alias and both names."""
    other = {"KEY_PREFIX": "web", "VERSION": 7, "LOCATION": f"{settings.REDIS_URL}/11"}
    with elsewhere(**{changed: other[changed]}):
        finding = found(worker)
        own = open_store("locks").name_of("once:once_doctor:")
    assert finding.state is State.WRONG
    assert "does not see a lock that was taken here: CACHES['locks'] is another" in finding.seen
    assert f"here that is '{own}" in finding.seen


@on_pools("prefork", "threads")
@pytest.mark.django_db(transaction=True)
def test_the_worker_warns_by_itself(worker: Worker) -> None:
    """Say so where a call comes whose lock is in another database, and run it."""
    name, other = new_name(), f"{settings.REDIS_URL}/11"
    with elsewhere(LOCATION=other):
        result = play.delay(name)
    assert value(result) == "held: True"
    wait_until(lambda: "finds no lock of its call in this worker's" in worker.text(), "the warning")


@on_pools("threads")
def test_a_cache_that_the_worker_lacks(worker: Worker) -> None:
    """Say what the worker says."""
    more = {"of_the_web": settings.CACHES["locks"]}
    once = {"CACHE": "of_the_web"}
    with override_settings(CACHES={**settings.CACHES, **more}, DJANGO_CELERY_ONCE=once):
        finding = found(worker)
    assert finding.state is State.WRONG
    assert "'of_the_web', which is not in CACHES" in finding.seen


def test_an_older_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that it can't tell."""
    replies = [{"old@host": {"error": "No such control command: once_look"}}]
    monkeypatch.setattr(app.control, "broadcast", lambda *_args, **_options: replies)
    assert found().state is State.NOT_EXAMINED


def test_a_worker_of_another_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave one alone that is at the same broker for other tasks."""
    replies = [{"theirs@host": {"app": "theirs", "locks": {}}}]
    monkeypatch.setattr(app.control, "broadcast", lambda *_args, **_options: replies)
    assert found().seen.startswith("No worker of the Celery app 'integration' answers")


def test_only_workers_know_the_command() -> None:
    """Register it where a worker starts, and hide it from Celery's help."""
    before = dict(Panel.data)
    try:
        look.register()
        assert Panel.data[look.COMMAND] is look.look
        assert not Panel.meta[look.COMMAND].visible
    finally:
        Panel.data.clear()
        Panel.data.update(before)
