"""The system checks of settings and tasks, and what all messages have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from celery import Task, shared_task
from django.conf import settings
from django.core import checks as django_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from django_celery_once import QueueOnce, checks
from django_celery_once.checks import tasks
from django_celery_once.locks.redis import RedisStore
from django_celery_once.middleware import AlreadyQueuedMiddleware
from tests.celery_app import app
from tests.configurations import (
    DATABASE_CACHE,
    celery_once,
    core,
    django_redis,
    found,
    ids,
    locks_in,
    once,
)

README = Path(__file__).parent.parent / "README.md"
MIDDLEWARE = "django_celery_once.middleware.AlreadyQueuedMiddleware"


@shared_task(base=QueueOnce, name="tests.checks.send")
def send(email: str, month: str) -> None: ...


def test_a_sound_configuration_is_silent() -> None:
    """The settings of the tests have nothing wrong with them."""
    assert found() == []


def test_manage_py_check_runs_them() -> None:
    """``manage.py check`` fails for an error of this app."""
    with once(TIMOUT=1), pytest.raises(SystemCheckError, match=r"django_celery_once\.E001"):
        call_command("check")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"TIMOUT": 5}, "has no key 'TIMOUT'; did you mean 'TIMEOUT'?"),
        ({"TIMEOUT": "5"}, "['TIMEOUT'] must be a number of seconds or a timedelta, not '5'"),
        ({"CACHE": 5}, "['CACHE'] must be the name of an alias, not 5"),
        ({"LOG_DATABASE": None}, "['LOG_DATABASE'] must be the name of an alias, not None"),
        ({"STATUS_POLICY": "x"}, "['STATUS_POLICY'] must be the dotted path of a class, not 'x'"),
        ({"ENABLED": "no"}, "['ENABLED'] must be True or False, not 'no'"),
        ({"TASKS": {"a": {"x": 1}}}, "['TASKS']['a']: once has no option 'x'"),
    ],
)
def test_e001_settings(keys: dict[str, Any], words: str) -> None:
    """A wrong key or value is told once, and breaks no other check."""
    with once(**keys):
        (message,) = found()
    assert message.id == "django_celery_once.E001"
    assert words in message.msg


@override_settings(DJANGO_CELERY_ONCE=["CACHE"])
def test_e001_no_dictionary() -> None:
    """A setting that is no dictionary is told once, too."""
    assert ids() == ["E001"]


def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrap views in transactions, as far as the settings say."""
    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)


def without_middleware() -> list[str]:
    """Return the middleware of the tests except ours."""
    return [name for name in settings.MIDDLEWARE if name != MIDDLEWARE]


def test_w009_middleware_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions around views call for the middleware."""
    atomic_requests(monkeypatch)
    with override_settings(MIDDLEWARE=without_middleware()):
        (message,) = found()
    assert message.id == "django_celery_once.W009"
    assert MIDDLEWARE in (message.hint or "")


def test_middleware_present_or_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the middleware, or without transactions, there is nothing to tell."""
    with override_settings(MIDDLEWARE=without_middleware()):
        assert ids() == []
    atomic_requests(monkeypatch)
    assert ids() == []


@pytest.mark.parametrize("name", ["tests.checks.send", "tests.checks.*"])
def test_e010_settings_name_an_unknown_parameter(name: str) -> None:
    """Options set for a task must fit its signature."""
    with once(TASKS={name: {"keys": ["email", "moth"]}}):
        (message,) = found()
    assert message.id == "django_celery_once.E010"
    assert "tests.checks.send: once['keys'] names 'moth'" in message.msg
    assert "(there is: email, month)" in message.msg


def _body() -> None: ...


class CeleryOncesQueueOnce(Task):  # type: ignore[type-arg]
    """What has options and reads them itself."""

    abstract = True
    once: ClassVar[dict[str, bool]] = {"graceful": False}


