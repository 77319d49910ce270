"""The worker's side: the guard at the start of a run, its lease, its release at the end."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

from celery import signals, states
from celery.exceptions import Ignore

from django_celery_once import (
    by_name,
    claims,
    endings,
    follow_ups,
    leases,
    leftovers,
    reruns,
    tenants,
    turns,
)
from django_celery_once.claims import Run
from django_celery_once.conf import conf
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.gate import RUN, install_guard
from django_celery_once.header import Header, read_header
from django_celery_once.leases import Lease
from django_celery_once.locks import Lock, Phase, Start, open_store
from django_celery_once.releases import release_later
from django_celery_once.running import (
    lease_seconds,
    may_be_copied,
    message_with,
    run_of,
    store_state,
)
from django_celery_once.signals import Outcome, lock_lost, process_ended, run_ended
from django_celery_once.task import QueueOnce

logger = logging.getLogger(__name__)

#: Celery's states at the end of a run. One that was cut off has none.
OUTCOMES = {
    states.SUCCESS: Outcome.SUCCESS,
    states.IGNORED: Outcome.IGNORED,
    states.REJECTED: Outcome.REJECTED,
}

#: The aliases whose keys were found to have other names elsewhere.
_told_of_names: set[str] = set()
#: Those in which a call's lock was not to be found.
_told_of_missing: set[str] = set()


def connect() -> None:
    """Take part in the life of every ``QueueOnce`` task of this process."""
    install_guard(guard)
    follow_ups.install(reruns.send)
    endings.connect()
    signals.task_postrun.connect(end_run, dispatch_uid="django_celery_once.end_run")
    signals.worker_process_shutdown.connect(
        _end_process, dispatch_uid="django_celery_once.end_process"
    )


def guard(task: QueueOnce, task_id: str) -> None:
    """Let a run in under a lease, or end it before its body (``before_start``).

    Raise ``Ignore`` for a run that must not be: another task holds the key, another copy of
    the same message runs, or it has already run to its end.
    """
    if task.once_exempt:
        return
    request = task.request
    header = _header(task, request)
    if header is not None and header.duplicate_of:
        turns.stand_in(task, header)
    elif header is not None and header.key:
        if endings.is_known_here(header):
            _let_in(task, request, header)
        else:
            _let_in_unguarded(task, header)
    if task.once_track_started and not request.is_eager:
        store_state(task, states.STARTED, {"pid": os.getpid(), "hostname": request.hostname})


def _let_in(task: QueueOnce, request: Any, header: Header) -> None:
    lock, seconds = _running_lock(task, request, header), lease_seconds(task)
    _compare_names(task, lock)
    if header.until == "started":
        queued = replace(lock, run="")
        endings.free(task, queued, Outcome.STARTED)
        _mark(request, Run(header, queued))
        return
    while True:
        found, holder = _start(task, header, lock, seconds)
        if holder is None:
            break
        # What is in its way is raised, unless it is to be looked at again here.
        header, lock = turns.give_way(task, header, lock, found, holder)
        lock = replace(lock, started=time.time())
    if found is Start.ENDED and header.follows == "rerun":
        raise Ignore("its newest call was queued in its place")
    if found is Start.ENDED:
        turns.drop_copy(task, lock)
    if found is Start.TAKEN:
        _tell_of_missing(task, request, header, lock)
    if found is Start.TAKEN and header.kept_seconds > seconds:
        endings.leave(lock, header.kept_seconds)
    _begin(task, request, header, lock, seconds)


def _compare_names(task: QueueOnce, lock: Lock) -> None:
    """Log once for each cache that its keys have other names here than where the call was made.

    The lock keeps its name; but each side would meet only the duplicates of its own.
    """
    own = claims.name_of(lock.key, lock.alias) if lock.name else ""
    if own != lock.name and lock.alias not in _told_of_names:
        _told_of_names.add(lock.alias)
        logger.warning(
            "%s[%s] has its lock under %r, which is %r by this worker's CACHES[%r]: callers and "
            "workers need the same KEY_PREFIX, VERSION and KEY_FUNCTION. Going on with the first",
            task.name,
            lock.owner,
            lock.name,
            own,
            lock.alias,
        )


def _tell_of_missing(task: QueueOnce, request: Any, header: Header, lock: Lock) -> None:
    """Log once for each cache that a call's lock is not in it here, though it should be.

    That of a turn, or of a call that was sent by name, is new; that of a message that came back may
    have lapsed with its run.
    """
    again = (
        header.again or turns.came_back(request) or (request.delivery_info or {}).get("redelivered")
    )
    said = None if again or header.until == "running" else read_header(request)
    if said is None or said.token != header.token or lock.alias in _told_of_missing:
        return
    _told_of_missing.add(lock.alias)
    logger.warning(
        "%s[%s] finds no lock of its call in this worker's CACHES[%r]: that has lapsed or was "
        "released, or callers and workers have different servers or databases (once_doctor tells)",
        task.name,
        lock.owner,
        lock.alias,
    )


def _let_in_unguarded(task: QueueOnce, header: Header) -> None:
    """Lose no message for settings that differ from its caller's; its lock lapses."""
    logger.error(
        "%s[%s] has its lock in cache %r, which is not in this worker's CACHES; running it "
        "without its lock",
        task.name,
        task.request.id,
        claims.alias_of(header),
    )


