"""Options of a task, of the settings and of a call: who wins, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from django_celery_once import AlreadyQueued
from django_celery_once.locks import open_store
from tests.guarded_tasks import held, labelled, report

pytestmark = pytest.mark.django_db


@override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "ON_DUPLICATE": "reject"})
def test_the_setting_is_the_default_policy() -> None:
    """Take the policy from the settings where nobody else says it."""
    report.delay("a")
    assert report.delay("a").status == "REJECTED"
    with pytest.raises(AlreadyQueued):
        report.apply_async(("a",), once={"graceful": False})


@override_settings(
    DJANGO_CELERY_ONCE={
        "CACHE": "locks",
        "TASKS": {"tests.task.*": {"timeout": 7}, "tests.task.report": {"timeout": 20}},
    }
)
def test_operators_win_over_the_decorator() -> None:
    """Let settings change the time-out of tasks that somebody else wrote."""
    labelled.delay("a", "May")
    report.delay("a")
    assert 0 < held(labelled.once_key("a", "May")).remaining <= 7
    assert 7 < held(report.once_key("a")).remaining <= 20


def test_the_call_wins_over_all() -> None:
    """Override options for one call."""
    labelled.apply_async(("a", "May"), once={"timeout": 5, "keys": ["month"], "label": "mine"})
    [lock] = open_store("locks").scan().locks
    assert (lock.label, lock.remaining <= 5) == ("mine", True)
    labelled.delay("a", "May")  # another key: its own month


def test_a_callable_makes_the_key() -> None:
    """Compare what the developer's callable returns."""
    once = {"key": lambda email, month: email.lower()}
    report.apply_async(("ADA",), once=once)
    with pytest.raises(AlreadyQueued):
        report.apply_async(("ada", "June"), once=once)
    report.apply_async(("bob",), once=once)


def test_a_callable_makes_the_label_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    """Take words from a callable; queue the task without them when it fails."""
    report.apply_async(("a",), once={"label": lambda email, month: f"for {email}"})
    assert held(report.once_key("a")).label == "for a"
    report.apply_async(("b",), once={"label": "{nothing}"})
    assert held(report.once_key("b")).label == ""
    assert "once['label'] failed" in caplog.text


def test_a_label_that_no_store_can_write_is_mended() -> None:
    """Take a name as a broken file system or form may give it."""
    report.apply_async(("a",), once={"label": lambda email, month: "caf\udce9"})
    assert held(report.once_key("a")).label == "caf?"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), (("a", "b", "c"), {}), (("a",), {"nothing": 1}), (("a",), {"email": "b"})],
)
def test_wrong_arguments_are_a_type_error(args: Any, kwargs: Any) -> None:
    """Fail as Celery does, with the task's name and no lock."""
    with pytest.raises(TypeError, match=r"tests\.task\.report"):
        report.apply_async(args, kwargs)
    assert open_store("locks").scan().locks == ()


def test_an_argument_without_a_form_is_named() -> None:
    """Refuse to guess a key."""
    with pytest.raises(TypeError, match="argument 'month'"):
        report.delay("a", object())
    assert open_store("locks").scan().locks == ()


@pytest.mark.parametrize(
    ("once", "words"),
    [
        ({"kyes": ["email"]}, "did you mean 'keys'"),
        ({"keys": "email"}, "list of parameter names"),
        ({"timeout": "60"}, "number of seconds"),
        ({"timeout": 0}, "more than 0"),
        ({"graceful": 1}, "True or False"),
        ({"keys": ["email"], "key": str}, "exclude each other"),
    ],
)
def test_bad_options_of_a_call_are_named(once: dict[str, Any], words: str) -> None:
    """Say which option is wrong and queue nothing."""
    with pytest.raises((TypeError, ValueError), match=words):
        report.apply_async(("a",), once=once)
    assert open_store("locks").scan().locks == ()
