"""What becomes of a call before it is published: the claim that it goes out with, or an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_celery_once import claiming, policies, standby
from django_celery_once.arguments import Call
from django_celery_once.binding import bind
from django_celery_once.claims import Claim
from django_celery_once.locks import Lock
from django_celery_once.options import OnceOptions
from django_celery_once.republishing import untold
from django_celery_once.reservations import Reservation


def settle(
    task: Any,
    call: Call,
    asked: OnceOptions,
    reserved: Lock | None,
    options: dict[str, Any],
    awaited: Mapping[str, Any],
) -> Any:
    """Return the claim of what is to be published for a call, or the answer to a duplicate.

    ``options`` are Celery's for the call, and ``awaited`` those that say who waits for it.
    """
    policy, task_id = policies.choose(task, asked), awaited.get("task_id")
    claim = claiming.any_claim(task, task_id, call, reserved, asked, options, policy)
    if claim.holder is not None and reserved is not None and reserved.instead:
        return task.result_of(reserved)  # its caller has been answered
    if claim.header.follows:
        policies.follow(task, claim, asked, call, options, policy)
    elif claim.holder is not None:
        stand_in = policies.stand_in(task, claim, asked, call, {**options, **awaited}, policy)
        if stand_in is None:
            return policies.refuse(task, claim, asked, call, options, policy)
        claim = stand_in
    more = untold(options)
    return replace(claim, header=replace(claim.header, options=more)) if more else claim


def publish_at_commit(
    task: Any,
    args: Any,
    kwargs: Any,
    once: Mapping[str, Any] | None,
    connection: BaseDatabaseWrapper,
    task_id: str | None,
    options: dict[str, Any],
) -> Any:
    """Take the lock of a call that is queued at a commit; return its result, or a duplicate's."""
    asked, call = task.once_options(once), Call.of(args, kwargs, options)
    bind(task, args, kwargs)  # nothing may be missing here
    policy = policies.choose(task, asked)
    claim, using = claiming.new_reservation(task, task_id, call, asked, policy), connection.alias
    waiting = standby.reserve(claim, policy)
    if waiting is not None or claim.holder is None:
        reservation = Reservation(task, waiting or claim, asked)
        result = reservation.apply_async_on_commit(args, kwargs, using=using, **options)
        if waiting is None or waiting.holder is None:
            return result
    if policy == "rerun":
        again = {"once": once, **options}
        return policies.ask_at_commit(task, claim, args, kwargs, again, connection)
    awaited = {**options, "task_id": task_id}
    stand_in: Claim | None = policies.stand_in(task, claim, asked, call, awaited, policy)
    if stand_in is None:
        return policies.refuse(task, claim, asked, call, options, policy)
    publish = partial(task.apply_async, args, kwargs, once=stand_in, **options)
    connection.on_commit(publish, robust=True)
    return task.result_of(claim.holder)
