"""A key that is claimed before the data is saved, and what its call becomes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import shared_task
from celery.result import AsyncResult, EagerResult
from django.core.cache import caches
from django.test import override_settings
from kombu.exceptions import OperationalError

from django_celery_once import AlreadyQueued, LockUnavailable, QueueOnce
from django_celery_once.header import Header, read_header
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.models import BlockedDuplicate
from django_celery_once.requester import Requester, asking
from django_celery_once.reservations import Reservation
from django_celery_once.signals import Outcome, Rejection, lock_released
from testproject.redis_server import RedisServer
from tests.celery_app import app
from tests.guarded_tasks import bound, labelled, report
from tests.outages import caches_at

pytestmark = pytest.mark.django_db

Headers = list[dict[str, Any]]


def domain(number: int = 0, email: str = "") -> str:
    """Make the key of a call, whose number may not be known yet."""
    return email.partition("@")[2]


@shared_task(base=QueueOnce, name="tests.reservations.by_domain", once={"key": domain})
def by_domain(number: int, email: str) -> None: ...


@shared_task(base=QueueOnce, name="tests.reservations.by_email", once={"key": lambda email: email})
def by_email(email: str) -> None: ...


@pytest.fixture(params=["locks", "locks_locmem"])
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    """Keep the locks in Redis, then in another cache."""
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": request.param}):
        yield request.param


@pytest.fixture
def scripts(redis_server: RedisServer) -> Iterator[Any]:
    """Count the scripts that clients have run on the server."""
    with redis.Redis.from_url(redis_server.url()) as client:

        def count() -> int:
            stats = client.info("commandstats")
            known = (stats.get(f"cmdstat_{name}", {}) for name in ("evalsha", "eval"))
            return sum(each.get("calls", 0) for each in known)

        yield count


def look(key: str, alias: str = "locks") -> Lock | None:
    return open_store(alias).inspect(key)


def lapse(reservation: Reservation, alias: str = "locks") -> None:
    """Let the store forget a reservation, as it does when its time is up."""
    assert open_store(alias).release(reservation.lock) is not None


def fail(*_args: Any, **_kwargs: Any) -> None:
    raise OperationalError("broker down")


def test_a_reservation_holds_the_key(alias: str, rejections: list[Rejection]) -> None:
    """Refuse everybody else, and say that the call is on its way."""
    with labelled.reserve("a") as reservation:
        held = look(labelled.once_key("a", "May"), alias)
        assert held is not None
        assert (held.phase, held.owner) == (Phase.RESERVED, reservation.task_id)
        assert 50 < held.remaining <= 60
        with pytest.raises(AlreadyQueued) as raised, asking(Requester("web")):
            labelled.delay("a", "June")
        with pytest.raises(AlreadyQueued), asking(Requester("web")):
            labelled.reserve("a")
    assert (raised.value.phase, raised.value.task_id) == ("reserved", reservation.task_id)
    assert "is queued only if its caller's transaction commits" in str(raised.value)
    assert [each.policy for each in rejections] == ["raise", "raise"]


def test_unused_it_is_released(alias: str) -> None:
    """Leave nothing behind, also where the block raises."""
    with labelled.reserve("a"):
        pass
    with pytest.raises(ZeroDivisionError), labelled.reserve("a"):
        raise ZeroDivisionError
    assert look(labelled.once_key("a", "May"), alias) is None


@override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "RESERVE": 7})
def test_how_long_it_waits_is_a_setting() -> None:
    """Keep the key for ``RESERVE`` seconds."""
    labelled.reserve("a")
    held = look(labelled.once_key("a", "May"))
    assert held is not None
    assert 0 < held.remaining <= 7


def test_publishing_moves_the_lock_to_the_message(alias: str, published: Headers) -> None:
    """Queue under the reserved id, with the message's own token, time-out and label."""
    with labelled.reserve("a") as reservation:
        result = reservation.delay("a", month="May")
    assert isinstance(result, AsyncResult)
    assert result.id == reservation.task_id == published[0]["id"]
    header, held = read_header(published[0]), look(labelled.once_key("a", "May"), alias)
    assert header is not None
    assert held is not None
    assert (held.key, held.token) == (header.key, header.token)
    assert held.token != reservation.lock.token
    assert (held.phase, held.owner, held.label) == (Phase.QUEUED, result.id, "May report")
    assert 60 < held.remaining <= 100
    assert header.timeout is None or header.timeout == 100


