"""What is sent again is what was sent."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chain, shared_task, signals
from celery.app.task import Context
from celery.exceptions import Ignore
from django.core.exceptions import ImproperlyConfigured
from kombu import Exchange, Queue

from django_celery_once import QueueOnce, endings, republishing, reruns, turns
from django_celery_once.header import NAME, Header, read_header
from django_celery_once.locks import open_store
from django_celery_once.republishing import Again, headers_of
from tests.celery_app import app
from tests.guarded_tasks import held, report

pytestmark = pytest.mark.django_db
_numbers = itertools.count()


@shared_task(base=QueueOnce, name="tests.republishing.book", once={"until": "running"})
def book(account: str, number: int = 0) -> None: ...


class Sent(SimpleNamespace):
    """A message as it was published."""

    headers: dict[str, Any]
    body: Any
    properties: dict[str, Any]
    routing_key: str


@pytest.fixture
def sent() -> Iterator[list[Sent]]:
    """Collect messages as they are published."""
    seen: list[Sent] = []

    def note(**message: Any) -> None:
        seen.append(Sent(**message))

    uid = f"tests.sent.{next(_numbers)}"
    signals.before_task_publish.connect(note, weak=False, dispatch_uid=uid)
    yield seen
    signals.before_task_publish.disconnect(dispatch_uid=uid)


@contextmanager
def received(task: Any, message: Sent, **more: Any) -> Iterator[Context]:
    """Be the worker that has received a message."""
    args, kwargs, embed = json.loads(json.dumps(message.body))
    request = {
        **json.loads(json.dumps(message.headers)),
        "properties": message.properties,
        "reply_to": message.properties.get("reply_to"),
        "delivery_info": {
            "exchange": "",
            "routing_key": message.routing_key,
            "priority": message.properties.get("priority"),
            "redelivered": False,
        },
        "called_directly": False,
        **more,
        **embed,
    }
    endings.mark_run(task, request)
    task.request_stack.push(Context(request, args=args, kwargs=kwargs))
    try:
        yield task.request
    finally:
        task.request_stack.pop()


def send_again(task: Any, seconds: float = 1.0) -> Header:
    """Send the message that is here back to its queue."""
    header = read_header(task.request)
    assert header is not None
    return turns._send_again(task, header, seconds, "because")


OPTIONS: dict[str, Any] = {
    "headers": {"tenant": "north"},
    "priority": 5,
    "expires": 600,
    "time_limit": 30,
    "soft_time_limit": 20,
    "shadow": "booking",
    "argsrepr": "(<hidden>)",
    "kwargsrepr": "{}",
    "ignore_result": True,
    "queue": "slow",
    "serializer": "yaml",
    "compression": "zlib",
    "reply_to": "me",
    "link": [report.si("linked")],
    "link_error": [report.si("failed")],
    "stamped_headers": ["customer"],
    "customer": "7",
}


def test_a_turn_is_sent_as_it_came(sent: list[Sent]) -> None:
    """Whatever its caller has said is said again; only its time and its visits differ."""
    options = {**OPTIONS, "serializer": "json", "compression": None}
    book.apply_async(("ada",), {"number": 2}, **options)
    with received(book, sent[0]), pytest.raises(Ignore):
        send_again(book)
    first, again = sent
    assert again.headers["tenant"] == "north"
    assert again.headers["eta"] is not None
    for headers in (first.headers, again.headers):
        del headers["eta"]
        headers["timelimit"] = list(headers["timelimit"])
    assert again.headers == first.headers
    assert json.loads(json.dumps(again.body)) == json.loads(json.dumps(first.body))
    assert again.routing_key == first.routing_key == "slow"
    told = ("priority", "reply_to", "correlation_id")
    assert [again.properties[each] for each in told] == [first.properties[each] for each in told]


def test_how_it_was_packed_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serializer and compression are in no header but ours."""
    seen: list[dict[str, Any]] = []

    def note(_producer: Any, _name: str, message: Any, **options: Any) -> None:
        seen.append({**options, "message": message})

    monkeypatch.setattr(app.amqp, "send_task_message", note)
    book.apply_async(("ada",), serializer="yaml", compression="zlib")
    headers, properties, body, _event = seen[0]["message"]
    headers = {**headers, **seen[0]["headers"]}
    message = Sent(headers=headers, body=body, properties=properties, routing_key="celery")
    with received(book, message), pytest.raises(Ignore):
        send_again(book)
    assert [(each["serializer"], each["compression"]) for each in seen] == [("yaml", "zlib")] * 2


