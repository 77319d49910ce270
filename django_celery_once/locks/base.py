"""What a lock is and what a store of locks can do."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import field, replace
from enum import Enum, StrEnum
from typing import Protocol

from django_celery_once.record import record


class Phase(StrEnum):
    """Where the task behind a lock stands."""

    RESERVED = "reserved"
    """Claimed; the task is published when the caller's transaction commits."""
    QUEUED = "queued"
    RUNNING = "running"
    KEPT = "kept"
    """The task has ended; its key is kept until its time is up (``until="expired"``)."""


@record
class Lock:
    """The record under a key.

    ``owner`` is the id of the task that holds it, ``token`` belongs to one published message
    and ``run`` to one start of it (empty until then). ``since`` (the accepted call) and
    ``started`` are in epoch seconds, ``hits`` counts the duplicates refused so far, ``lease``
    is what the run's last renewal left it, in seconds, ``sent_back`` says that another copy of
    the message came since that renewal, ``until`` is ``"expired"`` where the lock is kept for its
    whole time, whatever becomes of the run, and ``remaining`` is what was left, in seconds, when
    the record was read. ``previous`` is not kept: it is another token by which a run may know
    its lock, and ``alias``, which is not kept either, the cache of ``CACHES`` that holds it.

    ``follow_up`` is the lock that takes its place when it is released, its ``remaining`` the
    time that it gets then. A ``call``, in words for whoever releases, says that this is to
    publish the follow-up; otherwise its message is on its way. A lock with a follow-up does
    not lapse with its lease: ``seen`` (epoch seconds) is when its run was last heard of.
    """

    key: str
    owner: str
    token: str
    run: str = ""
    phase: Phase = Phase.QUEUED
    task: str = ""
    since: float = 0.0
    started: float = 0.0
    worker: str = ""
    requester: str = ""
    label: str = ""
    hits: int = 0
    lease: float = 0.0
    sent_back: bool = False
    until: str = ""
    previous: str = ""
    remaining: float = 0.0
    call: str = ""
    follow_up: Lock | None = None
    seen: float = 0.0
    alias: str = field(default="", compare=False)

    @property
    def silence(self) -> float:
        """The seconds since the worker of a running task gave a sign of life."""
        if self.phase is not Phase.RUNNING:
            return 0.0
        if self.follow_up is not None:
            return max(0.0, time.time() - self.seen)
        return max(0.0, self.lease - self.remaining)

    @property
    def blocks(self) -> bool:
        """Whether the run is over its lease and only its follow-up keeps the key from lapsing."""
        return self.follow_up is not None and self.silence > self.lease


def released(last: Lock, token: str) -> Lock:
    """Return the last record of a lock, with the token that its follow-up has got, if it did."""
    following = last.follow_up
    if following is None or not following.call:
        return last
    return replace(last, follow_up=replace(following, token=token, previous=following.token))


class Start(Enum):
    """What a run finds at its key when it starts, or renews."""

    MINE = "the lock is this run's"
    TAKEN = "the lock was free and is this run's now"
    ELSEWHERE = "another run of the same message holds it under a live lease"
    FOLLOWS = "another message holds it, and this one is to follow"
    ANOTHER = "another message holds it"


@record
class Scan:
    """Locks that were found; ``complete`` is false when the search stopped early."""

    locks: tuple[Lock, ...]
    complete: bool


class LockStore(Protocol):
    """One atomic step each. Every verb raises ``LockUnavailable`` when the cache fails."""

    alias: str

    def name_of(self, key: str) -> str:
        """Return a key as the cache spells it, with its prefix, its version and its tenant."""

    def acquire(
        self,
        lock: Lock,
        timeout: float,
        replacing: Lock | None = None,
        *,
        hits: int = 1,
        follow: bool = False,
    ) -> Lock | None:
        """Take ``lock.key`` for ``timeout`` seconds and return ``None``, or the holder's lock.

        It is taken when it is free or belongs to ``replacing`` as in ``release``. Any other
        holder keeps it: as many ``hits`` are counted as calls ask (none: they ask again later),
        and its record says so. Asking again with the same
        token is no second call (the client may repeat a command whose answer was lost). A
        successor with the same owner keeps ``since`` and ``hits``, and ``label`` and
        ``requester`` where it has none.

        With ``follow``, a refused ``lock`` becomes the holder's ``follow_up``, or where there is
        one lends it its ``call``, if it has any: the newest call is the one that is published.
        """

    def start(
        self, lock: Lock, lease: float, *, again: bool = False, counted: bool = True
    ) -> tuple[Start, Lock | None]:
        """Begin the run ``lock.run`` under a lease of ``lease`` seconds, or what is left if that
        is more and the lock is kept ``until`` it has expired.

        Return what was found, with the holder's record unless the lock is this run's. Another
        owner's lock counts the hit, unless the run is only to wait for its turn (not
        ``counted``). A copy of a message that runs elsewhere is noted, and the
        lock kept for twice the lease at least: when the copy comes ``again`` and no renewal
        has taken the note away, the other run is dead and the lock this run's.
        """

    def renew(self, locks: Iterable[Lock], lease: float) -> list[tuple[Lock, Start]]:
        """Renew the leases of running locks, together; return what was found for each.

        A lock that is gone is taken back (``Start.TAKEN``); another's is left alone.
        """

    def release(self, lock: Lock) -> Lock | None:
        """Free ``lock.key`` if it holds the token and run of ``lock``; return its last record.

        A ``lock`` without a run stands for whatever run its message has, and a lock that
        never learned of its run belongs to any run of its message. Where there is a follow-up,
        the key is that one's now, under a new token if it has a ``call``; its old one is its
        ``previous``. A follow-up itself is withdrawn, and ``None`` returned.
        """

    def blocked(self) -> list[Lock]:
        """Return the locks that only a follow-up keeps from lapsing (``Lock.blocks``).

        That is none where the cache has no sets: there, messages look after follow-ups alone.
        """

    def shorten(self, lock: Lock, seconds: float) -> bool:
        """Leave a lock ``seconds`` more, if it belongs to ``lock`` as in ``release``."""

    def force_release(self, key: str) -> Lock | None:
        """Free a key whoever holds it, for people; return what was removed."""

    def inspect(self, key: str) -> Lock | None:
        """Return the lock under ``key``, or ``None``."""

    def scan(self, prefix: str = "", limit: int = 1000, seconds: float = 1.5) -> Scan:
        """Return locks whose key begins with ``prefix`` (``keys.key_prefix``), boundedly.

        Stop after ``limit`` locks or ``seconds``. Raise ``NotImplementedError`` where the
        cache can't list its keys.
        """
