"""Which messages may be delivered again after their run, by what their worker knows of them."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from django_celery_once.header import Header
from django_celery_once.running import ended_seconds, lease_seconds, may_be_copied

LATELY, LONG_AGO = 1.0, 20.0


def task(broker: str, *, acks_late: bool = False, **request: Any) -> Any:
    """Return what is asked of a task that runs a message of a broker."""
    app = Celery(set_as_current=False, broker=broker)
    app.conf.broker_transport_options = {"visibility_timeout": 10}
    asked = {"is_eager": False, "delivery_info": {"redelivered": False}, **request}
    return SimpleNamespace(app=app, acks_late=acks_late, request=SimpleNamespace(**asked))


@pytest.mark.parametrize(
    ("running", "header", "copied"),
    [
        (task("redis://"), {}, False),
        (task("redis://", acks_late=True), {}, True),
        (task("redis://", delivery_info={"redelivered": True}), {}, True),
        (task("redis://", delivery_info=None), {}, False),
        (task("redis://"), {"again": True}, True),
        (task("redis://"), {"received": LONG_AGO}, True),
        (task("amqp://"), {}, True),
        (task("amqp://", is_eager=True), {}, False),
        (task("amqp://"), {"token": "id:0123"}, False),
    ],
)
def test_what_may_come_again(running: Any, header: dict[str, Any], copied: bool) -> None:
    """Remember no more ends than there may be copies."""
    waited = header.pop("received", LATELY)
    made = Header(**{"token": "0123", **header}, received=time.time() - waited)
    assert may_be_copied(running, made) is copied


def test_an_end_is_known_as_long_as_a_copy_may_wait() -> None:
    """Count what the broker takes to deliver it again, and its time in the queue."""
    assert ended_seconds(task("redis://"), Header(timeout=60)) == 10 + 120 + 60
    assert ended_seconds(task("amqp://"), Header()) == 120 + 3600


def test_rabbitmq_has_no_visibility_time_out() -> None:
    """Take an option that is another broker's for none of its own."""
    assert lease_seconds(task("amqp://", acks_late=True)) == 120
    assert lease_seconds(task("redis://", acks_late=True)) == 130
