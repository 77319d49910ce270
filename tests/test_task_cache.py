"""``once={"cache": …}``: locks of a task in a cache of its own."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from celery.app.task import Context
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.template import engines
from django.test import RequestFactory, override_settings

from django_celery_once import (
    AlreadyQueued,
    LockUnavailable,
    QueueOnce,
    canvas,
    claims,
    endings,
    live,
    releases,
    watch,
)
from django_celery_once.header import CACHE, NAME, Header, read_header
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.signals import Outcome
from django_celery_once.status import Reference, State, find_out
from testproject.redis_server import RedisServer
from tests.celery_app import app
from tests.configurations import once
from tests.guarded_tasks import labelled, report
from tests.locks.stores import lock, running
from tests.outages import caches_at
from tests.test_leases import wait_until

pytestmark = pytest.mark.django_db
OTHER = "locks_django"


@pytest.fixture
def moved() -> Iterator[None]:
    """Keep the locks of ``report`` in another cache than those of ``labelled``."""
    with once(TASKS={report.name: {"cache": OTHER}}):
        yield


def under(alias: str, task: QueueOnce = report, *args: Any) -> Lock | None:
    return open_store(alias).inspect(task.once_key(*(args or ("a",))))


@pytest.mark.usefixtures("moved")
def test_the_lock_is_in_the_tasks_own_cache(published: list[dict[str, Any]]) -> None:
    """Take it, refuse duplicates and say where it is, beside tasks with the setting's cache."""
    result = report.delay("a")
    labelled.delay("a", "May")
    taken = under(OTHER)
    assert taken is not None
    assert (taken.alias, taken.owner, under("locks")) == (OTHER, result.id, None)
    assert under("locks", labelled, "a", "May") is not None
    assert [each[NAME].get("cache") for each in published] == [OTHER, None]
    with pytest.raises(AlreadyQueued) as refused:
        report.delay("a")
    assert pickle.loads(pickle.dumps(refused.value)).alias == OTHER  # noqa: S301
    joined = report.apply_async(("a",), once={"on_duplicate": "join"})
    assert getattr(joined, CACHE) == getattr(result, CACHE) == OTHER


def test_the_default_is_not_sent(published: list[dict[str, Any]]) -> None:
    """Headers are as ever where the cache is the setting's, also if a task names that."""
    with once(TASKS={report.name: {"cache": "locks"}}):
        report.delay("a")
    assert set(published[0][NAME]) == {"id", "task", "key", "token", "name"}


def test_an_earlier_callers_header_is_read() -> None:
    """A message without the field has its lock in the setting's cache."""
    for header, alias in ((Header("once:a:b", "t0"), "locks"), (Header(cache=OTHER), OTHER)):
        read = read_header({"id": "1", "task": "a", NAME: header.as_message("a", "1")})
        assert read == header
        assert claims.alias_of(header) == alias


def test_not_for_one_call() -> None:
    """Another call would not see the lock there, so that the option is refused by name."""
    for call in (report.apply_async, report.reserve_with, report.apply_async_on_commit):
        with pytest.raises(ValueError, match=r"once\['cache'\] is for all calls"):
            call(("a",), once={"cache": OTHER})
    assert (under(OTHER), under("locks")) == (None, None)


@pytest.mark.parametrize(("value", "error"), [(7, TypeError), ("", TypeError)])
def test_a_wrong_value(value: object, error: type[Exception]) -> None:
    """What is no alias is refused where the task is defined; whether there is one, by a check."""
    with pytest.raises(ImproperlyConfigured, match=r"once\['cache'\] must be the name"):
        type("Wrong", (QueueOnce,), {"name": "wrong", "once": {"cache": value}, "run": print})
    fine = type("Fine", (QueueOnce,), {"once": {"cache": "later"}, "run": print})
    assert issubclass(fine, QueueOnce)


def test_an_unknown_alias_is_named_to_the_caller() -> None:
    """Nothing is queued where the settings are wrong."""
    wrong = once(TASKS={report.name: {"cache": "lokcs"}})
    with wrong, pytest.raises(ImproperlyConfigured, match="in 'lokcs', which is not in CACHES"):
        report.delay("a")


