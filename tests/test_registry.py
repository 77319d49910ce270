"""Which caches hold locks, as far as settings and tasks say."""

from __future__ import annotations

from typing import Any

import pytest
from celery import current_app
from django.test import override_settings

from django_celery_once import registry
from tests.configurations import once
from tests.guarded_tasks import report


def test_the_settings_cache_alone() -> None:
    """Nothing else is looked at while no task has a cache of its own."""
    assert registry.users() == {"locks": []}
    assert registry.aliases() == ["locks"]


def test_the_settings_cache_comes_first() -> None:
    """Others follow, each with whoever names it: tasks, and entries of ``TASKS``."""
    tasks = {report.name: {"cache": "default"}, "other.*": {"cache": "locks"}}
    with once(CACHE="locks_django", TASKS=tasks):
        users = registry.users()
    assert users == {"locks_django": [], "default": [report.name], "locks": ["other.*"]}
    assert next(iter(users)) == "locks_django"


def test_a_task_of_a_class_and_the_settings_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``TASKS`` says wins over the decorator, also that there is none."""
    monkeypatch.setattr(report.__class__, "once", {"cache": "locks_db"})
    assert registry.users() == {"locks": [], "locks_db": [report.name]}
    with once(TASKS={report.name: {"cache": "lokcs"}}):
        assert (list(registry.users()), registry.aliases()) == (["locks", "lokcs"], ["locks"])
    with once(TASKS={"tests.task.*": {"cache": None}}):
        assert registry.aliases() == ["locks"]


def test_modules_that_can_not_be_imported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A person sees the locks there are, and the log says what is wrong; once only."""
    tries = []

    def fail() -> Any:
        tries.append(1)
        raise ImportError("no such module")

    monkeypatch.setattr(current_app.loader, "import_default_modules", fail)
    monkeypatch.setattr(registry, "_tried_to_import", False)
    assert registry.aliases() == registry.aliases() == ["locks"]
    assert (len(tries), caplog.text.count("The tasks can't be imported")) == (1, 1)


@override_settings(CACHES={"locks": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}})
def test_one_cache_needs_no_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one alias only, no task can name another."""
    monkeypatch.setattr(registry, "_tried_to_import", False)
    monkeypatch.setattr(current_app.loader, "import_default_modules", pytest.fail)
    assert registry.aliases() == ["locks"]
