"""What one call asks of the lock store before it is published."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from django.core.exceptions import ImproperlyConfigured

from django_celery_once import follow_ups, leases
from django_celery_once.conf import conf
from django_celery_once.exceptions import AlreadyQueued, LockUnavailable
from django_celery_once.header import Header
from django_celery_once.leases import Lease
from django_celery_once.locks import Lock, Phase, coalescing, open_store
from django_celery_once.options import OnceOptions
from django_celery_once.record import record
from django_celery_once.releases import release_later, release_or_later
from django_celery_once.signals import Outcome, lock_released

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Run:
    """A guarded run in this process; the worker leaves it on the task's request."""

    header: Header
    lock: Lock
    lease: Lease | None = None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Renew no lock while it may move to the task's next message."""
        if self.lease is not None:
            leases.drop(self.lease)
        try:
            yield
        finally:
            if self.lease is not None:
                leases.hold(self.lease)

    def hand_on(self) -> None:
        """Let go of a lock that belongs to the task's next message now."""
        self.lease = None


@record
class Claim:
    """A call's header and lock, kept for ``seconds``. A refused one has a ``holder``.

    The call of a task that is not to be guarded has neither key nor token.
    """

    header: Header
    lock: Lock
    seconds: float = 0.0
    holder: Lock | None = None

    @property
    def guarded(self) -> bool:
        """Return whether there is a lock behind the call."""
        return bool(self.lock.token)

    def give_back(self, sender: type) -> None:
        """Free the lock of a call that will not be published; never raise.

        ``sender`` is the task's class, for the signal.
        """
        last = release_or_later(self.lock, self.seconds) if self.guarded else None
        if last is not None:
            lock_released.send_robust(sender=sender, lock=last, outcome=Outcome.WITHDRAWN)


def new_token() -> str:
    """Return a fresh token, 16 hexadecimal characters."""
    return os.urandom(8).hex()


def alias_of(said: Header | OnceOptions) -> str:
    """Return the alias of the cache that holds a lock, by its message or its call's options."""
    return said.cache or conf.cache


def new_lock(
    key: str,
    task_name: str,
    task_id: str | None,
    *,
    alias: str = "",
    phase: Phase = Phase.QUEUED,
    label: str = "",
    requester: str = "",
    until: str = "",
) -> Lock:
    """Return the record of a lock asked for now, with a fresh task id where there is none.

    Its token is drawn with that id: each draw lets other threads run before this one goes on.
    """
    made = None if task_id else uuid4()
    return Lock(
        key=key,
        owner=task_id or str(made),
        token=new_token() if made is None else made.hex[16:],
        phase=phase,
        task=task_name,
        since=time.time(),
        label=label,
        requester=requester,
        until=until if until == "expired" else "",
        alias=alias,
    )


def new_header(key: str, token: str, asked: OnceOptions, seconds: float) -> Header:
    """Return the header of a new message; ``seconds``: for how long its key may be kept."""
    expires = asked.until == "expired"
    return Header(
        key,
        token,
        asked.until,
        asked.timeout,
        kept_until=time.time() + seconds if expires else 0.0,
        release_on_failure=asked.release_on_failure,
        cache=asked.cache if asked.cache and asked.cache != conf.cache else "",
    )


def already_queued(task_name: str, holder: Lock) -> AlreadyQueued:
    """Return what the caller of a refused call is to be told of the holder of its key."""
    return AlreadyQueued(
        holder.remaining,
        task_name=task_name,
        key=holder.key,
        task_id=holder.owner,
        phase=holder.phase.value,
        since=datetime.fromtimestamp(holder.since, UTC),
        label=holder.label,
        requested_by=holder.requester,
        alias=holder.alias,
    )


def unguarded(task_id: str | None) -> Claim:
    """Return the claim of a call that is queued whatever is under way."""
    return Claim(Header(), Lock(key="", owner=task_id or str(uuid4()), token=""))


def standing_in(claim: Claim, *, joins: bool) -> Claim:
    """Return the claim of a message that only stands for a refused one, without a lock."""
    holder = claim.holder
    assert holder is not None  # noqa: S101
    header = Header(duplicate_of=holder.owner)
    if joins:
        header = replace(header, joins=holder.key, cache=claim.header.cache)
    return Claim(header, Lock(key="", owner=claim.lock.owner, token=""))