def test_without_what_the_broker_has_added(sent: list[Sent]) -> None:
    """RabbitMQ would take the message for one that goes in circles."""
    book.apply_async(("ada",), headers={"tenant": "north"})
    added = {"x-death": [{"count": 1}], "x-first-death-queue": "q", "x-delivery-count": 3}
    nested = {"headers": {"trace": "7", "x-death": []}}
    with received(book, sent[0], **added, **nested), pytest.raises(Ignore):
        send_again(book)
    assert not [name for name in sent[1].headers if name.startswith("x-")]
    assert (sent[1].headers["tenant"], sent[1].headers["trace"]) == ("north", "7")
    with received(book, sent[0], **added, **nested):
        retried = book.signature_from_request(retries=1).options["headers"]
    assert not [name for name in retried if name.startswith("x-")]


def test_headers_on_both_levels_come_together() -> None:
    """Also such as Celery knows itself, which a tracer has copied; ours is made anew."""
    own: dict[str, Any] = {"id": "x", "task": "t", "eta": "then", NAME: {"key": "k"}}
    copy = {**own, NAME: {**own[NAME]}, "trace": "7", "tenant": "x"}
    request = Context({**own, "tenant": "north", "headers": copy})
    assert headers_of(request) == {"tenant": "north", "trace": "7"}
    assert headers_of(Context({**own, "tenant": "north"})) == {"tenant": "north"}
    assert headers_of(Context()) == {}


def test_what_a_run_left_on_its_request_is_no_header() -> None:
    """Others keep their things there, too."""
    request = Context({"id": "x", "task": "t", NAME: {}, "tenant": "north"})
    vars(request)["their_span"] = object()
    assert headers_of(request) == {"tenant": "north"}
    nested = Context({"id": "x", "task": "t", NAME: {}, "tenant": "north", "headers": {"a": 1}})
    vars(nested)["their_span"] = object()
    assert headers_of(nested) == {"tenant": "north", "a": 1}


@pytest.mark.parametrize(("seconds", "whole"), [(0.25, 1), (1.0, 1), (1.01, 2), (6.4, 7)])
def test_in_whole_seconds(
    monkeypatch: pytest.MonkeyPatch, sent: list[Sent], seconds: float, whole: int
) -> None:
    """A delay that the broker keeps has no fractions, and is not 0."""
    book.delay("ada")
    seen: list[Any] = []
    monkeypatch.setattr(app, "send_task", lambda *_args, **options: seen.append(options))
    with received(book, sent[0]), pytest.raises(Ignore):
        send_again(book, seconds)
    assert (seen[0]["countdown"], type(seen[0]["countdown"])) == (whole, int)


# ---- where a message goes

QUEUES = [
    Queue("plain", Exchange("plain", "topic"), "plain"),
    Queue("daily", Exchange("reports", "topic"), "reports.daily"),
    Queue("other", Exchange("others", "topic"), "reports.daily"),
    Queue("all", Exchange("all", "topic"), "all.#"),
]
DELAYED = "0." * 25 + "1.1.0."


