"""What celery-once's README shows, with nothing changed but the import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult, EagerResult

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.locks import Phase, open_store
from tests.guarded_tasks import held

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop() -> Iterator[Celery]:
    """Return a plain Celery application, configured as for celery-once."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.ONCE = {
        "backend": "celery_once.backends.Redis",
        "settings": {"url": "redis://127.0.0.1:1/0", "default_timeout": 60 * 60 * 2},
    }
    yield app
    app.close()


@pytest.fixture
def example(shop: Celery) -> Any:
    """Return a task as most are: a function with the base."""

    @shop.task(shared=False, base=QueueOnce, name="shop.example")
    def example(seconds: int) -> str:
        return f"slept {seconds}"

    return example


@contextmanager
def running_here(app: Celery) -> Iterator[None]:
    """Let tasks run where they are called."""
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def seconds_left(task: QueueOnce, *args: object) -> float:
    """Return what a call's lock has left, in whole seconds."""
    return round(held(task.once_key(*args)).remaining)


def test_the_second_call_is_refused(example: Any) -> None:
    """Raise ``AlreadyQueued`` from ``delay`` and ``apply_async``; let other arguments in."""
    example.delay(10)
    with pytest.raises(AlreadyQueued):
        example.delay(10)
    with pytest.raises(AlreadyQueued):
        example.apply_async(args=(10,))
    with pytest.raises(AlreadyQueued):
        example.apply_async(kwargs={"seconds": 10})
    example.delay(11)


def test_a_number_is_no_tuple_there_either(example: Any) -> None:
    """Refuse ``args=(10)``, which the README shows: it is 10."""
    with pytest.raises(TypeError):
        example.apply_async(args=(10))


def test_a_task_that_ends_frees_its_key(shop: Celery, example: Any) -> None:
    """Accept the next call after a success and after an exception."""

    @shop.task(shared=False, base=QueueOnce, name="shop.failing")
    def failing() -> None:
        raise ValueError

    with running_here(shop):
        assert [example.delay(10).get() for _each in range(2)] == ["slept 10"] * 2
        assert [failing.delay().status for _each in range(2)] == ["FAILURE"] * 2


def test_direct_calls_are_not_affected(example: Any) -> None:
    """Run ``task()`` and ``task.apply()`` beside a lock, whatever ``once`` says."""
    example.delay(10)
    assert example(10) == "slept 10"
    assert example.apply(args=(10,), once={"graceful": True}).get() == "slept 10"
    assert held(example.once_key(10)).phase is Phase.QUEUED


def test_the_countdown_is_what_is_left(example: Any) -> None:
    """Tell it in seconds, a float."""
    example.delay(10)
    with pytest.raises(AlreadyQueued) as raised:
        example.delay(10)
    assert isinstance(raised.value.countdown, float)
    assert 7190 < raised.value.countdown <= 7200


def test_the_exception_can_be_made_by_hand() -> None:
    """Take the seconds as the one argument."""
    assert AlreadyQueued(60).countdown == 60
    assert AlreadyQueued(countdown=60).countdown == 60
    assert "60 seconds" in AlreadyQueued(60).message


def is_rejected(answer: Any) -> bool:
    """Return whether it is what celery-once, too, answers instead of ``None``."""
    return isinstance(answer, EagerResult) and (answer.id, answer.result, answer.status) == (
        None,
        None,
        "REJECTED",
    )


def test_graceful_in_a_call(example: Any) -> None:
    """Answer with a rejected result, which gets ``None``."""
    once = {"graceful": True}
    assert isinstance(example.apply_async((10,), once=once), AsyncResult)
    refused = example.apply_async((10,), once=once)
    assert is_rejected(refused)
    assert refused.get() is None
    assert is_rejected(example.s(10).set(once=once).apply_async())
    assert is_rejected(example.si(10).apply_async(once=once))


def test_graceful_of_a_task(shop: Celery) -> None:
    """Let a call ask for the exception all the same."""

    @shop.task(shared=False, base=QueueOnce, name="shop.graceful", once={"graceful": True})
    def graceful() -> None: ...

    graceful.delay()
    assert is_rejected(graceful.delay())
    with pytest.raises(AlreadyQueued):
        graceful.apply_async(once={"graceful": False})


