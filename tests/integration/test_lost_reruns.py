"""One run more where workers die, and where very many ask for it."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.calls import new_name, wait_until_free
from tests.integration.referee import change, count, events
from tests.integration.rerun_tasks import look
from tests.integration.test_reruns import ask, check_one_followed, start
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shorter_lease(short_lease: None, settings: Any) -> None:
    """Let leases lapse quickly here, too."""
    settings.DJANGO_CELERY_ONCE = {**settings.DJANGO_CELERY_ONCE, "LEASE": 2}


@pytest.mark.usefixtures("any_broker", "shorter_lease")
@pytest.mark.parametrize("another_is_there", [True, False])
def test_a_killed_worker_is_followed(tmp_path: Path, another_is_there: bool) -> None:
    """Queue the other run, with the newest arguments, when the lease has lapsed."""
    others = ExitStack()
    with Worker(tmp_path) as worker, others:
        name, first = start()
        follow_up = ask(name)
        if another_is_there:
            others.enter_context(Worker(tmp_path))
        worker.kill()
        others.enter_context(Worker(tmp_path))
        check_one_followed(name, first, follow_up)
        time.sleep(5)  # two rounds of the message that looks after it
    assert events(name).count("start") == 2


@pytest.mark.usefixtures("use_broker", "shorter_lease")
def test_no_change_is_lost(tmp_path: Path) -> None:
    """Make 10,000 changes, at random, while runs look at what is there."""
    name, lot = new_name(), 2500

    def make_changes(seed: int) -> None:
        pause = random.Random(seed)
        for _each in range(lot):
            change(name)
            look.delay(name)
            if pause.random() < 0.01:
                time.sleep(pause.random() * 0.2)

    with Worker(tmp_path):
        with ThreadPoolExecutor(4) as callers:
            for done in [callers.submit(make_changes, seed) for seed in range(4)]:
                done.result()
        assert count(name) == 4 * lot
        wait_until(
            lambda: bool(seen := events(f"{name}-seen")) and int(seen[-1]) == 4 * lot,
            "a run that has seen every change",
            60,
        )
        wait_until_free(look, name, 30)
    assert len(events(f"{name}-seen")) < 4 * lot / 10, "hardly any call was spared"