CeleryOncesQueueOnce.__name__ = "QueueOnce"  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize(
    ("base", "once", "names"),
    [
        (Task, {"graceful": True}, ["tests.checks.unguarded"]),
        (Task, {}, ["tests.checks.unguarded"]),
        (Task, None, []),
        (QueueOnce, {"graceful": True}, []),
        (CeleryOncesQueueOnce, {"graceful": True}, []),
    ],
)
def test_e020_options_that_nothing_reads(base: Any, once: Any, names: list[str]) -> None:
    """Find a forgotten base, and neither celery-once's tasks nor what is no options."""
    decorate: Any = app.task(base=base, once=once, name="tests.checks.unguarded", shared=False)
    task: Any = decorate(_body)
    try:
        messages = found()
    finally:
        del app.tasks[str(task.name)]
    assert [each.id for each in messages] == ["django_celery_once.E020" for _each in names]
    assert all(each.msg.startswith(name) for each, name in zip(messages, names, strict=True))


def test_settings_that_fit_a_task_are_fine() -> None:
    """Take options that fit their task, by name and by prefix."""
    options = {"tests.checks.send": {"keys": ["email"]}, "tests.*": {"timeout": 5}}
    with once(TASKS=options):
        assert ids() == []


@pytest.mark.parametrize(
    ("name", "hint"), [("tests.checks.sned", "did you mean 'tests.checks.send'?"), ("no.*", "")]
)
def test_w014_settings_name_a_task_that_is_not_there(name: str, hint: str) -> None:
    """Find options that will never hold, and guess what was meant."""
    with once(TASKS={name: {"timeout": 5}}):
        (message,) = found()
    assert message.id == "django_celery_once.W014"
    assert repr(name) in message.msg
    assert hint in message.msg


def test_importing_tasks_runs_no_checks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's own round of checks is left out, and only there."""
    rounds = []

    def count(**_kwargs: object) -> list[django_checks.CheckMessage]:
        rounds.append(1)
        return []

    monkeypatch.setattr(django_checks.registry.registry, "registered_checks", set())
    django_checks.register(count)
    monkeypatch.delenv("CELERY_SKIP_CHECKS", raising=False)
    assert list(tasks.check_tasks()) == []
    assert rounds == []
    app.loader.import_default_modules()
    assert rounds == [1]


def failing_import(error: Exception) -> Callable[[], list[ModuleType]]:
    """Return a loader's method that raises."""

    def import_default_modules() -> list[ModuleType]:
        raise error

    return import_default_modules


def test_e010_task_that_is_defined_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What defining a task complains of is told as an error."""
    error = ImproperlyConfigured("reports.send: once['keys'] names 'moth'")
    monkeypatch.setattr(app.loader, "import_default_modules", failing_import(error))
    (message,) = found()
    assert message.id == "django_celery_once.E010"
    assert "once['keys'] names 'moth'" in message.msg


def test_w013_tasks_that_can_not_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that fails to import is told and stops nothing."""
    error = ZeroDivisionError("in reports/tasks.py")
    monkeypatch.setattr(app.loader, "import_default_modules", failing_import(error))
    (message,) = found()
    assert message.id == "django_celery_once.W013"
    assert "in reports/tasks.py" in message.msg


def test_w011_kill_switch() -> None:
    """A thrown kill switch is not forgotten."""
    with once(ENABLED=False):
        assert ids() == ["W011"]


def test_e012_log_database() -> None:
    """The log's database must be there."""
    with once(LOG_DATABASE="lgo"):
        (message,) = found()
    assert message.id == "django_celery_once.E012"
    assert "'lgo', which is not in DATABASES (default, locks)" in message.msg
    with once(LOG_DATABASE="locks"):
        assert ids() == []


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("reports.Status", "which can't be imported: No module named 'reports'"),
        ("tests.test_checks.README", "which is no subclass of django_celery_once.status.Status"),
        ("django_celery_once.status.Status", "which is no subclass of"),
    ],
)
def test_e015_status_policy(path: str, problem: str) -> None:
    """Who may see a call's status is a class that says so."""
    with once(STATUS_POLICY=path):
        (message,) = found()
    assert message.id == "django_celery_once.E015"
    assert f"['STATUS_POLICY'] is {path!r}, {problem}" in message.msg
    with once(STATUS_POLICY="tests.test_status.Everybody"):
        assert ids() == []


