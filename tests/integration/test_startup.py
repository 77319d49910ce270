"""The start of a real worker whose settings are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.workers import Worker

pytestmark = pytest.mark.usefixtures("own_queue")


def test_a_worker_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts all the same, as Celery has it, but says so before it is ready."""
    monkeypatch.setenv("INTEGRATION_TASKS", '{"reports.*": {"tiemout": 5}}')
    with Worker(tmp_path, "solo", 1) as worker:
        said, _ready, _rest = worker.text().partition(" ready.")
    assert "ERROR" in said
    assert (
        "The worker starts with a wrong set-up (django_celery_once.E001): "
        "DJANGO_CELERY_ONCE['TASKS']['reports.*']: once has no option 'tiemout'; did you mean "
        "'timeout'?" in said
    )


def test_a_sound_worker_says_nothing(tmp_path: Path) -> None:
    """There is no word of a set-up that is right."""
    with Worker(tmp_path, "solo", 1) as worker:
        assert "wrong set-up" not in worker.text()
