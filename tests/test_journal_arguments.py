"""``LOG_ARGUMENTS``: which arguments of a refused call are stored, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from celery import shared_task
from celery.exceptions import Ignore
from celery.utils.saferepr import saferepr
from django.test import override_settings

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.binding import bind
from django_celery_once.header import Header
from django_celery_once.models import BlockedAttempt
from django_celery_once.signals import Rejection, duplicate_rejected

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@shared_task(base=QueueOnce, name="tests.arguments.send", once={"keys": ["email"]})
def send(email: str, month: str = "May", password: str = "") -> None: ...


@shared_task(base=QueueOnce, name="tests.arguments.everything")
def everything(email: str, month: str = "May") -> None: ...


@shared_task(
    base=QueueOnce,
    name="tests.arguments.custom",
    once={"key": lambda email, *_more: email.partition("@")[2]},
)
def custom(email: str, month: str = "May") -> None: ...


def log_arguments(which: str, **settings: object) -> Any:
    """Set ``LOG_ARGUMENTS``."""
    return override_settings(
        DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG_ARGUMENTS": which, **settings}
    )


def stored(task: Any, *args: Any, **options: Any) -> str:
    """Queue a call twice; return what is stored of the second one's arguments."""
    for _each in range(2):
        with suppress(AlreadyQueued):
            task.apply_async(args, **options)
    return BlockedAttempt.objects.get().arguments


CALL = ("ada@example.org", "June", "hunter2")


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("none", ""),
        ("keys", "email='ada@example.org'"),
        ("all", "email='ada@example.org', month='June', password=***"),
    ],
)
def test_what_is_stored(which: str, words: str) -> None:
    """Nothing, the key's arguments, or all of them, with secrets masked."""
    with log_arguments(which):
        assert stored(send, *CALL) == words


def test_nothing_is_the_default() -> None:
    """Arguments are personal data."""
    assert stored(send, *CALL) == ""


@pytest.mark.parametrize(
    ("task", "words"),
    [(everything, "email='ada@example.org', month='June'"), (custom, "key='example.org'")],
)
def test_the_keys_arguments(task: Any, words: str) -> None:
    """Without ``keys`` the key is made of all arguments, with ``key`` of what that returns."""
    with log_arguments("keys"):
        assert stored(task, *CALL[:2]) == words


def test_the_calls_own_keys() -> None:
    """What one call says of its key holds for that call."""
    with log_arguments("keys"):
        words = stored(everything, *CALL[:2], once={"keys": ["month"]})
    assert words == "month='June'"


@pytest.mark.parametrize(
    ("which", "words"), [("keys", "email=***"), ("all", "(<email>, <month>, <password>)")]
)
def test_the_callers_own_words(which: str, words: str) -> None:
    """Celery's ``argsrepr`` keeps the arguments themselves out of the database."""
    with log_arguments(which):
        assert stored(send, *CALL, argsrepr="(<email>, <month>, <password>)") == words


def test_what_no_database_takes() -> None:
    """NULs and half surrogates in a caller's words are left out."""
    with log_arguments("all"):
        assert stored(send, *CALL, argsrepr="a\0b\ud83d") == "ab?"


class Raising:
    def __repr__(self) -> str:
        raise ZeroDivisionError


def test_an_argument_that_raises_does_not_reach_the_caller() -> None:
    """The caller of a duplicate gets ``AlreadyQueued``, whatever its arguments do."""
    with log_arguments("all"):
        with suppress(AlreadyQueued):
            send.apply_async(["eva@example.org", "May"])
        with pytest.raises(AlreadyQueued):
            send.apply_async(["eva@example.org", Raising()])
    assert "month=<Raising that can't be shown>" in BlockedAttempt.objects.get().arguments


def test_a_key_that_raises_the_second_time_does_not_reach_the_caller() -> None:
    """The ``key`` callable is asked again for the words; where it fails, there are none."""
    answers: Iterator[str] = iter(["a", "a"])
    once: Mapping[str, Any] = {"key": lambda *_args, **_kwargs: next(answers)}
    with log_arguments("keys"):
        assert stored(everything, *CALL[:2], once=once) == ""


class Watched:
    """An argument that notes when it is looked at."""

    seen = 0

    def __repr__(self) -> str:
        Watched.seen += 1
        return "watched"


@pytest.mark.parametrize("setting", [{"which": "none"}, {"which": "all", "LOG": False}])
def test_nothing_is_computed_for_nothing(setting: dict[str, Any]) -> None:
    """Where nothing is stored, nobody looks at the arguments."""
    Watched.seen = 0
    with log_arguments(**setting):
        send.apply_async(["eva@example.org"])
        with suppress(AlreadyQueued):
            send.apply_async(["eva@example.org", Watched()])
    assert Watched.seen == 0


def test_the_signal_carries_them() -> None:
    """Receivers of ``duplicate_rejected`` get the same words."""
    heard: list[Rejection] = []

    def listen(rejection: Rejection, **_signal: Any) -> None:
        heard.append(rejection)

    duplicate_rejected.connect(listen)
    try:
        with log_arguments("all"):
            stored(send, *CALL)
    finally:
        duplicate_rejected.disconnect(listen)
    assert [each.arguments for each in heard] == [
        "email='ada@example.org', month='June', password=***"
    ]


# ---- duplicates that are revoked at the worker's start


@contextmanager
def received(task: Any, args: list[Any], **request: Any) -> Iterator[None]:
    """Be the worker that has received a call without a header, as ``send_task`` sends it."""
    words = {"argsrepr": saferepr(tuple(args), 1024), "kwargsrepr": "{}"}
    context = {"called_directly": False, "is_eager": False, "ignore_result": True}
    task.push_request(id="late-1", args=args, kwargs={}, **{**words, **context, **request})
    try:
        yield
    finally:
        task.pop_request()


def revoked(task: Any, args: list[Any], **request: Any) -> str:
    """Let a worker start a duplicate; return what is stored of its arguments."""
    with received(task, args, **request), pytest.raises(Ignore):
        task.before_start("late-1", args, {})
    attempt = BlockedAttempt.objects.get()
    assert attempt.policy == "revoke"
    return attempt.arguments


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("none", ""),
        ("keys", "email='ada@example.org'"),
        ("all", "email='ada@example.org', month='June', password=***"),
    ],
)
def test_revoked_at_its_start(which: str, words: str) -> None:
    """The words that Celery sends of its own accord would show secrets, and are not used."""
    with log_arguments(which):
        send.delay(*CALL)
        assert revoked(send, list(CALL)) == words


@pytest.mark.parametrize(("which", "words"), [("keys", "email=***"), ("all", "(<hidden>)")])
def test_revoked_at_its_start_with_the_callers_words(which: str, words: str) -> None:
    """Words that the caller chose come with the message, and hold in the worker, too."""
    with log_arguments(which):
        send.delay(*CALL)
        assert revoked(send, list(CALL), argsrepr="(<hidden>)") == words


def test_revoked_at_its_start_with_a_key_of_its_own() -> None:
    """Which arguments a call's own key was made of is not in its message: none are stored."""
    with log_arguments("keys"):
        everything.apply_async(CALL[:2], once={"keys": ["month"]})
        key = everything.once_key(*CALL[:2])
        header = Header(other_key(), "t1").as_message(everything.name, "late-1")
        assert key != other_key()
        assert revoked(everything, list(CALL[:2]), once=header) == ""


def other_key() -> str:
    """Return the key that the month alone makes."""
    from django_celery_once.keys import make_key

    bound = bind(everything.app.tasks[everything.name], CALL[:2], {})
    return make_key(everything.name, bound, ["month"])
