"""How a call stands: what its lock says, then its result; and who may see it."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.app.backends import by_url
from celery.result import AsyncResult
from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.db import transaction
from django.http import HttpRequest
from django.test import RequestFactory, override_settings

from django_celery_once import AlreadyQueued
from django_celery_once.locks import Lock, LockStore, Phase, open_store
from django_celery_once.status import Reference, State, Status, StatusPolicy, find_out, policy
from testproject.redis_server import RedisServer
from tests.celery_app import app
from tests.configurations import once
from tests.guarded_tasks import held, report
from tests.locks.stores import lock, running
from tests.outages import caches_at

pytestmark = pytest.mark.django_db


class Everybody(StatusPolicy):
    """Let everybody see everything, and know where results are."""

    def may_see(self, request: HttpRequest, status: Status) -> bool:
        return True

    def get_result_url(self, request: HttpRequest, status: Status) -> str:
        return f"/files/{status.result.result}/" if status.state is State.DONE else ""


@pytest.fixture
def store() -> LockStore:
    return open_store("locks")


def take(store: LockStore, *, runs: bool = False, **fields: Any) -> Lock:
    """Hold a lock, with a run if asked for."""
    taken = lock(**fields)
    assert store.acquire(taken, 600) is None
    if runs:
        started = running(taken)
        store.start(started, 60)
        return started
    return taken


def finish(task_id: str, state: str, result: Any = None) -> None:
    """Write a result as a worker does."""
    app.backend.store_result(task_id, result, state)


def test_a_queued_call_and_a_running_one(store: LockStore) -> None:
    """The lock says what no result backend does: that it waits, or since when it runs."""
    waiting = take(store)
    status = find_out(Reference(waiting.owner, waiting.key))
    assert (status.state, status.finished) == (State.QUEUED, False)
    assert status.sentence == "Waiting for its turn."
    assert status.since is not None
    assert status.since.timestamp() == pytest.approx(waiting.since)
    store.start(running(waiting), 60)
    status = find_out(Reference(waiting.owner, waiting.key))
    assert (status.state, status.sentence) == (State.RUNNING, "Being prepared.")


def test_a_call_that_has_ended_under_a_key_that_is_kept(store: LockStore) -> None:
    """Its result tells, as without a lock."""
    kept = take(store, phase=Phase.KEPT, until="expired")
    assert find_out(Reference(kept.owner, kept.key)).state is State.ENDED
    finish(kept.owner, "SUCCESS")
    assert find_out(Reference(kept.owner, kept.key)).state is State.DONE
    assert find_out(Reference(key=kept.key)).state is State.DONE


def test_a_call_that_follows_another(store: LockStore) -> None:
    """It waits for its turn while the other has the lock."""
    take(store, runs=True, key="once:tests.report:k")
    following = lock("once:tests.report:k")
    store.acquire(following, 600, follow=True)
    status = find_out(Reference(following.owner, following.key))
    assert (status.state, status.lock and status.lock.owner) == (State.QUEUED, following.owner)


@pytest.mark.parametrize(
    ("result", "state", "words"),
    [
        ("", State.PLANNED, r"Planned \(for .*2030.*\)\."),
        ("RETRY", State.RETRYING, r"Waiting for another try \(at .*2030.*\)\."),
    ],
)
def test_a_call_whose_time_has_not_come(
    store: LockStore, result: str, state: State, words: str
) -> None:
    """It says for when, in words that stay the same; then it waits for its turn."""
    begins = datetime(2030, 5, 1, 12, tzinfo=UTC)
    planned = take(store, begins=begins.timestamp())
    if result:
        finish(planned.owner, result, ValueError("no"))
    status = find_out(Reference(planned.owner, planned.key))
    assert (status.state, status.finished, status.begins) == (state, False, begins)
    assert re.fullmatch(words, status.sentence)
    assert status.as_json("")["begins"] == "2030-05-01T12:00:00+00:00"
    store.force_release(planned.key)
    due = take(store, begins=time.time() - 1)
    assert find_out(Reference(due.owner, due.key)).state is State.QUEUED


def test_a_run_of_some_minutes(store: LockStore) -> None:
    """Since when it runs is told in minutes: each new sentence is read out to somebody."""
    waiting = take(store)
    started = running(waiting)
    store.start(started, 60)
    status = find_out(Reference(waiting.owner, waiting.key))
    assert status.since is not None
    # Between two minutes: the lock's times are rounded.
    older = replace(status, since=status.since - timedelta(minutes=4, seconds=30))
    assert older.sentence == "Being prepared (started 4 minutes ago)."


@pytest.mark.parametrize(
    ("result", "state", "finished", "words"),
    [
        ("SUCCESS", State.DONE, True, "Done."),
        ("FAILURE", State.FAILED, True, "It didn't work. Please ask again."),
        ("REVOKED", State.CANCELLED, True, "It was cancelled."),
        ("IGNORED", State.ENDED, True, "No longer in progress."),
        ("RETRY", State.RETRYING, False, "Waiting for another try."),
        ("STARTED", State.RUNNING, False, "Being prepared."),
        ("UPLOADING", State.UNKNOWN, False, "Nothing is known of it yet."),
        ("", State.UNKNOWN, False, "Nothing is known of it yet."),
    ],
)
def test_without_a_lock_the_result_tells(
    result: str, state: State, finished: bool, words: str
) -> None:
    """All that Celery writes, and what a task of the project's may write."""
    task_id = f"status-{result}"
    if result:
        finish(task_id, result, ValueError("no") if result in {"FAILURE", "RETRY"} else None)
    status = find_out(Reference(task_id))
    assert (status.state, status.finished, status.sentence) == (state, finished, words)


