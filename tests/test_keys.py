"""Equal calls have equal keys, and nothing else has."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission, User
from django.db import models
from django.test import RequestFactory
from django.utils.datastructures import MultiValueDict
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from django_celery_once import keys
from django_celery_once.canonical import UnsupportedArgumentError, canonical
from tests.values import typed, values

BERLIN = ZoneInfo("Europe/Berlin")
NOON = dt.datetime(2026, 5, 1, 12, 0, tzinfo=dt.UTC)


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1
    BLUE = 2


class Size(enum.Enum):
    SMALL = 1


class Status(models.TextChoices):
    OPEN = "open", "Open"


class Level(enum.IntEnum):
    HIGH = 3


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Vector:
    x: int
    y: int


def report(email: str, month: int = 1, *rest: Any, copies: int = 1, **extra: Any) -> None:
    """Stand for a task's body."""


def key(*args: Any, only: list[str] | None = None, **kwargs: Any) -> str:
    bound = inspect.signature(report).bind(*args, **kwargs)
    bound.apply_defaults()
    return keys.make_key("tests.report", bound, only)


@given(values, values)
def test_canonical_forms_are_equal_exactly_when_the_typed_values_are(left: Any, right: Any) -> None:
    """Compare two arbitrary values with an oracle of their own."""
    assert (canonical(left) == canonical(right)) == (typed(left) == typed(right))


@given(st.lists(values, max_size=4), st.lists(values, max_size=4))
def test_neighbours_do_not_run_into_each_other(left: list[Any], right: list[Any]) -> None:
    """Written one after the other, two lists of values meet only when they are equal."""
    joined = "".join(map(canonical, left)) == "".join(map(canonical, right))
    assert joined == (typed(left) == typed(right))


@given(st.text(), st.integers(), values)
def test_every_spelling_of_a_call_has_one_key(email: str, month: int, extra: Any) -> None:
    """Position, name and order of the arguments do not matter."""
    assert (
        key(email, month, tag=extra)
        == key(email, month=month, tag=extra)
        == key(tag=extra, month=month, email=email)
        == key(email, month, copies=1, tag=extra)
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, "1"),
        (1, True),
        (0, False),
        (0, None),
        (1, 1.0),
        (1.0, Decimal(1)),
        (None, "None"),
        ([1], "[1]"),
        ([1], 1),
        ([], None),
        ([[1], 2], [1, [2]]),
        ("a", b"a"),
        ({"a": 1}, [("a", 1)]),
        ({1: "a"}, {"1": "a"}),
        ({1, 2}, [1, 2]),
        (dt.date(2026, 5, 1), dt.datetime(2026, 5, 1)),
        (dt.date(2026, 5, 1), "2026-05-01"),
        (dt.datetime(2026, 5, 1, 12, 0), NOON),
        (UUID(int=1), str(UUID(int=1))),
        (Path("a"), "a"),
        (Colour.RED, 1),
        (Colour.RED, Colour.BLUE),
        (Colour.RED, Size.SMALL),
        (Point(1, 2), Vector(1, 2)),
        (Point(1, 2), Point(2, 1)),
        (Decimal("NaN"), "NaN"),
        (MultiValueDict({"a": ["1", "2"]}), MultiValueDict({"a": ["2"]})),
    ],
)
def test_different_values_have_different_forms(left: object, right: object) -> None:
    """Keep types and structures apart."""
    assert canonical(left) != canonical(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([1, 2], (1, 2)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({3, 1, 2}, frozenset({2, 3, 1})),
        (NOON, NOON.astimezone(BERLIN)),
        (dt.time(12, tzinfo=dt.UTC), dt.time(14, tzinfo=dt.timezone(dt.timedelta(hours=2)))),
        (dt.datetime(2026, 5, 1, fold=1), dt.datetime(2026, 5, 1)),
        (Decimal("1.0"), Decimal("1.00")),
        (Decimal("1E+1"), Decimal("10")),
        (Decimal("-0"), Decimal("0.00")),
        (0.0, -0.0),
        (b"a", bytearray(b"a")),
        (b"a", memoryview(b"a")),
        ("a", mark_safe("a")),
        ("Monday", gettext_lazy("Monday")),
        (Colour.RED, Colour.CRIMSON),
        (Status.OPEN, "open"),
        (Level.HIGH, 3),
        (Path("a/b"), PurePosixPath("a/b")),
        (Point(1, 2, note="x"), Point(1, 2, note="y")),
        ({"a": 1}, MultiValueDict({"a": [1]}).dict()),
        (Flags.A | Flags.B, Flags.B | Flags.A),
        ("x", SimpleLazyObject(lambda: "x")),
    ],
)
def test_equal_values_have_one_form(left: object, right: object) -> None:
    """Write equal values alike, whatever class or order they come in."""
    assert canonical(left) == canonical(right)


def test_an_aware_time_at_the_end_of_the_calendar_has_a_form() -> None:
    """Never leave the range of datetime on the way to UTC."""
    east = dt.timezone(dt.timedelta(hours=14))
    assert canonical(dt.datetime(1, 1, 1, tzinfo=east)) != canonical(
        dt.datetime(9999, 12, 31, tzinfo=east)
    )