def requeued(header: Header, lock: Lock, task_name: str, seconds: float | None = None) -> Claim:
    """Return the claim of a message that comes again with the same token."""
    waiting = replace(
        lock, run="", started=0.0, worker="", phase=Phase.QUEUED, task=task_name, since=time.time()
    )
    seconds = max(seconds or header.timeout or conf.timeout, header.kept_seconds)
    return Claim(replace(header, run=""), waiting, seconds)


def take(
    claim: Claim, replacing: Lock | None = None, *, counted: bool = True, follow: bool = False
) -> Claim:
    """Take the lock of a new call; return the claim with the holder if there is one.

    Unless ``counted``, the call asks again and is no duplicate yet. Raise ``LockUnavailable``,
    unless the setting ``ON_CACHE_ERROR`` says to go on without.
    """
    try:
        store = open_store(claim.lock.alias)
        if counted and not follow and replacing is None:
            holder = coalescing.acquire(store, claim.lock, claim.seconds)
        else:
            hits = int(counted)
            holder = store.acquire(claim.lock, claim.seconds, replacing, hits=hits, follow=follow)
    except LockUnavailable as error:
        if not conf.enqueue_on_cache_error:
            release_later(claim.lock, claim.seconds)
            raise LockUnavailable(
                f"{claim.lock.task} was not queued: {error}", alias=error.alias, key=error.key
            ) from error
        logger.warning("%s; queueing %s without a lock", error, claim.lock.task)
        return claim
    if holder is None:
        return claim
    if holder.blocks:
        free_blocked(holder)
    return Claim(claim.header, claim.lock, claim.seconds, holder)


def free_blocked(holder: Lock) -> None:
    """Release a lock whose run is dead and which only waits for its follow-up; never raise."""
    run = Lock(holder.key, holder.owner, holder.token, run=holder.run, alias=holder.alias)
    try:
        last = follow_ups.release(run)
    except LockUnavailable as error:
        logger.warning("%s; %s[%s] stays blocked", error, holder.task, holder.owner)
        return
    if last is not None:
        words = "%s[%s] gave no sign of life for %.0f s; the next run of %s follows"
        logger.warning(words, holder.task, holder.owner, holder.silence, holder.key)
        lock_released.send_robust(sender=None, lock=last, outcome=Outcome.KILLED)


def take_or_follow(claim: Claim, call: str = "", *, counted: bool = True) -> Claim:
    """Take the lock of a new call, or let it follow the holder; return the claim.

    It has a holder then, and its header says so if it is the one that follows. A ``call`` is
    published by whoever releases the lock, also in the place of an earlier one.
    """
    claim = take(replace(claim, lock=replace(claim.lock, call=call)), counted=counted, follow=True)
    following = None if claim.holder is None else claim.holder.follow_up
    if following is None or following.owner != claim.lock.owner:
        return claim
    return replace(claim, header=replace(claim.header, follows="rerun" if call else "turn"))


def last_record(lock: Lock) -> Lock | None:
    """Return the record of a lock that is about to go to another task, if it can be read."""
    try:
        held = open_store(lock.alias).inspect(lock.key)
    except LockUnavailable:
        return None
    return held if held is not None and held.token == lock.token else None


def move(old: Lock, claim: Claim) -> Claim:
    """Move a lock to the next message of its task, or take it where it lapsed; never raise.

    Return the claim, with the holder if another task has the key. Where the store does not
    answer, the message may go out all the same: its start will tell.
    """
    try:
        holder = open_store(claim.lock.alias).acquire(claim.lock, claim.seconds, old)
    except (LockUnavailable, ImproperlyConfigured) as error:  # other settings may hold here
        # It may have moved all the same: the next start accepts either token.
        task = f"{claim.lock.task}[{claim.lock.owner}]"
        logger.warning("%s; sending %s all the same, whichever lock it has", error, task)
        return replace(claim, header=replace(claim.header, previous=old.token))
    return replace(claim, holder=holder)


def hand_over(old: Lock, claim: Claim) -> Claim:
    """Move a lock to the message that carries the same task on, such as its retry.

    Never refuse and never raise: Celery gives a task up when sending its retry fails. Where
    the lock can't be moved, the message goes out all the same and its start will tell.
    """
    moved = move(old, claim)
    if moved.holder is not None:
        task = f"{claim.lock.task}[{claim.lock.owner}]"
        logger.warning("%s is sent again though task %s holds its lock", task, moved.holder.owner)
    return replace(moved, holder=None)
