"""How a call gets the key of its lock: a new one, a reserved one, one that is carried on."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from django_celery_once import canvas, claims, leftovers, reruns, standby
from django_celery_once.arguments import Call
from django_celery_once.binding import as_sent, bind, key_of_call, label_of_call
from django_celery_once.claims import Claim, Run
from django_celery_once.conf import conf
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.gate import check_installed
from django_celery_once.header import Header, read_header
from django_celery_once.locks import Lock, Phase, open_store
from django_celery_once.options import OnceOptions
from django_celery_once.running import (
    asking_person,
    current_run,
    ended_seconds,
    run_here,
    running_id,
)
from django_celery_once.signals import Outcome, lock_released
from django_celery_once.waiting import take_within
from django_celery_once.waits import begins_at, expired_seconds

logger = logging.getLogger(__name__)


def any_claim(
    task: Any,
    task_id: str | None,
    call: Call,
    reserved: Lock | None,
    asked: OnceOptions,
    options: Mapping[str, Any],
    policy: str,
) -> Claim:
    """Take the lock of a call, as ``new_claim`` does, or move the one that was reserved for it."""
    if reserved is not None and asked.until != "running":
        claim = reserved_claim(task, reserved, call, asked, options)
        if claim.holder is None or policy != "rerun":
            return claim
    return new_claim(task, task_id, call, asked, options, policy)


def new_claim(
    task: Any,
    task_id: str | None,
    call: Call,
    asked: OnceOptions,
    options: Mapping[str, Any],
    policy: str,
) -> Claim:
    """Take the lock of a new call, published with Celery's ``options``.

    Where another has it, wait for it or follow the holder, if the ``policy`` is to do so.
    """
    if not _is_guarded(asked):
        return _unguarded(task, task_id, asked)
    claim = _claim_of(task, _new_lock(task, task_id, call, asked), asked, options)
    if asked.until == "running":
        return claim  # its run asks for the lock
    running = run_here()
    own = running is not None and bool(running.lease) and running.lock.place == claim.lock.place
    if running is not None and own and running_id() in (task_id, options.get("parent_id")):
        return _hand_on(task, running, claim)
    words = ""
    if policy == "rerun" and not canvas.is_part(options):  # others wait for what is part of one
        words = reruns.pack(task, as_sent(task, call, options), options, claim.header)
    if own and not task.app.conf.task_always_eager:
        return _follow_oneself(claim, words)
    if policy == "rerun":
        return claims.take_or_follow(claim, words)
    claim = claims.take(claim) if own else _take(claim, asked, policy)
    return standby.stand_by(task, claim, call, options, policy)


def _hand_on(task: Any, running: Run, claim: Claim) -> Claim:
    """Hand the lock of a run to the task that replaces it, or to the next of its chain.

    Celery sends this, with the run's task as its parent, when the body has ended.
    """
    with running.standing_still():
        same = running.lock.owner == claim.lock.owner
        last = None if same else claims.last_record(running.lock)
        ended = ended_seconds(task, running.header)
        claim = claims.take(claim, running.lock, ended=ended)
        if claim.holder is None:
            running.hand_on()
    if claim.holder is None and last is not None:
        lock_released.send_robust(sender=type(task), lock=last, outcome=Outcome.SUCCESS)
    return claim


def new_reservation(
    task: Any, task_id: str | None, call: Call, asked: OnceOptions, policy: str = "raise"
) -> Claim:
    """Take the lock of a call to come; arguments that its key does not need may be missing.

    Where another has it, wait for it if the ``policy`` is to do so.
    """
    if asked.until == "running":
        return claims.unguarded(task_id)
    if not _is_guarded(asked):
        return _unguarded(task, task_id, asked)
    partly = not (asked.keys is None and asked.key is None)
    lock = _new_lock(task, task_id, call, asked, partly=partly)
    claim = Claim(Header(), replace(lock, phase=Phase.RESERVED), conf.reserve)
    if policy == "rerun":
        return claims.take(claim, counted=False)  # it asks again at the commit
    return _take(claim, asked, policy)


def reserved_claim(
    task: Any, reserved: Lock, call: Call, asked: OnceOptions, options: Mapping[str, Any]
) -> Claim:
    """Move the lock of a reservation to its call."""
    if not reserved.token:
        return claims.unguarded(reserved.owner)
    lock = claims.new_lock(
        reserved.key,
        task.name,
        reserved.owner,
        name=reserved.name,
        label=label_of_call(task.name, bind(task, call.args, call.kwargs), asked),
        **asking_person(),
        until=asked.until,
        alias=reserved.alias,
    )
    claim = _claim_of(task, lock, asked, options)
    if reserved.instead:
        return standby.step_in(task, reserved, claim, call, options)
    return claims.move(reserved, claim)


def carried_claim(
    task: Any,
    task_id: str | None,
    headers: Mapping[str, Any],
    call: Call,
    options: Mapping[str, Any],
) -> Claim | None:
    """Return the claim of a message that carries an earlier one on, as a retry does.

    One with other arguments may have another key.
    """
    if not options.get("retries") or not task_id:
        return None
    running = current_run(task_id)
    said = {**headers, "id": task_id, "task": task.name}
    header = running.header if running else read_header(said)
    if header is None:
        return None
    if not header.key:
        return claims.unguarded(task_id)
    moved = running and _other_lock(task, running, call)
    if running and moved:
        return _moved_claim(task, running, moved, options)
    alias = claims.alias_of(header)
    old = running.lock if running else claims.sent_lock(header, task_id)
    lock = claims.new_lock(
        header.key, task.name, task_id, alias=alias, name=header.name, label=old.label
    )
    seconds = max(task.queued_seconds(header.timeout, options), header.kept_seconds)
    lock = _with_times(task, lock, seconds, options)
    carried = replace(
        header, token=lock.token, again=False, run="", received=0.0, previous="", visits=0
    )
    if header.until == "running":
        return Claim(carried, lock, seconds)  # others may run meanwhile
    with running.standing_still() if running else nullcontext():
        claim = claims.hand_over(
            old, Claim(carried, lock, seconds, carries=old), ended=ended_seconds(task, header)
        )
        if running and not claim.header.previous:
            running.hand_on()
    return claim


def _other_lock(task: Any, running: Run, call: Call) -> Lock | None:
    """Return the lock of a retry whose arguments make another key than its run's."""
    header, asked, request = running.header, task.once_options(), task.request
    if header.own_key:
        return None
    if header.keys is not None:
        asked = replace(asked, keys=tuple(header.keys), key=None)
    try:
        bound = bind(task, call.args, call.kwargs)
        key = key_of_call(task.name, bound, asked)
        if key in (
            header.key,
            key_of_call(task.name, bind(task, request.args, request.kwargs), asked),
        ):
            return None
    except Exception:
        # Callables are the project's; what is wrong with the arguments, publishing says.
        logger.debug("No key for the retry of %s", task.name, exc_info=True)
        return None
    before = claims.last_record(running.lock)
    return claims.new_lock(
        key,
        task.name,
        running.lock.owner,
        alias=running.lock.alias,
        label=label_of_call(task.name, bound, asked),
        **(asking_person() if before is None else before.asked_by),
        until=header.until,
    )


