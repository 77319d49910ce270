"""What one call asks of the lock store before it is published."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from django_celery_once import abandoned, leases, tenants
from django_celery_once.conf import conf
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.header import Header
from django_celery_once.leases import Lease
from django_celery_once.locks import Lock, Phase, coalescing, open_store
from django_celery_once.options import OnceOptions
from django_celery_once.record import record
from django_celery_once.releases import forget_end, release_later, release_or_later
from django_celery_once.signals import Outcome, lock_released

logger = logging.getLogger(__name__)


#: What tokens begin with that are made of a task id.
BY_ID = "id:"


@dataclass(slots=True)
class Run:
    """A guarded run in this process; the worker leaves it on the task's request."""

    header: Header
    lock: Lock
    lease: Lease | None = None
    #: Whether the task goes on under another key, so that this one is free when the run ends.
    leaves: bool = False

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

    One that ``carries`` on another message, as a retry does, has its lock from that.
    The call of a task that is not to be guarded has neither key nor token.
    """

    header: Header
    lock: Lock
    seconds: float = 0.0
    holder: Lock | None = None
    carries: Lock | None = None

    @property
    def guarded(self) -> bool:
        """Return whether there is a lock behind the call."""
        return bool(self.lock.token)

    def give_back(self, sender: type) -> Lock | None:
        """Free the lock of a call that will not be published; never raise.

        ``sender`` is the task's class, for the signal. Return the last record, unless another call
        has the lock's id now.
        """
        if self.carries is not None:
            forget_end(self.carries)
        last = release_or_later(self.lock, self.seconds) if self.guarded else None
        if last is None or (last.follow_up is not None and last.follow_up.instead):
            return None
        lock_released.send_robust(sender=sender, lock=last, outcome=Outcome.WITHDRAWN)
        return last


def new_token() -> str:
    """Return a fresh token, 16 hexadecimal characters."""
    return os.urandom(8).hex()


def token_of_message(task_id: str, properties: Mapping[str, Any] | None) -> str:
    """Return the token of a message that was sent by name: the same for each of its copies.

    Kombu's own transports, such as Redis, give each message a tag that stays with it. Others give
    the task id alone, which another call may use again: so no end is remembered of those.
    """
    tag = (properties or {}).get("delivery_tag")
    if isinstance(tag, str):
        return tag.replace("-", "")[:16]
    return BY_ID + hashlib.blake2b(task_id.encode(), digest_size=8).hexdigest()


def alias_of(said: Header | OnceOptions) -> str:
    """Return the alias of the cache that holds a lock, by its message or its call's options."""
    return said.cache or conf.cache


def name_of(key: str, alias: str) -> str:
    """Return the name of a key as the cache spells it here, where the key was made.

    There is none by an alias that is not in ``CACHES``, as of a message from elsewhere.
    """
    return open_store(alias).name_of(key) if alias in settings.CACHES else ""


def new_lock(
    key: str,
    task_name: str,
    task_id: str | None,
    *,
    alias: str = "",
    name: str = "",
    phase: Phase = Phase.QUEUED,
    label: str = "",
    requester: str = "",
    visitor: str = "",
    until: str = "",
) -> Lock:
    """Return the record of a lock asked for now, with a fresh task id where there is none.

    The ``name`` of its key is made here, unless there is one already; ``alias`` is the setting
    ``CACHE`` where none is named.
    Its token is drawn with that id: each draw lets other threads run before this one goes on.
    """
    made, alias = None if task_id else uuid4(), alias or conf.cache
    return Lock(
        key=key,
        owner=task_id or str(made),
        token=new_token() if made is None else made.hex[16:],
        phase=phase,
        task=task_name,
        since=time.time(),
        label=label,
        requester=requester,
        visitor=visitor,
        until=until if until == "expired" else "",
        alias=alias,
        name=name or name_of(key, alias),
        schema=tenants.current_schema(),
    )


def sent_lock(header: Header, task_id: str) -> Lock:
    """Return what a message's header tells of its lock."""
    return Lock(
        header.key,
        task_id,
        header.token,
        run=header.run,
        until=header.keeps,
        alias=alias_of(header),
        name=header.name,
    )


def new_header(key: str, name: str, token: str, asked: OnceOptions, seconds: float) -> Header:
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
        name=name,
    )


def unguarded(task_id: str | None) -> Claim:
    """Return the claim of a call that is queued whatever is under way."""
    return Claim(Header(), Lock(key="", owner=task_id or str(uuid4()), token=""))


