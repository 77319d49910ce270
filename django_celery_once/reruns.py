"""The one call more that follows a run (``on_duplicate="rerun"``), with the newest arguments.

It waits beside the lock, and whoever releases that publishes it. A message of its own, sent when
it is first asked for, looks after it every ``LEASE`` seconds: a worker that is killed releases
nothing.
"""

from __future__ import annotations

import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery import current_app
from celery.contrib.django.task import DjangoTask
from django.core.cache import caches
from kombu import serialization
from kombu.utils.encoding import str_to_bytes

from django_celery_once.arguments import Call
from django_celery_once.claims import alias_of
from django_celery_once.conf import conf
from django_celery_once.header import NAME, Header, read_header
from django_celery_once.locks import Lock

logger = logging.getLogger(__name__)

#: Which of Celery's options a call keeps, where JSON can hold their values.
KEPT = (
    "queue", "routing_key", "exchange", "priority", "serializer", "compression", "ignore_result",
    "time_limit", "soft_time_limit", "shadow", "argsrepr", "kwargsrepr",
)  # fmt: skip


def pack(task: Any, call: Call, options: Mapping[str, Any], header: Header) -> str:
    """Return a call as text, to be published later."""
    serializer = options.get("serializer") or task.serializer
    kind, encoding, body = serialization.dumps((call.args, call.kwargs), serializer)
    kept = {name: options[name] for name in KEPT if _is_plain(options.get(name))}
    text = b64encode(str_to_bytes(body)).decode()
    return json.dumps([kind, encoding, text, kept, header.as_message()])


def send(lock: Lock) -> None:
    """Publish the call of a follow-up that has its key now; raise what publishing raises."""
    task = current_app.tasks[lock.task]
    kind, encoding, text, options, message = json.loads(lock.call)
    accept = serialization.prepare_accept_content(task.app.conf.accept_content)
    args, kwargs = serialization.loads(b64decode(text), kind, encoding, accept=accept)
    header = read_header({NAME: message})
    assert header is not None  # noqa: S101
    headers: Any = {NAME: replace(header, token=lock.token, follows="").as_message()}
    DjangoTask.apply_async(
        task, args, kwargs, task_id=lock.owner, headers=headers, retry=False, **options
    )
    _mark_as_sent(lock)
    logger.info("Queued %s[%s] with the newest arguments it was asked for", lock.task, lock.owner)


def was_sent(header: Header) -> bool:
    """Return whether the call that a message looks after has been published in its place."""
    try:
        return bool(caches[alias_of(header)].get(_sent_key(header.key, header.token)))
    except Exception:
        # Each cache library has errors of its own; the start of the run will tell.
        logger.warning("Can't tell whether %s was sent", header.key, exc_info=True)
        return False


def _mark_as_sent(lock: Lock) -> None:
    try:
        seconds = conf.timeout + 10 * conf.lease
        caches[lock.alias].set(_sent_key(lock.key, lock.previous), 1, seconds)
    except Exception:
        logger.warning("%s[%s] may run twice", lock.task, lock.owner, exc_info=True)


def _sent_key(key: str, token: str) -> str:
    return f"{key}:sent:{token}"


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)
