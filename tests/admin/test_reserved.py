"""How the request that went through stands, while it waits for its transaction or its time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.utils import timezone

from django_celery_once import AlreadyQueued
from django_celery_once.admin.explanations import advice
from django_celery_once.admin.holder import Holder, Standing, look_up
from django_celery_once.admin.listing import Holding
from django_celery_once.admin.timeline import timeline
from django_celery_once.management import wording
from django_celery_once.models import BlockedDuplicate
from django_celery_once.reservations import Reservation
from tests.guarded_tasks import report

pytestmark = pytest.mark.django_db


@pytest.fixture
def reservation() -> Iterator[Reservation]:
    """Return a reservation in whose favour a call was refused."""
    with report.reserve("a") as reserved:
        with pytest.raises(AlreadyQueued):
            report.delay("a")
        yield reserved


def last_event(incident: BlockedDuplicate, holder: Holder) -> str:
    """Return the last line of an incident's timeline."""
    *_before, last = timeline(incident, [], holder, "eva")
    return last.what


@pytest.mark.usefixtures("reservation")
def test_a_reserved_call_waits_for_its_transaction() -> None:
    """Say what it waits for, and until when, instead of which worker to look at."""
    incident = BlockedDuplicate.objects.get()
    holder = look_up(incident)
    assert holder.standing is Standing.RESERVED
    assert holder.lock is not None
    words = advice(incident, holder)
    assert "waits for its transaction to commit" in words
    assert last_event(incident, holder) == "reserved until its transaction commits"
    assert Holding(holder.lock).phase == "reserved"
    assert wording.phase(holder.lock) == wording.as_json(holder.lock)["phase"] == "reserved"
    assert wording.as_json(holder.lock)["living"] is None


def test_a_reservation_that_was_given_back(reservation: Reservation) -> None:
    """Say that the call never came, and that it may be asked for again."""
    reservation.release()
    incident = BlockedDuplicate.objects.get()
    holder = look_up(incident)
    assert holder.standing is Standing.ENDED
    assert "was taken back" in advice(incident, holder)
    assert last_event(incident, holder) == (
        "lock freed: the call was taken back before it was queued"
    )


@pytest.mark.parametrize("countdown", [86400, 3 * 86400])
def test_a_planned_call_waits_for_its_time(countdown: int) -> None:
    """Say for when, wherever staff look at it."""
    result = report.apply_async(("a",), countdown=countdown)
    with pytest.raises(AlreadyQueued) as raised:
        report.delay("a")
    assert (raised.value.phase, raised.value.task_id) == ("planned", result.id)
    begins = raised.value.begins
    assert begins is not None
    assert "is planned as task" in str(raised.value)
    incident = BlockedDuplicate.objects.get()
    holder = look_up(incident)
    assert holder.standing is Standing.PLANNED
    assert holder.lock is not None
    assert begins.timestamp() == pytest.approx(holder.lock.begins)
    local = timezone.localtime(begins)
    assert f"is planned for {local:%Y-%m-%d %H:%M}" in advice(incident, holder)
    assert last_event(incident, holder) == "planned for a time to come"
    assert Holding(holder.lock).phase == f"planned for {local:%Y-%m-%d %H:%M:%S}"
    assert wording.phase(holder.lock).startswith(f"planned for {begins:%Y-%m-%dT%H:%M:%S}")
    told = wording.as_json(holder.lock)
    assert (told["phase"], told["begins"][:19]) == ("planned", f"{begins:%Y-%m-%dT%H:%M:%S}")