def test_celerys_options_go_along(published: Headers) -> None:
    """Give them to the message, and wait for its countdown."""
    with labelled.reserve("a") as reservation:
        reservation.apply_async(("a", "May"), countdown=500, headers={"trace": "7"})
    held = look(labelled.once_key("a", "May"))
    assert held is not None
    assert 590 < held.remaining <= 600
    assert published[0]["trace"] == "7"
    assert published[0]["eta"] is not None


def test_another_call_is_an_error_that_costs_nothing(published: Headers) -> None:
    """Say that the arguments make another key, and let the right call through."""
    with report.reserve("a") as reservation:
        for publish in (reservation.delay, reservation.delay_on_commit):
            with pytest.raises(ValueError, match="another call than the one reserved"):
                publish("a", "June")
        with pytest.raises(TypeError, match="unexpected"):
            reservation.delay("a", nothing=1)
        assert published == []
        assert reservation.delay("a", "May").id == reservation.task_id
    assert len(published) == 1


@pytest.mark.parametrize("options", [{"once": {"force": True}}, {"task_id": "mine"}])
def test_what_is_settled_is_settled(options: dict[str, Any]) -> None:
    """Take neither options nor a task id where they come too late."""
    with report.reserve("a") as reservation:
        with pytest.raises(TypeError, match="reserve_with"):
            reservation.apply_async(("a",), **options)
        assert reservation.delay("a").id == reservation.task_id


def test_one_reservation_is_one_call(published: Headers) -> None:
    """Publish nothing twice, and nothing after a release."""
    reservation = report.reserve("a")
    reservation.delay("a")
    released = report.reserve("b")
    released.release()
    for used, email in ((reservation, "a"), (released, "b")):
        with pytest.raises(RuntimeError, match="used up"):
            used.delay(email)
        used.release()
    assert len(published) == 1
    assert look(report.once_key("a")) is not None


def test_only_the_arguments_of_the_key_are_needed() -> None:
    """Ask for what makes the key, by position or by name; defaults stand for themselves."""
    assert labelled.reserve(email="a").lock.key == labelled.once_key("a", "May")
    assert report.reserve("a").lock.key == report.once_key("a", "May")
    assert bound.reserve("a").lock.key == bound.once_key("a")
    with by_domain.reserve(email="a@b") as reservation:
        assert reservation.lock.key == by_domain.once_key(7, "c@b")
        reservation.delay(7, "a@b")


@pytest.mark.parametrize(
    ("task", "args", "words"),
    [
        (labelled, {"month": "May"}, r"tests\.task\.labelled: .*'email'"),
        (report, {"month": "May"}, r"tests\.task\.report: .*'email'"),
        (labelled, {"email": "a", "nothing": 1}, r"tests\.task\.labelled: .*'nothing'"),
        (by_email, {}, "'email'"),
    ],
)
def test_a_missing_argument_of_the_key_is_named(task: Any, args: Any, words: str) -> None:
    """Fail before anything is locked."""
    with pytest.raises(TypeError, match=words):
        task.reserve(**args)
    assert open_store("locks").scan().locks == ()


def test_a_label_waits_for_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    """Reserve without words where they need what is not known yet, and complain of nothing."""
    assert labelled.reserve("a").lock.label == ""
    assert labelled.reserve("b", month="May").lock.label == "May report"
    assert "failed" not in caplog.text