def standing_in(claim: Claim, joined: Lock | None) -> Claim:
    """Return the claim of a message that only stands for a refused one, without a lock.

    Its value will be that of the call ``joined``, which may be the holder or follow it.
    """
    assert claim.holder is not None  # noqa: S101
    header = Header(duplicate_of=(joined or claim.holder).owner)
    if joined is not None:
        cache = "" if claim.lock.alias == conf.cache else claim.lock.alias
        header = replace(header, joins=joined.key, cache=cache, name=joined.name)
    return Claim(header, Lock(key="", owner=claim.lock.owner, token=""))


def requeued(header: Header, lock: Lock, task_name: str, seconds: float | None = None) -> Claim:
    """Return the claim of a message that comes again with the same token."""
    waiting = replace(
        lock, run="", started=0.0, worker="", phase=Phase.QUEUED, task=task_name, since=time.time()
    )
    seconds = max(seconds or header.timeout or conf.timeout, header.kept_seconds)
    return Claim(replace(header, run=""), waiting, seconds)


def take(
    claim: Claim,
    replacing: Lock | None = None,
    *,
    counted: bool = True,
    follow: bool = False,
    ended: float = 0.0,
) -> Claim:
    """Take the lock of a new call; return the claim with the holder if there is one.

    Unless ``counted``, the call asks again and is no duplicate yet. ``ended`` says so of the
    message of ``replacing``, in seconds (``LockStore.release``). Raise ``LockUnavailable``,
    unless the setting ``ON_CACHE_ERROR`` says to go on without.
    """
    how = (replacing, int(counted), follow, ended)
    holder = _ask(claim, *how)
    if holder is not None and holder.expired and not follow:
        abandoned.free_expired(holder)
        holder = _ask(claim, *how)
    if holder is None:
        return claim
    if holder.blocks:
        abandoned.free_blocked(holder)
    elif holder.expired:  # the key is its own now, or its follower's
        abandoned.free_expired(holder)
    return Claim(claim.header, claim.lock, claim.seconds, holder)


def _ask(
    claim: Claim, replacing: Lock | None, hits: int, follow: bool, ended: float
) -> Lock | None:
    try:
        store = open_store(claim.lock.alias)
        if hits and not follow and replacing is None:
            return coalescing.acquire(store, claim.lock, claim.seconds)
        return store.acquire(
            claim.lock, claim.seconds, replacing, hits=hits, follow=follow, ended=ended
        )
    except LockUnavailable as error:
        if not conf.enqueue_on_cache_error:
            release_later(claim.lock, claim.seconds)
            raise LockUnavailable(
                f"{claim.lock.task} was not queued: {error}", alias=error.alias, key=error.key
            ) from error
        logger.warning("%s; queueing %s without a lock", error, claim.lock.task)
        return None


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
        held = open_store(lock.alias).inspect(lock.key, lock.name)
    except LockUnavailable:
        return None
    return held if held is not None and held.token == lock.token else None


def move(old: Lock, claim: Claim, *, ended: float = 0.0) -> Claim:
    """Move a lock to the next message of its task, or take it where it lapsed; never raise.

    ``ended``: the message before has ended with that, to be remembered for so many seconds.
    Return the claim, with the holder if another task has the key. Where the store does not
    answer, the message may go out all the same: its start will tell.
    """
    try:
        store = open_store(claim.lock.alias)
        holder = store.acquire(claim.lock, claim.seconds, old, ended=ended)
    except (LockUnavailable, ImproperlyConfigured) as error:  # other settings may hold here
        # It may have moved all the same: the next start accepts either token.
        task = f"{claim.lock.task}[{claim.lock.owner}]"
        logger.warning("%s; sending %s all the same, whichever lock it has", error, task)
        return replace(claim, header=replace(claim.header, previous=old.token))
    return replace(claim, holder=holder)


def hand_over(old: Lock, claim: Claim, *, ended: float = 0.0) -> Claim:
    """Move a lock to the message that carries the same task on, such as its retry.

    Never refuse and never raise: Celery gives a task up when sending its retry fails. Where
    the lock can't be moved, the message goes out all the same and its start will tell.
    """
    moved = move(old, claim, ended=ended)
    if moved.holder is not None:
        task = f"{claim.lock.task}[{claim.lock.owner}]"
        logger.warning("%s is sent again though task %s holds its lock", task, moved.holder.owner)
    return replace(moved, holder=None)
