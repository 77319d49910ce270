"""Calls that real tracers trace, in the program that calls and in the worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.app import app
from tests.integration.calls import (
    new_name,
    refused_for,
    refused_until,
    value,
    wait_for_event,
    wait_until_free,
)
from tests.integration.referee import events, note
from tests.integration.tasks import play
from tests.integration.workers import Worker, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_queue")]

#: A program that traces itself, calls, and writes what it got and sent.
CALLER = """
import importlib, json, sys
import django
django.setup()
tracer = importlib.import_module(sys.argv[1])
from celery import signals
from django_celery_once import AlreadyQueued
from tests.integration.tasks import play

def note(headers, **_signal):
    nested.append("headers" in headers)

def call(args, options):
    try:
        return play.apply_async(args, **options).id
    except AlreadyQueued:
        return "AlreadyQueued"

nested = []
signals.before_task_publish.connect(note, weak=False)
with tracer.page() as trace:
    ids = [call(args, options) for args, options in json.loads(sys.argv[2])]
print(json.dumps([trace, any(nested), ids]))
"""


def calls(tracer: str, *asked: tuple[list[Any], dict[str, Any]]) -> tuple[str, bool, list[str]]:
    """Call in a traced page; return its trace, whether headers were nested, and what came back."""
    words = [sys.executable, "-c", CALLER, tracer, json.dumps(asked)]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.integration.settings"}
    ended = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    trace, nested, ids = json.loads(ended.stdout.splitlines()[-1])
    return trace, nested, ids


@pytest.mark.parametrize(
    ("tracer", "nests"), [("traced_by_sentry", True), ("traced_by_opentelemetry", False)]
)
def test_every_end_within_a_trace(folder: Path, tracer: str, nests: bool) -> None:
    """Run, refuse, retry, expire and take turns, and be part of the caller's trace each time."""
    ran, again, late, turns = (new_name(each) for each in ("ran", "again", "late", "turns"))
    module = f"tests.integration.{tracer}"
    running = {"once": {"until": "running"}}
    with Worker(folder, "prefork", 2, "-I", module) as worker:
        trace, nested, ids = calls(
            module,
            ([ran, "wait_until_told", 60.0], {}),
            ([ran], {}),
            ([late], {"countdown": 2, "expires": 1}),
            ([again, "retry", 2.0], {}),
            *[([turns, "sleep", 0.3], running)] * 3,
        )
        assert nested is nests, "what this tracer does to headers"
        first, refused, expired, retried, *in_turn = ids
        assert refused == "AlreadyQueued"
        refused_until(play, again, "end", 2)
        assert value(app.AsyncResult(retried)) == "retried"
        wait_until_free(play, again)
        wait_for_event(ran, "start")
        refused_for(play, ran, 0.3)
        note(ran, "told", "")
        assert value(app.AsyncResult(first)) == "held: True"
        wait_until_free(play, ran)
        assert [value(app.AsyncResult(each), 30) for each in in_turn] == ["held: True"] * 3
        assert events(turns) == ["start", "end"] * 3
        wait_until(lambda: app.AsyncResult(expired).state == "REVOKED", "expired")
        wait_until_free(play, late)
        assert events(late) == []
        wait_until(lambda: runs(worker, trace) >= 6, "all runs in one trace")


def runs(worker: Worker, trace: str) -> int:
    """Return how many runs a worker has traced as parts of a trace."""
    return worker.text().count(f"traced {play.name} in {trace}")
