"""What a lock is and what a store of locks can do."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import field, replace
from enum import Enum, StrEnum
from typing import Protocol

from django_celery_once.record import record
from django_celery_once.requester import Asked


class Phase(StrEnum):
    """Where the task behind a lock stands."""

    RESERVED = "reserved"
    """Claimed; the task is published when the caller's transaction commits."""
    PLANNED = "planned"
    """Queued for a time that is yet to come; no record says so (``Lock.phase_now``)."""
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
    is what the run's last renewal left it, in seconds, ``sent_back`` (epoch seconds) is when
    another copy of the message first came since that renewal, ``until`` is ``"expired"`` where the
    lock is kept for its whole time, whatever becomes of the run, and ``remaining`` is what was
    left, in seconds, when the record was read. ``previous`` is not kept: it is another token by
    which a run may know its lock, and ``alias``, which is not kept either, the cache of ``CACHES``
    that holds it. There the key has this ``name``, made where the key was made: only there is it
    certain that a ``KEY_FUNCTION`` asks for the tenant of the call, and a ``KEY_PREFIX`` is the
    caller's.

    ``schema`` is that of the journal's database where the call was made, if there is one for each
    tenant.

    ``copied`` says that a copy of the message may be on its way: then its end is remembered.
    ``grace`` are the seconds at the end of a queued lock's time in which its message has expired
    already; none are known of a follow-up, whose time begins later. ``begins`` (epoch seconds) is
    when a message with a countdown or an ``eta`` may begin. ``visitor`` is a digest that tells
    the browser of somebody who was not logged in.

    ``follow_up`` is the lock that takes its place when it is released, its ``remaining`` the
    time that it gets then. A ``call``, in words for whoever releases, says that this is to
    publish the follow-up; otherwise its message is on its way. A lock with a follow-up does
    not lapse with its lease: ``seen`` (epoch seconds) is when its run was last heard of.

    A follow-up that is to run ``instead`` waits beside a reservation, for a call that was told
    that this one is under way. It takes the place of a reservation that is given back, or whose
    time is over (``seen``), under its id, and goes when the reserved call is published.
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
    sent_back: float = 0.0
    until: str = ""
    previous: str = ""
    remaining: float = 0.0
    call: str = ""
    follow_up: Lock | None = None
    seen: float = 0.0
    copied: bool = False
    grace: float = 0.0
    begins: float = 0.0
    instead: bool = False
    visitor: str = ""
    schema: str = ""
    alias: str = field(default="", compare=False)
    name: str = field(default="", compare=False)

    @property
    def place(self) -> tuple[str, str]:
        """Where it is: the alias of a cache, and the key's name there."""
        return self.alias, self.name or self.key

    @property
    def asked_by(self) -> Asked:
        """Who asked, as the next lock of the same call is to say it."""
        return Asked(requester=self.requester, visitor=self.visitor)

    @property
    def phase_now(self) -> Phase:
        """The phase as people are told it: queued for a time to come is ``PLANNED``."""
        waits = self.phase is Phase.QUEUED and not self.run and self.begins > time.time()
        return Phase.PLANNED if waits else self.phase

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
        """Whether only its follow-up keeps the key from lapsing.

        Its run is over its lease then, or its reservation over its time.
        """
        if self.follow_up is None:
            return False
        if self.phase is Phase.RESERVED:
            return 0 < self.seen < time.time()
        return self.silence > self.lease

    @property
    def expired(self) -> bool:
        """Whether no run comes any more: the message has expired before one began."""
        return self.phase is Phase.QUEUED and not self.run and 0 < self.remaining <= self.grace


def with_own_time(lock: Lock) -> Lock:
    """Return a lock with what is left of its own time, also where a follow-up waits for its end."""
    if lock.phase is not Phase.RESERVED or lock.follow_up is None or not lock.follow_up.instead:
        return lock
    return replace(lock, remaining=max(0.0, lock.seen - time.time()))


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
    ENDED = "the message has run to its end before, and this is a copy of it"


@record
class Scan:
    """Locks that were found; ``complete`` is false when the search stopped early."""

    locks: tuple[Lock, ...]
    complete: bool