def _moved_claim(task: Any, running: Run, lock: Lock, options: Mapping[str, Any]) -> Claim:
    """Return the claim of a retry under another key, which waits for its turn where that is held.

    Never raise: Celery gives a task up when sending its retry fails.
    """
    header, kept = running.header, running.header.until == "expired"
    seconds = task.queued_seconds(header.timeout, options, kept=kept)
    lock = _with_times(task, lock, seconds, options)
    header = replace(
        header, key=lock.key, name=lock.name, token=lock.token, again=False, run="", previous="",
        visits=0, follows="turn", kept_until=time.time() + seconds if kept else 0.0,
    )  # fmt: skip
    running.leaves, claim = True, Claim(header, lock, seconds)
    if header.until in {"running", "started"}:  # neither waits before its start
        claim = replace(claim, header=replace(header, follows=""))
        return claim if header.until == "running" else claims.hand_over(running.lock, claim)
    try:
        holder = open_store(lock.alias).acquire(lock, seconds, hits=0, follow=True)
    except LockUnavailable as error:
        logger.warning("%s; the retry of %s asks again when it starts", error, lock.owner)
        return claim
    if holder is not None:
        logger.info("%s[%s] goes on after %s", task.name, lock.owner, holder.owner)
    return claim


def _is_guarded(asked: OnceOptions) -> bool:
    if asked.force or not conf.enabled:
        return False
    check_installed()
    leftovers.free_abandoned()
    return True


def _unguarded(task: Any, task_id: str | None, asked: OnceOptions) -> Claim:
    claim = claims.unguarded(task_id)
    why = "once['force']" if asked.force else "the setting ENABLED"
    logger.info("Queueing %s[%s] without a lock: %s", task.name, claim.lock.owner, why)
    return claim


def _take(claim: Claim, asked: OnceOptions, policy: str) -> Claim:
    return take_within(claim, asked.blocking_timeout) if policy == "wait" else claims.take(claim)


def _follow_oneself(claim: Claim, call: str) -> Claim:
    """Let a task that queues itself again do so once: the next run begins when this one ends."""
    following = claims.take_or_follow(claim, call, counted=False)
    accepted = following.holder is None or following.header.follows or call
    return following if accepted else claims.take(claim)  # one more is a duplicate


def _new_lock(
    task: Any, task_id: str | None, call: Call, asked: OnceOptions, *, partly: bool = False
) -> Lock:
    bound = bind(task, call.args, call.kwargs, partly=partly)
    key, alias = key_of_call(task.name, bound, asked), claims.alias_of(asked)
    return claims.new_lock(
        key,
        task.name,
        task_id,
        alias=alias,
        name=open_store(alias, f"The locks of {task.name}").name_of(key),
        label=label_of_call(task.name, bound, asked, partly=partly),
        **asking_person(),
        until=asked.until,
    )


def _claim_of(task: Any, lock: Lock, asked: OnceOptions, options: Mapping[str, Any]) -> Claim:
    seconds = task.queued_seconds(asked.timeout, options, kept=asked.until == "expired")
    lock = _with_times(task, lock, seconds, options)
    header = claims.new_header(lock.key, lock.name, lock.token, asked, seconds)
    standing = task.once_options()
    if (asked.keys, asked.key) != (standing.keys, standing.key):
        header = replace(header, keys=asked.keys, own_key=asked.keys is None)
    return Claim(header, lock, seconds)


def _with_times(task: Any, lock: Lock, seconds: float, options: Mapping[str, Any]) -> Lock:
    """Return a lock that knows when its message may begin, and when in its time it expires."""
    expires, zone = options.get("expires", task.expires), task.app.timezone
    if expires is not None:
        lock = replace(lock, grace=expired_seconds(seconds, expires, zone))
    begins = begins_at(options, zone)
    return replace(lock, begins=begins) if begins else lock
