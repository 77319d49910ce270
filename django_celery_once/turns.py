"""What becomes of a message whose key is another's: it stands back, or waits for its turn."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any, NoReturn

from celery import states
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore, Reject

from django_celery_once import canvas, claims, follow_ups, reruns
from django_celery_once.arguments import Call
from django_celery_once.conf import conf
from django_celery_once.header import NAME, Header
from django_celery_once.locks import Lock, Phase, Start, open_store
from django_celery_once.releases import release_or_later
from django_celery_once.running import lease_seconds, report_duplicate
from django_celery_once.waits import turn_seconds

logger = logging.getLogger(__name__)

#: Seconds between two looks at a task that a duplicate has joined within a canvas.
JOIN_SECONDS = 1.0


def stand_in(task: Any, header: Header) -> None:
    """Answer for a duplicate within a canvas, as its policy wants it.

    Raise ``Ignore`` where it joins a task that has not ended yet: it comes again.
    """
    if not header.joins:
        canvas.pass_over(task.request, task, header.duplicate_of)
    elif not canvas.join(task.request, task, header):
        _send_again(task, header, JOIN_SECONDS)
        raise Ignore(f"waiting for {header.duplicate_of}")


def give_way(task: Any, header: Header, lock: Lock, found: Start, holder: Lock) -> None:
    """Give way to the holder of a message's key, and return if the key is to be had now.

    Raise ``Ignore`` otherwise: it is dropped, or comes again.
    """
    if found is Start.ELSEWHERE:
        _come_back(task, header)
    if found is Start.FOLLOWS:
        _wait_to_follow(task, header, holder)
        return
    check_has_not_ended(task, header, lock)
    if header.follows:
        _follow_again(task, header, lock, holder)
    elif header.until == "running":
        _wait_for_turn(task, header, holder)
    else:
        _stand_back(task, lock, holder)


def check_has_not_ended(task: Any, header: Header, lock: Lock) -> None:
    """Raise ``Ignore`` for a message that came again when its task had a final result."""
    redelivered = (task.request.delivery_info or {}).get("redelivered")
    if not (redelivered or header.again):
        return
    try:
        ended = task.AsyncResult(task.request.id or "").state in states.READY_STATES
    except Exception:
        logger.exception("No result to be had for %s; running it", task.request.id)
        return
    if ended:
        release_or_later(lock, lease_seconds(task))
        logger.info("%s[%s] came again, but has already run to its end", task.name, lock.owner)
        raise Ignore("already run to its end")


def _stand_back(task: Any, lock: Lock, holder: Lock) -> NoReturn:
    """End a run whose key is another's, so that nobody waits for its result."""
    if holder.owner == lock.owner:
        raise Ignore(f"a newer message of {lock.owner} holds the lock")
    reason = f"duplicate of {holder.owner}, which holds {holder.key}"
    report_duplicate(task, lock, holder, "revoke", task.once_options())
    request = task.request
    try:
        task.backend.mark_as_revoked(
            lock.owner, reason, request=request, store_result=not request.ignore_result
        )
    except Exception:
        logger.exception("Could not store that %s was revoked as %s", request.id, reason)
    raise Ignore(reason)


def _wait_to_follow(task: Any, header: Header, holder: Lock) -> None:
    """Look again when the run before may have ended; take over from one that is dead."""
    if holder.blocks:
        claims.free_blocked(holder)
        if header.follows == "turn":
            return  # the key is its own now
    elif header.follows == "turn":
        _wait_for_turn(task, header, holder)
    _send_again(task, replace(header, run=""), lease_seconds(task))
    raise Ignore(f"following {holder.owner}")


def _follow_again(task: Any, header: Header, lock: Lock, holder: Lock) -> None:
    """Keep what follows a lock that it is not known beside, or not any more."""
    request, lease = task.request, lease_seconds(task)
    if holder.owner == lock.owner:
        if header.again and holder.phase is Phase.QUEUED:  # whoever was to publish it died
            follow_ups.send(replace(holder, previous=header.token))
        _send_again(task, replace(header, run="", again=True), lease)
        raise Ignore("its newest call is being queued in its place")
    call = ""
    if header.follows == "rerun":
        call = reruns.pack(task, Call(request.args, request.kwargs or {}), {}, header)
    queued = replace(lock, run="", started=0.0, phase=Phase.QUEUED, call=call)
    seconds = header.timeout or conf.timeout
    found = open_store(lock.alias).acquire(queued, seconds, hits=0, follow=True)
    if found is None:
        return
    if found.follow_up is None or found.follow_up.owner != lock.owner:
        _stand_back(task, lock, found.follow_up or found)
    _send_again(task, replace(header, run=""), lease)
    raise Ignore(f"following {found.owner}")


def _wait_for_turn(task: Any, header: Header, holder: Lock) -> NoReturn:
    """Send the message again for when the run before it may have ended; no retry is spent."""
    run_seconds = max(0.0, time.time() - holder.started) if holder.started else 0.0
    logger.info("%s[%s] waits for its turn after %s", task.name, task.request.id, holder.owner)
    waiting = replace(header, run="", visits=header.visits + 1)
    _send_again(task, waiting, turn_seconds(run_seconds, header.visits))
    raise Ignore(f"waiting for its turn after {holder.owner}")


def _come_back(task: Any, header: Header) -> NoReturn:
    """Send the message again for when the other copy's lease may have lapsed."""
    logger.warning(
        "%s[%s] is running elsewhere; looking again in %g seconds",
        task.name,
        task.request.id,
        conf.lease,
    )
    _send_again(task, replace(header, run="", again=True), conf.lease)
    raise Ignore("running elsewhere")


def _send_again(task: Any, header: Header, seconds: float) -> None:
    """Send the message that is here once more; raise ``Reject`` where the broker fails."""
    headers = {**(task.request.headers or {}), NAME: header.as_message()}
    again = task.signature_from_request(task.request, countdown=seconds, headers=headers)
    try:
        DjangoTask.apply_async(task, again.args, again.kwargs, **again.options)
    except Exception as error:
        raise Reject(error, requeue=True) from error