def test_arguments_do_not_run_into_each_other() -> None:
    """Tell ``f(a="1_b-2")`` from ``f(a="1", b="2")``."""
    assert key("x", a="1_b-2") != key("x", a="1", b="2")
    assert key("x", 1, "y") != key("x", 1, copies="y")


def test_a_model_instance_counts_by_label_and_primary_key() -> None:
    """Take rows for what they are in the database, lazy ones too."""
    user = User(pk=7, username="ada")
    assert canonical(user) == canonical(User(pk=7, username="changed"))
    assert canonical(user) == canonical(SimpleLazyObject(lambda: user))
    assert canonical(user) != canonical(User(pk=8))
    assert canonical(user) != canonical(Permission(pk=7))
    assert canonical(user) != canonical(7)


def test_an_unsaved_instance_is_refused() -> None:
    """Say that a row without a primary key can't be told from another."""
    with pytest.raises(UnsupportedArgumentError, match=r"auth\.User is not saved"):
        canonical(User())


class Opaque:
    """Something with the default repr, a memory address."""


@pytest.mark.parametrize("value", [Opaque(), object(), lambda: None, Opaque, iter([]), 1j])
def test_a_value_without_a_form_is_an_error_that_names_it(value: object) -> None:
    """Name task, argument and both ways out; never fall back to a repr."""
    with pytest.raises(TypeError) as raised:
        key("x", thing={"deep": [value]})
    text = str(raised.value)
    assert "tests.report" in text
    assert "'extra'" in text
    assert 'once={"keys": [...]}' in text
    assert 'once={"key": callable}' in text
    assert "0x" not in text


def numbers() -> Iterator[int]:
    """Yield some."""
    yield 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (User.objects.all(), r"QuerySet is a question .*; pass ids, as list\(queryset.values_list"),
        (User.objects, "Manager is a question to the database"),
        (RequestFactory().get("/"), "a request stays where it is; pass what the task needs of it"),
        (numbers(), "a builtins.generator can be read only once; pass a list"),
        (map(str, [1]), "a builtins.map can be read only once; pass a list"),
    ],
)
def test_what_is_passed_by_mistake_is_told_from_what_to_pass(value: object, words: str) -> None:
    """Read nothing of it meanwhile: there is no database here."""
    with pytest.raises(UnsupportedArgumentError, match=words):
        key("x", value)


def test_a_value_that_contains_itself_is_an_error() -> None:
    """Turn endless recursion into words."""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(UnsupportedArgumentError, match="contains itself"):
        key("x", loop)


def test_only_some_arguments_make_the_key() -> None:
    """Leave the others out, opaque ones too."""
    assert key("a", 1, only=["email"]) == key("a", 2, Opaque(), only=["email"])
    assert key("a", only=["email"]) != key("b", only=["email"])
    assert key("a", only=["email"]) != key("a", only=["month"])
    assert key("a", only=[]) == key("b", 9, only=[])


def test_only_finds_names_among_the_keyword_arguments() -> None:
    """Tell calls apart by a name that the signature does not list."""
    assert key("a", tag=1, only=["tag"]) == key("b", tag=1, only=["tag"])
    assert key("a", tag=1, only=["tag"]) != key("a", tag=2, only=["tag"])
    assert key("a", only=["tag"]) != key("a", tag=None, only=["tag"])


def test_unknown_names_are_found() -> None:
    """List names that no call can have."""

    def plain(email: str) -> None: ...

    assert keys.unknown_names(inspect.signature(plain), ["email", "emial"]) == ["emial"]
    assert keys.unknown_names(inspect.signature(report), ["anything"]) == []


@pytest.mark.parametrize(
    "name",
    ["reports.send", "x" * 300, "reports send", "отчёт.send", "a\nb", "once:*?[]", "\x7f", ""],
)
def test_keys_suit_every_cache(name: str) -> None:
    """Stay printable, without blanks and short enough for Memcached with a prefix."""
    made = keys.key_of(name, "")
    assert made.startswith(keys.key_prefix(name))
    assert len(made) <= 150
    assert all("!" <= character <= "~" for character in made)


def test_cut_and_cleaned_names_do_not_meet() -> None:
    """Keep the prefixes of two tasks apart even where their names look alike."""
    names = ["x" * 100, "x" * 101, "x" * 102, "a b", "a\tb", "a_b"]
    assert len({keys.key_prefix(name) for name in names}) == len(names)


PROGRAM = """
import json, datetime, decimal, uuid
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=[])
django.setup()
from django_celery_once.canonical import canonical
from django_celery_once.keys import key_of
value = {"s": {"a", "b", "c", 1, None}, "f": frozenset("xyz"), "d": {"k": [1, 2.5, b"x"]},
         "t": datetime.date(2026, 5, 1), "u": uuid.UUID(int=5), "n": decimal.Decimal("1.50")}
print(json.dumps(key_of("tests.report", canonical(value))))
"""


def test_keys_are_the_same_in_every_process() -> None:
    """Do not depend on the seed of Python's hashes."""
    made = {
        json.loads(
            subprocess.run(
                [sys.executable, "-c", PROGRAM],
                env={**os.environ, "PYTHONHASHSEED": seed},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for seed in ("0", "1", "4242")
    }
    assert len(made) == 1
