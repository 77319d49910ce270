"""Arguments in words for staff: secrets masked, long values cut, and nothing raised."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import QueryDict
from django.utils.functional import lazystr
from django.utils.translation import gettext_lazy

from django_celery_once.arguments import (
    MAX_TEXT,
    MAX_VALUE,
    Call,
    describe_all,
    describe_key,
    describe_some,
    looks_secret,
)


def described(*args: Any, **kwargs: Any) -> str:
    """Describe the arguments of a call that takes whatever it gets."""

    def anything(*values: Any, **named: Any) -> None: ...

    return describe_all(Call(args, kwargs), inspect.signature(anything))


def signature() -> inspect.Signature:
    def send(email: str, month: str = "May", *, copies: int = 1, **more: Any) -> None: ...

    return inspect.signature(send)


SIGNATURE = signature()


def test_arguments_have_names_and_defaults() -> None:
    """Positional, named and default arguments are told alike."""
    call = Call(["ada@example.org"], {"copies": 2, "colour": None})
    assert describe_all(call, SIGNATURE) == (
        "email='ada@example.org', month='May', copies=2, colour=None"
    )


@pytest.mark.parametrize(
    "name",
    [
        *["password", "PASSWORD", "new_password1", "userPassword", "passwd", "pwd", "passphrase"],
        *[
            "secret",
            "client-secret",
            "secrets",
            "token",
            "accessToken",
            "csrf_token",
            "X-Auth-Token",
        ],
        *["api_key", "apiKey", "APIKey", "apikey", "X-Api-Key", "private_key", "AWSAccessKey"],
        *["authorization", "auth", "credential", "credentials", "card", "cards", "card_number"],
        *["iban", "IBAN", "ssn", "pin", "cvc", "otp", "session_cookie"],
    ],
)
def test_secret_names(name: str) -> None:
    """A secret's word anywhere in a name masks it, however the name is spelled."""
    assert looks_secret(name)
    assert described(**{name: "hunter2"}) == f"{name}=***"
    assert described(form={"user": {name: "hunter2"}}) == f"form={{'user': {{{name!r}: ***}}}}"


@pytest.mark.parametrize(
    "name",
    [
        "email",
        "key",
        "keys",
        "spin",
        "pinned",
        "cardinal",
        "tokenizer",
        "author",
        "discard",
        "päss",
    ],
)
def test_names_that_only_look_alike(name: str) -> None:
    """Parts of other words are no secrets."""
    assert not looks_secret(name)


@dataclass
class Login:
    user: str
    password: str


Account = namedtuple("Account", ["user", "api_key"])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([{"token": "hunter2"}, 1], "[{'token': ***}, 1]"),
        (({"token": "hunter2"}, "a"), "({'token': ***}, 'a')"),
        ({b"token": "hunter2"}, "{b'token': ***}"),
        (Login("eva", "hunter2"), "Login(user='eva', password=***)"),
        (Account("eva", "hunter2"), "Account(user='eva', api_key=***)"),
        (QueryDict("pin=1234&page=2"), "{'pin': ***, 'page': '2'}"),
        ({1: 2, None: {3}}, "{1: 2, None: {3}}"),
    ],
)
def test_secrets_within_values(value: object, words: str) -> None:
    """Dictionaries, records and what holds them are looked into."""
    assert described(value=value) == f"value={words}"


class Raising:
    def __init__(self, error: type[Exception] = ZeroDivisionError) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


class RaisingText(str):
    __slots__ = ()

    def __getitem__(self, key: object) -> str:
        raise ZeroDivisionError

    __repr__ = __str__ = __getitem__  # type: ignore[assignment]


class NoRepr:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


class RaisingItems(dict[str, str]):
    def items(self) -> Any:
        raise ZeroDivisionError


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _each in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Raising(), "<Raising that can't be shown>"),
        (Raising(RecursionError), "<Raising that can't be shown>"),
        ([1, Raising()], "[1, <Raising that can't be shown>]"),
        (NoRepr(), "<NoRepr that can't be shown>"),
        (RaisingText("safe"), "'safe'"),
        (RaisingItems(), "<RaisingItems that can't be shown>"),
        (lazystr("May"), "'May'"),
        (gettext_lazy("May"), "'May'"),
        ("a\0b\ud83d", r"'a\x00b\ud83d'"),
        ("דוח 📄", "'דוח 📄'"),
        (b"\xff", r"b'\xff'"),
        (memoryview(b"abc"), "b'abc'"),
    ],
)
def test_no_value_raises(value: object, words: str) -> None:
    """Whatever a value does when it is looked at, there are words for it."""
    assert described(value=value) == f"value={words}"


