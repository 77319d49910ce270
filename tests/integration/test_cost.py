"""What a task costs the lock store, counted on the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from testproject.redis_server import RedisServer
from tests.integration.calls import new_name, refused, value, wait_until_free
from tests.integration.tasks import play
from tests.integration.workers import Worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def warm_worker(use_broker: None, folder: Path) -> Iterator[Worker]:
    """Return a worker whose lease is so long that no renewal disturbs the count."""
    with Worker(folder, "solo") as worker:
        yield worker


@pytest.fixture
def count(redis_server: RedisServer) -> Iterator[Callable[[], int]]:
    """Return a function that tells how many scripts clients have run."""
    with redis.Redis.from_url(redis_server.url()) as client:

        def scripts() -> int:
            stats = client.info("commandstats")
            return sum(
                stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval")
            )

        yield scripts


def warm_up() -> None:
    """Load every script, and leave nothing under way."""
    name = new_name()
    value(play.delay(name))
    wait_until_free(play, name)
    play.apply_async((name,), queue="nobody-listens")
    assert refused(play, name)


@pytest.mark.usefixtures("warm_worker")
def test_a_call_is_one_round_trip(count: Callable[[], int]) -> None:
    """Accept with one command and refuse with one."""
    warm_up()
    name = new_name()
    before = count()
    play.apply_async((name,), queue="nobody-listens")  # a run would be counted with the next test
    assert count() - before == 1, "an accepted call"
    assert refused(play, name)
    assert count() - before == 2, "a duplicate"


@pytest.mark.usefixtures("warm_worker")
def test_a_run_is_two_round_trips(count: Callable[[], int]) -> None:
    """Start with one command and release with another."""
    warm_up()
    names = [new_name() for _each in range(20)]
    before = count()
    for result in [play.delay(name) for name in names]:
        value(result)
    # Solo runs one after the other: when the last has its result, only its own release may
    # be under way.
    assert 3 * len(names) - 1 <= count() - before <= 3 * len(names)
