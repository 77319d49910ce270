"""Calls that wait for a commit: claimed at once, queued at the commit, gone with a rollback."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

import pytest
from celery.result import AsyncResult, EagerResult
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, connections, transaction
from django.test import TestCase, override_settings
from kombu.exceptions import OperationalError

from django_celery_once import AlreadyQueued, LockUnavailable, claims, leftovers
from django_celery_once.header import read_header
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.models import BlockedAttempt
from django_celery_once.reservations import Reservation
from django_celery_once.signals import Rejection
from testproject.redis_server import RedisServer
from tests.celery_app import app
from tests.guarded_tasks import bound, labelled, report
from tests.outages import caches_at

pytestmark = pytest.mark.django_db(transaction=True)

Headers = list[dict[str, Any]]


@pytest.fixture(params=["locks", "locks_locmem"])
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    """Keep the locks in Redis, then in another cache."""
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": request.param}):
        yield request.param


def look(email: str = "a", alias: str = "locks") -> Lock | None:
    """Return the lock of ``report.delay(email)``."""
    return open_store(alias).inspect(report.once_key(email))


def claimed(task: Any = report, email: str = "a") -> Reservation:
    """Reserve, and return what is to be published by hand."""
    reservation: Reservation = task.reserve(email)
    return reservation


def save(name: str = "saved") -> Group:
    return Group.objects.create(name=name)


def fail(*_args: Any, **_kwargs: Any) -> None:
    raise OperationalError("broker down")


@pytest.fixture
def broken_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "send_task", fail)


def by_task(email: str = "a") -> Any:
    return report.delay_on_commit(email)


def by_reservation(email: str = "a") -> Any:
    return claimed(email=email).delay_on_commit(email)


both = pytest.mark.parametrize("queue", [by_task, by_reservation])
Queue = Callable[..., Any]


@both
def test_claimed_now_and_queued_at_the_commit(queue: Queue, alias: str, published: Headers) -> None:
    """Refuse duplicates from the call on; publish under the id that was told."""
    with transaction.atomic():
        save()
        result = queue()
        assert isinstance(result, AsyncResult)
        held = look(alias=alias)
        assert held is not None
        assert (held.phase, held.owner) == (Phase.RESERVED, result.id)
        with pytest.raises(AlreadyQueued) as raised:
            queue()
        assert (raised.value.task_id, raised.value.phase) == (result.id, "reserved")
        assert published == []
    assert [each["id"] for each in published] == [result.id]
    header, held = read_header(published[0]), look(alias=alias)
    assert header is not None
    assert held is not None
    assert (held.phase, held.token) == (Phase.QUEUED, header.token)
    assert held.remaining > 60


def test_the_view_learns_of_a_duplicate_before_it_saves(published: Headers) -> None:
    """Let the error undo what the transaction did."""
    report.delay("a")
    with suppress(AlreadyQueued), transaction.atomic(), report.reserve("a") as reservation:
        save()
        reservation.delay_on_commit("a")
    with suppress(AlreadyQueued), transaction.atomic():
        save()
        report.delay_on_commit("a")
    assert not Group.objects.exists()
    assert len(published) == 1


def test_the_call_may_have_what_was_saved(published: Headers) -> None:
    """Reserve by the address, publish with the primary key of the new object."""
    with transaction.atomic(), labelled.reserve("a") as reservation:
        group = save()
        result = reservation.apply_async_on_commit(("a", str(group.pk)), countdown=500)
    assert [each["id"] for each in published] == [result.id]
    assert str(group.pk) in published[0]["argsrepr"]
    held = open_store("locks").inspect(labelled.once_key("a", "any"))
    assert held is not None
    assert (held.label, held.remaining > 550) == (f"{group.pk} report", True)


@both
@pytest.mark.parametrize("durable", [False, True])
def test_a_rollback_frees_the_key(
    queue: Queue, alias: str, durable: bool, published: Headers
) -> None:
    """Publish nothing; the end of the request or task frees the key."""
    with suppress(ZeroDivisionError), transaction.atomic(durable=durable):
        save()
        queue()
        raise ZeroDivisionError
    assert look(alias=alias) is not None
    leftovers.free_here()
    assert look(alias=alias) is None
    assert published == []
    assert not Group.objects.exists()


def test_leaving_the_block_after_a_rollback_frees_the_key_at_once(published: Headers) -> None:
    """Need no middleware where the transaction is within the reservation's block."""
    with suppress(ZeroDivisionError), report.reserve("a") as reservation, transaction.atomic():
        reservation.delay_on_commit("a")
        raise ZeroDivisionError
    assert look() is None
    assert published == []