@pytest.mark.usefixtures("moved")
def test_a_reservation_stays_where_it_is() -> None:
    """Reserve, publish at the commit and give back in the one cache."""
    with report.reserve("a"):
        reserved = under(OTHER)
        assert reserved is not None
        assert reserved.phase is Phase.RESERVED
    assert under(OTHER) is None
    with transaction.atomic():
        result = report.delay_on_commit("a")
        assert find_out(Reference.of(result)).state is State.RESERVED
    with report.reserve("b") as reservation:
        reservation.delay("b")
    queued = under(OTHER, report, "b")
    assert queued is not None
    assert (queued.phase, under("locks", report, "b")) == (Phase.QUEUED, None)


@pytest.mark.usefixtures("moved")
def test_a_failed_publish_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock goes where it was taken."""

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise OSError("no broker")

    monkeypatch.setattr(app.amqp, "send_task_message", fail)
    with pytest.raises(OSError, match="no broker"):
        report.delay("a")
    assert under(OTHER) is None


@pytest.mark.usefixtures("moved", "eager")
def test_an_eager_run_frees_it() -> None:
    """Start, run and release in the task's cache."""
    assert report.delay("a").get() == "a May"
    assert under(OTHER) is None


def test_the_message_knows_where_its_lock_is(published: list[dict[str, Any]]) -> None:
    """A task that was moved while it was queued frees its key where that is."""
    with once(TASKS={report.name: {"cache": OTHER}}):
        report.delay("a")
    [headers] = published
    assert under(OTHER) is not None
    endings.on_unknown(message=type("Message", (), {"headers": headers}), id=headers["id"])
    assert under(OTHER) is None


@pytest.mark.usefixtures("moved")
def test_a_retry_stays_in_the_cache_of_its_message(published: list[dict[str, Any]]) -> None:
    """A retry carries the alias on, whatever the settings say by then."""
    report.delay("a")
    [headers] = published
    with once():
        report.apply_async(("a",), task_id=headers["id"], headers=headers, retries=1)
    again = under(OTHER)
    assert again is not None
    assert published[1][NAME] == {**headers[NAME], "token": again.token}
    assert under("locks") is None


def test_a_retry_where_the_alias_is_missing(published: list[dict[str, Any]], caplog: Any) -> None:
    """Nothing is lost: the next run finds its lock where that is known."""
    header = Header("once:tests.task.report:k", "t0", cache="gone")
    headers = {NAME: header.as_message(report.name, "x")}
    report.apply_async(("a",), task_id="x", headers=headers, retries=1)
    sent = read_header(published[0])
    assert sent is not None
    assert (sent.cache, sent.previous) == ("gone", "t0")
    assert "in 'gone', which is not in CACHES" in caplog.text


def test_an_ending_where_the_alias_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    """The main process of a worker says so once, and raises nothing."""
    header = Header("once:tests.task.report:k", "t0", cache="gone")
    endings.release(report, "x", header, Outcome.REVOKED)
    endings.shorten("x", header, 1)
    assert caplog.text.count("in 'gone', which is not in CACHES") == 2
    message = {"id": "x", "task": report.name, NAME: header.as_message(report.name, "x")}
    assert endings.mark_run(report, message) is None