class LockStore(Protocol):
    """One atomic step each. Every verb raises ``LockUnavailable`` when the cache fails."""

    alias: str

    def name_of(self, key: str) -> str:
        """Return a key as the cache spells it here, with its prefix, its version and its tenant.

        Every verb takes the ``name`` that a lock has, and makes that of one that has none.
        """

    def acquire(
        self,
        lock: Lock,
        timeout: float,
        replacing: Lock | None = None,
        *,
        hits: int = 1,
        follow: bool = False,
        ended: float = 0.0,
    ) -> Lock | None:
        """Take ``lock.key`` for ``timeout`` seconds and return ``None``, or the holder's lock.

        It is taken when it is free or belongs to ``replacing`` as in ``release``. Any other
        holder keeps it: as many ``hits`` are counted as calls ask (none: they ask again later),
        and its record says so, unless it has ``expired``. Asking again with the same
        token is no second call (the client may repeat a command whose answer was lost). A
        successor with the same owner keeps ``since`` and ``hits``, and ``label`` and
        ``requester`` where it has none. ``ended``: the message of ``replacing`` has ended with
        that, which is remembered as by ``release``, unless its token stays.

        With ``follow``, a refused ``lock`` becomes the holder's ``follow_up``, or where there is
        one lends it its ``call``, if it has any: the newest call is the one that is published.
        A ``lock`` that is to run ``instead``, refused by a reservation that nothing follows, or
        only ``replacing``, waits beside that; a call that follows takes its place, and one with a
        ``call`` that of one without, which waits for a commit.
        """

    def start(
        self, lock: Lock, lease: float, *, again: float | None = None, counted: bool = True
    ) -> tuple[Start, Lock | None]:
        """Begin the run ``lock.run`` under a lease of ``lease`` seconds, or what is left if that
        is more and the lock is kept ``until`` it has expired.

        Return what was found, with the holder's record unless the lock is this run's. Another
        owner's lock counts the hit, unless the run is only to wait for its turn (not
        ``counted``). A copy of a message that runs elsewhere is noted, and the
        lock kept for twice the lease at least: when a copy comes that was sent back, and no
        renewal has taken the note away in ``again`` seconds, the other run is dead and the lock
        this run's. There may be several copies: what one of them has noted a moment ago tells
        another nothing. A message that is known to have ended is told so, whoever holds the key.
        """

    def renew(self, locks: Iterable[Lock], lease: float) -> list[tuple[Lock, Start]]:
        """Renew the leases of running locks, together; return what was found for each.

        A lock that is gone is taken back (``Start.TAKEN``); another's is left alone.
        """

    def release(self, lock: Lock, *, ended: float = 0.0) -> Lock | None:
        """Free ``lock.key`` if it holds the token and run of ``lock``; return its last record.

        A ``lock`` without a run stands for whatever run its message has, and a lock that
        never learned of its run belongs to any run of its message. Where there is a follow-up,
        the key is that one's now, under a new token if it has a ``call``; its old one is its
        ``previous``. A follow-up itself is withdrawn, and ``None`` returned.

        ``ended``: the message of ``lock`` has, and does not come again by right. That is
        remembered for so many seconds where ``lock`` or its record is ``copied``, whoever has
        the key by now.
        """

    def forget(self, lock: Lock) -> None:
        """Forget that the message of ``lock`` has ended: what was to carry it on was not sent."""

    def blocked(self) -> list[Lock]:
        """Return the locks that only a follow-up keeps from lapsing (``Lock.blocks``).

        That is none where the cache has no sets: there, messages look after follow-ups alone.
        """

    def shorten(self, lock: Lock, seconds: float) -> bool:
        """Leave a lock ``seconds`` more, if it belongs to ``lock`` as in ``release``."""

    def force_release(self, key: str, name: str = "") -> Lock | None:
        """Free a key whoever holds it, for people; return what was removed."""

    def remember(self, lock: Lock, seconds: float) -> None:
        """Remember for so long that the message of ``lock`` has ended, whoever has its key."""

    def inspect(self, key: str, name: str = "") -> Lock | None:
        """Return the lock under ``key``, or ``None``."""

    def scan(self, prefix: str = "", limit: int = 1000, seconds: float = 1.5) -> Scan:
        """Return locks whose key begins with ``prefix`` (``keys.key_prefix``), boundedly.

        Stop after ``limit`` locks or ``seconds``. Raise ``NotImplementedError`` where the
        cache can't list its keys.
        """
