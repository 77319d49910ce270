"""Calls through the API of a real Flower: a duplicate is an answer, not an empty error."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testproject.redis_server import free_port
from tests.integration.calls import lock_of, new_name
from tests.integration.tasks import play
from tests.integration.workers import Program

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("use_broker")]

Post = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def port(use_broker: None, folder: Path) -> Iterator[int]:
    """Return the port of a Flower whose API needs no password."""
    number = free_port()
    options = [f"--port={number}", "--address=127.0.0.1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWER_UNAUTHENTICATED_API", "1")
        with Program(folder / "flower.log", "Visit me at", "flower", *options):
            yield number


@pytest.fixture
def post(port: int) -> Post:
    """Return a function that calls a task through the API."""

    def ask(name: str, how: str = "async-apply", **options: Any) -> Any:
        address = f"http://127.0.0.1:{port}/api/task/{how}/{play.name}"
        body = json.dumps({"args": [name], **options}).encode()
        try:
            with urllib.request.urlopen(address, body, timeout=20) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return ask


@pytest.mark.parametrize("how", ["async-apply", "apply"])
@pytest.mark.parametrize("once", [{}, {"on_duplicate": "raise"}, {"on_duplicate": "wait"}])
def test_a_duplicate_is_told(post: Post, how: str, once: dict[str, Any]) -> None:
    """Say that it was rejected, whether the caller waits for its end or not, and at once."""
    name = new_name()
    status, first = post(name)
    assert (status, first["state"]) == (200, "PENDING")
    status, second = post(name, how, once=once)
    assert (status, second["task-id"], second["state"]) == (200, None, "REJECTED")
    assert lock_of(play, name) is not None


def test_a_duplicate_that_joins(post: Post) -> None:
    """Give the id of the call in flight to whoever asks for it."""
    name = new_name()
    _status, first = post(name)
    _status, second = post(name, once={"on_duplicate": "join"})
    assert second["task-id"] == first["task-id"]
