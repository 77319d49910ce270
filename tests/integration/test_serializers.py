"""Messages and results in JSON and in pickle, with what only pickle can hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from django_celery_once import AlreadyQueued
from tests.integration.app import configure
from tests.integration.calls import (
    lock_of,
    new_name,
    refused,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.referee import events, note
from tests.integration.serializer_tasks import ask_for, give_back
from tests.integration.tasks import play
from tests.integration.workers import Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]


@dataclass(frozen=True)
class Parcel:
    """What JSON does not know."""

    weight: complex
    labels: frozenset[str]


THINGS = {
    "json": {"price": Decimal("1.50"), "names": ["Zoë"], "none": None},
    "pickle": Parcel(2 + 1j, frozenset({"fragile"})),
}


@pytest.fixture(scope="module", params=THINGS)
def serializer(request: pytest.FixtureRequest, use_broker: None) -> Iterator[str]:
    """Let messages and results be made by one serializer, and let no other be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTEGRATION_SERIALIZER", request.param)
        # Celery talks to its workers in JSON whatever is set.
        patch.setenv("INTEGRATION_ACCEPT", "json pickle" if request.param == "pickle" else "json")
        patch.setenv("C_FORCE_ROOT", "1")  # else Celery lets no root unpickle
        configure()
        # This process's tasks have read their settings when they were bound.
        for task in (give_back, ask_for, play):
            patch.setattr(task, "serializer", request.param)
            patch.setattr(task, "_exec_options", None)
        yield str(request.param)
    configure()


@pytest.fixture(scope="module")
def worker(serializer: str, folder: Path) -> Iterator[Worker]:
    """Return a worker that reads and writes so."""
    with Worker(folder) as started:
        yield started


def test_arguments_and_results_travel(serializer: str) -> None:
    """Refuse a duplicate while the call waits and runs, and have back what was given."""
    name, thing = new_name(), THINGS[serializer]
    result = give_back.delay(name, thing, "wait")
    assert refused(give_back, name)
    wait_for_event(name, "start")
    assert refused(give_back, name)
    note(name, "told", "")
    assert value(result) == thing
    wait_until_free(give_back, name)


def test_a_retry_keeps_its_arguments_and_its_lock(serializer: str) -> None:
    """Run again with the same, under the same key."""
    name, thing = new_name(), THINGS[serializer]
    assert value(give_back.delay(name, thing, "retry")) == thing
    wait_until_free(give_back, name)
    assert events(name) == ["start", "start", "end"]


def test_a_rerun_has_the_newest_arguments(serializer: str) -> None:
    """Keep a call beside the lock and publish it with all it was given."""
    name, thing = new_name(), THINGS[serializer]
    first = give_back.delay(name, "old", "wait")
    wait_for_event(name, "start")
    follow_up = give_back.apply_async((name, thing), once={"on_duplicate": "rerun"})
    assert follow_up.id != first.id
    note(name, "told", "")
    assert value(first) == "old"
    assert value(follow_up) == thing
    wait_until_free(give_back, name)
    assert events(name).count("start") == 2


def test_a_refusal_in_a_body_comes_back_as_itself(serializer: str) -> None:
    """Raise ``AlreadyQueued`` where its result is got; pickle keeps all of it."""
    name = new_name()
    holder = play.apply_async((name,), queue="nobody-listens", expires=60)
    with pytest.raises(AlreadyQueued) as raised:
        value(ask_for.delay(name))
    assert type(raised.value) is AlreadyQueued
    assert raised.value.countdown > 0
    assert holder.id in raised.value.message
    if serializer == "pickle":
        assert raised.value.task_id == holder.id
        assert raised.value.key == play.once_key(name)
    lock = lock_of(play, name)
    assert lock is not None
    assert lock.owner == holder.id
