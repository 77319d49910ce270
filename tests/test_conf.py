"""The setting ``DJANGO_CELERY_ONCE``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_celery_once.conf import KEYS, conf, problems

LATE = "a worker renews its locks several times in it, and one that is late loses them"


def once(**keys: Any) -> override_settings:
    """Return settings with these keys."""
    return override_settings(DJANGO_CELERY_ONCE=keys)


def read(key: str) -> object:
    """Return what the package sees of a key."""
    if key == "TASKS":
        return conf.task_options("a.b")
    names = {"ON_CACHE_ERROR": "enqueue_on_cache_error"}
    value: object = getattr(conf, names.get(key, key.lower()))
    return value


def test_defaults() -> None:
    """Nothing has to be set."""
    with once():
        assert problems() == []
        assert conf.cache == "default"
        assert conf.timeout == 3600
        assert conf.lease == 60
        assert conf.reserve == 60
        assert conf.on_duplicate == "raise"
        assert conf.enqueue_on_cache_error is False
        assert conf.task_options("reports.send") == {}
        assert conf.enabled is True
        assert conf.log is True
        assert conf.log_database == "default"


def test_the_setting_may_be_missing(settings: Any) -> None:
    """Without the setting, the defaults hold."""
    del settings.DJANGO_CELERY_ONCE
    assert conf.cache == "default"
    assert problems() == []


def test_overrides_are_seen_at_once() -> None:
    """Every access reads the settings of now."""
    with once(TIMEOUT=5):
        assert conf.timeout == 5
        with once(TIMEOUT=6, ON_CACHE_ERROR="enqueue"):
            assert conf.timeout == 6
            assert conf.enqueue_on_cache_error is True
        assert conf.timeout == 5
        assert conf.enqueue_on_cache_error is False


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("CACHE", None, "['CACHE'] must be the name of an alias, not None"),
        ("CACHE", "", "['CACHE'] must be the name of an alias, not ''"),
        ("TIMEOUT", "60", "['TIMEOUT'] must be a number of seconds or a timedelta, not '60'"),
        ("TIMEOUT", False, "['TIMEOUT'] must be a number of seconds or a timedelta, not False"),
        ("TIMEOUT", 0, "['TIMEOUT'] must be more than 0 seconds, not 0"),
        ("LEASE", 0.1, f"['LEASE'] must be at least 1 second, not 0.1: {LATE}"),
        ("LEASE", -1, "['LEASE'] must be more than 0 seconds, not -1"),
        (
            "ON_DUPLICATE",
            "drop",
            "['ON_DUPLICATE'] must be one of 'raise', 'reject', 'join', 'wait', 'rerun', "
            "not 'drop'",
        ),
        (
            "ON_DUPLICATE",
            None,
            "['ON_DUPLICATE'] must be one of 'raise', 'reject', 'join', 'wait', 'rerun', not None",
        ),
        ("ON_CACHE_ERROR", True, "['ON_CACHE_ERROR'] must be one of 'raise', 'enqueue', not True"),
        ("ENABLED", "no", "['ENABLED'] must be True or False, not 'no'"),
        ("LOG", 1, "['LOG'] must be True or False, not 1"),
        ("LOG_DATABASE", 1, "['LOG_DATABASE'] must be the name of an alias, not 1"),
        ("TASKS", [], "['TASKS'] must map task names to once options, not []"),
        ("TASKS", {1: {}}, "['TASKS'] must map task names, not 1"),
        ("TASKS", {"a.b": 5}, "['TASKS']['a.b']: once must be a dictionary of options, not 5"),
        (
            "TASKS",
            {"a.b": {"timout": 5}},
            "['TASKS']['a.b']: once has no option 'timout'; did you mean 'timeout'?",
        ),
    ],
)
def test_wrong_values(key: str, value: object, words: str) -> None:
    """A wrong value is a problem with a sentence, and an error where it is read."""
    with once(**{key: value}):
        assert problems() == [(key, f"DJANGO_CELERY_ONCE{words}")]
        with pytest.raises(ImproperlyConfigured) as error:
            read(key)
        assert str(error.value) == f"DJANGO_CELERY_ONCE{words}"


@pytest.mark.parametrize(
    ("key", "read", "expected"),
    [
        ("TIMEOUT", "timeout", 5400.0),
        ("LEASE", "lease", 5400.0),
        ("RESERVE", "reserve", 5400.0),
        ("LOG_RETENTION_DAYS", "log_retention_days", 0.0625),
    ],
)
def test_a_time_may_be_a_timedelta(key: str, read: str, expected: float) -> None:
    """Take it for its seconds, or its days."""
    with once(**{key: timedelta(hours=1.5)}):
        assert getattr(conf, read) == expected
        assert problems() == []


def test_unknown_key_gets_a_suggestion() -> None:
    """A misspelt key is told with the nearest one."""
    with once(TIMOUT=5):
        assert problems() == [
            ("TIMOUT", "DJANGO_CELERY_ONCE has no key 'TIMOUT'; did you mean 'TIMEOUT'?")
        ]


def test_unknown_key_gets_the_list() -> None:
    """A key that resembles none is told with all there are."""
    with once(zzz=5):
        ((key, words),) = problems()
        assert key == "zzz"
        assert words.endswith("; there are " + ", ".join(sorted(KEYS)))


def test_several_problems_are_all_told() -> None:
    """One problem does not hide the next."""
    with once(LOG=1, TIMEOUT=0, LAESE=60):
        assert [key for key, _words in problems()] == ["LOG", "TIMEOUT", "LAESE"]


@pytest.mark.parametrize("value", [None, 5, ["CACHE"], "locks"])
def test_no_dictionary(value: object) -> None:
    """A setting that is no dictionary is one problem."""
    with override_settings(DJANGO_CELERY_ONCE=value):
        ((_key, words),) = problems()
        assert words == f"DJANGO_CELERY_ONCE must be a dictionary, not {value!r}"
        with pytest.raises(ImproperlyConfigured):
            conf.cache  # noqa: B018


@pytest.mark.parametrize(
    ("task", "timeout"),
    [
        ("reports.pdf.send", 4),
        ("reports.pdf.make", 3),
        ("reports.csv", 2),
        ("other", 1),
    ],
)
def test_the_most_precise_name_wins(task: str, timeout: int) -> None:
    """A full name beats a prefix, a longer prefix a shorter one."""
    tasks = {
        "*": {"timeout": 1},
        "reports.*": {"timeout": 2},
        "reports.pdf.*": {"timeout": 3},
        "reports.pdf.send": {"timeout": 4},
    }
    with once(TASKS=tasks):
        assert conf.task_options(task) == {"timeout": timeout}
    with once(TASKS=dict(reversed(tasks.items()))):
        assert conf.task_options(task) == {"timeout": timeout}


def test_a_name_without_a_star_is_no_prefix() -> None:
    """``reports`` says nothing about ``reports.send``."""
    with once(TASKS={"reports": {"timeout": 2}}):
        assert conf.task_options("reports.send") == {}
