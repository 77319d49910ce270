"""Releases from the worker's main process: for messages that never ran and runs that died."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery import signals
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from django_celery_once import by_name, claims
from django_celery_once.claims import Claim
from django_celery_once.conf import conf
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.gate import ANSWER, RUN
from django_celery_once.header import NAME, Header, read_header
from django_celery_once.leases import RENEWALS
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.releases import lately_failed, release_later, release_or_later
from django_celery_once.running import ended_seconds, lease_seconds
from django_celery_once.signals import Outcome, lock_released
from django_celery_once.task import QueueOnce

logger = logging.getLogger(__name__)


def connect() -> None:
    """Hear of the messages that end in the worker's main process."""
    name = "django_celery_once.endings"
    signals.task_revoked.connect(on_revoked, dispatch_uid=name)
    signals.task_unknown.connect(on_unknown, dispatch_uid=name)
    signals.task_rejected.connect(on_rejected, dispatch_uid=name)
    signals.task_internal_error.connect(on_internal_error, dispatch_uid=name)
    signals.celeryd_after_setup.connect(by_name.listen, dispatch_uid=name)


def mark_run(task: Any, request: dict[str, Any]) -> Header | None:
    """Give the run of a message its name, known here and, with the message, to the child.

    A message without a header (sent by ``app.send_task``) gets one, whose key its run makes. No
    message can say that its run has passed the guard, or what that returns.
    """
    for name in (RUN, ANSWER):
        request.pop(name, None)
    header = read_header(request)
    if header is None and isinstance(task, QueueOnce) and not task.once_exempt and conf.enabled:
        header = by_name.header_without_key(request)
    if header is None or not header.token:
        return header
    known = is_known_here(header)
    if known:
        header = replace(header, run=claims.new_token(), received=time.time())
    request[NAME] = header.as_message(request["task"], request["id"])
    return header if known else None  # the run says so


def is_known_here(header: Header) -> bool:
    """Return whether this process's ``CACHES`` have that of a message's lock."""
    return claims.alias_of(header) in settings.CACHES


def release(task: Any, task_id: str, header: Header | None, outcome: Outcome) -> None:
    """Free the lock of a message that will not run; never raise."""
    if header is not None and header.key:
        free(task, claims.sent_lock(header, task_id), outcome)


def free(task: Any, lock: Lock, outcome: Outcome, *, ended: float = 0.0) -> None:
    """Free a lock, now or as soon as the store answers; never raise."""
    last = release_or_later(lock, lease_seconds(task), ended=ended)
    if last is not None:
        lock_released.send_robust(sender=type(task), lock=last, outcome=outcome)


def end(task: Any, header: Header, lock: Lock, outcome: Outcome, *, ended: bool) -> None:
    """Free the lock of a run that is over, or keep it for its whole time; never raise.

    ``ended``: its message is acknowledged. One that was rejected may rest in a dead-letter queue
    and come again.
    """
    seconds = ended_seconds(task, header) if ended else 0.0
    if not _is_kept(header, outcome):
        free(task, lock, outcome, ended=seconds)
        return
    kept = replace(
        claims.requeued(header, lock, task.name).lock, token=claims.new_token(), phase=Phase.KEPT
    )
    claims.hand_over(lock, Claim(header, kept, header.kept_seconds), ended=seconds)


def end_killed(task: Any, task_id: str, header: Header | None, *, ended: bool = True) -> None:
    """Do as ``end`` for a run that could not do it itself; never raise."""
    header = by_name.heard(header)
    if header is not None and header.key:
        end(task, header, claims.sent_lock(header, task_id), Outcome.KILLED, ended=ended)


def end_copy(task: Any, task_id: str, header: Header | None) -> None:
    """End the run before a copy that Celery found to have succeeded; never raise."""
    if header is not None and header.key:
        run = replace(claims.sent_lock(header, task_id), run="")
        end(task, header, run, Outcome.SUCCESS, ended=True)


def release_again(task: Any, task_id: str, header: Header | None) -> None:
    """Release the lock of a run that has ended in a child, while the store is out of reach.

    The child sees to that itself, as long as it lives.
    """
    if header is not None and header.key and not header.kept_until and lately_failed():
        lock, seconds = claims.sent_lock(header, task_id), lease_seconds(task)
        release_later(lock, seconds, ended=ended_seconds(task, header))


def _is_kept(header: Header, outcome: Outcome) -> bool:
    failed = outcome in {Outcome.FAILURE, Outcome.KILLED}
    return header.kept_seconds > 0 and not (failed and header.release_on_failure)


def shorten(task_id: str, header: Header | None, seconds: float) -> None:
    """Leave the lock of a run that is being ended ``seconds`` more; never raise."""
    header = by_name.heard(header)
    if header is not None and header.key and not _is_kept(header, Outcome.KILLED):
        leave(claims.sent_lock(header, task_id), seconds)


def leave(lock: Lock, seconds: float) -> None:
    """Set what is left of a lock, in seconds; never raise."""
    try:
        open_store(lock.alias).shorten(lock, seconds)
    except (LockUnavailable, ImproperlyConfigured) as error:
        logger.warning("%s; the lock of %s lapses with its lease", error, lock.owner)


def back_to_the_queue(task: Any, task_id: str, header: Header | None) -> None:
    """Keep the lock for a message that the broker will deliver again; never raise."""
    header = by_name.heard(header)
    if header is None or not header.key or header.until == "started":
        return
    lock = claims.sent_lock(header, task_id)
    if header.until == "running":  # others may run meanwhile
        free(task, lock, Outcome.REJECTED)
        return
    claims.hand_over(lock, claims.requeued(header, lock, task.name))


def on_revoked(
    sender: Any = None, request: Any = None, terminated: bool = False, **_signal: Any
) -> None:
    """Free the lock of a revoked or expired task (``task_revoked``).

    One that is being terminated may ignore the signal: its lock is left to its renewals, if
    there still are any.
    """
    header = read_header(request)
    if not terminated:
        release(sender, request.id, header, Outcome.REVOKED)
    else:
        shorten(request.id, header, conf.lease * 1.2 / RENEWALS)


def on_unknown(message: Any = None, id: str = "", **_signal: Any) -> None:  # noqa: A002
    """Free the lock of a task that this worker does not know (``task_unknown``)."""
    release(None, id, read_header(_said(message)), Outcome.FAILURE)


def on_rejected(message: Any = None, **_signal: Any) -> None:
    """Free the lock of a message that is no valid task (``task_rejected``)."""
    said = _said(message)
    release(None, str(said.get("id", "")), read_header(said), Outcome.FAILURE)


def on_internal_error(
    sender: Any = None, task_id: str = "", request: Any = None, **_signal: Any
) -> None:
    """Free the lock of a task that failed outside its body (``task_internal_error``)."""
    release(sender, task_id, read_header(request), Outcome.FAILURE)


def _said(message: Any) -> Mapping[str, Any]:
    """Return what a message says of itself: its headers, in Celery's first protocol its body."""
    headers = message.headers if isinstance(message.headers, Mapping) else {}
    if "id" in headers:
        return headers
    try:
        body = message.payload
    except Exception:
        # It was rejected because it can't be read.
        logger.debug("A message without an id can't be read", exc_info=True)
        return headers
    return {**body, "headers": headers} if isinstance(body, Mapping) else headers
