"""Names in ``keys`` and labels that stand for something in ``**kwargs`` and may be left out."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.signals import Rejection
from tests.celery_app import app
from tests.guarded_tasks import held

pytestmark = pytest.mark.django_db


@app.task(
    base=QueueOnce,
    name="tests.filters.report",
    shared=False,
    lazy=False,
    once={"keys": ["email", "year", "month"], "label": "{email} {year}"},
)
def report(email: str, **filters: Any) -> None: ...


def test_a_name_that_is_left_out_is_unlike_any_value() -> None:
    """Tell a filter that is left out from one that is none, and one name from another."""
    calls: list[dict[str, Any]] = [{}, {"year": None}, {"year": ""}, {"month": None}, {"year": 5}]
    calls += [{"month": 5}, {"year": 5, "month": 5}]
    assert len({report.once_key("a", **filters) for filters in calls}) == len(calls)
    assert report.once_key("a") == report.once_key("a", colour="red")


def test_a_call_without_the_filter_is_queued_once() -> None:
    """Refuse only its own like."""
    report.delay("a", year=5)
    report.delay("a")
    with pytest.raises(AlreadyQueued):
        report.delay("a")


def test_a_parameter_of_the_task_is_still_needed() -> None:
    """Refuse a reservation that does not give what makes its key."""
    with pytest.raises(TypeError, match="'email'"):
        report.reserve(year=5)
    with report.reserve("a") as reservation:
        reservation.delay("a", colour="red")


def test_a_label_has_no_word_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """Say what there is to say, and log nothing."""
    with caplog.at_level(logging.WARNING, "django_celery_once"):
        report.delay("a")
    assert held(report.once_key("a")).label == "a "
    assert not caplog.records


def test_staff_see_the_filters_that_were_given(settings: Any, rejections: list[Rejection]) -> None:
    """Describe a call by what it gave."""
    settings.DJANGO_CELERY_ONCE = {"CACHE": "locks", "LOG_ARGUMENTS": "keys"}
    for _each in range(2):
        try:
            report.delay("a", month=5)
        except AlreadyQueued:
            break
    assert [each.arguments for each in rejections] == ["email='a', month=5"]
