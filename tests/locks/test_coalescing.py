"""Calls that ask for one key at once ask together, and each gets an answer of its own."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, Phase, coalescing, open_store
from tests.integration.workers import wait_until
from tests.locks.stores import lock

KEY = "once:tests.report:k"
CROWD = 5


class Gate:
    """A store that answers when it is told to, and notes for how many calls it was asked."""

    alias = "locks"

    def __init__(self) -> None:
        self.store = open_store("locks")
        self.asked: list[int] = []
        self.errors: dict[int, BaseException] = {}
        self._turns = threading.Semaphore(0)
        self._numbers = itertools.count(1)

    def name_of(self, key: str) -> str:
        return self.store.name_of(key)

    def acquire(self, lock: Lock, timeout: float, *, hits: int = 1) -> Lock | None:
        """Wait for a turn; fail or ask the real store."""
        number = next(self._numbers)
        self.asked.append(hits)
        assert self._turns.acquire(timeout=20)
        if number in self.errors:
            raise self.errors[number]
        return open_store("locks").acquire(lock, timeout, hits=hits)

    def answer(self, commands: int = 1) -> None:
        """Let so many commands have their answer."""
        self._turns.release(commands)


class Crowd:
    """Calls in threads of their own."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._pool = ThreadPoolExecutor(2 * CROWD + 2)

    def come(self, calls: int = 1) -> list[Future[Lock | None]]:
        """Let calls come, and return when each of them waits or asks."""
        before = waiting() + len(self.gate.asked)
        futures = [self._pool.submit(self._call) for _call in range(calls)]
        wait_until(lambda: waiting() + len(self.gate.asked) == before + calls, "all have come")
        return futures

    def _call(self) -> Lock | None:
        store: Any = self.gate
        return coalescing.acquire(store, lock(KEY), 60)

    def end(self) -> None:
        """Let all that still ask have their answer."""
        self.gate.answer(100)
        self._pool.shutdown()


def waiting() -> int:
    """Return how many calls wait for others."""
    return sum(len(question.came) for question in list(coalescing._questions.values()))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return a store whose server takes its time, and everybody waits for it."""
    monkeypatch.setattr(coalescing, "PATIENCE", 60)
    return Gate()


@pytest.fixture
def crowd(gate: Gate) -> Iterator[Crowd]:
    """Return the callers of that store; see that nothing of them is left."""
    crowd = Crowd(gate)
    yield crowd
    crowd.end()
    assert not coalescing._questions


@pytest.fixture
def impatient(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long."""
    monkeypatch.setattr(coalescing, "PATIENCE", 0.05)


def held() -> Lock:
    """Return the lock under the key."""
    found = open_store("locks").inspect(KEY)
    assert found is not None
    return found


def answers(futures: list[Future[Lock | None]]) -> list[Lock | None]:
    """Return what calls were told."""
    return [future.result(20) for future in futures]


def refusals(futures: list[Future[Lock | None]]) -> list[Lock]:
    """Return the holders that calls were told, all of which were refused."""
    told = [answer for answer in answers(futures) if answer is not None]
    assert len(told) == len(futures)
    return told


def test_one_alone_asks_once(gate: Gate, crowd: Crowd) -> None:
    """There is one command, for one call."""
    gate.answer()
    assert answers(crowd.come()) == [None]
    assert gate.asked == [1]


def test_those_who_come_meanwhile_ask_together(gate: Gate, crowd: Crowd) -> None:
    """One command tells all of them the holder; each counts, and has a count of its own."""
    first = crowd.come()
    others = crowd.come(CROWD)
    assert gate.asked == [1]
    gate.answer(2)
    assert answers(first) == [None]
    told = refusals(others)
    assert gate.asked == [1, CROWD]
    assert {each.owner for each in told} == {held().owner}
    assert sorted(each.hits for each in told) == [1, 2, 3, 4, 5]
    assert held().hits == CROWD


def test_who_comes_while_a_crowd_asks_is_of_the_next(gate: Gate, crowd: Crowd) -> None:
    """Each command is sent when the last of those it asks for has come."""
    first = crowd.come()
    second = crowd.come(2)
    gate.answer()
    assert answers(first) == [None]
    wait_until(lambda: gate.asked == [1, 2], "the second crowd asks")
    third = crowd.come(3)
    gate.answer(2)
    assert sorted(each.hits for each in refusals([*second, *third])) == [1, 2, 3, 4, 5]
    assert gate.asked == [1, 2, 3]


def test_a_key_that_is_free_by_then_goes_to_one(gate: Gate, crowd: Crowd) -> None:
    """The one that asks for the crowd has it; the others ask again, and it is counted then."""
    first = crowd.come()
    others = crowd.come(CROWD)
    gate.answer()
    assert answers(first) == [None]
    open_store("locks").force_release(KEY)
    gate.answer(2 * CROWD)
    told = answers(others)
    assert told.count(None) == 1
    assert sorted(each.hits for each in told if each is not None) == [1, 2, 3, 4]
    assert held().hits == CROWD - 1


