"""Examination of the calls that have waited for long: is a message behind each of them?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from django_celery_once import live
from django_celery_once.celery_apps import app_of
from django_celery_once.doctor.findings import Finding, not_examined, ok, warning
from django_celery_once.locks import Lock, Phase
from django_celery_once.record import record

#: Seconds after which a call that no worker has begun with is looked for.
LONG = 300.0
#: Seconds to wait for what the workers say.
WORKER_SECONDS = 1.0
#: How many calls are named.
NAMED = 3


@record
class Broker:
    """How many messages a broker's queues hold, and what its workers know, by task id.

    ``served`` are the queues of the workers that have answered.
    """

    queues: Mapping[str, int]
    known: frozenset[str]
    served: frozenset[str]

    @property
    def messages(self) -> int:
        """Return how many messages wait."""
        return sum(self.queues.values())

    @property
    def unserved(self) -> list[str]:
        """Return the queues with messages that no worker takes."""
        return [name for name, count in self.queues.items() if count and name not in self.served]


def examine_waiting() -> Iterator[Finding]:
    """Look for the messages of calls that have waited for long, where the broker can tell."""
    waiting = [lock for lock in live.find().locks if _waits_long(lock)]
    if not waiting:
        yield ok("No call has waited for a worker for long.")
    for app in {id(app): app for app in (app_of(lock.task) for lock in waiting)}.values():
        yield _examine(app, [lock for lock in waiting if app_of(lock.task) is app])


def _examine(app: Any, waiting: Sequence[Lock]) -> Finding:
    try:
        broker = _look(app, waiting)
    except Exception as error:
        # Each transport has errors of its own.
        return not_examined(f"{_names(waiting)}: the broker can't be asked ({error}).")
    missing = [lock for lock in waiting if lock.owner not in broker.known]
    if len(missing) > broker.messages:
        return _of_lost(missing, broker)
    if missing and (unserved := broker.unserved):
        return warning(
            f"{_names(missing)}: messages wait in {', '.join(unserved)}, and no worker that serves "
            "that answers.",
            "Start a worker that serves their queues.",
        )
    return ok("A message is there for each call that has waited for long.")


def _waits_long(lock: Lock) -> bool:
    waits = lock.phase_now is Phase.QUEUED and not lock.run
    return waits and time.time() - max(lock.since, lock.begins) > LONG


def _look(app: Any, locks: Sequence[Lock]) -> Broker:
    ids = [lock.owner for lock in locks]
    with live.broker_of(app) as connection:
        workers = app.control.inspect(timeout=WORKER_SECONDS, connection=connection)
        served = workers.active_queues() or {}
        known = workers.query_task(*ids) if served else {}
        taken = frozenset(each["name"] for its in served.values() for each in its)
        queues = {*app.amqp.queues, *taken}
        routes = [app.amqp.router.route({}, task) for task in {lock.task for lock in locks}]
        queues |= {route["queue"].name for route in routes if route.get("queue") is not None}
        return Broker(
            {name: _messages(connection, name) for name in sorted(queues)},
            frozenset([*_unacknowledged(connection, ids), *chain(*(known or {}).values())]),
            taken,
        )


def _messages(connection: Any, queue: str) -> int:
    try:
        with connection.channel() as channel:  # which a queue that is not there closes
            return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return 0


def _unacknowledged(connection: Any, ids: Sequence[str]) -> list[str]:
    """Return whose messages Kombu keeps beside its queues in Redis, also for dead workers."""
    with connection.channel() as channel:
        key = getattr(channel, "unacked_key", "")
        kept = [str(each) for each in channel.client.hvals(key)] if key else []
    return [each for each in ids if any(each in message for message in kept)]


def _of_lost(missing: Sequence[Lock], broker: Broker) -> Finding:
    count = len(missing) - broker.messages
    which = f" for {count} of them" if broker.messages else ""
    queues = ", ".join(broker.queues)
    return warning(
        f"{_names(missing)}: no message{which} is in the queues {queues}, or at a worker.",
        "If a queue was purged, nobody runs these calls: release their keys (once_release), or "
        "they stay blocked until their time is up.",
    )


def _names(locks: Sequence[Lock]) -> str:
    named = [lock.key for lock in locks[:NAMED]]  # which says the task
    if len(locks) > NAMED:
        named.append(f"{len(locks) - NAMED} more")
    return f"Waiting for more than {LONG / 60:.0f} minutes: {', '.join(named)}"
