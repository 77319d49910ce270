"""The ``once={…}`` of a task, a setting or a call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_celery_once.options import OnceOptions, did_you_mean, read_options


def make_value(*_args: object) -> str:
    return "value"


@pytest.mark.parametrize(
    ("once", "read"),
    [
        ({}, {}),
        ({"keys": ["a", "b"]}, {"keys": ("a", "b")}),
        ({"keys": None}, {"keys": None}),
        ({"keys": []}, {"keys": ()}),
        ({"key": make_value}, {"key": make_value}),
        ({"label": "{month} report"}, {"label": "{month} report"}),
        ({"label": make_value}, {"label": make_value}),
        ({"timeout": 5}, {"timeout": 5}),
        ({"timeout": 0.5}, {"timeout": 0.5}),
        ({"timeout": timedelta(minutes=2)}, {"timeout": 120.0}),
        ({"timeout": None}, {"timeout": None}),
        ({"on_duplicate": "reject"}, {"on_duplicate": "reject"}),
        ({"graceful": True}, {"on_duplicate": "reject"}),
        ({"graceful": False}, {"on_duplicate": "raise"}),
        ({"unlock_before_run": True}, {"until": "started"}),
        ({"unlock_before_run": False}, {"until": "finished"}),
        ({"until": "started"}, {"until": "started"}),
        ({"force": True}, {"force": True}),
        ({"graceful": True, "on_duplicate": "reject"}, {"on_duplicate": "reject"}),
        ({"blocking": True}, {"on_duplicate": "wait"}),
        ({"blocking": False}, {"on_duplicate": "raise"}),
        ({"blocking": True, "graceful": False}, {"on_duplicate": "wait"}),
        ({"blocking": False, "graceful": True}, {"on_duplicate": "reject"}),
        ({"blocking_timeout": 5}, {"blocking_timeout": 5}),
    ],
)
def test_reads(once: dict[str, Any], read: dict[str, Any]) -> None:
    """Good options are read, celery-once's words translated."""
    assert read_options(once) == read


@pytest.mark.parametrize(
    ("once", "kind", "words"),
    [
        (["keys"], TypeError, r"once must be a dictionary of options, not \['keys'\]"),
        ({"keys": "email"}, TypeError, r"once\['keys'\] must be a list of parameter names"),
        ({"keys": 3}, TypeError, r"once\['keys'\] must be a list of parameter names, not 3"),
        ({"keys": ["a", 1]}, TypeError, r"once\['keys'\] must hold parameter names, not 1"),
        ({"keys": "email"}, TypeError, r"parameter names, not 'email'; write \['email'\]"),
        ({"key": "email"}, TypeError, r"must be a callable, not 'email'; did you mean once"),
        ({"key": ["email"]}, TypeError, r"not \['email'\]; did you mean once\['keys'\]\?"),
        ({"key": 5}, TypeError, r"once\['key'\] must be a callable, not 5$"),
        ({"timeout": timedelta(0)}, ValueError, r"once\['timeout'\] must be more than 0 seconds"),
        ({"label": 3}, TypeError, r"once\['label'\] must be a format string or a callable"),
        ({"label": "{month"}, ValueError, r"once\['label'\] is no valid format string"),
        ({"timeout": "60"}, TypeError, r"once\['timeout'\] must be a number of seconds"),
        ({"timeout": True}, TypeError, r"once\['timeout'\] must be a number of seconds"),
        ({"timeout": 0}, ValueError, r"once\['timeout'\] must be more than 0 seconds"),
        ({"timeout": -1}, ValueError, r"once\['timeout'\] must be more than 0 seconds"),
        ({"timeout": float("inf")}, ValueError, r"once\['timeout'\] must be more than 0"),
        ({"timeout": float("nan")}, ValueError, r"once\['timeout'\] must be more than 0"),
        (
            {"on_duplicate": "ignore"},
            ValueError,
            r"must be one of 'raise', 'reject', 'join', 'wait', 'rerun', not 'ignore'",
        ),
        ({"until": ["started"]}, ValueError, r"once\['until'\] must be one of"),
        ({"graceful": 1}, TypeError, r"once\['graceful'\] must be True or False, not 1"),
        ({"unlock_before_run": "yes"}, TypeError, r"\['unlock_before_run'\] must be True or"),
        ({"force": "yes"}, TypeError, r"once\['force'\] must be True or False, not 'yes'"),
        ({"timout": 5}, TypeError, r"once has no option 'timout'; did you mean 'timeout'\?"),
        ({"gracefull": True}, TypeError, r"did you mean 'graceful'\?"),
        ({"zzz": 1}, TypeError, r"once has no option 'zzz'; there are .*keys.*unlock_before_run"),
        ({5: 1}, TypeError, r"once has no option 5; there are"),
    ],
)
def test_refuses(once: Any, kind: type[Exception], words: str) -> None:
    """A wrong option raises an error that names it."""
    with pytest.raises(kind, match=words):
        read_options(once)


