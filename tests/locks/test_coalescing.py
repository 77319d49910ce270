"""Calls that ask for one key at once ask together, and each gets an answer of its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.test import override_settings

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, Phase, coalescing, open_store
from tests.integration.workers import wait_until
from tests.locks.crowds import CROWD, KEY, Crowd, Gate, answers, held, refusals
from tests.locks.stores import lock


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


_tenant = threading.local()


def tenants_key(key: str, prefix: str, version: int) -> str:
    """Spell a key as a project with tenants does, such as django-tenants."""
    return f"{_tenant.name}:{prefix}:{version}:{key}"


def test_tenants_do_not_share_an_answer(gate: Gate, crowd: Crowd) -> None:
    """One key is two where the cache spells it twice."""
    spelt = {**settings.CACHES["locks"], "KEY_FUNCTION": f"{__name__}.tenants_key"}

    def call(tenant: str) -> Lock | None:
        _tenant.name = tenant
        return crowd.call()

    with override_settings(CACHES={**settings.CACHES, "locks": spelt}):
        gate.store = open_store("locks")
        calls = [crowd.pool.submit(call, name) for name in ("one", "two")]
        wait_until(lambda: gate.asked == [1, 1], "both ask for themselves")
        gate.answer(2)
        assert answers(calls) == [None, None]


def test_caches_do_not_share_an_answer(gate: Gate, crowd: Crowd) -> None:
    """A key in another cache is another lock."""
    first = crowd.come()
    assert coalescing.acquire(open_store("locks_locmem"), lock(KEY), 60) is None
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