def test_neither_lock_nor_result(store: LockStore) -> None:
    """With a key it is known to have ended: its lock would be there."""
    status = find_out(Reference("gone", "once:tests.report:gone"))
    assert (status.state, status.finished) == (State.ENDED, True)


def test_another_call_holds_the_key(store: LockStore) -> None:
    """Whoever asked before is not told of the successor's run."""
    now = take(store)
    finish("earlier", "SUCCESS")
    assert find_out(Reference("earlier", now.key)).state is State.DONE
    assert find_out(Reference("earlier-still", now.key)).state is State.ENDED


def test_by_key_alone(store: LockStore) -> None:
    """Whoever holds the key is meant, and is followed from then on."""
    now = take(store, runs=True)
    status = find_out(Reference(key=now.key))
    assert (status.state, status.reference.task_id) == (State.RUNNING, now.owner)
    store.release(now)
    assert find_out(Reference(key=now.key)).state is State.ENDED


def test_a_key_that_is_none() -> None:
    """Nothing else in the cache can be looked at."""
    assert find_out(Reference("x", "session:1")).state is State.ENDED


def test_the_store_is_away(redis_server: RedisServer) -> None:
    """Nothing is made up, nothing is raised, and it is asked again."""
    with RedisServer() as server, override_settings(CACHES=caches_at(server)):
        server.stop()
        status = find_out(Reference("x", "once:tests.report:k"))
    assert (status.state, status.finished) == (State.UNREACHABLE, False)
    assert status.sentence == "Its status can't be told right now."


@pytest.mark.parametrize("backend", ["disabled://", "redis://127.0.0.1:1/0"])
def test_a_backend_that_tells_nothing(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No backend, or one that is down, is no error of the page."""
    answer: Any = by_url(backend, app.loader)
    made, address = answer
    result: AsyncResult[Any] = AsyncResult("x", backend=made(app=app, url=address))
    monkeypatch.setattr(app, "AsyncResult", lambda _task_id: result)
    assert find_out(Reference("x")).state is State.UNKNOWN


def test_what_may_be_followed(store: LockStore) -> None:
    """What ``delay()`` returns knows its key, and so do a duplicate and a reservation."""
    key = report.once_key("a")
    result = report.delay("a")
    assert Reference.of(result) == Reference(result.id, key, cache="locks")
    with pytest.raises(AlreadyQueued) as raised:
        report.delay("a")
    assert Reference.of(raised.value) == Reference(result.id, key, cache="locks")
    with report.reserve("b") as reservation:
        reserved = Reference(reservation.task_id, report.once_key("b"), cache="locks")
        assert Reference.of(reservation) == reserved
    assert Reference.of(AsyncResult("x")) == Reference("x")
    assert Reference.of("x", key) == Reference("x", key)
    assert Reference.of(None, key) == Reference("", key)
    rejected = report.apply_async(("a",), once={"on_duplicate": "reject"})
    assert Reference.of(rejected) == Reference()
    assert Reference.of(AlreadyQueued(60)) == Reference()
    with pytest.raises(TypeError, match="not 7"):
        Reference.of(7)
    found = find_out(Reference.of(result)).lock
    assert found is not None
    assert found.token == held(key).token


@pytest.mark.django_db(transaction=True)
def test_a_call_that_waits_for_its_commit() -> None:
    """Nobody is told of a run that is not queued yet, and may never be."""
    with transaction.atomic():
        result = report.delay_on_commit("a")
        reference = Reference.of(result)
        assert reference == Reference(result.id, report.once_key("a"), cache="locks")
        status = find_out(reference)
        assert (status.state, status.finished) == (State.RESERVED, False)
        assert status.sentence == "Being submitted."
    assert find_out(reference).state is State.QUEUED


def test_a_reference_travels_signed() -> None:
    """A page's address can't be made by hand."""
    reference = Reference("id", "once:k", "May report", "/reports/5/", "7")
    token = reference.token()
    assert Reference.read(token) == reference
    with pytest.raises(signing.BadSignature):
        Reference.read(token[:-2] + "xx")
    with pytest.raises(signing.BadSignature):
        Reference.read(signing.dumps(["id", "", "", "", ""]))


def request_of(user: Any) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user
    return request


def test_a_policy_of_the_project() -> None:
    """It says who may see it and knows where the result is."""
    finish("done", "SUCCESS", "may.pdf")
    with once(STATUS_POLICY="tests.test_status.Everybody"):
        status = find_out(Reference("done"))
        assert policy().get_result_url(request_of(AnonymousUser()), status) == "/files/may.pdf/"
    assert policy().get_result_url(request_of(AnonymousUser()), status) == ""