def test_leaving_the_block_before_the_commit_keeps_the_key(published: Headers) -> None:
    """Wait for the commit where the reservation's block is within the transaction."""
    with transaction.atomic():
        with suppress(ZeroDivisionError), report.reserve("a") as reservation:
            reservation.delay_on_commit("a")
            raise ZeroDivisionError
        leftovers.free_here()
        assert look() is not None
    assert [each["id"] for each in published] == [reservation.task_id]


@both
def test_a_caller_that_tries_again_does_not_meet_itself(queue: Queue, published: Headers) -> None:
    """Let the second try in after a rollback, as after a deadlock."""
    for attempt in range(3):
        with suppress(IntegrityError), transaction.atomic():
            save()
            result = queue()
            if attempt < 2:
                raise IntegrityError
    assert [each["id"] for each in published] == [result.id]
    assert Group.objects.count() == 1


def test_a_savepoint_that_is_rolled_back(published: Headers) -> None:
    """Publish what the outer transaction asked for, and free the rest."""
    with transaction.atomic():
        kept = report.delay_on_commit("kept")
        with suppress(ZeroDivisionError), transaction.atomic():
            report.delay_on_commit("lost")
            raise ZeroDivisionError
        assert look("lost") is not None
        with transaction.atomic():
            inner = report.delay_on_commit("inner")
        assert look("lost") is None, "the next call frees what was abandoned"
    assert [each["id"] for each in published] == [kept.id, inner.id]
    assert look("kept") is not None
    assert look("inner") is not None


def test_a_reservation_outlives_a_savepoint(published: Headers) -> None:
    """Publish again after the savepoint with the first try was rolled back."""
    with transaction.atomic(), report.reserve("a") as reservation:
        with suppress(IntegrityError), transaction.atomic():
            reservation.delay_on_commit("a")
            with pytest.raises(RuntimeError, match="used up"):
                reservation.delay_on_commit("a")
            raise IntegrityError
        reservation.delay_on_commit("a")
    assert [each["id"] for each in published] == [reservation.task_id]


def test_a_release_is_a_release(published: Headers) -> None:
    """Publish nothing at the commit once the key was given back."""
    with transaction.atomic():
        reservation = report.reserve("a")
        reservation.delay_on_commit("a")
        reservation.release()
        assert look() is None
    assert published == []


@both
def test_outside_a_transaction_it_is_queued_at_once(queue: Queue, published: Headers) -> None:
    """Do as ``delay`` does, which may raise."""
    result = queue()
    assert [each["id"] for each in published] == [result.id]
    with pytest.raises(AlreadyQueued):
        queue()


@both
@pytest.mark.usefixtures("broken_broker")
def test_outside_a_transaction_the_broker_may_be_down(queue: Queue) -> None:
    """Tell the caller, whom a commit does not bind."""
    with pytest.raises(OperationalError):
        queue()
    assert look() is None


