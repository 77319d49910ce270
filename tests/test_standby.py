"""Calls refused by a reservation: one runs instead where that comes to nothing, else none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context
from typing import Any

import pytest
from celery.result import EagerResult
from django.db import transaction
from django.test import override_settings
from kombu.exceptions import OperationalError

from django_celery_once import AlreadyQueued, leftovers, watch
from django_celery_once.header import read_header
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.reservations import Reservation
from django_celery_once.signals import Rejection
from tests.celery_app import app
from tests.guarded_tasks import report
from tests.locks.test_redis import settings_with

pytestmark = pytest.mark.django_db(transaction=True)

Headers = list[dict[str, Any]]
Ask = Callable[..., Any]


@pytest.fixture(params=["locks", "locks_locmem"])
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    """Keep the locks in Redis, then in another cache."""
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": request.param}):
        yield request.param


def look(alias: str = "locks") -> Lock | None:
    return open_store(alias).inspect(report.once_key("a"))


def elsewhere() -> Reservation:
    """Reserve the key as another request does, whose transaction is open."""
    reservation: Reservation = Context().run(report.reserve, "a")
    return reservation


def at_once(policy: str, **options: Any) -> Any:
    return report.apply_async(("a",), once={"on_duplicate": policy}, **options)


def at_a_commit(policy: str, **options: Any) -> Any:
    with transaction.atomic():
        return report.apply_async_on_commit(("a",), once={"on_duplicate": policy}, **options)


each_way = pytest.mark.parametrize("ask", [at_once, at_a_commit])
each_policy = pytest.mark.parametrize("policy", ["reject", "join"])


@each_way
@each_policy
def test_it_runs_where_the_reservation_is_given_back(
    alias: str, ask: Ask, policy: str, published: Headers, rejections: list[Rejection]
) -> None:
    """One of those that were refused is queued, under the id that others were told."""
    first = elsewhere()
    told = [ask(policy), ask(policy)]
    if policy == "join":
        assert [each.id for each in told] == [first.task_id] * 2
    else:
        assert [(type(each), each.state) for each in told] == [(EagerResult, "REJECTED")] * 2
    assert [each.policy for each in rejections] == [policy] * 2
    assert published == []
    first.release()
    assert [each["id"] for each in published] == [first.task_id]
    held, header = look(alias), read_header(published[0])
    assert held is not None
    assert header is not None
    assert (held.phase, held.owner, held.token) == (Phase.QUEUED, first.task_id, header.token)
    assert held.follow_up is None
    assert report.AsyncResult(first.task_id).state == "PENDING"


@each_way
@each_policy
def test_it_goes_where_the_reserved_call_is_queued(
    alias: str, ask: Ask, policy: str, published: Headers
) -> None:
    """One run is enough, and nothing is left that would bring another."""
    first = elsewhere()
    ask(policy)
    first.delay("a")
    assert [each["id"] for each in published] == [first.task_id]
    held = look(alias)
    assert held is not None
    assert (held.follow_up, held.remaining > 60) == (None, True)
    assert open_store(alias).release(held) is not None
    assert look(alias) is None


@each_policy
def test_given_back_before_the_commit_of_the_other(
    alias: str, policy: str, published: Headers
) -> None:
    """Its data must be there: it has the key now, and is queued at its own commit."""
    first = elsewhere()
    with transaction.atomic():
        report.apply_async_on_commit(("a",), once={"on_duplicate": policy})
        first.release()
        held = look(alias)
        assert held is not None
        assert (held.phase, held.owner) == (Phase.RESERVED, first.task_id)
        assert published == []
    assert [each["id"] for each in published] == [first.task_id]


@each_policy
@pytest.mark.parametrize("order", ["given back first", "rolled back first"])
def test_nothing_runs_where_both_are_rolled_back(
    alias: str, policy: str, order: str, published: Headers
) -> None:
    """Neither has saved anything."""
    first = elsewhere()
    with suppress(ZeroDivisionError), transaction.atomic():
        report.apply_async_on_commit(("a",), once={"on_duplicate": policy})
        if order == "given back first":
            first.release()
        raise ZeroDivisionError
    leftovers.free_here()
    first.release()
    assert (published, look(alias)) == ([], None)
    assert report.AsyncResult(first.task_id).state == "REVOKED"


@each_policy
def test_a_call_at_once_is_surer_than_one_at_a_commit(
    alias: str, policy: str, published: Headers
) -> None:
    """Whoever waits for a commit may be rolled back, too."""
    first = elsewhere()
    with suppress(ZeroDivisionError), transaction.atomic():
        report.apply_async_on_commit(("a",), once={"on_duplicate": policy})
        Context().run(at_once, policy)
        raise ZeroDivisionError
    leftovers.free_here()
    assert published == []
    first.release()
    assert [each["id"] for each in published] == [first.task_id]


def test_within_the_transaction_of_the_reservation(alias: str, published: Headers) -> None:
    """A call that is rolled back with the one it met has nobody to stand in for."""
    with transaction.atomic():
        first = report.delay_on_commit("a")
        joined = report.apply_async_on_commit(("a",), once={"on_duplicate": "join"})
        held = look(alias)
        assert held is not None
        assert held.follow_up is None
    assert [each["id"] for each in published] == [first.id] == [joined.id]


def test_a_reservation_that_outlives_its_time(published: Headers) -> None:
    """Its process may be dead: a worker, or the next caller, queues what waits beside it."""
    # Under names of its own: the workers of other tests would see to it before this one does.
    own = {"CACHES": settings_with(KEY_PREFIX="outlives")}
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "RESERVE": 0.2}, **own):
        first = elsewhere()
        joined = at_once("join")
        held = look()
        assert held is not None
        assert held.remaining <= 0.2
        watch._free_blocked()
        assert published == []
        deadline = time.monotonic() + 10
        while not published and time.monotonic() < deadline:
            time.sleep(0.05)
            watch._free_blocked()
    assert [each["id"] for each in published] == [joined.id] == [first.task_id]


def test_a_broker_that_is_down_at_the_rollback(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock without a task."""

    def fail(*_args: Any, **_options: Any) -> None:
        raise OperationalError("broker down")

    first = elsewhere()
    at_once("join")
    monkeypatch.setattr(app, "send_task", fail)
    first.release()
    assert look(alias) is None


