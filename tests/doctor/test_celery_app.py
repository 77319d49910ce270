"""What the doctor finds out about a Celery app, without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from django_celery_once.celery_apps import apps
from django_celery_once.doctor import celery_app
from django_celery_once.doctor.findings import Finding, State
from testproject.redis_server import RedisServer

AWAY = "redis://127.0.0.1:1/0"  # nobody listens at port 1


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return an app that is the only one here."""
    made = Celery("own", broker="memory://", backend="cache+memory://", set_as_current=False)
    monkeypatch.setattr(celery_app, "apps", lambda: [made])
    yield made
    made.close()


def only(findings: Iterator[Finding]) -> Finding:
    """Return the one finding there is."""
    (finding,) = findings
    return finding


def test_a_sound_app(own: Any) -> None:
    """Say of each part that it works, and of the workers that there are none."""
    assert only(celery_app.examine_eager()).seen == "The Celery app 'own' queues its calls."
    assert only(celery_app.examine_broker()).state is State.OK
    assert only(celery_app.examine_results()).state is State.OK
    found = only(celery_app.examine_workers())
    assert found.state is State.WARNING
    assert found.seen.startswith("No worker of the Celery app 'own' answers within 1 s")


def test_eager_mode(own: Any) -> None:
    """Say that nothing is ever blocked."""
    own.conf.task_always_eager = True
    found = only(celery_app.examine_eager())
    assert (found.state, "Nothing is ever blocked." in found.seen) == (State.WARNING, True)


def test_a_broker_that_is_away(own: Any) -> None:
    """Name app and address, without its password, and do not wait for workers."""
    own.conf.broker_url = "redis://:secret@127.0.0.1:1/0"
    found = only(celery_app.examine_broker())
    assert found.state is State.WRONG
    assert "app 'own', redis://:**@127.0.0.1:1/0, can't be reached: " in found.seen
    assert "CELERY_BROKER_URL" in found.advice
    assert only(celery_app.examine_workers()).state is State.NOT_EXAMINED


@pytest.mark.parametrize(
    ("backend", "state", "words"),
    [
        (None, State.OK, "is disabled: how a call has ended is not kept"),
        ("rpc://", State.NOT_EXAMINED, "keeps results for their callers alone"),
        (AWAY, State.WRONG, "fails: Error"),
        ("db+nothing://", State.WRONG, "fails: "),
    ],
)
def test_result_backends(own: Any, backend: str | None, state: State, words: str) -> None:
    """Tell one that is not there from one that fails."""
    own.conf.result_backend = backend
    found = only(celery_app.examine_results())
    assert found.state is state
    assert words in found.seen


def test_a_result_backend_that_answers(own: Any, redis_server: RedisServer) -> None:
    """Ask a real one."""
    own.conf.result_backend = redis_server.url(9)
    assert only(celery_app.examine_results()).state is State.OK


def test_a_project_without_an_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell the app that Celery makes by itself from one that is called like it."""
    made: Any = Celery("default", fixups=[], set_as_current=False, loader="default")
    monkeypatch.setattr(celery_app, "apps", lambda: [made])
    assert only(celery_app.examine_broker()).seen.startswith("No Celery app is loaded")
    made.config_from_object({"broker_url": "memory://"})
    assert only(celery_app.examine_broker()).state is State.OK
    made.close()


def test_every_app_is_examined() -> None:
    """Say something of each."""
    assert len(list(celery_app.examine_eager())) == len(apps())
