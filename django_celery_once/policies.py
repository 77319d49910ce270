"""What a duplicate gets: the answers of ``on_duplicate``, and those within a canvas."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery.result import EagerResult
from django.db import transaction

from django_celery_once import canvas, claims
from django_celery_once.arguments import Call
from django_celery_once.claims import Claim
from django_celery_once.conf import conf
from django_celery_once.options import OnceOptions, OnDuplicate
from django_celery_once.running import is_beat, report_duplicate, run_here, running_id

logger = logging.getLogger(__name__)


def choose(task: Any, asked: OnceOptions) -> OnDuplicate:
    """Return the policy that holds here for a call with these options."""
    policy = asked.on_duplicate or conf.on_duplicate
    if policy != "rerun" and is_beat():
        return "reject"  # its scheduler would log a traceback, or stand still
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
    """Make ready to publish the message of a call that follows the holder, or looks after it."""
    assert claim.holder is not None  # noqa: S101
    if claim.header.follows == "rerun":
        options.pop("eta", None)
        options["countdown"] = conf.lease
    if run_here() is None or policy == "rerun":
        report_duplicate(task, claim.lock, claim.holder, "rerun", asked, call)


def ask_at_commit(
    task: Any, claim: Claim, args: Any, kwargs: Any, options: Mapping[str, Any]
) -> Any:
    """Ask for one run more when the data it is to see is there; return its result now."""
    task_id = claim.lock.owner

    def ask() -> None:
        try:
            asked = task.apply_async(args, kwargs, task_id=task_id, **options)
            if asked.id != task_id:  # nobody is to wait for it
                task.backend.mark_as_revoked(task_id, f"runs as {asked.id}")
        except Exception:
            logger.exception("%s[%s] could not be queued at the commit", task.name, task_id)

    transaction.on_commit(ask, robust=True)
    return task.result_of(claim.lock)


def stand_in(
    task: Any,
    claim: Claim,
    asked: OnceOptions,
    call: Call,
    options: Mapping[str, Any],
    policy: OnDuplicate,
) -> Claim | None:
    """Return the claim of a message in the place of a duplicate, where others wait for it."""
    joins = policy == "join"
    if not canvas.is_awaited(options) and not (joins and _is_followed(options)):
        return None
    assert claim.holder is not None  # noqa: S101
    report_duplicate(task, claim.lock, claim.holder, "join" if joins else "skip", asked, call)
    return claims.standing_in(claim, joins=joins)


def _is_dispatched(options: Mapping[str, Any]) -> bool:
    """Return whether the task that runs here sends a call as the next of its canvas."""
    parent, chain = options.get("parent_id"), options.get("chain")
    if parent is None and chain is None:
        return False
    running = running_id()
    return bool(running) and (parent == running or chain is not None)


def _is_followed(options: Mapping[str, Any]) -> bool:
    return bool(options.get("chain")) or _is_dispatched(options)


def refuse(
    task: Any,
    claim: Claim,
    asked: OnceOptions,
    call: Call,
    options: Mapping[str, Any],
    policy: OnDuplicate,
) -> Any:
    """Answer a duplicate: return a result, or raise ``AlreadyQueued``."""
    holder = claim.holder
    assert holder is not None  # noqa: S101
    dispatched = _is_dispatched(options)
    report_duplicate(task, claim.lock, holder, "skip" if dispatched else policy, asked, call)
    if dispatched or policy == "reject":
        if dispatched or options.get("chain"):
            canvas.give_up(task, claim.lock.owner, options.get("chain"), holder.owner)
        return EagerResult(None, None, "REJECTED")  # type: ignore[arg-type]
    if policy == "join":
        return task.result_of(holder)
    if policy == "rerun" and holder.follow_up is not None:
        return task.result_of(holder.follow_up)
    raise claims.already_queued(task.name, holder)
