"""Messages that come more than once: each call has one run, whatever its result tells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery.signals import before_task_publish

from django_celery_once import QueueOnce
from django_celery_once.header import NAME
from tests.integration.app import app
from tests.integration.calls import (
    new_name,
    refused_for,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.conftest import on_pools
from tests.integration.referee import events, note
from tests.integration.tasks import play, play_late
from tests.integration.workers import Worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ENDED = "already run to its end"
TRACKED = json.dumps({"task_track_started": True})


@dataclass(frozen=True)
class Sent:
    """A message, to be sent once more."""

    task_id: str
    name: str
    header: dict[str, Any]

    def send_copy(self, **options: Any) -> None:
        """Deliver it once more, as a broker may that does not say so."""
        args, headers = (self.name, "fail"), {NAME: self.header}
        app.send_task(play_late.name, args, task_id=self.task_id, headers=headers, **options)


def send(name: str, scene: str, seconds: float = 60.0, **options: Any) -> Sent:
    """Call a task that is acknowledged late; return its message."""
    told: list[dict[str, Any]] = []

    def note_header(headers: dict[str, Any], **_signal: Any) -> None:
        told.append(headers[NAME])

    before_task_publish.connect(note_header, weak=False)  # a dead one blinds Celery 5.4
    result = play_late.apply_async((name, scene, seconds), **options)
    before_task_publish.disconnect(note_header)
    return Sent(result.id, name, told[0])


def play_once(name: str, scene: str = "sleep", **options: Any) -> Sent:
    """Play a scene to its end; return its message."""
    sent = send(name, scene, 0.0, **options)
    wait_for_event(name, "end")
    wait_until_free(play_late, name)
    return sent


@pytest.mark.parametrize("ignore_result", [False, True])
def test_a_copy_after_the_end_is_dropped(worker: Worker, ignore_result: bool) -> None:
    """Ask no result, and leave it as it is; end nothing for those who wait for it."""
    name = new_name()
    sent = play_once(name, ignore_result=ignore_result)
    sent.send_copy(ignore_result=ignore_result)
    wait_until(lambda: f"[{sent.task_id}] came again" in worker.text(), "the copy dropped")
    assert events(name) == ["start", "end"]
    assert app.AsyncResult(sent.task_id).state == ("PENDING" if ignore_result else "SUCCESS")


@on_pools("prefork", "solo")
def test_a_copy_of_what_a_retry_followed_is_dropped(worker: Worker) -> None:
    """Know the end of each of a call's messages, and take the retry for none of them."""
    name = new_name()
    sent = send(name, "retry", 1.0)
    wait_for_event(name, "end", times=2)
    wait_until_free(play_late, name)
    sent.send_copy()
    wait_until(lambda: f"[{sent.task_id}] came again" in worker.text(), "the copy dropped")
    assert events(name).count("start") == 2


@on_pools("prefork")
def test_a_task_id_may_be_used_again(worker: Worker) -> None:
    """Take no call for a copy of an earlier one, whatever result is stored under its id."""
    name, task_id = new_name(), new_name("nightly")
    for night in (1, 2):
        play_late.apply_async((name,), task_id=task_id)
        wait_for_event(name, "end", times=night)
        wait_until_free(play_late, name)


@pytest.fixture
def one_of_each(any_broker: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for workers that tell when a run has started."""
    monkeypatch.setenv("INTEGRATION_CELERY", TRACKED)
    return folder


def test_a_copy_overwrites_no_result(one_of_each: Path) -> None:
    """Leave a failure stored, and do not run again, where Celery tells of starts."""
    name = new_name()
    with Worker(one_of_each) as worker:
        sent = play_once(name, "fail")
        sent.send_copy()
        wait_until(lambda: ENDED in worker.text(), "the copy dropped")
    assert app.AsyncResult(sent.task_id).state == "FAILURE"
    assert events(name).count("start") == 1


def test_a_run_is_told_as_started(one_of_each: Path) -> None:
    """Store that a run has started when the guard has let it in."""
    name = new_name()
    with Worker(one_of_each, "threads"):
        result = play.delay(name, "wait_until_told", 60.0)
        wait_for_event(name, "start")
        assert result.state == "STARTED"
        assert result.info["pid"]
        note(name, "told", result.id)
        assert value(result) == "held: True"


@pytest.mark.parametrize("task", [play, play_late])
def test_what_is_planned_beyond_the_visibility_time_out_runs_once(
    own_queue: None, folder: Path, monkeypatch: pytest.MonkeyPatch, task: QueueOnce
) -> None:
    """Drop the copies that Redis delivers meanwhile, without a result to ask for."""
    monkeypatch.setenv("INTEGRATION_VISIBILITY", "2")
    name = new_name()
    with Worker(folder, concurrency=1) as first:
        result = task.apply_async((name,), countdown=12, ignore_result=True)
        wait_until(lambda: result.id in first.text(), "the message received")
        wait_until(lambda: _restores(folder, result.id), "a copy received elsewhere", 40)
        wait_for_event(name, "end", seconds=40)
        wait_until(lambda: f"[{result.id}] came again" in _texts(folder), "a copy dropped", 40)
    assert events(name) == ["start", "end"]


def _restores(folder: Path, task_id: str) -> bool:
    """Start a worker, which looks for what is to be delivered again; return whether it was."""
    with Worker(folder, concurrency=1):
        return _texts(folder).count(f"[{task_id}] received") > 1


def _texts(folder: Path) -> str:
    return "".join(log.read_text() for log in folder.glob("*.log"))


def test_a_message_by_name_comes_again_when_its_worker_dies(
    any_broker: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take its copy for what it is, without a header of ours, and not for a duplicate."""
    monkeypatch.setenv("INTEGRATION_LEASE", "2")
    monkeypatch.setenv("INTEGRATION_VISIBILITY", "5")
    name = new_name()
    with Worker(folder) as doomed:
        sent = app.send_task(play_late.name, (name, "wait_until_told", 90.0))
        wait_for_event(name, "start")
        doomed.kill()
    refused_for(play_late, name, 6)  # then the next worker looks for it as it starts
    note(name, "told", sent.id)
    with Worker(folder):
        wait_for_event(name, "end", seconds=60)
        wait_until_free(play_late, name)
    assert events(name) == ["start", "told", "start", "end"]
