"""The one reader of headers: ours, on whichever level, for its own message only."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Context

from django_celery_once import endings
from django_celery_once.header import NAME, Header, read_header
from django_celery_once.locks import Lock, open_store
from tests.guarded_tasks import held, report

HEADER = Header("once:tests.task.report:k", "t0")
OURS = HEADER.as_message(report.name, "x")
OF = {"id": "x", "task": report.name}

#: How a message may come to the worker, from the headers that its caller has sent.
Nest = Callable[[dict[str, Any]], dict[str, Any]]
NESTED: dict[str, Nest] = {
    "as it was sent": lambda headers: headers,
    "beside a tracer's": lambda headers: {**headers, "headers": {"trace": "7"}},
    "beside a copy": lambda headers: {**headers, "headers": {"trace": "7", NAME: headers[NAME]}},
    "beside a copy of all": lambda headers: {**headers, "headers": {**headers}},
    "inside only": lambda headers: {**OF, "headers": {NAME: headers[NAME]}},
    "inside twice": lambda headers: {**OF, "headers": {"headers": {NAME: headers[NAME]}}},
    "beside text": lambda headers: {**headers, "headers": "trace=7"},
    "beside a list": lambda headers: {**headers, "headers": [headers[NAME]]},
    "above another's": lambda headers: {
        **headers,
        "headers": {NAME: Header("once:other:k", "t9").as_message("other", "y")},
    },
    "below another's": lambda headers: {
        **OF,
        NAME: Header("once:other:k", "t9").as_message("other", "y"),
        "headers": {NAME: headers[NAME]},
    },
}


@pytest.fixture(params=NESTED)
def nest(request: pytest.FixtureRequest) -> Nest:
    """Return what becomes of the headers on their way."""
    return NESTED[request.param]


def test_found_in_headers_and_requests(nest: Nest) -> None:
    """Read a message's headers, a worker's request of it, and the run's."""
    headers = nest({**OF, NAME: OURS})
    assert read_header(headers) == HEADER
    assert read_header(Context(headers)) == HEADER


@pytest.mark.parametrize(
    "of",
    [
        {"id": "y", "task": report.name},
        {"id": "x", "task": "tests.task.other"},
        {"id": None, "task": report.name},
        {"task": report.name},
        {},
    ],
)
def test_anothers_is_none(of: dict[str, Any]) -> None:
    """A message that was given another's headers, or that does not say whose it is, has none."""
    for headers in ({**of, NAME: OURS}, {**of, "headers": {NAME: OURS}}):
        assert read_header(headers) is None
        assert read_header(Context(headers)) is None


@pytest.mark.parametrize(
    "ours",
    [
        None,
        7,
        "once",
        [OURS],
        {"key": "once:tests.task.report:k", "token": "t0"},
        {**OURS, "id": None},
        {**OURS, "id": ["x"]},
        {**OURS, "task": 7},
    ],
)
def test_what_names_no_message_is_none(ours: object) -> None:
    """Whatever another program left there raises nothing."""
    assert read_header({**OF, NAME: ours, "headers": {NAME: ours, "headers": {NAME: ours}}}) is None


@pytest.mark.parametrize("given", [uuid.UUID(int=7), 7])
def test_ids_are_compared_as_text(given: object) -> None:
    """A broker may bring an id as another type than it was written in."""
    header = HEADER.as_message(report.name, given)
    assert read_header({"id": given, "task": report.name, NAME: header}) == HEADER
    assert read_header({"id": str(given), "task": report.name, NAME: header}) == HEADER


@pytest.mark.parametrize("message", [None, 7, "text", object(), SimpleNamespace(headers=None)])
def test_what_is_no_message(message: object) -> None:
    """Nothing is there to be read."""
    assert read_header(message) is None


def test_headers_within_themselves() -> None:
    """A circle, as pickle can bring it, ends."""
    headers: dict[str, Any] = {**OF}
    headers["headers"] = headers
    assert read_header(headers) is None


# ---- the hooks of the worker's main process


def revoke(headers: dict[str, Any]) -> None:
    """Revoke a message, or let it expire."""
    endings.on_revoked(sender=report, request=Context(headers))


def not_know(headers: dict[str, Any]) -> None:
    """Have no task of its name."""
    message = SimpleNamespace(headers=headers)
    endings.on_unknown(message=message, id=str(headers.get("id")), name=str(headers.get("task")))


def reject(headers: dict[str, Any]) -> None:
    """Take a message for no valid one."""
    endings.on_rejected(message=SimpleNamespace(headers=headers))


