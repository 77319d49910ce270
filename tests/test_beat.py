"""Beat's schedule: which options of an entry its scheduler keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery.beat import ScheduleEntry, Scheduler, Service

from django_celery_once import beat
from tests.celery_app import app
from tests.guarded_tasks import report

ONCE = {"timeout": 600, "keys": ("a", "b")}


class Keeping(Scheduler):
    """A scheduler that keeps its entries in memory."""

    def setup_schedule(self) -> None:
        """Read them from the settings."""
        entries = {name: dict(each) for name, each in self.app.conf.beat_schedule.items()}
        self.update_from_dict({name: self.kept(each) for name, each in entries.items()})

    def kept(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return an entry as it is kept."""
        return entry


class Forgetful(Keeping):
    """A scheduler that knows no options."""

    def kept(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Leave them out."""
        return {**entry, "options": None}


class Writing(Keeping):
    """A scheduler that stores JSON, which has no tuples."""

    def kept(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Write and read the options."""
        return {**entry, "options": json.loads(json.dumps(entry["options"]))}


class Rounding(Keeping):
    """A scheduler that keeps something else."""

    def kept(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Change an option."""
        return {**entry, "options": {"once": {**entry["options"]["once"], "timeout": 1}}}


class Choosy(Keeping):
    """A scheduler that leaves entries out, such as are disabled or not due."""

    def setup_schedule(self) -> None:
        """Take none."""


def told(scheduler: type, entry: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what a beat with this scheduler says of an entry."""
    app.conf.beat_schedule = {"nightly": entry}
    try:
        beat._report_dropped(sender=Service(app, scheduler_cls=scheduler, schedule_filename=""))
    finally:
        app.conf.beat_schedule = {}
    return caplog.messages


def entry(**options: Any) -> dict[str, Any]:
    """Return an entry of the schedule."""
    return {"task": report.name, "schedule": 60.0, "args": (1, 2), "options": options}


@pytest.mark.parametrize("scheduler", [Keeping, Writing, Choosy])
def test_kept_options_are_not_told(scheduler: type, caplog: pytest.LogCaptureFixture) -> None:
    """Say nothing where an entry keeps them, or is not there."""
    assert told(scheduler, entry(once=ONCE), caplog) == []


@pytest.mark.parametrize("scheduler", [Forgetful, Rounding])
def test_dropped_options_are_told(scheduler: type, caplog: pytest.LogCaptureFixture) -> None:
    """Name the entry, its options, the scheduler and the task."""
    [line] = told(scheduler, entry(once=ONCE), caplog)
    assert line.startswith("Entry 'nightly' of beat_schedule has the options once={'timeout': 600")
    assert (
        f"which {scheduler.__name__} does not keep: its calls have those of {report.name}" in line
    )


def test_an_entry_object(caplog: pytest.LogCaptureFixture) -> None:
    """Read an entry that is no dictionary."""
    made = ScheduleEntry(app=app, name="nightly", **entry(once=ONCE))
    assert len(told(Forgetful, made, caplog)) == 1


@pytest.mark.parametrize("options", [{}, {"queue": "slow"}, {"once": {}}])
def test_other_options_are_not_ours(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Say nothing of an entry without options for this app."""
    assert told(Forgetful, entry(**options), caplog) == []


def test_wrong_options(caplog: pytest.LogCaptureFixture) -> None:
    """Compare what can't be read as it is: each tick tells that it is wrong."""
    assert told(Keeping, entry(once={"timeuot": 1}), caplog) == []
    assert len(told(Forgetful, entry(once={"timeuot": 1}), caplog)) == 1
