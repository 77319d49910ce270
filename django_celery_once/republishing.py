"""What was sent, to be sent again: turns, copies, joins and follow-ups, and Celery's retries.

A message that comes again says all that its caller has said, and nothing that the broker has
added: RabbitMQ takes a message that it has seen (``x-death``) for one that goes in circles.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery.app.task import Context
from celery.contrib.django.task import DjangoTask
from kombu import Exchange, Queue
from kombu.utils import json

from django_celery_once.gate import ANSWER, RUN
from django_celery_once.header import NAME, Header, levels

logger = logging.getLogger(__name__)

#: The options of a call that its message does not tell the worker.
UNTOLD = ("serializer", "compression", "delivery_mode")
#: The options of a call that are about its own message alone.
OWN = {
    "add_to_parent", "connection", "countdown", "eta", "headers", "link", "link_error", "producer",
    "publisher",
    "result_cls", "retries", "retry", "retry_policy", "router", "task_id",
}  # fmt: skip
#: Our header, and what a run leaves on its request, where Celery keeps headers, too.
OURS = {NAME, RUN, ANSWER}
#: What the names of a broker's headers begin with.
BROKERS = "x-"
#: What a queue's delay in RabbitMQ leaves in front of a routing key (Kombu's
#: ``native_delayed_delivery``).
_DELAY = re.compile(r"^(?:[01]\.){28}")


@dataclass(slots=True)
class Again:
    """What ``apply_async`` gets as ``once`` for a message that is sent again.

    It is no new call: it takes no lock, and frees none where it can't be published. So it may
    go through the ``apply_async`` of a project's own base class, as the call did; ``passed`` says
    that this has handed it on. The ``headers`` are those of the call, whatever that adds here.
    """

    header: Header
    headers: Mapping[str, Any]
    passed: bool = False

    def headers_for(self, task: Any, task_id: object) -> dict[str, Any]:
        """Return all headers of the message."""
        return {**self.headers, NAME: self.header.as_message(task.name, task_id)}


def publish(task: Any, args: Any, kwargs: Any, again: Again, **options: Any) -> None:
    """Publish a call again; raise what publishing raises."""
    options["headers"] = again.headers_for(task, options["task_id"])
    options["add_to_parent"] = False
    try:
        task.apply_async(args, kwargs, once=again, **options)
    except Exception:
        if again.passed:
            raise
        # A class' own apply_async may call no super(), or want what is not there, as a tenant.
        logger.debug("%s is sent again past its apply_async", task.name, exc_info=True)
        DjangoTask.apply_async(task, args, kwargs, **options)


def untold(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return those of a call's options that its message would not tell; ``None`` without any."""
    return plain({name: options[name] for name in UNTOLD if name in options}) or None


def headers_of(request: Any) -> dict[str, Any]:
    """Return the headers that a caller gave a message, on whichever level they came."""
    top, *nested = levels(vars(request))
    if nested and NAME in top and nested[0].get(NAME) is top[NAME]:
        top = {}  # these are what Celery has collected from there
    found = {name: value for name, value in _of_caller(top).items() if _holds(value)}
    for level in nested:
        found = {**_of_caller(level), **found}
    return found


def _of_caller(level: Mapping[str, Any]) -> dict[str, Any]:
    """Return a level of headers without Celery's, the broker's and ours."""
    own = Context({**level, "headers": None}).headers or {}
    return {
        name: value
        for name, value in own.items()
        if name not in OURS and not str(name).startswith(BROKERS)
    }


def options_of(task: Any, header: Header) -> dict[str, Any]:
    """Return the options that the message which is here was published with, without headers."""
    request = Context({**vars(task.request), "headers": {}})
    delivery = request.delivery_info or {}
    options = {
        **request.as_execution_options(),
        **{name: vars(request).get(name) for name in ("argsrepr", "kwargsrepr", "ignore_result")},
        **(header.options or {}),
        **_route(task.app, delivery),
        "priority": delivery.get("priority"),
    }
    del options["headers"]
    return {name: value for name, value in options.items() if value is not None}


def _route(app: Any, delivery: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that bring a message back to the queue that it came from.

    Without a queue, Celery takes the default one, and where the broker keeps a delay even its
    routing key.
    """
    exchange, key = delivery.get("exchange"), _DELAY.sub("", delivery.get("routing_key") or "")
    if not key or not exchange:
        return {"queue": key} if key else {}
    queues = app.amqp.queues
    known = {**queues.consume_from, **queues}
    found = [name for name, queue in known.items() if _leads_to(queue, key)]
    same = [name for name in found if known[name].exchange.name == exchange]
    if found:
        return {"queue": (same or found)[0]}
    return {"exchange": exchange, "routing_key": key}


def _leads_to(queue: Any, key: str) -> bool:
    """Return whether a queue is bound by a routing key, which may be a topic's."""
    bound = re.escape(queue.routing_key or "").replace(r"\#", ".*").replace(r"\*", r"[^.]+")
    return re.fullmatch(bound, key) is not None


def kept(app: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call to be published later, as far as JSON can hold them."""
    lasting = {name: value for name, value in options.items() if name not in OWN}
    if isinstance(lasting.get("expires"), int | float):  # counted from now
        lasting["expires"] = app.now() + timedelta(seconds=lasting["expires"])
    return plain(lasting)


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options or headers that JSON can hold."""
    found = {}
    for name, given in options.items():
        value = given.name if isinstance(given, Queue | Exchange) else given
        if not _holds(value):
            logger.warning("JSON can't hold %s (%s): left out", name, type(given).__name__)
        elif value is not None:
            found[name] = value
    return found


def _holds(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
