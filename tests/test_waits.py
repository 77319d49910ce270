"""How long a lock waits for a worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from django_celery_once import waits
from django_celery_once.waits import EXPIRY_GRACE, queued_seconds

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")  # two hours ahead at NOW
TIMEOUT = 600.0


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return NOW

    monkeypatch.setattr(waits, "datetime", Clock)


def moment(seconds: float) -> datetime:
    """Return the aware moment this many seconds from now."""
    return NOW + timedelta(seconds=seconds)


def naive(seconds: float) -> datetime:
    """Return the wall clock's time in Berlin this many seconds from now."""
    return moment(seconds).astimezone(BERLIN).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 600),
        ({"countdown": 30}, 630),
        ({"countdown": 0.5}, 600.5),
        ({"countdown": 0}, 600),
        ({"countdown": -30}, 600),
        ({"countdown": None, "eta": None, "expires": None}, 600),
        ({"eta": moment(90)}, 690),
        ({"eta": moment(90).astimezone(BERLIN)}, 690),
        ({"eta": naive(90)}, 690),
        ({"eta": moment(90).isoformat()}, 690),
        ({"eta": "2026-07-01T12:01:30Z"}, 690),
        ({"eta": naive(90).isoformat()}, 690),
        ({"eta": moment(-90)}, 600),
        ({"countdown": 30, "eta": moment(90)}, 630),
        ({"countdown": 0, "eta": moment(90)}, 690),
        ({"expires": 10}, 10 + EXPIRY_GRACE),
        ({"expires": 10.5}, 10.5 + EXPIRY_GRACE),
        ({"expires": moment(10)}, 10 + EXPIRY_GRACE),
        ({"expires": naive(10)}, 10 + EXPIRY_GRACE),
        ({"expires": moment(10).isoformat()}, 10 + EXPIRY_GRACE),
        ({"expires": 0}, EXPIRY_GRACE),
        ({"expires": moment(-10)}, EXPIRY_GRACE),
        ({"expires": -10}, EXPIRY_GRACE),
        ({"expires": 5000}, 600),
        ({"countdown": 30, "expires": 40}, 40 + EXPIRY_GRACE),
        ({"countdown": 30, "expires": 5000}, 630),
        ({"eta": moment(90), "expires": moment(120)}, 120 + EXPIRY_GRACE),
    ],
)
def test_seconds(options: dict[str, Any], seconds: float) -> None:
    """The wait until the ETA and the time-out, but not long past the message's own end."""
    assert queued_seconds(TIMEOUT, options, BERLIN) == pytest.approx(seconds)


@pytest.mark.parametrize("options", [{"eta": "tomorrow"}, {"expires": "soon"}])
def test_words_are_no_moment(options: dict[str, Any]) -> None:
    """A text that is no date raises before anything is locked."""
    with pytest.raises(ValueError, match="isoformat"):
        queued_seconds(TIMEOUT, options, UTC)


def test_a_timeout_below_the_grace_is_kept() -> None:
    """``expires`` never makes a lock last longer than its time-out."""
    assert queued_seconds(5, {"expires": 1000}, UTC) == 5


@pytest.mark.parametrize(
    ("run_seconds", "visits", "expected"),
    [(0, 0, 1.0), (2, 0, 1.0), (20, 0, 5.0), (3600, 0, 10.0), (0, 1, 0.8), (3600, 99, 2.5)],
)
def test_how_long_a_message_waits_for_its_turn(
    run_seconds: float, visits: int, expected: float
) -> None:
    """Longer the longer the run before it lasts, sooner the more often it has come."""
    assert waits.turn_seconds(run_seconds, visits) == pytest.approx(expected)