def _start(
    task: QueueOnce, header: Header, lock: Lock, seconds: float
) -> tuple[Start, Lock | None]:
    store = open_store(lock.alias)
    counted = header.until != "running" and not turns.came_back(task.request)
    try:
        silent = conf.lease if header.again else None
        return store.start(lock, seconds, again=silent, counted=counted)
    except LockUnavailable as error:
        logger.warning("%s; running %s[%s] without its lock", error, task.name, lock.owner)
        return Start.MINE, None  # its renewals take the lock when they can


def end_run(sender: Any = None, task: Any = None, **told: Any) -> None:
    """Free a run's lock, or keep it for the run to come (``task_postrun``).

    A body that was cut off under ``acks_late``, by ``SystemExit`` or a kill of its greenlet,
    has no state: whether it comes again is for its message to say.
    """
    request = task.request
    run = run_of(request) if isinstance(task, QueueOnce) else None
    if run is not None and run.lease is not None:
        state, retval = told.get("state"), told.get("retval")
        cut_off = state is None and task.acks_late and not request.is_eager
        again = _runs_again(task, state, retval) and not run.leaves
        leases.drop(run.lease, settle=cut_off or again)
        if cut_off:
            _leave_to_message(task, run)
        elif again and run.header.until != "running":
            _back_to_the_queue(task, run, retval)
        else:
            outcome = OUTCOMES.get(state or "", Outcome.FAILURE)
            if run.leaves and state == states.RETRY:
                outcome = Outcome.SUCCESS
            endings.end(task, run.header, run.lock, outcome, ended=not _is_rejected(task, state))
            if run.lease.doubtful:
                release_later(run.lock, run.lease.seconds)
    if not request.is_eager:  # what runs in place leaves its reservations to its caller
        leftovers.free_here()
    run_ended.send_robust(sender=type(task))


def _header(task: QueueOnce, request: Any) -> Header | None:
    """Return the header of the current message, or a new one where it has none."""
    header = read_header(request)
    if header is None and (request.is_eager or not conf.enabled):
        return None
    if header is not None and not by_name.lacks_key(header):
        return header
    # Sent by name (``app.send_task``) or by a caller without this app.
    return by_name.make_key(task, request, header)


def _running_lock(task: QueueOnce, request: Any, header: Header) -> Lock:
    now = time.time()
    return Lock(
        key=header.key,
        owner=request.id or "",
        token=header.token,
        run=header.run or claims.new_token(),
        phase=Phase.RUNNING,
        task=task.name,
        since=now,
        started=now,
        worker=request.hostname or "",
        until=header.keeps,
        previous=header.previous,
        copied=may_be_copied(task, header),
        alias=claims.alias_of(header),
        name=header.name,
        schema=tenants.current_schema(),
    )


def _mark(request: Any, run: Run) -> None:
    """Leave the run on the task's request, where ``run_of`` finds it."""
    vars(request)[RUN] = run


def _begin(task: QueueOnce, request: Any, header: Header, lock: Lock, seconds: float) -> None:
    def report_loss(lost: Lock, retaken: bool) -> None:
        logger.warning(
            "%s[%s] lost its lock %s while running; %s",
            task.name,
            lost.owner,
            lost.key,
            "taken back" if retaken else "another task has it",
        )
        lock_lost.send_robust(sender=type(task), lock=lost, retaken=retaken)

    lease = Lease(lock, seconds, conf.lease / leases.RENEWALS, report_loss)
    leases.hold(lease)
    _mark(request, Run(header, lock, lease))


def _runs_again(task: QueueOnce, state: str | None, outcome: Any) -> bool:
    if task.request.is_eager:
        return False
    if state == states.REJECTED:
        return bool(task.acks_late and outcome.requeue)
    return state == states.RETRY


def _is_rejected(task: QueueOnce, state: str | None) -> bool:
    """Return whether a run ends with its message rejected, which may then come again."""
    if not task.acks_late:
        return False
    acked = getattr(task, "acks_on_failure", None)  # Celery 5.7
    acked = task.acks_on_failure_or_timeout if acked is None else acked
    return state == states.REJECTED or (state == states.FAILURE and not acked)


def _back_to_the_queue(task: QueueOnce, run: Run, outcome: Any) -> None:
    when = getattr(outcome, "when", None)
    moment = "eta" if isinstance(when, datetime) else "countdown"
    seconds = task.queued_seconds(run.header.timeout, {moment: when})
    claims.hand_over(run.lock, claims.requeued(run.header, run.lock, task.name, seconds))


def _leave_to_message(task: QueueOnce, run: Run) -> None:
    """Keep the lock of a run that was cut off: its message tells whether it comes again.

    The main process of a prefork pool sees to that itself. Where the run and its message are
    in one process, the message may wait, unacknowledged, for the next worker.
    """
    message = message_with(run.lock.run)
    if message is not None:
        message.once_cut_off = True
        seconds = max(run.header.timeout or conf.timeout, lease_seconds(task))
        claims.hand_over(run.lock, claims.requeued(run.header, run.lock, task.name, seconds))


def _end_process(**_signal: Any) -> None:
    process_ended.send_robust(sender=None)
