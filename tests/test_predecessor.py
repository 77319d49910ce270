"""celery-once's ``default_timeout`` stands in for a missing ``TIMEOUT``."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_celery_once import QueueOnce
from django_celery_once.header import read_header
from django_celery_once.locks import open_store
from tests.configurations import celery_once, once
from tests.guarded_tasks import held, labelled, report

pytestmark = pytest.mark.django_db

ONCE = {"backend": "celery_once.backends.Redis", "settings": {"default_timeout": 20}}


def seconds_left(task: QueueOnce, *args: str) -> float:
    """Call a task and return what its lock has left, in whole seconds."""
    task.delay(*args)
    return round(held(task.once_key(*args)).remaining)


def test_it_stands_in(published: list[dict[str, Any]]) -> None:
    """Hold locks as long as celery-once did, and tell the worker."""
    with celery_once(ONCE):
        assert seconds_left(report, "a") == 20
    header = read_header(published[0])
    assert header is not None
    assert header.timeout == 20


def test_it_stands_in_for_none() -> None:
    """Take ``None`` for what it is, no time-out of the call's own."""
    with celery_once(ONCE):
        assert report.once_options().timeout == 20
        assert report.once_options({"timeout": None}).timeout == 20


def test_whoever_says_more_wins() -> None:
    """Prefer this app's setting, the task's own option and that of the call."""
    with celery_once(ONCE):
        assert seconds_left(labelled, "a", "May") == 100
        assert report.once_options({"timeout": 5}).timeout == 5
        with once(TIMEOUT=50):
            assert seconds_left(report, "a") == 50
        with once(TASKS={"tests.task.*": {"timeout": 60}}):
            assert seconds_left(report, "b") == 60


class Namespaced:
    """Django settings as celery-once's users have them."""

    CELERY_BROKER_URL = "memory://"
    CELERY_ONCE = ONCE


def test_it_may_stand_in_the_settings_of_django() -> None:
    """Read it from a namespace, from the app that the task belongs to."""
    shop = Celery("shop", set_as_current=False)
    shop.config_from_object(Namespaced, namespace="CELERY")

    @shop.task(base=QueueOnce, name="shop.tasks.send", shared=False)
    def send(email: str) -> None: ...

    assert seconds_left(send, "a") == 20
    assert seconds_left(report, "a") == 3600


@pytest.mark.parametrize("given", [None, "x", {}, {"settings": []}, {"settings": {"url": "x"}}])
def test_without_it_the_default_holds(given: object) -> None:
    """Take nothing from a setting that has no such thing."""
    with celery_once(given):
        assert seconds_left(report, "a") == 3600


def test_a_value_that_can_not_be_is_named() -> None:
    """Queue nothing, and say where it stands and what to write."""
    words = (
        r"ONCE\['settings'\]\['default_timeout'\] of the Celery app must be a number of seconds "
        r"or a timedelta, not '1 hour'; write DJANGO_CELERY_ONCE\['TIMEOUT'\] instead"
    )
    with celery_once({"settings": {"default_timeout": "1 hour"}}):
        with pytest.raises(ImproperlyConfigured, match=words):
            report.delay("a")
        assert open_store("locks").scan().locks == ()
        with once(TIMEOUT=50):
            assert seconds_left(report, "a") == 50


def test_a_setting_that_is_no_dictionary_is_named_first() -> None:
    """Do not guess past a mistake in this app's own setting."""
    with (
        celery_once(ONCE),
        override_settings(DJANGO_CELERY_ONCE=["TIMEOUT"]),
        pytest.raises(ImproperlyConfigured, match="must be a dictionary"),
    ):
        report.delay("a")