@pytest.mark.parametrize(
    ("exchange", "key", "queue"),
    [
        ("", "anything", "anything"),
        ("plain", "plain", "plain"),
        ("reports", "reports.daily", "daily"),
        ("others", "reports.daily", "other"),
        ("celery_delayed_delivery", f"{DELAYED}plain", "plain"),
        ("celery_delayed_delivery", f"{DELAYED}reports.daily", "daily"),
        ("all", "all.of.it", "all"),
        ("celery_delayed_delivery", f"{DELAYED}all.of.it", "all"),
    ],
)
def test_back_to_its_queue(exchange: str, key: str, queue: str) -> None:
    """Celery would take the default queue, and its routing key, where none is named."""
    delivery = {"exchange": exchange, "routing_key": key}
    queues = app.amqp.Queues(QUEUES)
    amqp = SimpleNamespace(amqp=SimpleNamespace(queues=queues))
    assert republishing._route(amqp, delivery) == {"queue": queue}


def test_to_an_exchange_whose_queue_is_not_known() -> None:
    """There it goes the way that it came."""
    delivery = {"exchange": "elsewhere", "routing_key": f"{DELAYED}key"}
    assert republishing._route(app, delivery) == {"exchange": "elsewhere", "routing_key": "key"}
    assert republishing._route(app, {}) == {}


# ---- a broker that refuses


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Return a list of the errors with which the broker will refuse."""
    monkeypatch.setattr(turns, "PAUSE", 0.01)
    errors: list[Exception] = []
    publish = app.amqp.send_task_message

    def refuse(*args: Any, **options: Any) -> None:
        if errors:
            raise errors.pop()
        publish(*args, **options)

    monkeypatch.setattr(app.amqp, "send_task_message", refuse)
    return errors


def test_a_message_is_offered_until_it_is_taken(
    sent: list[Sent], refusals: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells once that it is in this worker only, naming task and id."""
    result = book.delay("ada")
    refusals[:] = [OSError("no room")] * 3
    with received(book, sent[0]), pytest.raises(Ignore):
        send_again(book, 30)
    [told] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert f"{book.name}[{result.id}] can't be sent back to its queue (no room)" in told.message
    assert len(sent) == 2


def test_one_that_is_not_taken_comes_again_here(
    sent: list[Sent], refusals: list[Exception]
) -> None:
    """When its time is over, so that it runs where it is if its turn has come."""
    book.delay("ada")
    refusals[:] = [OSError("no room")] * 10_000
    with received(book, sent[0]) as request:
        assert send_again(book, 0.05) == read_header(request)
    assert len(sent) == 1


def test_a_lock_stays_where_its_message_is_refused(
    sent: list[Sent], refusals: list[Exception]
) -> None:
    """What is sent again is no call: it takes no lock and gives none back."""
    report.delay("a")
    with received(report, sent[0]) as request:
        header = read_header(request)
        assert header is not None
        refusals[:] = [OSError("no room")]
        with pytest.raises(OSError, match="no room"):
            republishing.publish(report, ("a",), {}, Again(header, {}), task_id=request.id)
        token = held(report.once_key("a")).token
        assert token == header.token
        republishing.publish(report, ("a",), {}, Again(header, {}), task_id=request.id)
    assert held(report.once_key("a")).token == token


# ---- follow-ups


@shared_task(base=QueueOnce, name="tests.republishing.look", once={"keys": ["shop"]})
def look(shop: str, number: int = 0) -> None: ...


RERUN = {"on_duplicate": "rerun"}