def provoked(monkeypatch: pytest.MonkeyPatch) -> Iterator[django_checks.CheckMessage]:
    """Provoke every message there is."""
    atomic_requests(monkeypatch)
    monkeypatch.setattr(RedisStore, "waits_forever", lambda _store: True)
    hidden = django_redis(IGNORE_EXCEPTIONS=True)
    with (
        override_settings(CACHES={"default": hidden}, MIDDLEWARE=[]),
        override_settings(DJANGO_CELERY_ONCE={"ENABLED": False, "LOG_DATABASE": "lgo"}),
    ):
        yield from found()  # W006 W007 W008 W009 W011 E012
    for cache in ({**DATABASE_CACHE, "OPTIONS": {}}, core("locmem.LocMemCache")):
        with locks_in(cache), override_settings(DATABASE_ROUTERS=[]):
            yield from found()  # E004 W005, E003
    for keys in ({"TIMOUT": 1}, {"CACHE": "lokcs"}, {"TASKS": {"tests.*": {"keys": ["zzz"]}}}):
        with once(**keys):
            yield from found()  # E001, E002, E010
    with once(STATUS_POLICY="nowhere.to.be.found"):
        yield from found()  # E015
    for default_timeout in (600, "600"):
        with celery_once({"settings": {"default_timeout": default_timeout}}):
            yield from found()  # W016, E017
    monkeypatch.setattr(app.loader, "import_default_modules", failing_import(OSError()))
    yield from found()  # W013


def test_every_message_has_hint_and_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each id comes with what to do and a place in the README, and its letter is its level."""
    messages = {each.id: each for each in provoked(monkeypatch)}
    numbers = [str(name).removeprefix("django_celery_once.") for name in messages]
    assert sorted(numbers, key=lambda number: number[1:]) == [
        *("E001", "E002", "E003", "E004", "W005", "W006", "W007"),
        *("W008", "W009", "E010", "W011", "E012", "W013", "E015", "W016", "E017"),
    ]
    readme = README.read_text()
    for number, message in zip(numbers, messages.values(), strict=True):
        hint = message.hint or ""
        assert hint.endswith(f" See {number} in the README of django-celery-once.")
        assert len(hint) > len(f" See {number} in the README of django-celery-once.") + 10
        assert f"\n### {number}\n" in readme
        assert "{" not in message.msg.replace("{…}", "")
        assert message.level == (django_checks.ERROR if number[0] == "E" else django_checks.WARNING)


def test_numbers_are_those_of_the_docstrings() -> None:
    """Each check's first words are the id it speaks with, each used once."""
    numbers = [str(check.__doc__).partition(":")[0] for check in checks.CHECKS]
    assert len(set(numbers)) == len(numbers) == 16


def test_e010_stays_after_celery_has_given_up_a_task() -> None:
    """Report a task that could not be defined, although Celery tries it only once."""
    with pytest.raises(ImproperlyConfigured, match="emial"):

        @app.task(base=QueueOnce, name="tests.checks.lost", once={"keys": ["emial"]}, lazy=False,
                  shared=False)  # fmt: skip
        def lost(email: str) -> None: ...

    (message,) = found()
    assert message.id == "django_celery_once.E010"
    assert "tests.checks.lost: once['keys'] names 'emial'" in message.msg


def test_e001_guesses_through_capitals() -> None:
    """Take ``cache`` for ``CACHE``."""
    with once(cache="locks"):
        (message,) = found()
    assert message.msg.endswith("did you mean 'CACHE'?")


def test_w009_knows_a_subclass() -> None:
    """Accept a project's own version of the middleware."""
    databases = {**settings.DATABASES}
    databases["default"] = {**databases["default"], "ATOMIC_REQUESTS": True}
    with override_settings(
        DATABASES=databases, MIDDLEWARE=["tests.test_checks.OwnMiddleware", "no.such.Middleware"]
    ):
        assert ids() == []


class OwnMiddleware(AlreadyQueuedMiddleware):
    """A project's own."""


def test_e012_is_silent_without_a_log() -> None:
    """Want no database for what is not written."""
    with once(LOG=False, LOG_DATABASE="nowhere"):
        assert ids() == []
