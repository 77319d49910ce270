"""How a call gets the key of its lock: a new one, a reserved one, one that is carried on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from django_celery_once import canvas, claims, leftovers, reruns
from django_celery_once.arguments import Call
from django_celery_once.binding import bind, key_of_call, label_of_call
from django_celery_once.claims import Claim, Run
from django_celery_once.conf import conf
from django_celery_once.gate import check_installed
from django_celery_once.header import Header, read_header
from django_celery_once.locks import Lock, Phase
from django_celery_once.options import OnceOptions
from django_celery_once.running import asking_user, current_run, run_here, running_id
from django_celery_once.signals import Outcome, lock_released
from django_celery_once.waiting import take_within

logger = logging.getLogger(__name__)


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
    own = running is not None and running.lease is not None and _is_same(running.lock, claim.lock)
    if running is not None and own and running_id() in (task_id, options.get("parent_id")):
        return _hand_on(task, running, claim)
    words = ""
    if policy == "rerun" and not canvas.is_part(options):  # others wait for what is part of one
        words = reruns.pack(task, call, options, claim.header)
    if own and not task.app.conf.task_always_eager:
        return _follow_oneself(claim, words)
    if policy == "rerun":
        return claims.take_or_follow(claim, words)
    return claims.take(claim) if own else _take(claim, asked, policy)


def _hand_on(task: Any, running: Run, claim: Claim) -> Claim:
    """Hand the lock of a run to the task that replaces it, or to the next of its chain.

    Celery sends this, with the run's task as its parent, when the body has ended.
    """
    with running.standing_still():
        same = running.lock.owner == claim.lock.owner
        last = None if same else claims.last_record(running.lock)
        claim = claims.take(claim, running.lock)
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
        label=label_of_call(task.name, bind(task, call.args, call.kwargs), asked),
        requester=asking_user(),
        until=asked.until,
        alias=reserved.alias,
    )
    return claims.move(reserved, _claim_of(task, lock, asked, options))


def carried_claim(
    task: Any, task_id: str | None, headers: Mapping[str, Any], options: Mapping[str, Any]
) -> Claim | None:
    """Return the claim of a message that carries an earlier one on, as a retry does."""
    if not options.get("retries") or not task_id:
        return None
    running = current_run(task_id)
    header = running.header if running else read_header(headers)
    if header is None:
        return None
    if not header.key:
        return claims.unguarded(task_id)
    alias = claims.alias_of(header)
    old = running.lock if running else Lock(header.key, task_id, header.token, alias=alias)
    lock = claims.new_lock(header.key, task.name, task_id, alias=alias, label=old.label)
    seconds = max(task.queued_seconds(header.timeout, options), header.kept_seconds)
    carried = replace(header, token=lock.token, again=False, run="", previous="", visits=0)
    if header.until == "running":
        return Claim(carried, lock, seconds)  # others may run meanwhile
    with running.standing_still() if running else nullcontext():
        claim = claims.hand_over(old, Claim(carried, lock, seconds))
        if running and not claim.header.previous:
            running.hand_on()
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


def _is_same(one: Lock, other: Lock) -> bool:
    return (one.alias, one.key) == (other.alias, other.key)


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
    return claims.new_lock(
        key_of_call(task.name, bound, asked),
        task.name,
        task_id,
        alias=claims.alias_of(asked),
        label=label_of_call(task.name, bound, asked, partly=partly),
        requester=asking_user(),
        until=asked.until,
    )


def _claim_of(task: Any, lock: Lock, asked: OnceOptions, options: Mapping[str, Any]) -> Claim:
    seconds = task.queued_seconds(asked.timeout, options, kept=asked.until == "expired")
    return Claim(claims.new_header(lock.key, lock.token, asked, seconds), lock, seconds)