def test_a_follow_up_is_sent_as_it_was_asked_for(sent: list[Sent]) -> None:
    """With all its caller's options, but for the time."""
    look.delay("a", 1)
    options = {**OPTIONS, "serializer": "json", "compression": None, "link": None}
    look.apply_async(("a", 2), once=RERUN, **{**options, "link_error": None})
    lock = held(look.once_key("a"))
    open_store("locks").release(lock)
    following = lock.follow_up
    assert following is not None
    reruns.send(following)
    _first, looker, again = sent
    assert again.headers["eta"] is None
    for name in ("tenant", "shadow", "argsrepr", "kwargsrepr", "ignore_result"):
        assert again.headers[name] == looker.headers[name], name
    assert again.headers["stamps"] == {"customer": "7"}
    assert (looker.headers["stamped_headers"], looker.headers["expires"]) == (None, None)
    assert list(again.headers["timelimit"]) == [30, 20]
    left = dt.datetime.fromisoformat(again.headers["expires"]) - dt.datetime.now(dt.UTC)
    assert 500 < left.total_seconds() <= 600
    assert (again.routing_key, again.properties["priority"]) == ("slow", 5)
    header = read_header(again.headers)
    assert header is not None
    assert header.options == {"serializer": "json"}


def test_each_calls_callbacks_wait_for_the_run(sent: list[Sent]) -> None:
    """In a message of their own: the run has the arguments of the newest call."""
    look.delay("a", 1)
    asked = look.apply_async(("a", 2), once=RERUN, queue="slow", link=report.si("linked"))
    _first, joins, looker = sent
    header = read_header(joins.headers)
    assert header is not None
    assert (header.duplicate_of, header.joins) == (asked.id, look.once_key("a"))
    assert joins.headers["id"] not in (asked.id, looker.headers["id"])
    callbacks = [each.body[2]["callbacks"] for each in (joins, looker)]
    assert [len(each or ()) for each in callbacks] == [1, 0]
    assert joins.routing_key == "slow"


def test_callbacks_that_no_result_can_reach_are_an_error(sent: list[Sent]) -> None:
    """Say so at the call, and leave no follow-up behind."""
    look.delay("a", 1)
    with pytest.raises(ImproperlyConfigured, match="ignore_result=False"):
        look.apply_async(("a", 2), once=RERUN, ignore_result=True, link=report.si("linked"))
    assert len(sent) == 1
    assert held(look.once_key("a")).follow_up is None


def test_the_newest_call_is_the_one_that_is_sent(sent: list[Sent]) -> None:
    """Its headers and options come with its arguments."""
    look.delay("a", 1)
    for number, tenant in ((2, "north"), (3, "south")):
        headers = {"tenant": tenant}
        look.apply_async(("a", number), headers=headers, priority=number, once=RERUN)
    lock = held(look.once_key("a"))
    assert lock.follow_up is not None
    reruns.send(lock.follow_up)
    assert sent[-1].body[0] == ["a", 3]
    assert (sent[-1].headers["tenant"], sent[-1].properties["priority"]) == ("south", 3)


def test_what_json_can_not_hold_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The call is kept without it."""
    options = {"headers": {"tenant": "north", "thing": object()}, "priority": object()}
    kept = reruns.pack(report, _call(), options, Header("k", "t"))
    assert '"tenant": "north"' in kept
    assert caplog.text.count("JSON can't hold") == 2
    assert "priority (object)" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("queue", Queue("slow"), "slow"),
        ("exchange", Exchange("slow"), "slow"),
        ("expires", dt.datetime(2036, 5, 1, tzinfo=dt.UTC), dt.datetime(2036, 5, 1, tzinfo=dt.UTC)),
        ("link", report.si("a"), None),
        ("message_id", "m1", "m1"),
        ("countdown", 3, None),
        ("task_id", "x", None),
    ],
)
def test_options_that_are_kept(name: str, value: object, kept: object) -> None:
    """In words that JSON has."""
    assert republishing.kept(app, {name: value}).get(name) == kept


def _call() -> Any:
    from django_celery_once.arguments import Call

    return Call(("a",), {})


def test_a_chain_goes_on_after_a_turn(sent: list[Sent]) -> None:
    """The rest of a chain is part of the message."""
    chain(book.si("ada"), report.si("a")).apply_async()
    with received(book, sent[0]), pytest.raises(Ignore):
        send_again(book)
    assert [each["task"] for each in sent[1].body[2]["chain"]] == [report.name]
