"""The ``once={…}`` of a task, a setting or a call: read, checked, merged."""

from __future__ import annotations

import datetime as dt
import string
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args

from django_celery_once.record import record

OnDuplicate = Literal["raise", "reject", "join", "wait", "rerun"]
Until = Literal["finished", "started", "running", "expired"]

#: How long a call waits for its key where it is not told, in seconds.
BLOCKING_TIMEOUT = 10.0
#: celery-once's words, and what they say here.
_FLAGS: dict[str, dict[bool, tuple[str, str]]] = {
    "graceful": {True: ("on_duplicate", "reject"), False: ("on_duplicate", "raise")},
    "blocking": {True: ("on_duplicate", "wait"), False: ("on_duplicate", "raise")},
    "unlock_before_run": {True: ("until", "started"), False: ("until", "finished")},
}
#: Those of them that say what a duplicate gets.
_ANSWERS = ("graceful", "blocking")


@record
class OnceOptions:
    """What holds for one call of a task.

    ``keys`` are the parameters the key is made of (``None``: all of them), ``key`` a callable
    that gets the call's arguments and returns the value to make the key of, ``label`` a format
    string over the arguments or a callable. ``timeout`` is in seconds (``None``: the setting),
    ``on_duplicate`` likewise; where it is ``"wait"``, a call waits ``blocking_timeout`` seconds
    for its key. ``release_on_failure`` frees a key that is kept until it has ``"expired"`` when
    its run fails. ``cache`` is the alias in ``CACHES`` that holds the locks (``None``: the
    setting). ``force`` queues the call without asking for the lock.
    """

    keys: tuple[str, ...] | None = None
    key: Callable[..., object] | None = None
    label: str | Callable[..., object] | None = None
    timeout: float | None = None
    on_duplicate: OnDuplicate | None = None
    blocking_timeout: float = BLOCKING_TIMEOUT
    until: Until = "finished"
    release_on_failure: bool = False
    cache: str | None = None
    force: bool = False

    @classmethod
    def merge(cls, *layers: Mapping[str, Any]) -> OnceOptions:
        """Return the options of several dictionaries, later ones winning."""
        merged = combine(*layers)
        check_combination(merged)
        return cls(**merged)


