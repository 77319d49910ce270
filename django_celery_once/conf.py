"""The setting ``DJANGO_CELERY_ONCE``, typed and read at every access."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from django_celery_once.options import (
    OnDuplicate,
    check_alias,
    check_bool,
    check_choice,
    check_seconds,
    did_you_mean,
    read_standing_options,
)

NAME = "DJANGO_CELERY_ONCE"

#: The shortest ``LEASE``, in seconds.
MIN_LEASE = 1

LogArguments = Literal["none", "keys", "all"]

_NOTHING: dict[str, Any] = {}


class Conf:
    """One property for each key of the setting.

    Each raises ``ImproperlyConfigured``, naming the key, when its value can't be used.
    """

    def __init__(self) -> None:
        #: For each key, the value that was checked last and what it stands for.
        self._checked: dict[str, tuple[object, Any]] = {}

    @property
    def cache(self) -> str:
        """Return the alias in ``CACHES`` that holds the locks of tasks without one of their own."""
        return str(self._get("CACHE"))

    @property
    def timeout(self) -> float:
        """Return the seconds a lock may stay with a task that no worker runs."""
        return float(self._get("TIMEOUT"))

    @property
    def lease(self) -> float:
        """Return the seconds a running task's lock outlives the last sign of its worker."""
        return float(self._get("LEASE"))

    @property
    def reserve(self) -> float:
        """Return the seconds a claim waits for its transaction to commit."""
        return float(self._get("RESERVE"))

    @property
    def on_duplicate(self) -> OnDuplicate:
        """Return what a duplicate gets where neither the task nor the call says so."""
        return cast("OnDuplicate", self._get("ON_DUPLICATE"))

    @property
    def enqueue_on_cache_error(self) -> bool:
        """Return whether a task is queued without a lock while the cache can't be reached."""
        return bool(self._get("ON_CACHE_ERROR") == "enqueue")

    @property
    def enabled(self) -> bool:
        """Return whether tasks are guarded at all."""
        return bool(self._get("ENABLED"))

    @property
    def log(self) -> bool:
        """Return whether blocked duplicates are written to the database."""
        return bool(self._get("LOG"))

    @property
    def log_database(self) -> str:
        """Return the alias in ``DATABASES`` that the blocked duplicates are written to."""
        return str(self._get("LOG_DATABASE"))

    @property
    def log_arguments(self) -> LogArguments:
        """Return which arguments of refused calls are written to the database."""
        return cast("LogArguments", self._get("LOG_ARGUMENTS"))

    @property
    def log_retention_days(self) -> float:
        """Return the days after which blocked duplicates may be pruned."""
        return float(self._get("LOG_RETENTION_DAYS"))

    @property
    def status_policy(self) -> str:
        """Return the dotted path of who may see how a call stands, and where its result is."""
        return str(self._get("STATUS_POLICY"))

    def has(self, key: str) -> bool:
        """Return whether the setting has ``key``, so that its default does not hold."""
        return key in _given()

    def named_tasks(self) -> list[str]:
        """Return the names and prefixes that ``TASKS`` has options for."""
        return list(self._get("TASKS"))

    def task_options(self, task_name: str) -> Mapping[str, Any]:
        """Return the ``once`` options that ``TASKS`` sets for a task.

        A full name beats a prefix (``"reports.*"``), a longer prefix beats a shorter one.
        """
        tasks = self._get("TASKS")
        if not tasks:
            return {}
        if task_name in tasks:
            return cast("Mapping[str, Any]", tasks[task_name])
        prefixes = [
            name for name in tasks if name.endswith("*") and task_name.startswith(name[:-1])
        ]
        return tasks[max(prefixes, key=len)] if prefixes else {}

    def _get(self, key: str) -> Any:
        default, check = KEYS[key]
        given = _given()
        if key not in given:
            return default
        value = given[key]
        known = self._checked.get(key)
        if known is not None and known[0] is value:
            return known[1]
        try:
            checked = check(f"{NAME}[{key!r}]", value)
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(str(error)) from None
        self._checked[key] = (value, checked)
        return checked


def problems() -> list[tuple[str, str]]:
    """Return (key, what is wrong with it) for every unknown or mistyped key."""
    try:
        given = _given()
    except ImproperlyConfigured as error:
        return [("", str(error))]
    found = []
    for key, value in given.items():
        if key not in KEYS:
            found.append((key, f"{NAME} has no key {key!r}{did_you_mean(key, list(KEYS))}"))
            continue
        try:
            KEYS[key][1](f"{NAME}[{key!r}]", value)
        except (TypeError, ValueError) as error:
            found.append((key, str(error)))
    return found


def _given() -> Mapping[str, Any]:
    given = getattr(settings, NAME, _NOTHING)
    if type(given) is not dict and not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"{NAME} must be a dictionary, not {given!r}")
    return given


def _check_path(name: str, value: object) -> str:
    if not isinstance(value, str) or "." not in value:
        raise TypeError(f"{name} must be the dotted path of a class, not {value!r}")
    return value


def _check_tasks(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must map task names to once options, not {value!r}")
    for task_name, once in value.items():
        if not isinstance(task_name, str):
            raise TypeError(f"{name} must map task names, not {task_name!r}")
        try:
            read_standing_options(once)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}[{task_name!r}]: {error}") from None
    return value


def _check_lease(name: str, value: object) -> float:
    seconds = check_seconds(name, value)
    if seconds < MIN_LEASE:
        raise ValueError(
            f"{name} must be at least {MIN_LEASE} second, not {value!r}: a worker renews its locks "
            "several times in it, and one that is late loses them"
        )
    return seconds


def _check_days(name: str, value: object) -> float:
    if isinstance(value, dt.timedelta):
        value = value / dt.timedelta(days=1)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of days or a timedelta, not {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be more than 0 days, not {value!r}")
    return value


KEYS: dict[str, tuple[object, Callable[[str, object], Any]]] = {
    "CACHE": ("default", check_alias),
    "TIMEOUT": (3600, check_seconds),
    "LEASE": (60, _check_lease),
    "RESERVE": (60, check_seconds),
    "ON_DUPLICATE": (
        "raise",
        lambda name, value: check_choice(name, value, get_args(OnDuplicate)),
    ),
    "ON_CACHE_ERROR": (
        "raise",
        lambda name, value: check_choice(name, value, ("raise", "enqueue")),
    ),
    "TASKS": ({}, _check_tasks),
    "ENABLED": (True, check_bool),
    "LOG": (True, check_bool),
    "LOG_ARGUMENTS": (
        "none",
        lambda name, value: check_choice(name, value, get_args(LogArguments)),
    ),
    "LOG_DATABASE": ("default", check_alias),
    "LOG_RETENTION_DAYS": (30, _check_days),
    "STATUS_POLICY": ("django_celery_once.status.StatusPolicy", _check_path),
}

conf = Conf()