def test_keys_of_some_arguments(shop: Celery) -> None:
    """Look at those alone, also where they are not given or stand behind ``self``."""

    @shop.task(shared=False, base=QueueOnce, bind=True, name="shop.add", once={"keys": ["a"]})
    def slow_add(self: QueueOnce, a: int, b: int = 1) -> None: ...

    @shop.task(shared=False, base=QueueOnce, name="shop.sum", once={"keys": ["b"]})
    def slow_sum(a: int, b: int = 1) -> None: ...

    slow_add.delay(1, 1)
    with pytest.raises(AlreadyQueued):
        slow_add.delay(1, 2)
    slow_add.delay(2, 2)
    slow_sum.delay(1)
    with pytest.raises(AlreadyQueued):
        slow_sum.delay(2, b=1)


def test_no_keys_at_all(shop: Celery) -> None:
    """Let one run, whatever its arguments."""

    @shop.task(shared=False, base=QueueOnce, name="shop.add", once={"keys": []})
    def slow_add(a: int, b: int) -> None: ...

    slow_add.delay(1, 1)
    with pytest.raises(AlreadyQueued):
        slow_add.delay(2, 2)


def test_arguments_that_hold_others(example: Any) -> None:
    """Look into them, in whichever order they are."""
    example.delay({"a": [1, {"b": "é"}], "c": (2, 3)})
    with pytest.raises(AlreadyQueued):
        example.delay({"c": [2, 3], "a": [1, {"b": "é"}]})


def test_time_outs(shop: Celery, example: Any) -> None:
    """Take that of the call, that of the task, or that of the application."""

    @shop.task(shared=False, base=QueueOnce, name="shop.long", once={"timeout": 60 * 60 * 10})
    def long_running_task(number: int) -> None: ...

    long_running_task.delay(1)
    long_running_task.apply_async((2,), once={"timeout": 30})
    example.delay(10)
    assert seconds_left(long_running_task, 1) == 36000
    assert seconds_left(long_running_task, 2) == 30
    assert seconds_left(example, 10) == 7200


def test_unlock_before_run(shop: Celery) -> None:
    """Free the key when the body begins, and take none when it is called directly."""
    seen = []

    @shop.task(shared=False, base=QueueOnce, name="shop.unlocked", once={"unlock_before_run": True})
    def unlocked() -> None:
        seen.append(open_store("locks").inspect(unlocked.get_key()))

    with running_here(shop):
        unlocked.delay().get()
    assert seen == [None]
    unlocked.delay()
    with pytest.raises(AlreadyQueued):
        unlocked.delay()
    unlocked()
    assert seen[1] is not None


def test_get_key(example: Any) -> None:
    """Take arguments as ``apply_async`` does; what is returned is made otherwise."""
    key = example.get_key((10,))
    assert key == example.get_key(args=[10]) == example.get_key(kwargs={"seconds": 10})
    assert key == example.get_key((10,), {})
    assert key.startswith("once:shop.example:")
    with pytest.raises(TypeError):
        example.get_key()


def test_tasks_written_as_classes(shop: Celery) -> None:
    """Have options and body in a class."""

    class Slow(QueueOnce):
        name = "shop.Slow"
        once = {"graceful": True, "unlock_before_run": False, "keys": ["a"]}  # noqa: RUF012

        def run(self, a: int, b: int = 0) -> None: ...

    slow: Any = shop.register_task(Slow())
    slow.delay(1)
    assert is_rejected(slow.delay(1, 2))
    slow.delay(2)


def test_bases_of_ones_own(shop: Celery) -> None:
    """Keep the guard under hooks that call ``super``, as the README's for Flask does."""
    seen = []

    class ContextQueueOnce(QueueOnce):
        abstract = True
        once = {"keys": ["a"]}  # noqa: RUF012

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(self.once_lock_held())
            return super().__call__(*args, **kwargs)

        def after_return(self, *args: Any) -> None:
            seen.append(self.once_lock_held())
            super().after_return(*args)

    @shop.task(shared=False, base=ContextQueueOnce, name="shop.based")
    def based(a: int, b: int) -> int:
        return a + b

    with running_here(shop):
        assert based.delay(1, 2).get() == 3
    assert seen == [True, True]
    based.delay(1, 1)
    with pytest.raises(AlreadyQueued):
        based.delay(1, 2)
