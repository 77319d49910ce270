"""Duplicates within chains, groups and chords, with a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError, TaskRevokedError

from django_celery_once import AlreadyQueued
from django_celery_once.locks import Lock, Phase, open_store
from tests.integration.calls import lock_of, new_name, value, wait_until_free
from tests.integration.canvas_tasks import (
    collect,
    failing,
    joining,
    number,
    plain,
    replaced,
    retrying,
    send_group,
)
from tests.integration.referee import entries, events
from tests.integration.workers import Worker, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]


@pytest.fixture(scope="module")
def worker(use_broker: None, folder: Path) -> Iterator[Worker]:
    """Return a worker with two processes."""
    with Worker(folder) as started:
        yield started


@pytest.fixture
def held() -> Iterator[str]:
    """Return the name of a call that is under way, and does not end before the test does."""
    name = new_name("held")
    key = number.once_key(name)
    lock = Lock(key, "another", "token", task=number.name)
    store = open_store("locks")
    assert store.acquire(lock, 60) is None
    yield name
    found = store.release(lock)
    assert found is not None, "the holder's lock was taken"
    assert events(name) == [], "a duplicate ran"


def ran(name: str) -> bool:
    """Return whether a call of this name has run."""
    return "ran" in events(name)


def test_a_chain_stops_quietly_at_a_duplicate(held: str) -> None:
    """The link before it has succeeded; nobody waits for those behind it for ever."""
    first, last = new_name(), new_name()
    result = chain(plain.si(first, 1), number.si(held, 2), plain.si(last, 3)).delay()
    with pytest.raises(TaskRevokedError):
        value(result)
    with pytest.raises(TaskRevokedError):
        value(result.parent)
    assert result.parent is not None
    assert value(result.parent.parent) == 1
    assert not ran(last)


def test_a_callback_that_is_a_duplicate(held: str) -> None:
    """The task it belongs to has succeeded."""
    assert value(plain.apply_async((new_name(), 1), link=number.si(held, 2))) == 1


def test_the_head_of_a_chain_is_answered_as_any_call(held: str) -> None:
    """Raise to who calls it; nothing of it is queued."""
    last = new_name()
    with pytest.raises(AlreadyQueued):
        chain(number.si(held, 1), plain.si(last, 2)).delay()
    head = number.si(held, 1)
    head.options["once"] = {"graceful": True}
    result = chain(head, plain.si(last, 2)).delay()
    with pytest.raises(TaskRevokedError):
        value(result)
    assert not ran(last)


def test_a_group_is_sent_whole(held: str) -> None:
    """A duplicate's value is None, also where it is a member's twin."""
    name, twin = new_name(), new_name()
    members = group(
        number.si(name, 1),
        number.si(held, 2),
        number.si(twin, 3).set(countdown=1),
        number.si(twin, 4),
    )
    assert value(members.delay()) == [1, None, 3, None]
    wait_until_free(number, name)
    wait_until_free(number, twin)


@pytest.mark.parametrize("immutable", [True, False])
def test_a_chords_body_always_runs(held: str, immutable: bool) -> None:
    """Even if every member of its header is a duplicate."""
    name = new_name()
    header = [number.si(held, 1), number.si(held, 2)]
    body = collect.si("done", name) if immutable else collect.s(name)
    assert value(chord(header)(body)) == ("done" if immutable else [None, None])


def test_a_body_that_is_a_duplicate(held: str) -> None:
    """Nobody waits for it: it ends as None, or as Celery 5.4 tells of a body's error."""
    header = [plain.si(new_name(), 1), plain.si(new_name(), 2)]
    try:
        assert value(chord(header)(number.si(held, 1))) is None
    except ChordError as error:
        assert "AlreadyQueued" in str(error)  # noqa: PT017


def test_a_chord_of_chains(held: str) -> None:
    """A chain that stops ends as None, wherever the duplicate is."""
    name, never = new_name(), new_name()
    header = [
        chain(number.si(held, 1), plain.si(never, 2)),
        chain(plain.si(new_name(), 3), number.si(held, 4)),
        chain(plain.si(new_name(), 3), number.si(held, 4), plain.si(never, 5)),
        plain.si(new_name(), 6),
    ]
    assert value(chord(header)(collect.s(name))) == [None, None, None, 6]
    assert not ran(never)