@each_policy
def test_a_run_more_takes_its_place(alias: str, policy: str, published: Headers) -> None:
    """It runs whatever becomes of the reservation; who joined before is told the end."""
    first = elsewhere()
    at_once(policy)
    again = at_once("rerun")
    assert again.id != first.task_id
    assert at_once("join").id == again.id
    published.clear()  # what looks after it
    first.release()
    assert [each["id"] for each in published] == [again.id]
    assert report.AsyncResult(first.task_id).state == "REVOKED"


def test_it_runs_when_it_was_to_run(published: Headers) -> None:
    """A call for tomorrow is not run today, and its key says so."""
    first = elsewhere()
    at_once("join", countdown=86400, expires=90000)
    first.release()
    held, [message] = look(), published
    assert held is not None
    assert held.phase_now is Phase.PLANNED
    assert held.begins == pytest.approx(time.time() + 86400, abs=60)
    assert {"eta": bool(message["eta"]), "expires": bool(message["expires"])} == {
        "eta": True,
        "expires": True,
    }


def test_whoever_is_refused_is_promised_nothing(alias: str, published: Headers) -> None:
    """It is for them to ask again."""
    first = elsewhere()
    with pytest.raises(AlreadyQueued) as raised:
        at_once("raise")
    assert (raised.value.phase, raised.value.begins) == ("reserved", None)
    assert "queued only if its caller's transaction commits" in str(raised.value)
    first.release()
    assert (published, look(alias)) == ([], None)
    assert json.dumps(str(report.AsyncResult(first.task_id).result)).find("given back") > 0