def test_options_and_task_id_of_one_call(published: Headers) -> None:
    """Reserve with what ``apply_async`` would take."""
    once = {"keys": ["month"], "timeout": 5, "unlock_before_run": True}
    with report.reserve_with(kwargs={"month": "May"}, task_id="mine", once=once) as reservation:
        reservation.delay("a", "May")
    header = read_header(published[0])
    assert header is not None
    assert (published[0]["id"], header.timeout, header.until) == ("mine", 5, "started")
    [lock] = open_store("locks").scan().locks
    assert (lock.key, lock.owner) == (header.key, "mine")
    assert 0 < lock.remaining <= 5


@pytest.mark.parametrize("ways", [{"ON_DUPLICATE": "reject"}, {}])
def test_a_duplicate_always_raises(ways: dict[str, str], rejections: list[Rejection]) -> None:
    """Stop what was to come next, whatever the policy for calls that queue."""
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", **ways}):
        report.delay("a")
        with pytest.raises(AlreadyQueued) as raised:
            report.reserve("a")
    assert raised.value.phase == "queued"
    assert [each.policy for each in rejections] == ["raise"]


def test_force_reserves_nothing(published: Headers) -> None:
    """Let the call through whatever is under way."""
    report.delay("a")
    with report.reserve_with(("a",), once={"force": True}) as reservation:
        assert reservation.delay("a").id == reservation.task_id
    assert read_header(published[-1]) == Header()


@override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "ENABLED": False})
def test_the_kill_switch(published: Headers) -> None:
    """Take no lock, and publish all the same."""
    for _each in range(2):
        with report.reserve("a") as reservation:
            reservation.delay("a")
    assert len(published) == 2
    assert open_store("locks").scan().locks == ()


def test_a_broker_that_is_down_frees_the_key(monkeypatch: pytest.MonkeyPatch, alias: str) -> None:
    """Raise what publishing raises; nothing stays locked."""
    with monkeypatch.context() as broken, report.reserve("a") as reservation:
        broken.setattr(app, "send_task", fail)
        with pytest.raises(OperationalError):
            reservation.delay("a")
        assert look(report.once_key("a"), alias) is None
    report.delay("a")


def test_a_store_that_is_away_reserves_nothing(spare_redis_server: RedisServer) -> None:
    """Say so before anything is saved."""
    with override_settings(CACHES=caches_at(spare_redis_server)):
        spare_redis_server.kill()
        with pytest.raises(LockUnavailable, match="was not queued"):
            report.reserve("a")


def test_a_store_may_be_away_where_the_setting_says_so(
    spare_redis_server: RedisServer, published: Headers
) -> None:
    """Queue without a lock, as ``delay`` would."""
    setting = {"CACHE": "locks", "ON_CACHE_ERROR": "enqueue"}
    with override_settings(CACHES=caches_at(spare_redis_server), DJANGO_CELERY_ONCE=setting):
        spare_redis_server.kill()
        with report.reserve("a") as reservation:
            reservation.delay("a")
    assert len(published) == 1


def test_a_store_that_goes_away_keeps_its_word(
    spare_redis_server: RedisServer, published: Headers
) -> None:
    """Queue what was reserved; its start finds the lock under the reservation's token."""
    caches_there = override_settings(CACHES=caches_at(spare_redis_server))
    with caches_there, report.reserve("a") as reservation:
        spare_redis_server.kill()
        reservation.delay("a")
    header = read_header(published[0])
    assert header is not None
    assert header.previous == reservation.lock.token


def test_lapsed_and_free(published: Headers) -> None:
    """Take the key again: nobody else has asked."""
    reservation = report.reserve("a")
    lapse(reservation)
    assert reservation.delay("a").id == reservation.task_id
    held = look(report.once_key("a"))
    assert held is not None
    assert held.owner == published[0]["id"] == reservation.task_id