@both
@pytest.mark.usefixtures("broken_broker")
def test_a_broker_that_is_down_at_the_commit(
    queue: Queue, alias: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Raise nothing, log it, free the key, and let the other callbacks run."""
    ran = []
    with transaction.atomic():
        save()
        result = queue()
        transaction.on_commit(lambda: ran.append(1))
    assert ran == [1]
    assert Group.objects.count() == 1
    assert look(alias=alias) is None
    [told] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert told.name == "django_celery_once.reservations"
    assert f"{report.name}[{result.id}] could not be queued" in told.getMessage()


@both
def test_a_store_that_is_down_at_the_commit(
    queue: Queue,
    spare_redis_server: RedisServer,
    published: Headers,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Keep the word that was given: queue the task, whose start finds its lock, and log it."""
    with override_settings(CACHES=caches_at(spare_redis_server)), transaction.atomic():
        save()
        result = queue()
        held = look()
        spare_redis_server.kill()
    assert [each["id"] for each in published] == [result.id]
    header = read_header(published[0])
    assert header is not None
    assert held is not None
    assert header.previous == held.token
    assert "whichever lock it has" in caplog.text


@both
@pytest.mark.usefixtures("broken_broker")
def test_store_and_broker_are_down_at_the_commit(
    queue: Queue, spare_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Raise nothing even then."""
    with override_settings(CACHES=caches_at(spare_redis_server)), transaction.atomic():
        save()
        queue()
        spare_redis_server.kill()
    assert "could not be queued at the commit" in caplog.text


@both
@pytest.mark.usefixtures("broken_broker")
def test_a_key_that_could_not_be_moved_is_freed(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free the reservation's own lock where the message never got it, and was not sent."""

    def away(_alias: str) -> NoReturn:
        raise LockUnavailable("The lock store is away.")

    with transaction.atomic():
        queue()
        monkeypatch.setattr(claims, "open_store", away)
    assert look() is None


def lapse(email: str = "a") -> None:
    """Let the store forget a reservation, as it does when its time is up."""
    held = look(email)
    assert held is not None
    assert open_store("locks").release(held) is not None


@both
def test_lapsed_and_free_at_the_commit(queue: Queue, published: Headers) -> None:
    """Queue the call: the transaction took long, but nobody else has asked."""
    with transaction.atomic():
        result = queue()
        lapse()
    assert [each["id"] for each in published] == [result.id]
    held = look()
    assert held is not None
    assert (held.owner, held.phase) == (result.id, Phase.QUEUED)


@pytest.mark.parametrize("policy", ["raise", "reject"])
def test_lapsed_and_taken_at_the_commit(
    policy: str, published: Headers, rejections: list[Rejection], caplog: pytest.LogCaptureFixture
) -> None:
    """Raise nothing; leave a duplicate's traces and a warning, and the other's lock alone."""
    with transaction.atomic():
        result = report.apply_async_on_commit(("a",), once={"on_duplicate": policy})
        lapse()
        other = report.delay("a")
    assert [each["id"] for each in published] == [other.id]
    assert [(each.task_id, each.policy) for each in rejections] == [(result.id, policy)]
    assert BlockedAttempt.objects.get().task_id == result.id
    assert "was not queued at the commit" in caplog.text
    held = look()
    assert held is not None
    assert held.owner == other.id


def test_lapsed_and_taken_at_the_commit_of_a_rerun(
    published: Headers, rejections: list[Rejection]
) -> None:
    """Let it follow: the run under way has not seen what is committed now."""
    with transaction.atomic():
        result = report.apply_async_on_commit(("a",), once={"on_duplicate": "rerun"})
        lapse()
        other = report.delay("a")
    assert [each["id"] for each in published] == [other.id, result.id]
    held = look()
    assert held is not None
    assert held.follow_up is not None
    assert (held.owner, held.follow_up.owner) == (other.id, result.id)
    assert [each.policy for each in rejections] == ["rerun"]


def test_the_policy_holds_for_a_call_that_waits() -> None:
    """Answer a duplicate as ``apply_async`` would, at once."""
    report.delay("a")
    with transaction.atomic():
        result = report.apply_async_on_commit(("a",), once={"graceful": True})
        assert isinstance(result, EagerResult)
        assert (result.id, result.status) == (None, "REJECTED")
        with pytest.raises(AlreadyQueued):
            report.delay_on_commit("a")


def test_wrong_arguments_are_told_at_the_call() -> None:
    """Fail before the commit, and lock nothing."""
    with transaction.atomic():
        for wrong in ((), ("a", "b", "c")):
            with pytest.raises(TypeError, match=r"tests\.task\.report"):
                report.delay_on_commit(*wrong)
        with pytest.raises(TypeError, match=r"tests\.task\.labelled"):
            labelled.delay_on_commit("a")
    assert open_store("locks").scan().locks == ()


@pytest.mark.parametrize("unguarded", ["force", "disabled"])
def test_calls_that_are_not_guarded(unguarded: str, published: Headers) -> None:
    """Publish at the commit whatever is under way, and nothing after a rollback."""
    once = {"force": True} if unguarded == "force" else {}
    setting = {"CACHE": "locks", "ENABLED": unguarded == "force"}
    report.delay("a")
    with override_settings(DJANGO_CELERY_ONCE=setting):
        with transaction.atomic():
            first = report.apply_async_on_commit(("a",), once=once)
            second = report.apply_async_on_commit(("a",), once=once)
            assert len(published) == 1
        with suppress(ZeroDivisionError), transaction.atomic():
            report.apply_async_on_commit(("a",), once=once)
            raise ZeroDivisionError
    assert [each["id"] for each in published[1:]] == [first.id, second.id]


def test_a_task_that_runs_in_place_at_the_commit(caplog: pytest.LogCaptureFixture) -> None:
    """Run at the commit under the lock, free it, and raise nothing."""
    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    try:
        with transaction.atomic():
            bound.delay_on_commit("a")
    finally:
        app.conf.update(task_always_eager=False, task_eager_propagates=False)
    assert open_store("locks").inspect(bound.once_key("a")) is None
    assert "could not be queued" not in caplog.text


def test_a_class_may_send_in_its_own_way(published: Headers) -> None:
    """Publish through the task's own ``apply_async``; the key is the one that was claimed."""
    from django_celery_once import QueueOnce

    class Tenant(QueueOnce):
        abstract = True

        def apply_async(
            self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any
        ) -> Any:
            return super().apply_async(args, {**kwargs, "tenant": "t"}, *more, **options)

    @app.task(base=Tenant, name="tests.reservations.tenant")
    def per_tenant(email: str, tenant: str = "") -> None: ...

    with transaction.atomic():
        result = per_tenant.delay_on_commit(email="a")
    assert [each["id"] for each in published] == [result.id]
    assert "'tenant': 't'" in published[0]["kwargsrepr"]
    assert open_store("locks").inspect(per_tenant.once_key("a")) is not None


def test_transactions_by_hand_are_refused_and_free_the_key() -> None:
    """Let Django say that it has no commit to wait for."""
    transaction.set_autocommit(False)
    try:
        for queue in (by_task, by_reservation):
            with pytest.raises(transaction.TransactionManagementError):
                queue()
            assert look() is None
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def test_ten_threads_in_transactions(published: Headers) -> None:
    """Let one of them save and queue; the others save nothing."""
    together, refused = threading.Barrier(10), []

    def ask(number: int) -> None:
        together.wait()
        try:
            with report.reserve("a") as reservation, transaction.atomic():
                save(str(number))
                reservation.delay_on_commit("a")
                assert connection.in_atomic_block
        except AlreadyQueued:
            refused.append(number)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask, args=[number]) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(published), len(refused), Group.objects.count()) == (1, 9, 1)


def test_in_an_event_loop_it_is_queued_at_once(published: Headers) -> None:
    """Have no transaction there, and ask the database nothing."""

    async def view() -> None:
        report.delay_on_commit("a")
        with report.reserve("b") as reservation:
            reservation.delay_on_commit("b")

    asyncio.run(view())
    assert len(published) == 2


class TestInATestCase(TestCase):
    """The transaction around a test is one that never commits."""

    def test_the_callbacks_are_captured(self) -> None:
        """Publish when they are carried out, after the request's end."""
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            with leftovers.collected() as unused:
                result = report.delay_on_commit("a")
            leftovers.free(unused)
            held = look()
            assert held is not None
            assert (held.owner, held.phase) == (result.id, Phase.RESERVED)
        assert len(callbacks) == 1
        held = look()
        assert held is not None
        assert (held.owner, held.phase) == (result.id, Phase.QUEUED)

    def test_a_callback_that_is_called_twice(self) -> None:
        """Publish once."""
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            result = report.delay_on_commit("a")
        callbacks[0]()
        held = look()
        assert held is not None
        assert (held.owner, held.hits) == (result.id, 0)
