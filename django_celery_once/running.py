"""What runs here, and so who calls a task: a person, another task or a program."""

from __future__ import annotations

import functools
import logging
import os
import re
import time
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from celery._state import get_current_task
from celery.utils.saferepr import saferepr

from django_celery_once import arguments, requester
from django_celery_once.arguments import Call
from django_celery_once.binding import bind
from django_celery_once.claims import BY_ID, Run
from django_celery_once.conf import conf
from django_celery_once.definition import signature_of
from django_celery_once.gate import RUN
from django_celery_once.header import Header
from django_celery_once.locks import Lock
from django_celery_once.options import OnceOptions
from django_celery_once.requester import Asked, Requester
from django_celery_once.signals import Rejection, announce_rejection

logger = logging.getLogger(__name__)

#: Seconds after its visibility time-out within which a message is delivered again: Kombu
#: looks for such messages in Redis every 100 seconds, and RabbitMQ has them for the next
#: worker that starts.
REDELIVERY_GRACE = 120.0
#: Kombu's default visibility time-outs, in seconds, of the transports that have one.
VISIBILITY_TIMEOUTS = {"redis": 3600, "rediss": 3600, "sentinel": 3600, "sqs": 1800}
#: Those that have none, and deliver again what was not acknowledged on a lost connection.
AMQP = {"amqp", "amqps", "pyamqp", "librabbitmq"}
#: The messages of runs in the worker's main process. The bodies are there, too, but with prefork.
_messages: WeakValueDictionary[str, Any] = WeakValueDictionary()
os.register_at_fork(after_in_child=_messages.clear)


def report_duplicate(
    task: Any,
    lock: Lock,
    holder: Lock,
    policy: str,
    asked: OnceOptions,
    call: Call | None = None,
) -> None:
    """Leave the traces of a refused call: a log line and the signal.

    Without a ``call``, the one refused is the task that runs here.
    """
    rejection = Rejection(
        task_name=task.name,
        task_id=lock.owner,
        holder=holder,
        policy=policy,
        at=lock.since,
        label=lock.label,
        requester=asked_by(),
        arguments=_logged_arguments(task, holder.key, asked, call),
    )
    announce_rejection(type(task), rejection)


def _logged_arguments(task: Any, key: str, asked: OnceOptions, call: Call | None) -> str:
    """Return the arguments of a refused call as the settings allow; never raise."""
    try:
        if conf.log_arguments == "none" or not conf.log:
            return ""
        signature, received = signature_of(type(task)), call is None
        call = call or _received_call(task)
        if conf.log_arguments == "all":
            return arguments.describe_all(call, signature)
        if received and task.get_key(call.args, call.kwargs) != key:
            return ""  # its caller had options that a message does not tell
        if asked.key is not None:
            bound = bind(task, call.args, call.kwargs, partly=True)
            call = replace(call, args=bound.args, kwargs=bound.kwargs)
            return arguments.describe_key(call, asked.key)
        return arguments.describe_some(call, signature, asked.keys)
    except Exception:
        # What was asked for is no reason to fail the asking.
        logger.debug("The arguments of %s can't be told", task.name, exc_info=True)
        return ""


def _received_call(task: Any) -> Call:
    """Return the call that a run's message carries."""
    request, app = task.request, task.app
    return Call(
        request.args or (),
        request.kwargs or {},
        _chosen(request, "argsrepr", request.args or (), app.amqp.argsrepr_maxsize, app.conf),
        _chosen(request, "kwargsrepr", request.kwargs or {}, app.amqp.kwargsrepr_maxsize, app.conf),
    )


def _chosen(request: Any, option: str, value: object, size: int, config: Any) -> object:
    """Return the words that the caller chose for its arguments; ``None`` for Celery's own.

    Celery sends words of its own where none are chosen, but of what the arguments were before
    JSON made lists of tuples and sets.
    """
    words = getattr(request, option, None)
    if words is None:
        return None
    own = saferepr(value, size, maxlevels=config.get("task_repr_maxlevels", 3))
    return None if _bare(words) == _bare(own) else words


