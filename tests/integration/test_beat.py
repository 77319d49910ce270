"""Duplicates under real beats: one line each, and the next tick works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_celery_once.models import BlockedAttempt
from testproject.redis_server import RedisServer
from tests.integration.calls import lock_of, new_name, wait_for_event
from tests.integration.referee import events
from tests.integration.tasks import play
from tests.integration.workers import Beat, Program, Worker, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_queue")]

Schedule = Callable[..., None]

#: What Celery logs, with a traceback, for whatever keeps beat from sending a task.
FAILED = "ERROR/MainProcess] Message Error: "


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> Schedule:
    """Let the beats that are started from now on ask for calls of ``play`` every second."""

    def every_second(*calls: list[Any], **options: Any) -> None:
        entry = {"task": play.name, "schedule": 1.0, "options": options}
        entries = {call[0]: {**entry, "args": call} for call in calls}
        monkeypatch.setenv("INTEGRATION_SCHEDULE", json.dumps(entries))

    return every_second


def told(program: Program) -> list[str]:
    """Return what a beat has logged since its start, line by line."""
    return program.text().partition("beat: Starting")[2].splitlines()[1:]


def refusals(program: Program) -> int:
    """Return how many duplicates a beat has told of."""
    return sum("Refused" in line for line in told(program))


def kinds(lines: list[str]) -> str:
    """Return a letter for each line: S for a tick, R for a duplicate and ? for all else."""
    letters = {"INFO/MainProcess] Scheduler: Sending due task": "S", "] Refused": "R"}
    return "".join(
        next((letter for words, letter in letters.items() if words in line), "?") for line in lines
    )


def refused_until_run(beat: Program, name: str, folder: Path) -> None:
    """See a line for each duplicate while no worker is there, and a call after each run."""
    wait_until(lambda: refusals(beat) >= 3, "three duplicates")
    assert re.fullmatch("S(SR)+S?", kinds(told(beat))), beat.text()
    with Worker(folder):
        wait_for_event(name, "end", 2)
    runs = events(name)
    assert runs == ["start", "end"] * (len(runs) // 2)


def test_a_duplicate_is_one_line(folder: Path, schedule: Schedule) -> None:
    """Say no more than that, write down who asked, and queue the call once it has run."""
    name = new_name()
    schedule([name])
    with Beat(folder) as beat:
        refused_until_run(beat, name, folder)
    assert re.fullmatch("[SR]+", kinds(told(beat)[:-1])), beat.text()
    assert " INFO/MainProcess] Refused tests.integration.tasks.play[" in beat.text()
    assert set(BlockedAttempt.objects.values_list("source", "requester", "policy")) == {
        ("beat", "beat", "reject")
    }


@pytest.mark.parametrize(
    "once",
    [
        {"on_duplicate": "raise"},
        {"on_duplicate": "join"},
        {"on_duplicate": "wait", "blocking_timeout": 60},
    ],
    ids=lambda once: once["on_duplicate"],
)
def test_no_policy_holds_beat_up(folder: Path, schedule: Schedule, once: dict[str, Any]) -> None:
    """Pass over a duplicate whatever others get, and go on with the rest of the schedule."""
    names = [new_name(), new_name()]
    schedule(*([name] for name in names), once=once)
    with Beat(folder) as beat:
        wait_until(lambda: refusals(beat) >= 4, "two duplicates of each")
        assert re.fullmatch("SS(SR)+S?", kinds(told(beat))), beat.text()


def test_an_outage_passes(folder: Path, schedule: Schedule, redis_server: RedisServer) -> None:
    """Tell of an outage of the lock store as an error, not as a duplicate, and go on after it."""
    name = new_name()
    schedule([name])
    with Beat(folder) as beat:
        wait_until(lambda: refusals(beat) >= 1, "a duplicate")
        redis_server.kill()
        try:
            wait_until(lambda: beat.text().count(FAILED) >= 2, "two failures")
            before = refusals(beat)
        finally:
            redis_server.restart()
        wait_until(lambda: lock_of(play, name) is not None, "a call queued after the outage")
        wait_until(lambda: refusals(beat) > before, "a duplicate after the outage")
    outage = beat.text().partition(FAILED)[2].rpartition(FAILED)[0]
    assert "] Refused" not in outage
    assert "Couldn't apply scheduled task" in outage


def test_a_beat_within_a_worker(folder: Path, schedule: Schedule) -> None:
    """Refuse duplicates while the worker itself is busy with the call, and run it again."""
    name = new_name()
    schedule([name, "sleep", 2.5])
    with Worker(folder, "prefork", 2, "--beat", "-s", str(folder / "embedded")) as worker:
        wait_for_event(name, "end", 2)
        wait_until(lambda: refusals(worker) >= 3, "three duplicates")
        said = worker.text()
    assert " INFO/Beat] Refused" in said
    # Celery's embedded beat may find that its parent has closed its connection to the broker.
    said = re.sub(r".*ERROR/Beat\] beat: Connection error: .*Trying again.*", "", said)
    assert not re.search("Traceback|WARNING/|ERROR/", said), said
    runs = events(name)
    assert runs == ["start", "end"] * (len(runs) // 2)


def left_of(name: str) -> float:
    """Return the seconds of a lock that beat's next call takes; it may be taken by now."""
    wait_until(lambda: lock_of(play, name) is not None, "a call")
    held = lock_of(play, name)
    assert held is not None
    return held.remaining


