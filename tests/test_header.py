"""The message header of a lock."""

from __future__ import annotations

import json
from typing import Any

import pytest

from django_celery_once.header import NAME, Header, read_header

#: Whose message it is.
OF = {"id": "1", "task": "a"}


@pytest.mark.parametrize(
    "header",
    [
        Header(),
        Header("once:a:b", "t0"),
        Header("once:a:b", "t0", until="started"),
        Header("once:a:b", "t0", timeout=1.5),
        Header("once:a:b", "t0", "started", 60, again=True),
    ],
)
def test_round_trip(header: Header) -> None:
    """A header comes back as it was sent, through JSON."""
    message = json.loads(json.dumps({**OF, NAME: header.as_message("a", "1")}))
    assert read_header(message) == header


def test_defaults_are_not_sent() -> None:
    """A message carries no more than it must."""
    sent = Header("once:a:b", "t0").as_message("a", "1")
    assert sent == {"id": "1", "task": "a", "key": "once:a:b", "token": "t0"}


def test_a_forced_call_differs_from_no_header() -> None:
    """An empty header says "unguarded"; a missing one says nothing."""
    assert read_header({**OF, NAME: Header().as_message("a", "1")}) == Header()
    assert read_header({"other": 1}) is None


@pytest.mark.parametrize("headers", [None, {}, {NAME: None}, {NAME: "x"}, {NAME: ["key"]}])
def test_no_header(headers: dict[str, Any] | None) -> None:
    """What is no header of ours is none."""
    assert read_header(headers) is None


def test_fields_of_a_later_version_are_skipped() -> None:
    """An older worker reads what a newer caller sends."""
    said = Header("once:a:b", "t0").as_message("a", "1")
    read = read_header({**OF, NAME: {**said, "colour": "red"}})
    assert read == Header("once:a:b", "t0")
