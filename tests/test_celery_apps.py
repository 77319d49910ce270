"""Several Celery apps in one process, each with tasks of its own."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.test import override_settings

from django_celery_once import QueueOnce, celery_apps, live, registry, reruns
from django_celery_once.checks import predecessor
from django_celery_once.doctor import neighbours
from django_celery_once.locks import open_store
from django_celery_once.locks.base import released
from django_celery_once.signals import lock_released
from django_celery_once.status import Reference, State, find_out
from django_celery_once.testing import assertions
from tests.celery_app import app
from tests.guarded_tasks import held, report

NAME = "tests.celery_apps.refresh"


pytestmark = pytest.mark.django_db


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Any]:
    """Return another app than the current one, with a task and with results of its own."""
    results = f"file://{tmp_path}"
    made = Celery("other", broker="memory://other", backend=results, set_as_current=False)
    once = {"keys": ["shop"], "on_duplicate": "rerun"}
    made.task(base=QueueOnce, name=NAME, shared=False, once=once)(_body)
    yield made
    made.close()
    gc.collect()


@pytest.fixture
def sent(other: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the names of what the other app publishes; the current one may publish nothing."""
    seen: list[str] = []

    def note(name: str, *_args: Any, **options: Any) -> Any:
        seen.append(name)
        return other.AsyncResult(options["task_id"])

    monkeypatch.setattr(other, "send_task", note)
    monkeypatch.setattr(app, "send_task", pytest.fail)
    return seen


def _body(shop: str, number: int = 0) -> None: ...


def test_tasks_of_both_are_known(other: Any) -> None:
    """Also those that nobody has called yet."""
    names = {task.name: task.app for task in registry.known_tasks()}
    assert names[NAME] is other
    assert names[report.name] is app


def test_one_name_in_both_is_the_current_apps(other: Any) -> None:
    """A shared task belongs to each app."""
    assert report.name in other.tasks
    assert celery_apps.find_task(report.name).app is app
    assert celery_apps.find_task(report.name, "other").app is other
    assert celery_apps.find_task("nobody.knows.me") is None
    assert celery_apps.app_of("nobody.knows.me") is app


def test_an_app_without_tasks_is_left_alone() -> None:
    """Celery makes one where none is current; to look into it would configure it."""
    idle: Any = Celery("idle", set_as_current=False)
    assert idle not in celery_apps.apps()
    assert not idle.finalized


def test_an_app_that_can_not_be_configured(caplog: pytest.LogCaptureFixture) -> None:
    """The others work on, and the log names it."""
    broken = Celery("broken", set_as_current=False)
    broken.config_from_object("shop.nowhere")
    broken.task(base=QueueOnce, name="tests.celery_apps.broken")(_body)
    assert broken not in celery_apps.apps()
    assert "The tasks of the Celery app 'broken' can't be had" in caplog.text
    broken.close()


def test_its_caches_are_looked_at(other: Any) -> None:
    """For the lists of locks."""
    task = other.tasks[NAME]
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "TASKS": {NAME: {}}}):
        type(task).once = {**task.once, "cache": "locks_django"}
        assert registry.users()["locks_django"] == [NAME]


def test_a_follow_up_is_published_by_its_own_app(other: Any, sent: list[str]) -> None:
    """Not by the current one, whose broker is another."""
    task = other.tasks[NAME]
    task.delay("a", 1)
    task.delay("a", 2)
    lock = held(task.once_key("a"))
    assert lock.follow_up is not None
    reruns.send(released(lock, "t1").follow_up or lock)
    assert sent == [NAME] * 3


def test_a_shared_tasks_follow_up_too(other: Any, sent: list[str]) -> None:
    """The call knows which app has been asked."""
    task = other.tasks[report.name]
    for _each in range(2):
        task.apply_async(("a",), once={"on_duplicate": "rerun"})
    lock = held(task.once_key("a"))
    assert lock.follow_up is not None
    reruns.send(lock.follow_up)
    assert sent == [report.name] * 3


def test_how_a_call_stands_is_asked_of_its_own_app(other: Any) -> None:
    """By what its caller got, by its key, and through a page's address."""
    result = other.tasks[NAME].delay("a")
    other.backend.store_result(result.id, None, "SUCCESS")
    lock = held(other.tasks[NAME].once_key("a"))
    open_store("locks").release(lock)
    reference = Reference.of(result)
    assert app.AsyncResult(result.id).state != "SUCCESS"
    for each in (reference, Reference.read(reference.token()), Reference(result.id, lock.key)):
        assert find_out(each).state is State.DONE


def test_one_that_waits_for_its_turn_has_no_key(other: Any) -> None:
    """Its result tells its task all the same."""
    result = other.tasks[report.name].apply_async(("a",), once={"until": "running"})
    other.backend.store_result(result.id, None, "SUCCESS")
    assert find_out(Reference.of(result)).state is State.DONE


def test_a_lock_that_is_freed_by_hand(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal's sender is its task's class, and a revoke goes to its broker."""
    task, senders, revoked = other.tasks[NAME], list[object](), list[str]()

    def receive(sender: object, **_signal: object) -> None:
        senders.append(sender)

    task.delay("a")
    lock = held(task.once_key("a"))
    lock_released.connect(receive)
    monkeypatch.setattr(other.control, "revoke", lambda *args, **_options: revoked.append(args[0]))
    live.revoke(lock)
    assert live.free(lock, by="test") is not None
    assert (senders, revoked) == ([type(task)], [lock.owner])
    lock_released.disconnect(receive)


def test_checks_doctor_and_assertions_look_at_both(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with either is told."""
    other.conf.ONCE = {"settings": {"default_timeout": 60}}
    assert [each.id for each in predecessor.check_celery_once()] == ["django_celery_once.W016"]
    other.conf.task_always_eager = True
    assert "task_always_eager" in "".join(assertions._reasons(celery_apps.apps()))
    address = neighbours.Address("127.0.0.1", 6399, 4)
    monkeypatch.setattr(neighbours, "_is_default_cache", lambda _store: False)
    monkeypatch.setattr(neighbours, "_address_of_store", lambda _store: address)
    other.conf.broker_url = "redis://127.0.0.1:6399/4"
    found = dict(neighbours._neighbours(open_store("locks")))
    assert (found["the Celery broker"], found["the Celery result backend"]) == (True, False)