@pytest.mark.parametrize(
    "scheduler", ["celery.beat:PersistentScheduler", "redbeat.schedulers:RedBeatScheduler"]
)
def test_an_entry_with_options_of_its_own(folder: Path, schedule: Schedule, scheduler: str) -> None:
    """Keep them with whichever scheduler keeps an entry's options."""
    name = new_name()
    schedule([name], once={"timeout": 500, "keys": ["name"]})
    with Beat(folder, "-S", scheduler) as beat:
        assert left_of(name) > 60, "the task's own"
    assert "beat_schedule" not in beat.text()


PLAN = """
import django, json, sys
django.setup()
from django.core.management import call_command
from django_celery_beat.models import IntervalSchedule, PeriodicTask
call_command("migrate", verbosity=0)
every = IntervalSchedule.objects.create(every=1, period="seconds")
task, *args = sys.argv[1:]
PeriodicTask.objects.create(name="plan", task=task, interval=every, args=json.dumps(args))
"""


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let django-celery-beat plan calls of ``play``, in a database that has its tables."""
    pytest.importorskip("django_celery_beat", reason="django-celery-beat is not installed")
    monkeypatch.setenv("INTEGRATION_APPS", "django_celery_beat")
    monkeypatch.setenv("TEST_DATABASE_NAME", f"once_test_beat_{os.getpid()}_{new_name()}")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.integration.settings")

    def run(name: str) -> None:
        subprocess.run([sys.executable, "-c", PLAN, play.name, name], check=True)

    return run


def test_a_schedule_in_the_database(folder: Path, plan: Callable[[str], None]) -> None:
    """Do all of it with django-celery-beat."""
    name = new_name()
    plan(name)
    with Beat(folder, "-S", "django") as beat:
        refused_until_run(beat, name, folder)


def test_options_that_the_database_has_no_place_for(
    folder: Path, plan: Callable[[str], None], schedule: Schedule
) -> None:
    """Name the entry, and go on with the task's own."""
    name = new_name()
    plan(new_name())
    schedule([name], once={"timeout": 500})
    with Beat(folder, "-S", "django") as beat:
        assert left_of(name) <= 60
        wait_until(lambda: f"Entry '{name}' of beat_schedule" in beat.text(), "the warning")
    [line] = [each for each in beat.text().splitlines() if "of beat_schedule" in each]
    assert "WARNING" in line
    assert "{'timeout': 500}, which DatabaseScheduler does not keep" in line
