"""A hundred callers at once for one key: one gets in, and the others are counted."""

from __future__ import annotations

from collections import Counter

import pytest

from django_celery_once.locks import Lock, open_store
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.signals import lock_released
from tests.integration.calls import lock_of, new_name
from tests.integration.storm import storm
from tests.integration.tasks import play

CALLS, PROCESSES, ROUNDS = 100, 8, 25
#: How often each of them asks for one key that stays held.
TIMES = 20


def release(lock: Lock) -> None:
    """Free a lock and say so, as the worker does at the end."""
    last = open_store("locks").release(lock)
    lock_released.send_robust(sender=type(play), lock=last)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("own_queue")
def test_exactly_one_of_a_hundred_calls_gets_in() -> None:
    """Strike twenty-five keys with a hundred calls each; accept one and journal ninety-nine."""
    names = [new_name("storm") for _each in range(ROUNDS)]
    with storm(names, PROCESSES, CALLS) as strike:
        for name in names:
            answers = Counter(strike())
            assert answers == {"accepted": 1, "refused": CALLS - 1}, name
            lock = lock_of(play, name)
            assert lock is not None
            assert lock.hits == CALLS - 1
            release(lock)
    incidents = BlockedDuplicate.objects.exclude(released_at=None)
    assert list(incidents.values_list("rejections", flat=True)) == [CALLS - 1] * ROUNDS
    assert BlockedAttempt.objects.count() == 20 * ROUNDS


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("own_queue")
def test_the_count_is_exact_after_the_release() -> None:
    """Let processes refuse calls of one key, and write late what they know of it."""
    name = new_name("storm")
    with storm([name] * TIMES, PROCESSES, CALLS) as strike:
        answers = Counter(each for _time in range(TIMES) for each in strike())
        assert answers == {"accepted": 1, "refused": CALLS * TIMES - 1}
        lock = lock_of(play, name)
        assert lock is not None
        release(lock)
    incident = BlockedDuplicate.objects.get()  # the processes have ended and written the rest
    assert incident.rejections == CALLS * TIMES - 1
    assert incident.released_at is not None
    assert sorted(incident.attempts.values_list("number", flat=True)) == list(range(1, 21))
