"""Calls that ask together, when one of them is late, interrupted, killed or forked away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from django_celery_once.locks import Lock, coalescing, open_store
from tests.integration.workers import wait_until
from tests.locks.crowds import KEY, Crowd, Gate, answers, held, refusals, waiting
from tests.locks.stores import lock


@pytest.mark.usefixtures("impatient")
def test_nobody_waits_long_for_another(gate: Gate, crowd: Crowd) -> None:
    """While one has no answer, the others ask alone, and who comes then waits for nobody."""
    first = crowd.come()
    others = crowd.come(2)
    wait_until(lambda: gate.asked == [1, 1, 1], "the others ask alone")
    later = crowd.come()
    wait_until(lambda: gate.asked == [1, 1, 1, 1], "who comes then asks, too")
    gate.answer(4)
    assert answers([*first, *others, *later]).count(None) == 1


@pytest.mark.usefixtures("impatient")
def test_a_question_that_nobody_asks_stops_nobody(gate: Gate, crowd: Crowd) -> None:
    """What a killed greenlet or thread leaves behind is forgotten by the first that meets it."""
    name = ("locks", gate.name_of(KEY))
    coalescing._questions[name] = coalescing._Question()
    gate.answer(2)
    assert crowd.call() is None
    assert name not in coalescing._questions
    assert crowd.call() is not None


def inherited(question: coalescing._Question) -> tuple[coalescing._Waiter, coalescing._Waiter]:
    """Let the one that waits head the next question for another; return both, unwoken."""
    wait_until(lambda: bool(question.came), "it waits")
    [heir] = question.end()
    other = coalescing._Waiter()
    heir.heads, heir.behind = coalescing._Question(), [other]
    return heir, other


def test_an_heir_that_is_not_woken_asks_all_the_same(
    gate: Gate, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was to wake it is gone: it asks for those behind it when its patience ends."""
    monkeypatch.setattr(coalescing, "PATIENCE", 1)
    assert open_store("locks").acquire(lock(KEY), 60) is None
    question = coalescing._questions[("locks", gate.name_of(KEY))] = coalescing._Question()
    future = crowd.pool.submit(crowd.call)
    _heir, other = inherited(question)
    coalescing._questions.clear()
    gate.answer()
    assert [each.hits for each in refusals([future])] == [2]
    assert gate.asked == [2]
    assert other.woken.acquire(timeout=20)
    assert isinstance(other.answer, Lock)
    assert other.answer.hits == 1


def test_an_heir_that_is_interrupted_lets_the_others_ask() -> None:
    """It was to ask for those behind it."""
    question, others = coalescing._Question(), []
    heir = coalescing._Waiter()
    drain = threading.Thread(target=lambda: others.append(inherited(question)[1]))
    drain.start()
    with alarm_after(0.5), pytest.raises(InterruptedError):
        heir.wait(question)
    drain.join()
    assert others[0].woken.acquire(blocking=False)
    assert others[0].answer is None


def test_a_question_that_is_over_is_joined_by_nobody() -> None:
    """Who had found it before asks at once."""
    question, call = coalescing._Question(), coalescing._Waiter()
    assert question.end() == []
    began = time.monotonic()
    assert call.wait(question)
    assert time.monotonic() - began < coalescing.PATIENCE
    assert not question.came


@contextmanager
def alarm_after(seconds: float) -> Iterator[None]:
    """Interrupt this thread as Celery's soft time limit does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise InterruptedError("soft time limit")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_call_that_is_interrupted_leaves(gate: Gate, crowd: Crowd) -> None:
    """Nobody asks for it, and nobody waits for it."""
    first = crowd.come()
    with alarm_after(0.2), pytest.raises(InterruptedError):
        crowd.call()
    assert waiting() == 0
    others = crowd.come(2)
    gate.answer(2)
    assert answers(first) == [None]
    assert len(refusals(others)) == 2
    assert held().hits == 2


@pytest.mark.usefixtures("impatient")
def test_a_call_within_a_call_waits_for_itself_but_not_for_ever(gate: Gate, crowd: Crowd) -> None:
    """A signal's handler may ask for what its own thread is asking for."""
    told: list[Lock | None] = []

    def ask(_number: int, _frame: FrameType | None) -> None:
        gate.answer(2)
        told.append(crowd.call())

    before = signal.signal(signal.SIGALRM, ask)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        told.append(crowd.call())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert sorted(each is None for each in told) == [False, True]


def test_a_child_process_waits_for_no_thread_of_its_parents(gate: Gate, crowd: Crowd) -> None:
    """What the parent was asking at the fork is nobody's question in the child."""
    first = crowd.come()
    child = os.fork()
    if not child:
        os._exit(len(coalescing._questions))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(coalescing._questions) == 1
    gate.answer()
    assert answers(first) == [None]


GREENLETS = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, django, sys
django.setup()
from django_celery_once.locks import coalescing, open_store
from tests.locks.stores import lock

class Slow:
    alias = "locks"
    name_of = staticmethod(str)
    asked = 0
    def acquire(self, lock, timeout, *, hits=1):
        Slow.asked += 1
        gevent.sleep(0.1)
        return open_store("locks").acquire(lock, timeout, hits=hits)

def call():
    return coalescing.acquire(Slow(), lock("once:t:k"), 60)

first = gevent.spawn(call)
gevent.sleep(0.05)
heir, *others = [gevent.spawn(call) for _each in range(10)]
gevent.sleep(0)
first.kill()      # while it asks
gevent.sleep(0.05)
heir.kill()       # while it asks for the others
gevent.joinall(others, timeout=10)
answers = [each.value for each in others]
assert all(each.ready() for each in others), others
assert sum(answer is None for answer in answers) == 1, answers
assert Slow.asked <= 5, Slow.asked
assert not coalescing._questions
"""


def test_greenlets_that_are_killed() -> None:
    """With gevent, whoever asks may be gone at any time."""
    pytest.importorskip("gevent")
    program = [sys.executable, "-c", GREENLETS]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
