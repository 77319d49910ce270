"""Checks of what celery-once has left on the Celery app."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_celery_once.celery_apps import apps
from django_celery_once.checks.messages import Message, message
from django_celery_once.conf import NAME, conf
from django_celery_once.predecessor import (
    DEFAULT_TIMEOUT,
    OLDER,
    ONCE,
    inherited_timeout,
    settings_of,
)

_CACHE = f"a cache in CACHES, named in {NAME}['CACHE']"
_TIMEOUT = f"{NAME}['TIMEOUT']"
#: What to write for each key of celery-once's.
INSTEAD = {
    DEFAULT_TIMEOUT: _TIMEOUT,
    "ONCE_DEFAULT_TIMEOUT": _TIMEOUT,
    "backend": _CACHE,
    "url": _CACHE,
    "location": _CACHE,
    "ONCE_REDIS_URL": _CACHE,
    "blocking": f"{NAME}['ON_DUPLICATE'] = 'wait'",
    "blocking_timeout": f"the option blocking_timeout of a task, or of all in {NAME}['TASKS']['*']",
}


def check_celery_once(**_kwargs: Any) -> Iterator[Message]:
    """W016: the Celery app is still configured for celery-once."""
    for celery in _celery_confs():
        left = _left_keys(celery)
        if left:
            yield _left(celery, left)


def _left(celery: Mapping[str, Any], left: list[str]) -> Message:
    counts = _inherited(celery)
    idle = [key for key in left if counts is None or key != DEFAULT_TIMEOUT]
    told = []
    if counts is not None:
        told.append(f"its {DEFAULT_TIMEOUT} ({counts:g}) counts, since {_TIMEOUT} is missing")
    if idle:
        told.append(f"without effect: {', '.join(idle)}")
    return message(
        checks.Warning,
        "W016",
        f"The Celery app has the setting {ONCE} of celery-once; {'; '.join(told)}.",
        f"{_instead(left)} Then remove {ONCE}, or silence this while celery-once needs it.",
    )


def check_default_timeout(**_kwargs: Any) -> Iterator[Message]:
    """E017: celery-once's default_timeout would count, but can't be used."""
    if conf.has("TIMEOUT"):
        return
    for celery in _celery_confs():
        try:
            inherited_timeout(celery)
        except ImproperlyConfigured as error:
            yield message(checks.Error, "E017", f"{error}.", f"{_TIMEOUT} is in seconds.")


def _celery_confs() -> Iterator[Mapping[str, Any]]:
    for app in apps():
        try:
            app.conf.get(ONCE)  # reads it, where nothing has yet
        except Exception:  # noqa: S112
            continue  # W013 says so
        yield app.conf


def _inherited(celery: Mapping[str, Any]) -> float | None:
    try:
        return inherited_timeout(celery)
    except ImproperlyConfigured:
        return None  # E017 says so


def _left_keys(celery: Mapping[str, Any]) -> list[str]:
    """Return the keys of celery-once's that say anything, in order."""
    once, settings = celery.get(ONCE), settings_of(celery)
    waits = settings.get("blocking")
    keys = {str(key) for key in settings if waits or key not in {"blocking", "blocking_timeout"}}
    if isinstance(once, Mapping) and "backend" in once:
        keys.add("backend")
    return sorted(keys | {key for key in OLDER if celery.get(key) is not None})


def _instead(keys: list[str]) -> str:
    """Return a sentence for each thing to write instead of some of the keys."""
    olds: dict[str, list[str]] = {}
    for key in keys:
        if key in INSTEAD:
            olds.setdefault(INSTEAD[key], []).append(key)
    return " ".join(f"Instead of {' and '.join(old)} write {new}." for new, old in olds.items())
