"""The doctor lets running workers look at a lock that it has taken."""

from __future__ import annotations

from typing import Any

import pytest
from celery.worker.control import Panel
from django.conf import settings
from django.test import override_settings

from django_celery_once import look
from django_celery_once.doctor import celery_app
from django_celery_once.doctor.findings import Finding, State
from django_celery_once.locks import open_store
from tests.integration.app import app
from tests.integration.conftest import on_each_pool, on_pools
from tests.integration.workers import Worker


@pytest.fixture(autouse=True)
def _only_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_app, "apps", lambda: [app])


def found() -> Finding:
    """Return the one finding."""
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
    finding = found()
    assert finding.state is State.OK, finding
    assert "sees the locks that are taken here" in finding.seen
    assert open_store("locks").scan("once:once_doctor").locks == ()


@on_pools("threads")
@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("changed", ["KEY_PREFIX", "VERSION", "LOCATION"])
def test_a_worker_with_others(changed: str) -> None:
    """Name the worker, the alias and both names."""
    other = {"KEY_PREFIX": "web", "VERSION": 7, "LOCATION": f"{settings.REDIS_URL}/11"}
    with elsewhere(**{changed: other[changed]}):
        finding = found()
        own = open_store("locks").name_of("once:once_doctor:")
    assert finding.state is State.WRONG
    assert "does not see a lock that was taken here: CACHES['locks'] is another" in finding.seen
    assert f"here that is '{own}" in finding.seen


@on_pools("threads")
@pytest.mark.usefixtures("worker")
def test_a_cache_that_the_worker_lacks() -> None:
    """Say what the worker says."""
    more = {"of_the_web": settings.CACHES["locks"]}
    once = {"CACHE": "of_the_web"}
    with override_settings(CACHES={**settings.CACHES, **more}, DJANGO_CELERY_ONCE=once):
        finding = found()
    assert finding.state is State.WRONG
    assert "'of_the_web', which is not in CACHES" in finding.seen


def test_an_older_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that it can't tell."""
    replies = [{"old@host": {"error": "No such control command: once_look"}}]
    monkeypatch.setattr(app.control, "broadcast", lambda *_args, **_options: replies)
    assert found().state is State.NOT_EXAMINED


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
