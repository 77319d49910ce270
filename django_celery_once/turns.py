"""What becomes of a message whose key is another's: it stands back, or waits for its turn."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn
from weakref import WeakSet

from celery import states
from celery.exceptions import Ignore

from django_celery_once import abandoned, canvas, follow_ups, reruns
from django_celery_once.arguments import Call
from django_celery_once.conf import conf
from django_celery_once.header import Header
from django_celery_once.locks import Lock, Phase, Start, open_store
from django_celery_once.releases import release_or_later
from django_celery_once.republishing import Again, headers_of, options_of, publish
from django_celery_once.running import lease_seconds, report_duplicate, store_state
from django_celery_once.waits import turn_seconds

logger = logging.getLogger(__name__)

#: Seconds between two looks at a task that a duplicate has joined within a canvas.
JOIN_SECONDS = 1.0
#: How often a copy looks soon for the end of a run, before it waits for the end of its lease.
SOON = 3
#: Why RabbitMQ has given a message to a dead-letter queue that was at a worker (``x-death``).
REJECTED = {"rejected", "delivery_limit"}
#: Seconds between two tries to send a message back to its queue.
PAUSE = 1.0
#: The requests whose message is in this worker only.
_refused: WeakSet[Any] = WeakSet()


def stand_in(task: Any, header: Header) -> None:
    """Answer for a duplicate within a canvas, as its policy wants it.

    Raise ``Ignore`` where it joins a task that has not ended yet: it comes again.
    """
    if not header.joins:
        canvas.pass_over(task.request, task, header.duplicate_of)
        return
    while not canvas.join(task.request, task, header):
        _send_again(task, header, JOIN_SECONDS, f"waiting for {header.duplicate_of}")


def give_way(
    task: Any, header: Header, lock: Lock, found: Start, holder: Lock
) -> tuple[Header, Lock]:
    """Give way to the holder of a message's key; return the header and lock to ask with again.

    Raise ``Ignore`` unless that is here and now: the message is dropped, or comes again.
    """
    if found is Start.ELSEWHERE:
        return _come_back(task, header), lock
    if found is Start.FOLLOWS:
        return _wait_to_follow(task, header, holder), lock
    if holder.expired:
        abandoned.free_expired(holder)
        return header, lock
    if came_back(task.request):
        return _take_its_turn(task, header, lock, holder)
    if header.follows:
        return _follow_again(task, header, lock, holder), lock
    if header.until != "running":
        _stand_back(task, lock, holder)
    return _wait_for_turn(task, header, holder), lock


def drop_copy(task: Any, lock: Lock) -> NoReturn:
    """End a message that came again when it had run to its end."""
    release_or_later(lock, lease_seconds(task))  # which a worker may have put back for it
    logger.info("%s[%s] came again, but has already run to its end", task.name, lock.owner)
    raise Ignore("already run to its end")


def came_back(request: Any) -> bool:
    """Return whether a message was rejected, and comes back from its dead-letter queue."""
    deaths = vars(request).get("x-death") or ()
    return any(each.get("reason") in REJECTED for each in deaths if isinstance(each, Mapping))


def _take_its_turn(task: Any, header: Header, lock: Lock, holder: Lock) -> tuple[Header, Lock]:
    """Let a message that was rejected run when the key is free; its own lock went with that.

    A key that is kept for its whole time is still its own, or by now another's for good.
    """
    if header.until != "expired":
        waiting = replace(header, until="running", follows="")
        return _wait_for_turn(task, waiting, holder), lock
    if holder.phase is not Phase.KEPT or holder.owner != lock.owner:
        _stand_back(task, lock, holder)
    return header, replace(lock, previous=holder.token)


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


def _wait_to_follow(task: Any, header: Header, holder: Lock) -> Header:
    """Look again when the run before may have ended; take over from one that is dead."""
    if holder.blocks:
        abandoned.free_blocked(holder)
        if header.follows == "turn":
            return header  # the key is its own now
    elif header.follows == "turn":
        return _wait_for_turn(task, header, holder)
    return _send_again(task, header, conf.lease, f"following {holder.owner}")


def _follow_again(task: Any, header: Header, lock: Lock, holder: Lock) -> Header:
    """Keep what follows a lock that it is not known beside, or not any more."""
    request, lease = task.request, conf.lease
    if holder.owner == lock.owner:
        if header.again and holder.phase is Phase.QUEUED:  # whoever was to publish it died
            follow_ups.send(replace(holder, previous=header.token))
        why = "its newest call is being queued in its place"
        return _send_again(task, replace(header, again=True), lease, why)
    call = ""
    if header.follows == "rerun":
        options = {**options_of(task, header), "headers": headers_of(request)}
        call = reruns.pack(task, Call(request.args, request.kwargs or {}), options, header)
    queued = replace(lock, run="", started=0.0, phase=Phase.QUEUED, call=call)
    seconds = header.timeout or conf.timeout
    found = open_store(lock.alias).acquire(queued, seconds, hits=0, follow=True)
    if found is None:
        return header
    lost = found.follow_up is None or found.follow_up.owner != lock.owner
    if header.follows == "turn" and (request.retries or not lost):  # a retry is no duplicate
        return _wait_for_turn(task, header, found)
    if lost and header.follows == "rerun" and found.follow_up is not None:
        # The other call has these arguments now.
        other = Header(cache=header.cache, name=header.name)
        other = replace(other, duplicate_of=found.follow_up.owner, joins=header.key)
        _send_again(task, other, JOIN_SECONDS, f"ends as {found.follow_up.owner}")
        return header
    if lost:
        _stand_back(task, lock, found.follow_up or found)
    return _send_again(task, header, lease, f"following {found.owner}")


def _wait_for_turn(task: Any, header: Header, holder: Lock) -> Header:
    """Send the message again for when the run before it may have ended; no retry is spent."""
    run_seconds = max(0.0, time.time() - holder.started) if holder.started else 0.0
    logger.info("%s[%s] waits for its turn after %s", task.name, task.request.id, holder.owner)
    if task.once_track_started and not header.visits:
        store_state(task, states.RECEIVED)
    waiting = replace(header, visits=header.visits + 1)
    seconds = turn_seconds(run_seconds, header.visits)
    return _send_again(task, waiting, seconds, f"waiting for its turn after {holder.owner}")


def _come_back(task: Any, header: Header) -> Header:
    """Send the message again: for when the other copy may be told dead, then for when it must be.

    A worker that ends a run may be slower than the broker, which delivers it again.
    """
    soon = header.visits < SOON
    seconds = min(conf.lease, 2.0**header.visits) if soon else conf.lease
    logger.warning(
        "%s[%s] is running elsewhere; looking again in %g seconds",
        task.name,
        task.request.id,
        seconds,
    )
    again = replace(header, again=not soon, visits=header.visits + 1)
    return _send_again(task, again, seconds, "running elsewhere")


def _send_again(task: Any, header: Header, seconds: float, why: str) -> Header:
    """Send the message that is here once more and raise ``Ignore``, for the reason ``why``.

    Return its header after so many ``seconds`` where the broker did not take it by then: it has
    come again here, and may run here if its turn has come. It exists nowhere else once it is
    acknowledged; and one that is not, and would be rejected, comes at once, again and again
    (a quorum queue drops it at the twentieth time). Celery cuts a delay that the broker keeps
    down to whole seconds, of which it needs one.
    """
    comes, request = time.monotonic() + seconds, task.request
    again = Again(replace(header, run="", received=0.0), headers_of(request))
    options = {**options_of(task, header), "countdown": math.ceil(seconds)}
    while (left := comes - time.monotonic()) > 0:
        try:
            publish(task, request.args, request.kwargs, again, **options)
        except Exception as error:
            _tell_of_refusal(task, error)
            time.sleep(min(left, PAUSE))
        else:
            raise Ignore(why)
    return header


def _tell_of_refusal(task: Any, error: Exception) -> None:
    """Log once for each message that it waits here: whoever ends this worker should know."""
    request = task.request
    level = logging.DEBUG if request in _refused else logging.ERROR
    _refused.add(request)
    words = "%s[%s] can't be sent back to its queue (%s); it waits in this worker"
    logger.log(level, words, task.name, request.id, error)
