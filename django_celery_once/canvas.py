"""Duplicates within chains, groups and chords: passed over, so that nothing waits for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from celery import states
from celery.app.task import Context
from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore
from django.core.exceptions import ImproperlyConfigured

from django_celery_once.claims import alias_of
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.gate import ANSWER
from django_celery_once.header import Header
from django_celery_once.locks import Phase, open_store

logger = logging.getLogger(__name__)


def is_awaited(options: Mapping[str, Any]) -> bool:
    """Return whether a group or chord counts on a call that is published with these options.

    It may be a member itself, or the head of a chain that ends as one.
    """
    if not options:
        return False
    chain = options.get("chain")
    return any(
        last.get("group_id") or last.get("chord")
        for last in (options, *(map(_options, _ends(chain[0])) if chain else ()))
    )


def is_part(options: Mapping[str, Any]) -> bool:
    """Return whether a call that is published with these options belongs to a canvas."""
    return any(options.get(name) for name in ("group_id", "chord", "chain", "parent_id"))


def keeps_results(task: Any) -> bool:
    """Return whether the result of a task's call can be had by another call."""
    eager, disabled = task.app.conf.task_always_eager, isinstance(task.backend, DisabledBackend)
    return not (eager or disabled or task.ignore_result)


def give_up(task: Any, task_id: str, chain: Any, holder_id: str) -> None:
    """End a duplicate and the rest of its chain (the last link first), none of which will run.

    What a group or chord counts on succeeds with ``None``; of the others, which somebody may
    wait for, it is told that they were revoked. Never raise.
    """
    own = {"options": {"task_id": task_id}}
    for link in (own, *(chain or ())):
        for signature in _ends(link):
            try:
                _give_up(task.app, _options(signature), holder_id)
            except Exception:
                logger.exception("Could not end a chain at a duplicate of %s", holder_id)


def pass_over(request: Any, task: Any, holder_id: str) -> None:
    """Let a run end with ``None`` at once, and its chain with it."""
    chain, request.chain, request.callbacks = request.chain, None, None
    give_up(task, "", chain, holder_id)
    vars(request)[ANSWER] = (None,)


def join(request: Any, task: Any, header: Header) -> bool:
    """Let a run end as the one that it joins did; return false while that is under way.

    Raise what the holder raised.
    """
    if _holds(header):  # a result may be that of an earlier call with its id
        return False
    result = task.AsyncResult(header.duplicate_of)
    try:
        state = result.state
    except Exception:
        # Each backend's client has errors of its own, and "disabled" is one of them.
        logger.debug("No result to be had for %s", result.id, exc_info=True)
        state = states.PENDING
    awaited = request.group or request.chord
    followed = request.callbacks or request.errbacks or request.chain
    if state not in states.READY_STATES:
        if state == states.RETRY:  # also under the key of other arguments
            return False
        if followed and not awaited:
            raise LookupError(f"the result of {result.id}, which this call joined, is not stored")
        vars(request)[ANSWER] = (None,)
        return True
    if state == states.REVOKED and not followed and not awaited:
        task.backend.mark_as_revoked(request.id, str(result.result), request=request)
        raise Ignore(f"{result.id}, which this call joined, was revoked")
    vars(request)[ANSWER] = (result.get(disable_sync_subtasks=False),)
    return True


def _holds(header: Header) -> bool:
    try:
        lock = open_store(alias_of(header)).inspect(header.joins, header.name)
    except (LockUnavailable, ImproperlyConfigured):
        return True
    if lock is None or lock.phase is Phase.KEPT:
        return False
    following = lock.follow_up.owner if lock.follow_up else ""
    return header.duplicate_of in (lock.owner, following)


def _give_up(app: Any, options: Mapping[str, Any], holder_id: str) -> None:
    task_id = options.get("task_id")
    if not task_id:
        return
    if not (options.get("group_id") or options.get("chord")):
        app.backend.mark_as_revoked(task_id, f"its chain ended at a duplicate of {holder_id}")
        return
    context = Context(
        id=task_id,
        group=options.get("group_id"),
        group_index=options.get("group_index"),
        chord=options.get("chord"),
        root_id=options.get("root_id"),
    )
    app.backend.mark_as_done(task_id, None, request=context)


def _ends(signature: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the single tasks whose results stand for that of a signature."""
    kind, inner = signature.get("task"), signature.get("kwargs") or {}
    if kind == "celery.chord":
        yield from _ends(inner["body"])
    elif kind == "celery.chain":
        yield from _ends(inner["tasks"][-1])
    elif kind == "celery.group":
        for member in inner["tasks"]:
            yield from _ends(member)
    else:
        yield signature


def _options(signature: Mapping[str, Any]) -> Mapping[str, Any]:
    return signature.get("options") or {}
