"""What a worker says at its start of a set-up that is wrong."""

from __future__ import annotations

import pytest
from django.test import override_settings

from django_celery_once import watch
from tests.configurations import once


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Collect what the worker logs of it."""
    caplog.set_level("DEBUG", "django_celery_once.watch")
    return caplog


def test_a_sound_setup_is_not_worth_a_word(logged: pytest.LogCaptureFixture) -> None:
    """Nothing is logged, whatever the checks of others say."""
    watch.report_problems()
    assert not logged.records


@pytest.mark.parametrize(
    ("keys", "number", "words"),
    [
        ({"LEAES": 3}, "E001", "DJANGO_CELERY_ONCE has no key 'LEAES'; did you mean 'LEASE'?"),
        ({"CACHE": "gone"}, "E002", "'gone'"),
    ],
)
def test_an_error_is_logged(
    logged: pytest.LogCaptureFixture, keys: dict[str, object], number: str, words: str
) -> None:
    """With its id, what is wrong, what to write and where to read on."""
    with once(**keys):
        watch.report_problems()
    [record] = logged.records
    said = record.getMessage()
    assert record.levelname == "ERROR"
    assert said.startswith(f"The worker starts with a wrong set-up (django_celery_once.{number}): ")
    assert words in said
    assert said.endswith(f"See {number} in the README of django-celery-once.")


def test_a_warning_is_for_the_developer(logged: pytest.LogCaptureFixture) -> None:
    """``manage.py check`` says it; a worker that starts every night does not."""
    with once(ENABLED=False):
        watch.report_problems()
    assert not logged.records


def test_what_was_silenced_stays_silent(logged: pytest.LogCaptureFixture) -> None:
    """``SILENCED_SYSTEM_CHECKS`` holds here, too."""
    with once(LEAES=3), override_settings(SILENCED_SYSTEM_CHECKS=["django_celery_once.E001"]):
        watch.report_problems()
    assert not logged.records


def test_checks_that_celery_is_to_skip_are_skipped(
    logged: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``CELERY_SKIP_CHECKS`` holds for these as for all others."""
    monkeypatch.setenv("CELERY_SKIP_CHECKS", "1")
    with once(LEAES=3):
        watch.report_problems()
    assert not logged.records
