"""celery-once's configuration on the Celery app, as far as it still counts.

celery-once 3.0 reads ``app.conf.ONCE``, which names a ``backend`` and its ``settings``
(https://github.com/cameronmaske/celery-once). Of these, ``default_timeout`` stands in for the
setting ``TIMEOUT`` until that is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from django_celery_once.conf import NAME, conf
from django_celery_once.options import OnceOptions, check_seconds

ONCE = "ONCE"
DEFAULT_TIMEOUT = "default_timeout"
#: The configuration asked last, what was seen of its changes, and what it said.
_known: tuple[Any, Any, Any] = (None, None, None)
#: Of celery-once before 1.0. The README of 3.0 names the first still, but nothing reads it.
OLDER = ("ONCE_DEFAULT_TIMEOUT", "ONCE_REDIS_URL")


def inherit(asked: OnceOptions, celery_conf: Mapping[str, Any]) -> OnceOptions:
    """Return the options of a call, with the time-out that stands in where they have none.

    ``celery_conf`` is the configuration of the task's Celery app. Raise as
    ``inherited_timeout`` does.
    """
    if asked.timeout is not None:
        return asked
    seconds = inherited_timeout(celery_conf)
    return asked if seconds is None else replace(asked, timeout=seconds)


def inherited_timeout(celery_conf: Mapping[str, Any]) -> float | None:
    """Return the seconds that stand in for ``TIMEOUT``; ``None`` where that is set, or none do.

    Raise ``ImproperlyConfigured``, naming the setting, for a value that can't be used.
    """
    if conf.has("TIMEOUT"):
        return None
    settings = settings_of(celery_conf)
    if DEFAULT_TIMEOUT not in settings:
        return None
    name = f"{ONCE}['settings']['{DEFAULT_TIMEOUT}'] of the Celery app"
    try:
        return check_seconds(name, settings[DEFAULT_TIMEOUT])
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"{error}; write {NAME}['TIMEOUT'] instead") from None


def _once_of(celery_conf: Mapping[str, Any]) -> Any:
    """Look it up, which takes Celery its time, only where it may have changed."""
    global _known
    changes = getattr(celery_conf, "changes", None)
    if not isinstance(changes, dict):
        return celery_conf.get(ONCE)
    state = (len(changes), changes.get(ONCE), len(getattr(celery_conf, "maps", ())))
    if _known[0] is not celery_conf or _known[1] != state:
        _known = (celery_conf, state, celery_conf.get(ONCE))
    return _known[2]


def settings_of(celery_conf: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of celery-once's backend, empty where it is not configured."""
    once = _once_of(celery_conf)
    settings = once.get("settings") if isinstance(once, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}