def combine(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what several dictionaries say together, later ones winning, as ``read_options``."""
    combined: dict[str, Any] = {}
    for layer in layers:
        given = read_options(layer)
        if "keys" in given or "key" in given:
            combined.pop("keys", None)
            combined.pop("key", None)
        combined.update(given)
    return combined


def check_combination(options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for checked options that make no sense together."""
    until, answer = options.get("until"), options.get("on_duplicate")
    if until == "running" and answer is not None:
        raise ValueError(
            f"once['on_duplicate'] = {answer!r} has no place beside once['until'] = 'running': all "
            "calls are queued and run one at a time, none is a duplicate"
        )
    if answer == "rerun" and until in {"started", "expired"}:
        raise ValueError(
            f"once['on_duplicate'] = 'rerun' has no place beside once['until'] = {until!r}, which "
            "does not end with the run; leave out 'until'"
        )
    if until == "expired":
        if options.get("timeout") is None:
            raise ValueError(
                "once['until'] = 'expired' needs once['timeout'], the seconds in which the task "
                "runs at most once"
            )
    elif options.get("release_on_failure"):
        raise ValueError(
            "once['release_on_failure'] needs once['until'] = 'expired'; otherwise a failure "
            "frees the key anyway"
        )


def read_options(once: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked options of one dictionary, celery-once's words translated.

    Raise ``TypeError`` for an unknown option or a value of the wrong type, ``ValueError`` for
    one out of range or two that contradict each other. The message names the option.
    """
    if not isinstance(once, Mapping):
        raise TypeError(f"once must be a dictionary of options, not {once!r}")
    options: dict[str, Any] = {}
    for name, value in once.items():
        if name in _ANSWERS and value is False and any(once.get(each) is True for each in _ANSWERS):
            continue  # the other of the two says what to do instead
        option, checked = _read_option(name, value)
        if options.setdefault(option, checked) != checked:
            raise ValueError(f"once[{name!r}] contradicts once[{option!r}]; keep one of the two")
    if options.get("keys") is not None and options.get("key") is not None:
        raise ValueError("once['keys'] and once['key'] exclude each other; keep one of the two")
    return options


def _read_option(name: str, value: object) -> tuple[str, Any]:
    if name in _FLAGS:
        if not isinstance(value, bool):
            raise TypeError(f"once[{name!r}] must be True or False, not {value!r}")
        return _FLAGS[name][value]
    if name not in OPTIONS:
        raise TypeError(f"once has no option {name!r}{did_you_mean(name, [*OPTIONS, *_FLAGS])}")
    return name, OPTIONS[name](f"once[{name!r}]", value)


def read_standing_options(once: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``read_options`` of a task or setting; raise ``ValueError`` for a call's own."""
    options = read_options(once)
    if "force" in options:
        raise ValueError("once['force'] is for one call only: apply_async(once={'force': True})")
    return options


def did_you_mean(name: object, known: list[str]) -> str:
    """Return ``; did you mean 'x'?`` for a near miss, else the list of what there is."""
    folded = {each.casefold(): each for each in known}
    close = get_close_matches(str(name).casefold(), folded, n=1)
    if close:
        return f"; did you mean {folded[close[0]]!r}?"
    return f"; there are {', '.join(sorted(known))}"


def check_seconds(name: str, value: object) -> float:
    """Return ``value``, a positive number of seconds or a ``timedelta``, in seconds.

    Raise an error that says ``name``.
    """
    if isinstance(value, dt.timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds or a timedelta, not {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be more than 0 seconds, not {value!r}")
    return value


def check_bool(name: str, value: object) -> bool:
    """Return ``value``, a truth value; raise an error that says ``name``."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def check_alias(name: str, value: object) -> str:
    """Return ``value``, which may be an alias; raise an error that says ``name``."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be the name of an alias, not {value!r}")
    return value


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Return ``value``, one of ``choices``; raise an error that says ``name``."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {listed}, not {value!r}")
    return str(value)


def _check_keys(name: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        meant = f"; write [{value!r}]" if isinstance(value, str) else ""
        raise TypeError(f"{name} must be a list of parameter names, not {value!r}{meant}")
    wrong = [item for item in value if not isinstance(item, str)]
    if wrong:
        raise TypeError(f"{name} must hold parameter names, not {wrong[0]!r}")
    return tuple(value)


def _check_callable(name: str, value: object) -> Callable[..., object] | None:
    if value is not None and not callable(value):
        meant = "; did you mean once['keys']?" if isinstance(value, str | list | tuple) else ""
        raise TypeError(f"{name} must be a callable, not {value!r}{meant}")
    return value


def _check_label(name: str, value: object) -> str | Callable[..., object] | None:
    if value is None or callable(value):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a format string or a callable, not {value!r}")
    try:
        list(string.Formatter().parse(value))
    except ValueError as error:
        raise ValueError(f"{name} is no valid format string: {error}") from None
    return value


def _check_timeout(name: str, value: object) -> float | None:
    return None if value is None else check_seconds(name, value)


def _check_on_duplicate(name: str, value: object) -> str | None:
    return None if value is None else check_choice(name, value, get_args(OnDuplicate))


OPTIONS: dict[str, Callable[[str, object], Any]] = {
    "keys": _check_keys,
    "key": _check_callable,
    "label": _check_label,
    "timeout": _check_timeout,
    "on_duplicate": _check_on_duplicate,
    "blocking_timeout": check_seconds,
    "until": lambda name, value: check_choice(name, value, get_args(Until)),
    "release_on_failure": check_bool,
    "cache": lambda name, value: None if value is None else check_alias(name, value),
    "force": check_bool,
}
