"""Calls refused by a reservation: one of them runs instead if that is given back.

The reserved call is published at a commit that may never come. Whoever was told that it is under
way (``"reject"``, ``"join"``, part of a canvas) is not to be let down by a rollback: the first of
them waits beside the reservation, and gets its key and its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django_celery_once import canvas, claims, leftovers, reruns
from django_celery_once.arguments import Call
from django_celery_once.binding import as_sent
from django_celery_once.claims import Claim
from django_celery_once.locks import Lock, Phase, open_store

#: The policies that tell the caller of a duplicate of the run to come.
TELLING = ("reject", "join")
#: Celery's options for a call that make it a part of others, which are answered for it.
CANVAS = {"chain", "chord", "group_id", "group_index", "parent_id", "root_id"}


def stand_by(task: Any, claim: Claim, call: Call, options: Mapping[str, Any], policy: str) -> Claim:
    """Let a refused call wait beside the reservation that it met; return its claim.

    That has no holder if the key is free by now.
    """
    told = policy in TELLING or canvas.is_awaited(options) or options.get("parent_id")
    if not told or claim.holder is None or claim.holder.phase is not Phase.RESERVED:
        return claim
    return _take(claim, _pack(task, claim, call, options))


def reserve(claim: Claim, policy: str) -> Claim | None:
    """Let a call that waits for its own commit wait beside the reservation that it met.

    Return its claim, whose lock has the id of that reservation, or no holder if the key is free by
    now; ``None`` where it need not wait, as within that reservation's own transaction.
    """
    holder = claim.holder
    if holder is None or holder.phase is not Phase.RESERVED or policy not in TELLING:
        return None
    if any(each.task_id == holder.owner for each in leftovers.here()):
        return None
    waiting = _take(claim)
    if waiting.holder is None:
        return waiting
    following = waiting.holder.follow_up
    if following is None or following.token != claim.lock.token:
        return None
    return replace(waiting, lock=replace(claim.lock, owner=following.owner, instead=True))


def step_in(
    task: Any, reserved: Lock, claim: Claim, call: Call, options: Mapping[str, Any]
) -> Claim:
    """Return the claim of a call that has waited beside a reservation, at its own commit.

    It has a holder if that reservation is still there, or was published.
    """
    held = open_store(reserved.alias).inspect(reserved.key, reserved.name)
    if held is not None and held.token == reserved.token:
        return claims.move(reserved, claim)
    following = None if held is None else held.follow_up
    if following is not None and following.token == reserved.token:
        return _take(claim, _pack(task, claim, call, options), reserved)
    return replace(claim, holder=reserved)


def _take(claim: Claim, words: str = "", replacing: Lock | None = None) -> Claim:
    waiting = replace(claim, lock=replace(claim.lock, call=words, instead=True))
    return replace(claims.take(waiting, replacing, counted=False), lock=claim.lock)


def _pack(task: Any, claim: Claim, call: Call, options: Mapping[str, Any]) -> str:
    own = {name: value for name, value in options.items() if name not in CANVAS}
    eta = own.get("eta")
    if own.get("countdown"):
        eta = task.app.now() + timedelta(seconds=own["countdown"])
    return reruns.pack(task, as_sent(task, call, own), own, claim.header, eta=eta)
