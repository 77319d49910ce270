"""Releases whose answer was lost, made again until the lock store answers.

A command that timed out may still be carried out: a frozen Redis works through what it has
received when it wakes. A lock taken that way has no task behind it, and one that a finished
run could not give back would stay for its lease; both are released from here.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured

from django_celery_once import follow_ups
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, open_store

logger = logging.getLogger(__name__)

#: Seconds between two tries.
PAUSE = 1.0
#: How many may wait; the oldest of more are left to their time-outs.
MOST = 10_000
#: Seconds after a release that failed in which others may have, too.
LATELY = 60.0
#: Answers wanted: the first may have overtaken the lost command on another connection.
ANSWERS = 2


#: When a release failed last, here or in a process that this one has forked, or is a fork of.
_failed = mmap.mmap(-1, 8)


@dataclass(slots=True)
class _Release:
    lock: Lock
    until: float
    ended: float
    answers: int = 0


class _Releases:
    def __init__(self) -> None:
        self._waiting: deque[_Release] = deque(maxlen=MOST)
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, release: _Release) -> None:
        with self._mutex:
            self._waiting.append(release)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._release_until_empty,
                    name="django-celery-once-releases",
                    daemon=True,
                )
                self._thread.start()

    def _release_until_empty(self) -> None:
        while True:
            time.sleep(PAUSE)
            self._release_all()
            now = time.monotonic()
            with self._mutex:
                alive = [release for release in self._waiting if release.until > now]
                self._waiting = deque(alive, maxlen=MOST)
                if not self._waiting:
                    self._thread = None
                    return

    def _release_all(self) -> None:
        away: set[str] = set()  # the stores that still are: ask for the others there later
        for _each in range(len(self._waiting)):
            release = self._waiting.popleft()
            if release.lock.alias in away or not _done(release):
                self._waiting.append(release)
                if not release.answers:
                    away.add(release.lock.alias)


def _done(release: _Release) -> bool:
    """Try once; return whether the lock is gone for certain."""
    try:
        follow_ups.release(release.lock, ended=release.ended)
    except LockUnavailable:
        _note_failure()
    except Exception:
        logger.exception("Releasing %s failed", release.lock.key)
    else:
        release.answers += 1
    return release.answers == ANSWERS


_releases = _Releases()


def _forget_parent() -> None:
    global _releases
    _releases = _Releases()


os.register_at_fork(after_in_child=_forget_parent)


def release_later(lock: Lock, seconds: float, *, ended: float = 0.0) -> None:
    """Release ``lock`` as soon as the store answers; give up after ``seconds``."""
    _releases.add(_Release(lock, time.monotonic() + seconds, ended))


def release_or_later(lock: Lock, seconds: float, *, ended: float = 0.0) -> Lock | None:
    """Release ``lock`` now and return its last record, or see to it later; never raise."""
    try:
        return follow_ups.release(lock, ended=ended)
    except LockUnavailable as error:
        _note_failure()
        logger.warning("%s; releasing task %s's lock later", error, lock.owner)
    except ImproperlyConfigured as error:  # a message from where other settings hold
        logger.error("%s; the lock of %s lapses by itself", error, lock.owner)
        return None
    except Exception:
        logger.exception("Releasing %s failed; trying again later", lock.key)
    release_later(lock, seconds, ended=ended)
    return None


def forget_end(lock: Lock) -> None:
    """Let the message of ``lock`` come again after all; never raise."""
    try:
        open_store(lock.alias).forget(lock)
    except (LockUnavailable, ImproperlyConfigured) as error:
        logger.warning("%s; a message of %s that comes again is dropped", error, lock.owner)


def lately_failed() -> bool:
    """Return whether a release may still wait for the store, here or in a child of this process.

    A child that is killed meanwhile takes it along.
    """
    at: float = struct.unpack("d", _failed[:])[0]
    return time.time() - at < LATELY


def _note_failure() -> None:
    _failed[:] = struct.pack("d", time.time())
