"""Calls of one process that ask for the same key at the same time, and so ask together.

Who comes while another thread asks for a key waits for the answer, and then all who came
meanwhile ask at once: one command for a crowd, sent after the last of them has come, so that each
gets the answer that a command of its own would have had. A storm of duplicates costs the server
and redis-py one command for a crowd, and a caller that is alone nothing but two looks into a
dictionary.

There is no mutex, since a signal (Celery's soft time limit, Ctrl-C) or the end of a greenlet may
break in anywhere. What it leaves behind is a question that nobody asks: who has waited ``PATIENCE``
for one asks alone.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks.base import Lock, LockStore

#: Seconds that a call waits for the one before it. A server's usual answer takes less than one
#: thousandth of that.
PATIENCE = 1.0


class _Question:
    """A command under way, and the calls that have come since."""

    __slots__ = ("came", "over")

    def __init__(self) -> None:
        self.came: deque[_Waiter] = deque()
        self.over = False

    def end(self) -> list[_Waiter]:
        """Let nobody join any more; return who came. No call is lost or returned twice."""
        self.over = True
        came = []
        with suppress(IndexError):  # not `while self.came`: the last may leave at any time
            while True:
                came.append(self.came.popleft())
        return came


class _Waiter:
    """One that waits: for the ``answer`` to a command that asks for it, too, or to ask itself.

    Then it ``heads`` the next question, and asks for those ``behind`` it as well.
    """

    __slots__ = ("answer", "behind", "heads", "woken")

    def __init__(self) -> None:
        self.answer: Lock | LockUnavailable | None = None
        self.heads: _Question | None = None
        self.behind: Sequence[_Waiter] = ()
        self.woken = threading.Lock()
        self.woken.acquire()

    def wait(self, question: _Question) -> bool:
        """Wait for the end of a question; return whether it came within ``PATIENCE``."""
        question.came.append(self)
        if question.over and self._leave(question):
            return True  # it was over before: ask
        try:
            in_time = self.woken.acquire(timeout=PATIENCE) or (
                # Somebody asks for this one, too, and has counted it.
                not self._leave(question) and self.woken.acquire(timeout=PATIENCE)
            )
        except BaseException:
            if not self._leave(question):
                for each in self.behind:
                    each.wake()
            raise
        return in_time

    def wake(self, answer: Lock | LockUnavailable | None = None) -> None:
        """Say what was found; nothing: that it is to ask."""
        self.answer = answer
        self.woken.release()

    def _leave(self, question: _Question) -> bool:
        try:
            question.came.remove(self)
        except ValueError:
            return False
        return True


#: The questions of this process under way, by the names of their keys.
_questions: dict[tuple[str, str], _Question] = {}
os.register_at_fork(after_in_child=_questions.clear)


def acquire(store: LockStore, lock: Lock, timeout: float) -> Lock | None:
    """Take a key or return the holder, as ``LockStore.acquire`` does, together with who comes."""
    name = (store.alias, lock.name or store.name_of(lock.key))
    while True:
        mine = _Question()
        ahead = _questions.setdefault(name, mine)
        if ahead is mine:
            return _ask(store, lock, timeout, name, mine)
        waiter = _Waiter()
        in_time = waiter.wait(ahead)
        if isinstance(waiter.answer, Lock):
            return waiter.answer
        if waiter.answer is not None:
            error = waiter.answer
            raise LockUnavailable(str(error), alias=error.alias, key=error.key) from error
        if waiter.heads is not None:
            return _ask(store, lock, timeout, name, waiter.heads, waiter.behind)
        if not in_time:
            _forget(name, ahead)
            return store.acquire(lock, timeout)


def _ask(
    store: LockStore,
    lock: Lock,
    timeout: float,
    name: tuple[str, str],
    question: _Question,
    behind: Sequence[_Waiter] = (),
) -> Lock | None:
    """Ask for oneself and those ``behind``, tell them, and let those ask that came meanwhile."""
    answer: Lock | LockUnavailable | None = None
    try:
        answer = store.acquire(lock, timeout, hits=1 + len(behind))
        return answer
    except LockUnavailable as error:
        answer = error
        raise
    finally:
        _hand_on(name, question)
        for place, waiter in enumerate(behind, 1):
            if isinstance(answer, Lock):
                waiter.wake(replace(answer, hits=answer.hits - place))
            else:
                waiter.wake(answer)


def _hand_on(name: tuple[str, str], question: _Question) -> None:
    """End a question; let the first of those who came head the next one, which others join."""
    following = _Question() if question.came else None
    if following is not None and _questions.get(name) is question:
        _questions[name] = following
    else:
        _forget(name, question)
    came = question.end()
    if not came and following is not None:  # they have gone since
        _forget(name, following)
        came = following.end()
    if came:
        came[0].heads, came[0].behind = following or _Question(), came[1:]
        came[0].wake()


def _forget(name: tuple[str, str], question: _Question) -> None:
    if _questions.get(name) is question:
        _questions.pop(name, None)
