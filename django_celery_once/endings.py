"""Releases from the worker's main process: for messages that never ran and runs that died."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery import signals
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from django_celery_once import claims
from django_celery_once.claims import Claim
from django_celery_once.conf import conf
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.header import NAME, Header, read_header
from django_celery_once.leases import RENEWALS
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.releases import release_or_later
from django_celery_once.running import lease_seconds
from django_celery_once.signals import Outcome, lock_released
from django_celery_once.task import QueueOnce

logger = logging.getLogger(__name__)

#: Seconds that the pool may take to kill a child beyond its time limit.
KILL_SECONDS = 0.8


def connect() -> None:
    """Hear of the messages that end in the worker's main process."""
    name = "django_celery_once.endings"
    signals.task_revoked.connect(on_revoked, dispatch_uid=name)
    signals.task_unknown.connect(on_unknown, dispatch_uid=name)
    signals.task_rejected.connect(on_rejected, dispatch_uid=name)
    signals.task_internal_error.connect(on_internal_error, dispatch_uid=name)


def mark_run(task: Any, request: dict[str, Any]) -> Header | None:
    """Give the run of a message its name, known here and, with the message, to the child.

    A message without a header (sent by ``app.send_task``) gets one, so that its lock can be
    freed from here, too.
    """
    header = read_header(request)
    if header is None and isinstance(task, QueueOnce) and conf.enabled:
        header = _header_of_call(task, request)
        if header is not None:
            request[NAME] = header.as_message()
    if header is None or not header.key:
        return header
    if not is_known_here(header):
        return None  # the run says so
    request[NAME] = {**request[NAME], "run": claims.new_token()}
    return read_header(request)


def is_known_here(header: Header) -> bool:
    """Return whether this process's ``CACHES`` have that of a message's lock."""
    return claims.alias_of(header) in settings.CACHES


def release(task: Any, task_id: str, header: Header | None, outcome: Outcome) -> None:
    """Free the lock of a message that will not run; never raise."""
    if header is not None and header.key:
        free(task, _lock(task_id, header), outcome)


def free(task: Any, lock: Lock, outcome: Outcome) -> None:
    """Free a lock, now or as soon as the store answers; never raise."""
    last = release_or_later(lock, lease_seconds(task))
    if last is not None:
        lock_released.send_robust(sender=type(task), lock=last, outcome=outcome)


def end(task: Any, header: Header, lock: Lock, outcome: Outcome) -> None:
    """Free the lock of a run that has ended, or keep it for its whole time; never raise."""
    if not _is_kept(header, outcome):
        free(task, lock, outcome)
        return
    kept = replace(
        claims.requeued(header, lock, task.name).lock, token=claims.new_token(), phase=Phase.KEPT
    )
    claims.hand_over(lock, Claim(header, kept, header.kept_seconds))


def end_killed(task: Any, task_id: str, header: Header | None) -> None:
    """Do as ``end`` for a run that could not do it itself; never raise."""
    if header is not None and header.key:
        end(task, header, _lock(task_id, header), Outcome.KILLED)


def _is_kept(header: Header, outcome: Outcome) -> bool:
    failed = outcome in {Outcome.FAILURE, Outcome.KILLED}
    return header.kept_seconds > 0 and not (failed and header.release_on_failure)


def shorten(task_id: str, header: Header | None, seconds: float) -> None:
    """Leave the lock of a run that is being ended ``seconds`` more; never raise."""
    if header is not None and header.key and not _is_kept(header, Outcome.KILLED):
        leave(_lock(task_id, header), seconds)


def leave(lock: Lock, seconds: float) -> None:
    """Set what is left of a lock, in seconds; never raise."""
    try:
        open_store(lock.alias).shorten(lock, seconds)
    except (LockUnavailable, ImproperlyConfigured) as error:
        logger.warning("%s; the lock of %s lapses with its lease", error, lock.owner)


def back_to_the_queue(task: Any, task_id: str, header: Header | None) -> None:
    """Keep the lock for a message that the broker will deliver again; never raise."""
    if header is None or not header.key or header.until == "started":
        return
    lock = _lock(task_id, header)
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
    header = read_header(request.headers)
    if not terminated:
        release(sender, request.id, header, Outcome.REVOKED)
    else:
        shorten(request.id, header, conf.lease * 1.2 / RENEWALS)


def on_unknown(message: Any = None, id: str = "", **_signal: Any) -> None:  # noqa: A002
    """Free the lock of a task that this worker does not know (``task_unknown``)."""
    release(None, id, read_header(message.headers), Outcome.FAILURE)


def on_rejected(message: Any = None, **_signal: Any) -> None:
    """Free the lock of a message that is no valid task (``task_rejected``)."""
    headers = message.headers if isinstance(message.headers, Mapping) else {}
    release(None, str(headers.get("id", "")), read_header(headers), Outcome.FAILURE)


def on_internal_error(
    sender: Any = None, task_id: str = "", request: Any = None, **_signal: Any
) -> None:
    """Free the lock of a task that failed outside its body (``task_internal_error``)."""
    headers = request if isinstance(request, Mapping) else getattr(request, "headers", None)
    release(sender, task_id, read_header(headers), Outcome.FAILURE)


def _header_of_call(task: QueueOnce, request: Mapping[str, Any]) -> Header | None:
    asked = task.once_options()
    try:
        key = task.get_key(request["args"], request["kwargs"])
    except Exception:
        # The run will say what is wrong with its arguments.
        logger.debug("No key for %s", request.get("id"), exc_info=True)
        return None
    return claims.new_header(key, claims.new_token(), asked, asked.timeout or conf.timeout)


def _lock(task_id: str, header: Header) -> Lock:
    return Lock(
        header.key,
        task_id,
        header.token,
        run=header.run,
        until=header.keeps,
        alias=claims.alias_of(header),
    )