def test_an_outage_is_told_to_all_it_was_asked_for(gate: Gate, crowd: Crowd) -> None:
    """Each raises an error of its own; who came later asks by itself."""
    gate.errors[2] = LockUnavailable("gone", alias="locks", key=KEY)
    first = crowd.come()
    second = crowd.come(2)
    gate.answer()
    assert answers(first) == [None]
    wait_until(lambda: gate.asked == [1, 2], "the crowd asks")
    third = crowd.come(2)
    gate.answer()
    errors = [future.exception(20) for future in second]
    assert all(isinstance(each, LockUnavailable) and str(each) == "gone" for each in errors)
    assert [(each.alias, each.key) for each in errors if isinstance(each, LockUnavailable)] == [
        ("locks", KEY)
    ] * 2
    assert errors[0] is not errors[1]
    gate.answer()
    assert {each.hits for each in refusals(third)} == {1, 2}


def test_an_outage_of_the_first_is_its_own(gate: Gate, crowd: Crowd) -> None:
    """Nobody asked for those who came meanwhile."""
    gate.errors[1] = LockUnavailable("gone", alias="locks", key=KEY)
    first = crowd.come()
    others = crowd.come(2)
    gate.answer(3)
    assert isinstance(first[0].exception(20), LockUnavailable)
    assert sorted(answer is None for answer in answers(others)) == [False, True]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_of_the_callers_own_is_no_answer(
    gate: Gate, crowd: Crowd, error: type[BaseException]
) -> None:
    """Ctrl-C, a soft time limit or a wrong set-up: the others ask again."""
    gate.errors[2] = error("mine")
    first = crowd.come()
    others = crowd.come(CROWD)
    gate.answer(2 + CROWD)
    assert answers(first) == [None]
    failed = [each for each in others if isinstance(each.exception(20), error)]
    assert len(failed) == 1
    assert len(refusals([each for each in others if each not in failed])) == CROWD - 1
    assert held().hits == CROWD - 1


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
    assert crowd._call() is None
    assert name not in coalescing._questions
    assert crowd._call() is not None


def inherited(question: coalescing._Question) -> tuple[coalescing._Waiter, coalescing._Waiter]:
    """Let the one that waits head the next question for another; return both, unwoken."""
    wait_until(lambda: bool(question.came), "it waits")
    [heir] = question.end()
    other = coalescing._Waiter()
    heir.heads, heir.behind = coalescing._Question(), [other]
    return heir, other


def test_a_heir_that_is_not_woken_asks_all_the_same(
    gate: Gate, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was to wake it is gone: it asks for those behind it when its patience ends."""
    monkeypatch.setattr(coalescing, "PATIENCE", 1)
    assert open_store("locks").acquire(lock(KEY), 60) is None
    question = coalescing._questions[("locks", gate.name_of(KEY))] = coalescing._Question()
    future = crowd._pool.submit(crowd._call)
    _heir, other = inherited(question)
    coalescing._questions.clear()
    gate.answer()
    assert [each.hits for each in refusals([future])] == [2]
    assert gate.asked == [2]
    assert other.woken.acquire(timeout=20)
    assert isinstance(other.answer, Lock)
    assert other.answer.hits == 1


def test_a_heir_that_is_interrupted_lets_the_others_ask() -> None:
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
        crowd._call()
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
        told.append(crowd._call())

    before = signal.signal(signal.SIGALRM, ask)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        told.append(crowd._call())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert sorted(each is None for each in told) == [False, True]


_tenant = threading.local()


def tenants_key(key: str, prefix: str, version: int) -> str:
    """Spell a key as a project with tenants does, such as django-tenants."""
    return f"{_tenant.name}:{prefix}:{version}:{key}"


def test_tenants_do_not_share_an_answer(gate: Gate, crowd: Crowd) -> None:
    """One key is two where the cache spells it twice."""
    spelt = {**settings.CACHES["locks"], "KEY_FUNCTION": f"{__name__}.tenants_key"}

    def call(tenant: str) -> Lock | None:
        _tenant.name = tenant
        return crowd._call()

    with override_settings(CACHES={**settings.CACHES, "locks": spelt}):
        gate.store = open_store("locks")
        calls = [crowd._pool.submit(call, name) for name in ("one", "two")]
        wait_until(lambda: gate.asked == [1, 1], "both ask for themselves")
        gate.answer(2)
        assert answers(calls) == [None, None]


def test_caches_do_not_share_an_answer(gate: Gate, crowd: Crowd) -> None:
    """A key in another cache is another lock."""
    first = crowd.come()
    assert coalescing.acquire(open_store("locks_locmem"), lock(KEY), 60) is None
    gate.answer()
    assert answers(first) == [None]


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


@pytest.mark.parametrize("alias", ["locks", "locks_django"])
def test_one_at_a_time_and_every_refusal_counted(alias: str) -> None:
    """Sixteen threads take, hold, release and are refused; the locks know of each of them."""
    inside, refused, hits = [0], [0] * 16, [0] * 16

    def work(number: int) -> None:
        store = open_store(alias)
        for _turn in range(40):
            mine = lock(KEY, alias=alias)
            if (holder := coalescing.acquire(store, mine, 60)) is not None:
                assert holder.phase is Phase.QUEUED
                refused[number] += 1
                continue
            inside[0] += 1
            assert inside[0] == 1
            time.sleep(0.001)
            inside[0] -= 1
            last = store.release(mine)
            assert last is not None
            hits[number] += last.hits

    with ThreadPoolExecutor(16) as pool:
        for ended in [pool.submit(work, number) for number in range(16)]:
            ended.result(60)
    assert sum(hits) == sum(refused) > 0
    assert not coalescing._questions


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
