"""A duplicate with callbacks: it is told at the call where they could never be called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery.backends.base import DisabledBackend
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from django_celery_once import AlreadyQueued, QueueOnce
from tests.celery_app import app
from tests.guarded_tasks import held, report

pytestmark = pytest.mark.django_db(transaction=True)

LINKS: list[dict[str, Any]] = [{"link": report.si("b")}, {"link_error": [report.si("b")]}]
NOWHERE = "where the result is not stored"


@pytest.fixture(params=["disabled", "ignored", "eager"])
def without_results(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Let nobody have the result of a call."""
    if request.param == "disabled":
        monkeypatch.setattr(QueueOnce, "backend", DisabledBackend(app=app))
    elif request.param == "ignored":
        monkeypatch.setattr(report, "ignore_result", True)
    else:
        app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


@pytest.mark.usefixtures("without_results")
@pytest.mark.parametrize("links", LINKS)
def test_a_link_that_no_result_reaches_is_an_error(links: dict[str, Any]) -> None:
    """Say what to set; queue nothing, and leave the holder alone."""
    join = {"on_duplicate": "join"}
    with report.reserve("a") as holder:
        with pytest.raises(ImproperlyConfigured, match=NOWHERE):
            report.apply_async(("a",), once=join, **links)
        with transaction.atomic(), pytest.raises(ImproperlyConfigured, match=NOWHERE):
            report.apply_async_on_commit(("a",), once=join, **links)
        joined = report.apply_async(("a",), once=join)
        assert joined.id == holder.task_id


@pytest.mark.parametrize("links", LINKS)
def test_other_policies_answer_as_without_a_link(links: dict[str, Any]) -> None:
    """Raise, or reject: what they say needs no callback."""
    report.delay("a")
    with pytest.raises(AlreadyQueued):
        report.apply_async(("a",), **links)
    rejected = report.apply_async(("a",), once={"on_duplicate": "reject"}, **links)
    assert rejected.state == "REJECTED"


def test_only_what_joins_publishes_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send no more than before for a duplicate that nobody waits for."""
    sent: list[Any] = []
    send = app.send_task

    def note(name: str, *args: Any, **options: Any) -> Any:
        sent.append(options.get("headers"))
        return send(name, *args, **options)

    first = report.delay("a")
    monkeypatch.setattr(app, "send_task", note)
    join = {"on_duplicate": "join"}
    assert report.apply_async(("a",), once=join).id == first.id
    assert sent == []
    assert report.apply_async(("a",), once=join, link=report.si("b")).id == first.id
    [headers] = sent
    said = {name: headers["once"][name] for name in headers["once"] if name not in ("id", "task")}
    holder = held(report.once_key("a"))
    assert said == {"duplicate_of": first.id, "joins": holder.key, "name": holder.name}
