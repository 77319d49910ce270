"""A call of a task: its key, its lock, and what a duplicate gets."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import Any

import pytest
from celery.result import AsyncResult, EagerResult
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from kombu.exceptions import OperationalError

from django_celery_once import AlreadyQueued, LockUnavailable
from django_celery_once.header import Header, read_header
from django_celery_once.locks import open_store
from django_celery_once.signals import Rejection
from testproject.redis_server import RedisServer
from tests.celery_app import app
from tests.guarded_tasks import Report, bound, held, labelled, report
from tests.outages import caches_at

pytestmark = pytest.mark.django_db


def test_the_second_call_is_refused(rejections: list[Rejection]) -> None:
    """Let one in, and tell the other everything about it."""
    first = report.delay("ada@example.org")
    assert isinstance(first, AsyncResult)
    with pytest.raises(AlreadyQueued) as raised:
        report.delay("ada@example.org")
    error = raised.value
    assert (error.task_name, error.task_id, error.phase) == (report.name, first.id, "queued")
    assert error.key == report.once_key("ada@example.org")
    assert 3590 < error.countdown <= 3600
    assert isinstance(error.countdown, float)
    assert error.since is not None
    assert abs(error.since - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=30)
    assert first.id in str(error)
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)  # noqa: S301
    [rejection] = rejections
    assert rejection.holder.owner == first.id
    assert rejection.holder.hits == 1
    assert rejection.policy == "raise"


def failing(email: str, month: str) -> str:
    """Make no key."""
    raise LookupError(email)


def test_a_key_callable_that_fails_names_its_task() -> None:
    """Raise what it raises, with a note, and queue nothing."""
    with pytest.raises(LookupError) as raised:
        report.apply_async(("a",), once={"key": failing})
    assert raised.value.__notes__ == ["It comes from once['key'] of tests.task.report."]


def test_a_key_callable_that_forgets_to_return_is_told() -> None:
    """Let not all calls have one key."""
    with pytest.raises(TypeError, match=r"report: once\['key'\] returned None; return what makes"):
        report.apply_async(("a",), once={"key": lambda email, month: None})


def test_a_cache_that_is_not_there_is_told_with_the_task() -> None:
    """Name both, and the caches that there are."""
    words = r"The locks of tests.task.report are to be in 'lokcs', .* \(default, locks,"
    with (
        override_settings(DJANGO_CELERY_ONCE={"CACHE": "lokcs"}),
        pytest.raises(ImproperlyConfigured, match=words),
    ):
        report.delay("a")


def test_other_arguments_are_another_call() -> None:
    """Refuse nothing but the same."""
    report.delay("ada@example.org")
    report.delay("ada@example.org", "June")
    report.delay("bob@example.org")


@pytest.mark.parametrize("task", [report, Report(), bound])
def test_every_spelling_is_one_key(task: Any) -> None:
    """Bind arguments to the signature that callers see."""
    assert task.once_key("a") == task.once_key(email="a") == task.get_key(("a",), {})
    assert task.get_key(kwargs={"email": "a"}) == task.get_key(["a"])


def test_a_task_class_and_a_function_differ() -> None:
    """Keep tasks with the same arguments apart."""
    assert report.once_key("a") != Report().once_key("a")
    assert report.once_key("a") == report.once_key("a", month="May")


def test_only_the_named_keys_count() -> None:
    """Refuse another month for the same address."""
    labelled.delay("a", "May")
    with pytest.raises(AlreadyQueued) as raised:
        labelled.delay("a", "June")
    assert raised.value.label == "May report"
    assert 90 < raised.value.countdown <= 100


def test_the_message_carries_key_and_token(published: list[dict[str, Any]]) -> None:
    """Send what the worker needs, and leave the caller's headers alone."""
    mine = {"trace": "7"}
    report.apply_async(("a",), headers=mine)
    header = read_header(published[0])
    assert header is not None
    assert (header.key, header.token) == (
        report.once_key("a"),
        held(report.once_key("a")).token,
    )
    assert published[0]["trace"] == "7"
    assert mine == {"trace": "7"}


def test_a_stale_header_of_the_caller_is_replaced(published: list[dict[str, Any]]) -> None:
    """Trust no header that the caller copied from another message."""
    report.apply_async(("a",), headers={"once": {"key": "x", "token": "y"}})
    header = read_header(published[0])
    assert header is not None
    assert header.key == report.once_key("a")


def test_graceful_returns_a_rejected_result(rejections: list[Rejection]) -> None:
    """Answer as celery-once does."""
    report.delay("a")
    result = report.apply_async(("a",), once={"graceful": True})
    assert isinstance(result, EagerResult)
    assert (result.id, result.result, result.status) == (None, None, "REJECTED")
    assert [each.policy for each in rejections] == ["reject"]


def test_force_takes_no_lock(published: list[dict[str, Any]]) -> None:
    """Queue the call whatever is under way, and tell the worker not to guard it."""
    report.delay("a")
    report.apply_async(("a",), once={"force": True})
    report.apply_async(("b",), once={"force": True})
    assert open_store("locks").inspect(report.once_key("b")) is None
    assert read_header(published[-1]) == Header()


@override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "ENABLED": False})
def test_the_kill_switch() -> None:
    """Queue everything unguarded."""
    report.delay("a")
    report.delay("a")
    assert open_store("locks").inspect(report.once_key("a")) is None


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        ({"countdown": 500}, 590, 600),
        ({"eta": dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)}, 3700, 7300),
        ({"expires": 30}, 80, 90),
        ({"expires": 1000}, 90, 100),
    ],
)
def test_the_lock_waits_as_long_as_its_message(
    options: dict[str, Any], least: float, most: float
) -> None:
    """Hold the key until countdown or eta and the time-out, not past ``expires``."""
    labelled.apply_async(("a", "May"), **options)
    assert least < held(labelled.once_key("a", "May")).remaining <= most


@pytest.mark.parametrize(
    "failure",
    [OperationalError("broker down"), TypeError("time limit"), KeyboardInterrupt()],
)
def test_no_lock_stays_when_publishing_fails(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """Free the key and let the error through; the next call is accepted."""

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr(app, "send_task", fail)
        with pytest.raises(type(failure)):
            report.delay("a")
    assert open_store("locks").inspect(report.once_key("a")) is None
    report.delay("a")


def test_an_outage_is_no_duplicate(spare_redis_server: RedisServer) -> None:
    """Raise LockUnavailable and queue nothing, also where the alias hides outages."""
    with override_settings(CACHES=caches_at(spare_redis_server, IGNORE_EXCEPTIONS=True)):
        spare_redis_server.kill()
        with pytest.raises(LockUnavailable) as raised:
            report.delay("a")
        assert raised.value.alias == "locks"
        assert vars(pickle.loads(pickle.dumps(raised.value)))["key"]  # noqa: S301


def test_an_outage_may_let_tasks_through(
    spare_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Queue the call without a lock where the setting says so, and log it."""
    setting = {"CACHE": "locks", "ON_CACHE_ERROR": "enqueue"}
    with override_settings(CACHES=caches_at(spare_redis_server), DJANGO_CELERY_ONCE=setting):
        spare_redis_server.kill()
        assert isinstance(report.delay("a"), AsyncResult)
    assert "without a lock" in caplog.text


def test_the_callers_task_id_is_kept() -> None:
    """Give the lock to the id that the caller chose."""
    assert report.apply_async(("a",), task_id="mine").id == "mine"
    assert held(report.once_key("a")).owner == "mine"