def test_a_chord_behind_a_duplicate(held: str) -> None:
    """Nobody waits for the body of a chord that is never sent."""
    never = new_name()
    canvas = chain(
        plain.si(new_name(), 1), number.si(held, 2), group(plain.si(never, 3)), collect.s(never)
    )
    with pytest.raises(TaskRevokedError):
        value(canvas.delay())
    assert not ran(never)


def test_a_group_within_a_chain(held: str) -> None:
    """The chain goes on with what the group has."""
    canvas = chain(
        plain.si(new_name(), 1),
        group(number.si(held, 2), number.si(new_name(), 3)),
        collect.s(new_name()),
    )
    assert value(canvas.delay()) == [None, 3]


def test_a_task_sends_a_canvas(held: str) -> None:
    """Nothing is raised into its body."""
    name = new_name()
    assert value(send_group.delay(held, name)) == 7
    wait_until(lambda: ran(name), "the member that is no duplicate")
    wait_until_free(number, name)
    assert not ran(f"{name}-behind")


def test_a_task_is_replaced_by_a_canvas(held: str) -> None:
    """Its own result is that of the chord."""
    name = new_name()
    assert value(replaced.delay(name, held)) == [None, 2]
    wait_until_free(replaced, name)
    wait_until_free(number, f"{name}-2")


@pytest.mark.parametrize("together", ["group", "chord"])
def test_a_member_joins_the_holder(together: str) -> None:
    """Its value is the holder's, which waits for its time."""
    name = new_name()
    first = joining.apply_async((name, 7), countdown=2)
    members = [joining.si(name, 1), plain.si(new_name(), 2)]
    result = group(members).delay() if together == "group" else chord(members)(collect.s(name))
    assert value(result) == [7, 2]
    assert entries(name)[0].task_id == first.id
    assert lock_of(joining, name) is None


def test_a_member_joins_one_that_has_ended_without_a_result() -> None:
    """Do not wait for the end of the time for which the key is kept."""
    name = new_name()
    once = {"until": "expired", "timeout": 60}
    joining.apply_async((name, 7), once=once, ignore_result=True)

    def kept() -> bool:
        lock = lock_of(joining, name)
        return lock is not None and lock.phase is Phase.KEPT

    wait_until(kept, "the key kept")
    assert value(group(joining.si(name, 1), plain.si(new_name(), 2)).delay()) == [None, 2]


def test_a_link_joins_the_holder() -> None:
    """The chain goes on with the holder's value."""
    name = new_name()
    joining.apply_async((name, 7), countdown=2)
    canvas = chain(plain.si(new_name(), 1), joining.si(name, 2), collect.s(new_name()))
    assert value(canvas.delay()) == 7
    joining.apply_async((name, 8), countdown=2)
    assert value(chain(joining.si(name, 2), collect.s(new_name())).delay()) == 8


def test_a_member_joins_one_that_retries() -> None:
    """Its value is that of the holder's last run; so is that of a call that joins by itself."""
    name = new_name()
    retrying.delay(name)
    wait_until(lambda: ran(name), "the first run")
    joined = retrying.delay(name)
    assert value(group(retrying.si(name), plain.si(new_name(), 2)).delay()) == [1, 2]
    assert value(joined) == 1


def test_a_member_joins_one_that_fails() -> None:
    """It fails as the holder does."""
    name = new_name()
    failing.apply_async((name,), countdown=1)
    with pytest.raises(ValueError, match=name):
        value(group(failing.si(name), plain.si(new_name(), 1)).delay())


def test_a_chain_of_one_call_twice() -> None:
    """Each runs in its turn, under one lock after the other."""
    name = new_name()
    result = chain(number.si(name, 7), number.si(name, 7), number.si(name, 8)).delay()
    assert value(result) == 8
    wait_until_free(number, name)
    assert len({each.task_id for each in entries(name)}) == 3


def test_chunks_and_maps() -> None:
    """These call the body, as plain Celery does, without locks."""
    name = new_name()
    pairs = [(name, 1), (name, 2), (name, 3)]
    assert value(number.starmap(pairs).delay()) == [1, 2, 3]
    assert value(number.chunks(pairs, 2).group().delay()) == [[1, 2], [3]]
    assert lock_of(number, name) is None