def test_one_store_that_is_away_delays_no_release_in_another(
    spare_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Releases that wait for one server go on in the others."""
    monkeypatch.setattr(releases, "PAUSE", 0.05)
    mine, store = lock(alias=OTHER), open_store(OTHER)
    store.acquire(mine, 60)
    with override_settings(CACHES=caches_at(spare_redis_server)):
        spare_redis_server.kill()
        releases.release_later(lock("once:t:away"), 2)
        releases.release_later(mine, 60)
        wait_until(lambda: store.inspect(mine.key) is None, "the release")


@pytest.mark.usefixtures("moved")
def test_looking_at_all_caches(spare_redis_server: RedisServer) -> None:
    """Find and free locks wherever they are; a server that is down hides no other's."""
    first, _second = report.delay("a"), labelled.delay("a", "May")
    assert [each.alias for each in live.find().locks] == [OTHER, "locks"]
    with override_settings(CACHES=caches_at(spare_redis_server)):
        spare_redis_server.kill()
        found = live.find()
        assert [each.owner for each in found.locks] == [first.id]
        assert ([each.alias for each in found.outages], found.complete) == (["locks"], False)
        held = live.look_up(report.once_key("a"))
        assert held is not None
        assert find_out(Reference.of(first)).state is State.QUEUED
        assert find_out(Reference(first.id, held.key)).state is State.QUEUED
        with pytest.raises(LockUnavailable):
            live.look_up("once:tests.task.report:nobody")
        assert live.look_up("once:tests.task.report:nobody", OTHER) is None
        assert live.free(held, by="ada") is not None
    assert under(OTHER) is None


@pytest.mark.usefixtures("moved")
def test_a_key_that_two_caches_hold() -> None:
    """After a move, each lock is freed where it was seen."""
    now = report.delay("a")
    stale = lock(report.once_key("a"), alias="locks")
    open_store("locks").acquire(stale, 60)
    seen = live.look_up(stale.key, OTHER)
    assert seen is not None
    last = live.free(seen, by="ada")
    assert last is not None
    assert (seen.owner, last.owner, last.alias) == (now.id, now.id, OTHER)
    assert under(OTHER) is None
    assert under("locks") is not None


@pytest.mark.usefixtures("moved")
def test_a_page_follows_the_lock_where_it_is() -> None:
    """The status tag asks the one cache, also where its task was moved since."""
    result = report.delay("a")
    request = RequestFactory().get("/")
    page = engines["django"].from_string("{% load once %}{% once_status call %}")
    with once():
        told = page.render({"call": result}, request)
        assert "Waiting for its turn." in told
    reference = Reference.of(result)
    assert Reference.read(reference.token()) == reference


@pytest.mark.usefixtures("moved")
def test_the_worker_looks_for_dead_runs_in_every_cache(spare_redis_server: RedisServer) -> None:
    """Let a follow-up have its key though another cache is away."""
    store, dead = open_store(OTHER), lock(alias=OTHER)
    store.acquire(dead, 60)
    store.start(running(dead), 0.05)
    following = lock(dead.key, alias=OTHER, call="published by nobody here")
    store.acquire(following, 60, follow=True)
    wait_until(lambda: bool(store.blocked()), "the silence of the run")
    with override_settings(CACHES=caches_at(spare_redis_server)):
        spare_redis_server.kill()
        watch._free_blocked()
    held = store.inspect(dead.key)
    assert held is not None
    assert held.owner == following.owner


def test_a_call_after_a_move() -> None:
    """It looks in the new cache only, as the README says."""
    with once():
        first = labelled.delay("a", "May")
    assert under("locks", labelled, "a", "May") is not None
    with once(TASKS={labelled.name: {"cache": OTHER}}):
        second = labelled.delay("a", "May")
    assert (first.id != second.id, under(OTHER, labelled, "a", "May") is not None) == (True, True)


@pytest.mark.parametrize("headers", [{"cache": "gone"}, {"cache": "gone", "until": "running"}])
def test_a_run_where_the_alias_is_missing(
    headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """It runs without a lock, and the log names the alias."""
    header = Header(report.once_key("a"), "t0").as_message(report.name, "x")
    given: Any = {NAME: {**header, **headers}}
    ran = report.apply(("a",), task_id="x", headers=given)
    assert ran.get() == "a May"
    assert "has its lock in cache 'gone', which is not in this worker's CACHES" in caplog.text
    assert under("locks") is None


def test_a_member_of_a_canvas_that_joined_where_the_alias_is_missing() -> None:
    """As in an outage, whoever joined a task waits for its result."""
    header = Header(duplicate_of="x", joins="once:tests.task.report:k", cache="gone")
    assert canvas.join(Context(), report, header) is False