def test_values_that_are_too_much_for_python() -> None:
    """A number with too many digits and a list that is nested too deeply are no trouble."""
    assert described(value=10**10_000) == "value=<int that can't be shown>"
    assert described(value=nested(10_000)) == "value=[[[[[[[…]]]]]]]"


def test_what_contains_itself() -> None:
    """A list within itself comes to an end."""
    value: list[Any] = []
    value.append(value)
    assert described(value=value) == "value=[[[[[[[…]]]]]]]"


@pytest.mark.parametrize(
    "make",
    [
        lambda: "x" * 10_000_000,
        lambda: b"x" * 1000,
        lambda: list(range(1_000_000)),
        lambda: dict.fromkeys(range(9999), "x" * 90),
    ],
)
def test_long_values_are_cut(make: Callable[[], object]) -> None:
    """A value is told in 200 characters, and only what can be seen is looked at."""
    text = described(value=make()).removeprefix("value=")
    assert len(text) == MAX_VALUE == 200
    assert text.endswith("…")


def test_no_more_of_a_list_is_read_than_is_told() -> None:
    """What comes after the cut is not looked at."""
    looked_at = []

    class Item:
        def __init__(self, number: int) -> None:
            self.number = number

        def __repr__(self) -> str:
            looked_at.append(self.number)
            return f"Item({self.number})"

    described(value=[Item(number) for number in range(10_000)])
    assert 0 < len(looked_at) < 40


def test_many_arguments_are_cut() -> None:
    """All arguments of a call are told in 2,000 characters."""
    text = described(**{f"name{number}": "x" * 150 for number in range(1000)})
    assert len(text) == MAX_TEXT == 2000
    assert text.endswith("…")


def test_models_are_told_without_a_query() -> None:
    """Neither a row nor a queryset is loaded (this test has no database)."""
    assert described(user=User(pk=7, username="eva")) == "user=<auth.User 7>"
    assert described(users=User.objects.all()) == "users=<QuerySet of auth.User>"


# ---- words that the caller chose

HIDING_ARGS = Call(["ada@example.org"], {"month": "June"}, argsrepr="(<email>,)")
HIDING_KWARGS = Call(["ada@example.org"], {"month": "June"}, kwargsrepr="{<month>}")
HIDING_ALL = Call(["a@example.org"], {"month": "June"}, argsrepr="(<email>,)", kwargsrepr="{}")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (HIDING_ARGS, "(<email>,), month='June'"),
        (HIDING_KWARGS, "email='ada@example.org', {<month>}"),
        (HIDING_ALL, "(<email>,), {}"),
        (Call([], {"email": "ada@example.org"}, argsrepr="()", kwargsrepr="<email>"), "<email>"),
        (Call(["a"], {}, argsrepr=""), ""),
        (Call(["a"], {}, argsrepr="x" * 500), "x" * 199 + "…"),
        (Call(["a"], {}, argsrepr=Raising()), "<Raising that can't be shown>"),
    ],
)
def test_the_callers_words_stand_for_the_arguments(call: Call, words: str) -> None:
    """``argsrepr`` and ``kwargsrepr`` are kept as they are; what they hide is told nowhere."""
    assert describe_all(call, SIGNATURE) == words


def test_a_keys_arguments_alone() -> None:
    """With names, only those are told, in the order of the names."""
    call = Call(["ada@example.org", "June"], {"colour": "red"})
    assert describe_some(call, SIGNATURE, ["email"]) == "email='ada@example.org'"
    assert describe_some(call, SIGNATURE, ["colour", "month"]) == "colour='red', month='June'"
    assert describe_some(call, SIGNATURE, None) == describe_all(call, SIGNATURE)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (HIDING_ARGS, "email=***, month='June'"),
        (HIDING_KWARGS, "email='ada@example.org', month=***"),
        (HIDING_ALL, "email=***, month=***"),
    ],
)
def test_a_keys_arguments_that_the_caller_hides(call: Call, words: str) -> None:
    """The caller's words may tell of other arguments than the key's, so they are left out."""
    assert describe_some(call, SIGNATURE, ["email", "month"]) == words


def test_the_value_of_a_custom_key() -> None:
    """A ``key`` callable's value is told as any other, and masked where arguments are hidden."""

    def key(email: str, **_more: Any) -> dict[str, str]:
        return {"domain": email.partition("@")[2], "token": "hunter2"}

    assert describe_key(Call(["ada@example.org"], {}), key) == (
        "key={'domain': 'example.org', 'token': ***}"
    )
    assert describe_key(HIDING_ARGS, key) == describe_key(HIDING_KWARGS, key) == "key=***"


def test_generators_are_not_used_up() -> None:
    """What can be read once only is left alone."""
    values = iter([1, 2, 3])
    assert "iterator" in described(values=values)
    assert list(values) == [1, 2, 3]