def _bare(words: object) -> str:
    return re.sub(r"[\[\](){}, ]", "", str(words))


def _task_running_here() -> Any:
    return get_current_task()  # what ``celery.current_task`` stands for


def asked_by() -> Requester:
    """Return who calls a task here: a person, another task, or the process."""
    known = requester.current()
    if known.request is not None:
        return known
    calling = _task_running_here()
    if calling is not None and not calling.request.called_directly:
        return Requester("worker", calling.name)
    return known


def asking_person() -> Asked:
    """Return what a lock says of the person who calls a task here, as far as that is known."""
    known = requester.current()
    if known.request is None and known.user is None:
        return Asked(requester="", visitor="")
    known = asked_by()
    return Asked(requester=known.user_id, visitor=known.visitor)


def is_beat() -> bool:
    """Return whether it is beat that calls a task here."""
    return requester.current().source == "beat" and asked_by().source == "beat"


def run_of(request: Any) -> Run | None:
    """Return the guarded run that a task's request stands for."""
    return getattr(request, RUN, None)


def running_id() -> str:
    """Return the id of the task that runs here, if there is one."""
    running = _task_running_here()
    return "" if running is None else running.request.id or ""


def run_here() -> Run | None:
    """Return the guarded run under way here."""
    running = _task_running_here()
    return None if running is None else run_of(running.request)


def current_run(task_id: str) -> Run | None:
    """Return the guarded run under way here, if its task has this id."""
    return run_here() if task_id == running_id() else None


def know_message(run: str, message: Any) -> None:
    """Remember the message of a run while it lasts."""
    _messages[run] = message


def message_with(run: str) -> Any:
    """Return the message (a Celery request) of a run, if it is in this process."""
    return _messages.get(run)


def lease_seconds(task: Any) -> float:
    """Return how long a run's lock outlives its last renewal, in seconds.

    A message that is acknowledged late comes again when its worker dies, in Redis and SQS
    after their visibility time-out: until then the key must not be free.
    """
    if task is None or not task.acks_late or task.request.is_eager:
        return conf.lease
    return max(conf.lease, _visibility_timeout(task.app) + REDELIVERY_GRACE)


def store_state(task: Any, state: str, meta: object = None) -> None:
    """Store how the task that runs here stands, where its result is kept."""
    request = task.request
    ignored = task.ignore_result if request.ignore_result is None else request.ignore_result
    if not ignored:
        task.backend.store_result(request.id, meta, state, request=request)


def may_be_copied(task: Any, header: Header) -> bool:
    """Return whether a copy of the message that runs here may come after its end.

    It may where the message is acknowledged after the run, where it is a copy itself, and where
    it has waited in a worker for so long that the broker delivers it again. RabbitMQ does that
    with what it has not seen acknowledged when it loses a connection, and nobody hears of it.
    """
    request = task.request
    if request.is_eager or header.token.startswith(BY_ID):
        return False
    copy = (request.delivery_info or {}).get("redelivered") or header.again
    waited = time.time() - header.received
    return bool(task.acks_late or copy or waited >= _visibility_timeout(task.app))


def ended_seconds(task: Any, header: Header) -> float:
    """Return for how long a copy of a message that has ended may come, in seconds.

    It is delivered within the visibility time-out, and may wait for a worker as any message may.
    """
    waits = header.timeout or conf.timeout
    return _visibility_timeout(task.app) + REDELIVERY_GRACE + waits


@functools.lru_cache
def _visibility_timeout(app: Any) -> float:
    with app.connection_for_read() as connection:  # looked at, not opened
        transport = str(connection.transport_cls)
        if transport in AMQP:
            return 0.0  # whatever the options are meant for
        default = VISIBILITY_TIMEOUTS.get(transport, 0)
        options = connection.transport_options or {}
        return float(options.get("visibility_timeout", default))
