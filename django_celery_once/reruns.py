"""The one call more that follows a run (``on_duplicate="rerun"``), with the newest arguments.

It waits beside the lock, and whoever releases that publishes it. A message of its own, sent when
it is first asked for, looks after it every ``LEASE`` seconds: a worker that is killed releases
nothing.
"""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery.exceptions import NotRegistered
from kombu import serialization
from kombu.utils import json
from kombu.utils.encoding import str_to_bytes

from django_celery_once import republishing
from django_celery_once.arguments import Call
from django_celery_once.celery_apps import find_task
from django_celery_once.conf import conf
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.header import Header
from django_celery_once.locks import Lock, open_store
from django_celery_once.republishing import Again, publish, untold

logger = logging.getLogger(__name__)

#: Once more, at once: with RabbitMQ, a new pool child closes the connection that its worker's
#: main process has published by. A broker that is down holds nobody up.
ONCE_MORE = {"retry": True, "retry_policy": {"max_retries": 1, "interval_start": 0}}


def pack(
    task: Any, call: Call, options: Mapping[str, Any], header: Header, *, eta: Any = None
) -> str:
    """Return a call as text, to be published later; ``eta`` is when it is to run."""
    serializer = options.get("serializer") or task.serializer
    kind, encoding, body = serialization.dumps((call.args, call.kwargs), serializer)
    kept = {**republishing.kept(task.app, options), **({"eta": eta} if eta else {})}
    headers = republishing.plain(options.get("headers") or {})
    text = b64encode(str_to_bytes(body)).decode()
    return str(json.dumps([kind, encoding, text, kept, headers, header.plain(), task.app.main]))


def send(lock: Lock) -> None:
    """Publish the call of a follow-up that has its key now; raise what publishing raises."""
    kind, encoding, text, options, headers, said, app = json.loads(lock.call)
    task = find_task(lock.task, app)
    if task is None:
        raise NotRegistered(lock.task)
    accept = serialization.prepare_accept_content(task.app.conf.accept_content)
    args, kwargs = serialization.loads(b64decode(text), kind, encoding, accept=accept)
    header = replace(Header.of(said), token=lock.token, follows="", options=untold(options))
    again = Again(header, headers)
    publish(task, args, kwargs, again, task_id=lock.owner, **ONCE_MORE, **options)
    _end_what_looks_after(lock)
    logger.info("Queued %s[%s] with the newest arguments it was asked for", lock.task, lock.owner)


def _end_what_looks_after(lock: Lock) -> None:
    """Remember that the message that has looked after a call is to do nothing any more."""
    try:
        looker = replace(lock, token=lock.previous)
        open_store(lock.alias).remember(looker, conf.timeout + 10 * conf.lease)
    except LockUnavailable as error:
        logger.warning("%s; %s[%s] may run twice", error, lock.task, lock.owner)
