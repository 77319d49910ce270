"""The timeline of an incident: each line, and their order."""

from __future__ import annotations

from typing import Any

import pytest

from django_celery_once.admin.holder import Holder, Standing
from django_celery_once.admin.timeline import Event, timeline
from django_celery_once.locks import Phase
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from tests.admin.incidents import end, make_incident, refused, save
from tests.factories import NOON, make_lock

pytestmark = pytest.mark.django_db

GONE = Holder(Standing.GONE)
RUNNING = make_lock(phase=Phase.RUNNING, started=NOON + 2, worker="celery@here")


def events(incident: BlockedDuplicate, holder: Holder = GONE, name: str = "ada") -> list[Event]:
    """Return the lines of an incident."""
    attempts = list(BlockedAttempt.objects.filter(incident=incident).order_by("number"))
    return list(timeline(incident, attempts, holder, name))


def last(**standing: Any) -> Event:
    """Return the last line of an incident whose holder stands like that."""
    return events(make_incident(), Holder(**standing))[-1]


def test_from_the_first_call_to_the_end() -> None:
    """The lines are in order, each with time, person, place and task id."""
    incident = save(
        refused(1, "eva", view_name="reports:index"),
        refused(2, "", path="/other/"),
        refused(3, "beat", source="beat", path="", policy="reject", arguments="month='May'"),
    )
    end(incident, "success")
    assert events(incident) == [
        Event(
            "2026-05-01 12:00:00",
            "accepted: this request went through",
            who="ada",
            task_id="holder-1",
        ),
        Event(
            "2026-05-01 12:00:01",
            "refused (AlreadyQueued)",
            who="eva",
            where="web page, /reports/ (reports:index)",
            task_id="refused-1",
        ),
        Event(
            "2026-05-01 12:00:02",
            "refused (AlreadyQueued)",
            who="not logged in",
            where="web page, /other/",
            task_id="refused-2",
        ),
        Event(
            "2026-05-01 12:00:03",
            "refused quietly",
            who="beat",
            where="schedule",
            task_id="refused-3",
            arguments="month='May'",
        ),
        Event("2026-05-01 12:04:00", "lock freed: the task succeeded"),
    ]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (22, "2 more were blocked and only counted, the last of them at this time"),
        (21, "1 more was blocked and only counted"),
    ],
)
def test_what_was_only_counted(count: int, told: str) -> None:
    """Where the kept attempts end, a line tells how many came after them, and who the last was."""
    incident = save(*(refused(hits, "eva") for hits in range(1, 21)))
    BlockedDuplicate.objects.record(refused(count, "ben"))
    incident.refresh_from_db()
    found = events(incident)
    assert len(found) == 1 + 20 + 1 + 1
    assert found[-2] == Event(f"2026-05-01 12:00:{count}", told, who="ben")


def test_nothing_was_only_counted() -> None:
    """Twenty attempts are twenty lines."""
    incident = save(*(refused(hits, "eva") for hits in range(1, 21)))
    assert len(events(incident)) == 1 + 20 + 1


def test_a_first_call_of_nobody_known() -> None:
    """A line without a name says so."""
    assert events(make_incident(), name="")[0].who == "not known"


def test_how_it_stands_now() -> None:
    """Without an end, the last line is the lock's of this moment."""
    assert last(standing=Standing.QUEUED, lock=make_lock()) == Event("now", "queued")
    since = "since 2026-05-01 12:00:02"
    assert last(standing=Standing.RUNNING, lock=RUNNING) == Event(
        since, "running", where="celery@here"
    )
    assert last(standing=Standing.SILENT, lock=RUNNING) == Event(
        since, "running, but its worker gives no sign of life", where="celery@here"
    )
    assert last(standing=Standing.GONE) == Event(
        "now", "lock gone without a word, probably expired"
    )
    assert last(standing=Standing.UNREACHABLE) == Event(
        "now", "not known: the lock store can't be reached"
    )


def test_an_end_without_a_reason() -> None:
    """It is the last line all the same."""
    incident = end(make_incident(), "")
    assert events(incident)[-1] == Event("2026-05-01 12:04:00", "lock freed: not known")