def fail(headers: dict[str, Any]) -> None:
    """Fail outside of the body."""
    endings.on_internal_error(sender=report, task_id=headers.get("id", ""), request=headers)


def lose_child(headers: dict[str, Any]) -> None:
    """Lose the child that runs it."""
    header = endings.mark_run(report, headers)
    endings.end_killed(report, "x", header)


ENDS = [revoke, not_know, reject, fail, lose_child]


def hold() -> None:
    """Take the lock that the header names."""
    open_store("locks").acquire(Lock(HEADER.key, "x", HEADER.token), 60)


@pytest.mark.parametrize("end", ENDS)
def test_every_end_frees_the_key(end: Callable[[dict[str, Any]], None], nest: Nest) -> None:
    """On whichever level the header is."""
    hold()
    end(nest({**OF, NAME: OURS}))
    assert open_store("locks").inspect(HEADER.key) is None


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("of", [{"id": "y", "task": report.name}, {"id": "x", "task": "other"}])
def test_no_end_of_anothers_frees_it(
    end: Callable[[dict[str, Any]], None], of: dict[str, Any]
) -> None:
    """A message that only was given the headers lets the lock alone."""
    hold()
    end({**of, NAME: OURS, "headers": {NAME: OURS}, "args": ["a"], "kwargs": {}})
    assert held(HEADER.key).token == HEADER.token


@pytest.mark.parametrize("end", ENDS[:4])
def test_no_hook_raises(end: Callable[[dict[str, Any]], None]) -> None:
    """Whatever the headers look like."""
    for headers in ({}, {NAME: 7}, {"headers": 7}, {"id": 7, NAME: {"id": "7"}}):
        end(dict(headers))


def test_a_message_of_the_first_protocol(published: list[dict[str, Any]]) -> None:
    """There, task and id are in the body, and only the caller's headers are headers."""
    report.delay("a")
    headers = {NAME: published[0][NAME]}
    body = {"id": published[0]["id"], "task": report.name, "args": ["a"], "kwargs": {}}
    assert read_header({**body, "headers": headers}) is not None
    endings.on_rejected(message=SimpleNamespace(headers=headers, payload=body))
    assert open_store("locks").inspect(report.once_key("a")) is None


def test_the_child_learns_the_name_of_its_run(nest: Nest) -> None:
    """The main process writes it where the child reads first."""
    headers = nest({**OF, NAME: OURS})
    marked, read = endings.mark_run(report, headers), read_header(Context(headers))
    assert marked is not None
    assert marked.run
    assert read == marked


def test_a_call_by_name_with_anothers_headers_gets_its_own() -> None:
    """It is a message without a header of ours, whose run makes its key."""
    message = {"id": "y", "task": report.name, NAME: OURS, "args": ["b"], "kwargs": {}}
    header = endings.mark_run(report, message)
    assert header is not None
    assert (header.key, bool(header.run)) == ("", True)
    assert header.token != HEADER.token
    assert read_header(Context(message)) == header


def test_no_message_says_that_its_run_has_passed_the_guard() -> None:
    """What a run leaves on its request is no header."""
    message = {**OF, NAME: OURS, "once_run": None, "once_answer": [7]}
    assert endings.mark_run(report, message) is not None
    assert not {"once_run", "once_answer"} & set(message)


# ---- retries


def test_a_retry_with_nested_headers_is_carried_on(
    nest: Nest, published: list[dict[str, Any]]
) -> None:
    """Also from the main process, where a lost child's task is retried, and no run is known."""
    result = report.delay("a")
    sent = {**OF, "id": result.id, NAME: published[0][NAME], "args": ["a"], "kwargs": {}}
    message = {**nest(sent), "id": result.id, "args": ["a"], "kwargs": {}}
    again = report.signature_from_request(Context(message), retries=1)
    assert again.apply_async().id == result.id
    header = read_header(published[1])
    assert header is not None
    assert header.token == held(report.once_key("a")).token != published[0][NAME]["token"]


def test_a_retry_of_another_with_these_headers_is_a_call_of_its_own(
    published: list[dict[str, Any]],
) -> None:
    """Nobody's lock moves to it."""
    report.delay("a")
    headers = {NAME: published[0][NAME]}
    report.apply_async(("b",), task_id="y", headers=headers, retries=1)
    assert held(report.once_key("a")).token == published[0][NAME]["token"]
    assert held(report.once_key("b")).owner == "y"