@pytest.mark.parametrize(
    ("once", "words"),
    [
        ({"keys": ["a"], "key": make_value}, "exclude each other"),
        ({"graceful": True, "on_duplicate": "raise"}, "contradicts"),
        ({"graceful": True, "blocking": True}, "contradicts"),
        ({"until": "finished", "unlock_before_run": True}, "contradicts"),
    ],
)
def test_refuses_contradictions(once: dict[str, Any], words: str) -> None:
    """Two options that say different things are an error, in whichever order."""
    with pytest.raises(ValueError, match=words):
        read_options(once)
    with pytest.raises(ValueError, match=words):
        read_options(dict(reversed(once.items())))


def test_later_layers_win() -> None:
    """The call beats the settings, and those beat the task."""
    merged = OnceOptions.merge(
        {"timeout": 1, "keys": ["a"], "label": "one"},
        {"timeout": 2, "graceful": True},
        {"timeout": 3, "on_duplicate": "raise"},
    )
    assert merged == OnceOptions(keys=("a",), timeout=3, label="one", on_duplicate="raise")


@pytest.mark.parametrize(
    ("task", "call", "expected"),
    [
        ({"keys": ["a"]}, {"key": make_value}, (None, make_value)),
        ({"key": make_value}, {"keys": ["a"]}, (("a",), None)),
        ({"keys": ["a"]}, {"keys": None}, (None, None)),
    ],
)
def test_key_and_keys_replace_each_other(
    task: dict[str, Any],
    call: dict[str, Any],
    expected: tuple[tuple[str, ...] | None, Callable[..., object] | None],
) -> None:
    """A later layer's way to make the key replaces an earlier layer's other way."""
    merged = OnceOptions.merge(task, call)
    assert (merged.keys, merged.key) == expected


def test_merge_leaves_its_layers_alone() -> None:
    """Merging changes none of the dictionaries."""
    task = {"keys": ["a"]}
    OnceOptions.merge(task, {"key": make_value})
    assert task == {"keys": ["a"]}


def test_did_you_mean() -> None:
    """A near miss gets a suggestion, anything else the sorted list."""
    assert did_you_mean("LAESE", ["LEASE", "CACHE"]) == "; did you mean 'LEASE'?"
    assert did_you_mean("x", ["b", "a"]) == "; there are a, b"


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{"until": "expired"}], r"\['until'\] = 'expired' needs once\['timeout'\]"),
        ([{"timeout": 5, "until": "expired"}, {"timeout": None}], "needs"),
        ([{"release_on_failure": True}], r"needs once\['until'\] = 'expired'"),
        ([{"until": "started", "release_on_failure": True}], "a failure frees the key anyway"),
        ([{"until": "running", "on_duplicate": "reject"}], "none is a duplicate"),
        ([{"until": "running"}, {"on_duplicate": "rerun"}], "none is a duplicate"),
        ([{"until": "started", "on_duplicate": "rerun"}], "does not end with the run"),
        ([{"until": "expired", "timeout": 5}, {"on_duplicate": "rerun"}], "leave out 'until'"),
    ],
)
def test_options_that_make_no_sense_together(layers: list[dict[str, Any]], words: str) -> None:
    """Say what to write instead."""
    with pytest.raises(ValueError, match=words):
        OnceOptions.merge(*layers)


def test_options_of_several_layers_complete_each_other() -> None:
    """Ask of all of them together what they need."""
    merged = OnceOptions.merge({"timeout": 5}, {"until": "expired"}, {"release_on_failure": True})
    assert (merged.timeout, merged.until, merged.release_on_failure) == (5, "expired", True)
