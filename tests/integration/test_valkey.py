"""A worker whose locks are in django-valkey's cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings

from tests.integration.calls import new_name, refused_until, value, wait_for_event, wait_until_free
from tests.integration.tasks import play
from tests.integration.workers import Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_queue")]


@pytest.mark.usefixtures("short_lease")
def test_a_run_is_renewed_and_freed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the key for longer than a lease, over a retry, and free it at the end."""
    cache = settings.CACHES["locks_valkey"]
    monkeypatch.setenv("INTEGRATION_LOCKS", json.dumps(cache))
    name, again = new_name(), new_name()
    with override_settings(CACHES={**settings.CACHES, "locks": cache}), Worker(folder) as worker:
        result = play.delay(name, "sleep", 3.0)
        retried = play.delay(again, "retry", 2.0)
        wait_for_event(name, "start")
        refused_until(play, name, "end", 1)
        refused_until(play, again, "end", 2)
        assert (value(result), value(retried)) == ("held: True", "retried")
        wait_until_free(play, name)
        wait_until_free(play, again)
    assert "without its lock" not in worker.text()
