"""Workers whose settings give keys other names than those of the callers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from tests.integration.app import app
from tests.integration.calls import new_name, refused, value, wait_for_event, wait_until_free
from tests.integration.conftest import on_each_pool
from tests.integration.tasks import play, play_late
from tests.integration.workers import Worker, wait_until
from tests.locks.test_redis import settings_with

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _next_release() -> Iterator[None]:
    with override_settings(CACHES=settings_with(KEY_PREFIX="release-2")):
        yield


@on_each_pool()
def test_a_lock_keeps_the_name_that_its_caller_gave_it(worker: Worker) -> None:
    """Guard the run and free the key under that name, and say once that there are two."""
    name = new_name()
    result = play_late.delay(name, "sleep", 1.0)
    wait_for_event(name, "start")
    assert refused(play_late, name)
    assert value(result) == "held: True"
    wait_until_free(play_late, name)
    wait_until(lambda: "'release-2:1:once:" in worker.text(), "the caller's name")
    assert "which is ':1:once:" in worker.text()


@on_each_pool("hasty_worker", elsewhere=True)
def test_ends_free_it_under_that_name(hasty_worker: Worker) -> None:
    """Renew it beyond its lease; free it after a retry, a rerun and a revoke."""
    name = new_name()
    result = play.delay(name, "sleep", 3.0)
    wait_for_event(name, "start")
    followed = play.apply_async((name, "retry", 0.1), once={"on_duplicate": "rerun"})
    assert value(result) == "held: True"
    assert value(followed) == "retried"
    wait_until_free(play, name)
    app.control.revoke(play.apply_async((name,), countdown=1).id)
    wait_until_free(play, name)
