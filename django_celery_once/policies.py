"""What a duplicate gets: the answers of ``on_duplicate``, and those within a canvas."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from celery.result import EagerResult
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper

from django_celery_once import audience, canvas, claims, leftovers, places, requester
from django_celery_once.arguments import Call
from django_celery_once.claims import Claim
from django_celery_once.conf import conf
from django_celery_once.exceptions import AlreadyQueued, AlreadyQueuedHere
from django_celery_once.locks import Lock, Phase
from django_celery_once.options import OnceOptions, OnDuplicate
from django_celery_once.running import is_beat, report_duplicate, run_here, running_id
from django_celery_once.signals import not_queued

logger = logging.getLogger(__name__)

#: Celery's options that say what is called with a result, and those by which anybody awaits it.
CALLBACKS = ("link", "link_error")
AWAITED_BY = (*CALLBACKS, "task_id")
#: Those that say by which way a message goes.
ROUTE = ("queue", "exchange", "routing_key", "priority")


def choose(task: Any, asked: OnceOptions) -> OnDuplicate:
    """Return the policy that holds here for a call with these options."""
    policy = asked.on_duplicate or conf.on_duplicate
    if policy != "rerun" and is_beat():
        return "reject"  # its scheduler would log a traceback, or stand still
    if policy in {"raise", "wait"} and requester.is_flower() and not running_id():
        return "reject"  # its API answers an exception with an empty 500, and stands still
    if policy == "rerun" and task.app.conf.task_always_eager:
        return "reject"  # nothing runs afterwards
    return policy


def follow(
    task: Any,
    claim: Claim,
    asked: OnceOptions,
    call: Call,
    options: dict[str, Any],
    policy: OnDuplicate,
) -> None:
    """Make ready to publish the message of a call that follows the holder, or looks after it.

    What looks after the newest call must not end with the one that asked first: it neither
    expires nor is revoked by a stamp.
    """
    assert claim.holder is not None  # noqa: S101
    if claim.header.follows == "rerun":
        for name in ("eta", "stamped_headers", *(options.get("stamped_headers") or ())):
            options.pop(name, None)
        _let_callbacks_join(task, claim, call, options)
        options.update(countdown=math.ceil(conf.lease), expires=None)
    if run_here() is None or policy == "rerun":
        report_duplicate(task, claim.lock, claim.holder, "rerun", asked, call)


def _let_callbacks_join(task: Any, claim: Claim, call: Call, options: dict[str, Any]) -> None:
    """Publish what waits for the run that follows, if somebody is to be called with its value.

    That run has the arguments of the newest call, and each call has callbacks of its own.
    """
    callbacks = {name: options.pop(name, None) for name in CALLBACKS}
    if not any(callbacks.values()):
        return
    route = {name: options[name] for name in ROUTE if name in options}
    joins = claims.standing_in(claim, claim.lock)
    joins = replace(joins, lock=replace(joins.lock, owner=str(uuid4())))
    try:
        _check_keeps_results(task, "rerun", ignored=bool(options.get("ignore_result")))
        task.apply_async(call.args, call.kwargs, once=joins, **callbacks, **route)
    except BaseException:
        claim.give_back(type(task))
        raise


def ask_at_commit(
    task: Any,
    claim: Claim,
    args: Any,
    kwargs: Any,
    options: Mapping[str, Any],
    connection: BaseDatabaseWrapper,
) -> Any:
    """Ask for one run more when the data it is to see is there; return its result now.

    Where another call is to run already, with these arguments now, this one ends as that does.
    """
    task_id, result = claim.lock.owner, task.result_of(claim.lock)
    result.published = None

    def ask() -> None:
        try:
            task.apply_async(args, kwargs, task_id=task_id, **options)
        except Exception as error:
            logger.exception("%s[%s] could not be queued at the commit", task.name, task_id)
            result.published = False
            leftovers.note_failed(task_id)
            not_queued.send_robust(sender=type(task), lock=claim.lock, error=error)
        else:
            result.published = True

    connection.on_commit(ask, robust=True)
    return result


def stand_in(
    task: Any,
    claim: Claim,
    asked: OnceOptions,
    call: Call,
    options: Mapping[str, Any],
    policy: OnDuplicate,
) -> Claim | None:
    """Return the claim of a message in the place of a duplicate, where others wait for it.

    That is a canvas, or whoever knows its ``task_id`` or is to be called (``link``). It has a
    holder if its caller is to have the result of the call that it joins. Raise
    ``ImproperlyConfigured`` where it can't join, since results are not stored.
    """
    assert claim.holder is not None  # noqa: S101
    joined = _joined(claim.holder) if policy == "join" else None
    if (joined is not None and _is_followed(options)) or canvas.is_awaited(options):
        report_duplicate(task, claim.lock, claim.holder, "join" if joined else "skip", asked, call)
        return claims.standing_in(claim, joined)
    if policy == "rerun" and not canvas.is_part(options):
        joined = claim.holder.follow_up
    if joined is None or not any(options.get(name) for name in AWAITED_BY):
        return None
    if any(options.get(name) for name in CALLBACKS):
        _check_keeps_results(task, policy)
    elif not canvas.keeps_results(task):
        return None
    report_duplicate(task, claim.lock, claim.holder, policy, asked, call)
    return replace(claims.standing_in(claim, joined), holder=joined)


def _check_keeps_results(task: Any, policy: OnDuplicate, *, ignored: bool = False) -> None:
    if ignored or not canvas.keeps_results(task):
        raise ImproperlyConfigured(
            f"{task.name}: a duplicate whose once['on_duplicate'] is {policy!r} can't have link or "
            "link_error where the result is not stored, or the task runs eagerly; set a result "
            "backend and ignore_result=False, or let a callback belong to the task"
        )


def _is_dispatched(options: Mapping[str, Any]) -> bool:
    """Return whether the task that runs here sends a call as the next of its canvas."""
    parent, chain = options.get("parent_id"), options.get("chain")
    if parent is None and chain is None:
        return False
    running = running_id()
    return bool(running) and (parent == running or chain is not None)


def _is_followed(options: Mapping[str, Any]) -> bool:
    return bool(options.get("chain")) or _is_dispatched(options)


def _joined(holder: Lock) -> Lock:
    """Return the call that a duplicate joins: one that follows a reservation runs in any case."""
    following = holder.follow_up
    sure = holder.phase is Phase.RESERVED and following is not None and not following.instead
    return following if sure and following is not None else holder


def _check_is_anothers(task: Any, holder: Lock) -> None:
    """Raise ``AlreadyQueuedHere`` where the caller itself has reserved the key.

    What it has reserved is queued only if it goes on.
    """
    reservation = leftovers.own(holder.owner)
    if reservation is None:
        return
    message = (
        f"{places.words(places.here())} asks for {task.name}, whose key is reserved for this very "
        f"request, transaction or task: at {places.words(reservation.made_at)}. Queue it once: "
        "by the reservation's own methods, by once_task (then without delay() in the view), or "
        "by one delay_on_commit()"
    )
    raise AlreadyQueuedHere.met(task.name, holder, message)


def refuse(
    task: Any,
    claim: Claim,
    asked: OnceOptions,
    call: Call,
    options: Mapping[str, Any],
    policy: OnDuplicate,
) -> Any:
    """Answer a duplicate: return a result, or raise ``AlreadyQueued`` or ``AlreadyQueuedHere``."""
    holder = claim.holder
    assert holder is not None  # noqa: S101
    dispatched = _is_dispatched(options)
    report_duplicate(task, claim.lock, holder, "skip" if dispatched else policy, asked, call)
    if dispatched or policy == "reject":
        if dispatched or options.get("chain"):
            canvas.give_up(task, claim.lock.owner, options.get("chain"), holder.owner)
        return EagerResult(None, None, "REJECTED")  # type: ignore[arg-type]
    if policy == "join":
        return task.result_of(_joined(holder))
    if policy == "rerun" and holder.follow_up is not None:
        return task.result_of(holder.follow_up)
    _check_is_anothers(task, holder)
    asked_by = audience.who(holder.requester, holder.visitor)
    audience.note_blocked(requester.current().request, holder.owner, asked_by)
    raise AlreadyQueued.met(task.name, holder)
