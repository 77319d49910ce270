"""The end of a run in a worker, as Celery tells of it."""

from __future__ import annotations

import pytest

from django_celery_once import worker
from django_celery_once.claims import Run
from django_celery_once.header import Header
from django_celery_once.locks import Lock, open_store
from tests.guarded_tasks import report
from tests.test_leases import started


@pytest.mark.parametrize("doubtful", [False, True])
def test_a_renewal_without_an_answer_is_followed_by_a_release(
    monkeypatch: pytest.MonkeyPatch, doubtful: bool
) -> None:
    """Release later once more what a frozen store may carry out after the end of the run."""
    again: list[Lock] = []
    monkeypatch.setattr(worker, "release_later", lambda lock, _seconds, **_more: again.append(lock))
    lease, _losses = started(30)
    lease.doubtful = doubtful
    run = Run(Header(lease.lock.key, lease.lock.token), lease.lock, lease)
    report.push_request(id=lease.lock.owner, once_run=run, is_eager=False)
    try:
        worker.end_run(task=report, state="SUCCESS")
    finally:
        report.pop_request()
    assert open_store("locks").inspect(lease.lock.key) is None
    assert again == ([lease.lock] if doubtful else [])
