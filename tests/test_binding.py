"""A call's arguments, all of them or some, and the key and label that they make."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_celery_once.binding import bind, key_of_call, label_of_call
from django_celery_once.options import OnceOptions
from tests.guarded_tasks import Report

TASK = Report()  # (email, month="May")


def test_defaults_are_applied() -> None:
    """Bind alike what means the same."""
    assert bind(TASK, ("a",), None).arguments == {"email": "a", "month": "May"}
    assert bind(TASK, None, {"email": "a", "month": "May"}) == bind(TASK, ["a"], {})


def unnamed(a: object, /, b: object = 2) -> None: ...
def named_only(a: object, *, b: object, c: object = 3) -> None: ...
def two(a: object, b: object = 2) -> None: ...
def open_ended(a: object, *rest: object, b: object = 2, **more: object) -> None: ...


@pytest.mark.parametrize("body", [unnamed, named_only, two, open_ended])
@given(
    args=st.lists(st.integers(), max_size=4),
    kwargs=st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(), max_size=4),
)
def test_binds_as_python_does(
    body: Callable[..., None], args: list[int], kwargs: dict[str, int]
) -> None:
    """Take and refuse what the signature does, whichever way it is bound."""
    task: Any = type("Task", (), {"run": staticmethod(body), "name": "t"})()
    signature = inspect.signature(body)
    try:
        expected = signature.bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError, match=r"^t: "):
            bind(task, args, kwargs)
        return
    expected.apply_defaults()
    found = bind(task, args, kwargs)
    assert found == expected
    assert (found.args, found.kwargs) == (expected.args, expected.kwargs)


def test_some_arguments_may_be_missing() -> None:
    """Leave out what is not given and has no default, and take nothing that does not fit."""
    assert bind(TASK, (), {"month": "June"}, partly=True).arguments == {"month": "June"}
    with pytest.raises(TypeError, match=r"tests\.task\.Report: missing .*'email'"):
        bind(TASK, (), {"month": "June"})
    with pytest.raises(TypeError, match=r"tests\.task\.Report: .*'nothing'"):
        bind(TASK, (), {"nothing": 1}, partly=True)


def test_a_part_makes_the_key_of_the_whole() -> None:
    """Need only the arguments that the options name."""
    asked = OnceOptions(keys=("month",))
    whole, part = bind(TASK, ("a", "June"), {}), bind(TASK, (), {"month": "June"}, partly=True)
    assert key_of_call("t", part, asked) == key_of_call("t", whole, asked)
    with pytest.raises(TypeError, match="'email'"):
        key_of_call("t", part, OnceOptions(keys=("email",)))


def test_a_callable_gets_what_is_there_by_name() -> None:
    """Give it what follows a missing argument by name."""
    asked = OnceOptions(key=lambda email="", month="": month)
    whole, part = bind(TASK, ("a", "June"), {}), bind(TASK, (), {"month": "June"}, partly=True)
    assert key_of_call("t", part, asked) == key_of_call("t", whole, asked)


def test_a_label_that_fails_is_told_unless_arguments_are_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Complain of the developer's mistake only."""
    asked = OnceOptions(label="for {email}")
    part = bind(TASK, (), {"month": "June"}, partly=True)
    assert label_of_call("t", part, asked, partly=True) == ""
    assert caplog.text == ""
    assert label_of_call("t", part, asked) == ""
    assert "t: once['label'] failed" in caplog.text
    assert label_of_call("t", bind(TASK, ("a" * 300,), {}), asked) == f"for {'a' * 196}"