@pytest.mark.parametrize("policy", ["raise", "reject"])
def test_lapsed_and_taken(policy: str, published: Headers, rejections: list[Rejection]) -> None:
    """Be a duplicate like any other, and leave the other's lock alone."""
    with report.reserve_with(("a",), once={"on_duplicate": policy}) as reservation:
        lapse(reservation)
        other = report.delay("a")
        if policy == "raise":
            with pytest.raises(AlreadyQueued):
                reservation.delay("a")
        else:
            assert isinstance(reservation.delay("a"), EagerResult)
    assert [each["id"] for each in published] == [other.id]
    assert [(each.task_id, each.policy) for each in rejections] == [(reservation.task_id, policy)]
    held = look(report.once_key("a"))
    assert held is not None
    assert held.owner == other.id


def test_the_setting_ends_a_reservation(scripts: Any) -> None:
    """Let the next one in when the time is up, without a word to the store."""
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "RESERVE": 0.05}):
        first = report.reserve("a")
    deadline = time.monotonic() + 5
    while look(report.once_key("a")) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = report.reserve("a")
    before = scripts()
    first.release()
    assert scripts() == before
    held = look(report.once_key("a"))
    assert held is not None
    assert held.owner == second.task_id


def test_ten_threads_and_one_key(alias: str) -> None:
    """Let exactly one of them in."""
    together, let_in, refused = threading.Barrier(10), [], []

    def reserve() -> None:
        together.wait()
        try:
            let_in.append(bound.reserve("a"))
        except AlreadyQueued:
            refused.append(1)
        finally:
            caches[alias].close()

    threads = [threading.Thread(target=reserve) for _each in range(10)]
    # No journal: it would wait for the transaction that this test is in.
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": alias, "LOG": False}):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(let_in), len(refused)) == (1, 9)
    held = look(bound.once_key("a"), alias)
    assert held is not None
    assert (held.owner, held.hits) == (let_in[0].task_id, 9)


def test_a_task_that_runs_in_place(published: Headers) -> None:
    """Run under the moved lock with ``task_always_eager``, and free it."""
    app.conf.task_always_eager = True
    try:
        with bound.reserve("a") as reservation:
            result = reservation.delay("a")
    finally:
        app.conf.task_always_eager = False
    assert (result.id, result.get()) == (reservation.task_id, True)
    assert look(bound.once_key("a")) is None


def test_it_costs_one_round_trip_each(scripts: Any) -> None:
    """Reserve with one command, publish with one, release with one."""
    with report.reserve("warm"):
        pass
    before = scripts()
    with report.reserve("a") as reservation:
        assert scripts() - before == 1, "reserve"
        reservation.delay("a")
        assert scripts() - before == 2, "publish"
    assert scripts() - before == 2, "nothing more"
    with report.reserve("b"):
        pass
    assert scripts() - before == 4, "reserve and release"


@pytest.mark.django_db(transaction=True)
def test_the_journal_tells_that_it_was_taken_back() -> None:
    """End the incident of duplicates whose favoured call never came."""
    outcomes = []

    def note(outcome: Outcome, **_signal: Any) -> None:
        outcomes.append(outcome)

    lock_released.connect(note)
    try:
        with report.reserve("a") as reservation, pytest.raises(AlreadyQueued):
            report.delay("a")
    finally:
        lock_released.disconnect(note)
    assert outcomes == [Outcome.WITHDRAWN]
    incident = BlockedDuplicate.objects.get()
    assert (incident.holder_task_id, incident.outcome) == (reservation.task_id, "withdrawn")
    assert incident.released_at is not None


def test_the_arguments_of_a_refused_reservation_are_logged() -> None:
    """Log what it gave, as far as the setting allows."""
    for which in ("keys", "all"):
        with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG_ARGUMENTS": which}):
            labelled.reserve(which)
            with pytest.raises(AlreadyQueued):
                labelled.reserve(which)
    stored = [each.attempts.get().arguments for each in BlockedDuplicate.objects.all()]
    assert sorted(stored) == ["email='all'", "email='keys'"]
