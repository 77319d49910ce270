"""What the checks say where celery-once's configuration is left on the Celery app."""

from __future__ import annotations

import pytest
from celery import Celery

from django_celery_once.checks import predecessor
from tests.configurations import celery_once, found, ids, once

REDIS = {"url": "redis://127.0.0.1:1/0"}


def test_w016_what_counts_and_what_to_write_instead() -> None:
    """Name the one setting that counts, those that do not, and their successors."""
    settings = {**REDIS, "default_timeout": 600, "blocking": True, "blocking_timeout": 30}
    with celery_once({"backend": "celery_once.backends.Redis", "settings": settings}):
        (message,) = found()
    assert message.id == "django_celery_once.W016"
    assert message.msg == (
        "The Celery app has the setting ONCE of celery-once; its default_timeout (600) counts, "
        "since DJANGO_CELERY_ONCE['TIMEOUT'] is missing; without effect: backend, blocking, "
        "blocking_timeout, url."
    )
    hint = message.hint or ""
    assert "Instead of default_timeout write DJANGO_CELERY_ONCE['TIMEOUT']." in hint
    assert "Instead of backend and url write a cache in CACHES, named in" in hint
    assert "Instead of blocking write DJANGO_CELERY_ONCE['ON_DUPLICATE'] = 'wait'." in hint
    assert "Instead of blocking_timeout write the option blocking_timeout of a task" in hint


def test_w016_once_the_timeout_is_set() -> None:
    """Say that nothing counts any more."""
    with once(TIMEOUT=60), celery_once({"settings": {**REDIS, "default_timeout": 600}}):
        (message,) = found()
    assert message.id == "django_celery_once.W016"
    assert message.msg.endswith("of celery-once; without effect: default_timeout, url.")


def test_w016_only_the_timeout() -> None:
    """List nothing where nothing is without effect."""
    with celery_once({"settings": {"default_timeout": 600}}):
        (message,) = found()
    assert message.msg.endswith("['TIMEOUT'] is missing.")


def test_w016_names_of_long_ago() -> None:
    """Tell of those that celery-once's own README still has, though nothing reads them."""
    with celery_once({}, ONCE_DEFAULT_TIMEOUT=60, ONCE_REDIS_URL="redis://127.0.0.1:1/0"):
        (message,) = found()
    assert message.msg.endswith("without effect: ONCE_DEFAULT_TIMEOUT, ONCE_REDIS_URL.")
    assert "Instead of ONCE_DEFAULT_TIMEOUT write DJANGO_CELERY_ONCE['TIMEOUT']." in str(
        message.hint
    )


@pytest.mark.parametrize("own", [{"settings": {"shard": 1}}, {"backend": "own.Backend"}])
def test_w016_a_backend_of_ones_own(own: dict[str, object]) -> None:
    """Name also what no backend of celery-once's knows."""
    with celery_once(own):
        assert ids() == ["W016"]


@pytest.mark.parametrize(
    "once",
    [
        None,
        "once",
        {},
        {"settings": None},
        {"settings": {"blocking": False, "blocking_timeout": 1}},
    ],
)
def test_what_says_nothing_is_not_told(once: object) -> None:
    """Be silent about a setting of somebody else's, and about defaults."""
    with celery_once(once):
        assert ids() == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("600", "a number of seconds or a timedelta, not '600'"),
        (0, "more than 0 seconds, not 0"),
        (None, "None"),
    ],
)
def test_e017_a_default_timeout_that_can_not_be(value: object, words: str) -> None:
    """Find what every call would raise; say nothing of it where it does not count."""
    with celery_once({"settings": {"default_timeout": value}}):
        error, warning = sorted(found(), key=lambda each: str(each.id))
        assert (error.id, warning.id) == ("django_celery_once.E017", "django_celery_once.W016")
        assert error.msg.startswith("ONCE['settings']['default_timeout'] of the Celery app must be")
        assert words in error.msg
        with once(TIMEOUT=60):
            assert ids() == ["W016"]


def test_a_celery_app_that_can_not_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave it to W013."""

    broken = Celery("broken", set_as_current=False)
    broken.config_from_object("shop.nowhere")
    monkeypatch.setattr(predecessor, "apps", lambda: [broken])
    assert ids() == []
