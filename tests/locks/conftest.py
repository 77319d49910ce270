"""A server that takes its time, and its callers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_celery_once.locks import coalescing
from tests.locks.crowds import Crowd, Gate


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return a store whose server takes its time, and everybody waits for it."""
    monkeypatch.setattr(coalescing, "PATIENCE", 60)
    return Gate()


@pytest.fixture
def crowd(gate: Gate) -> Iterator[Crowd]:
    """Return the callers of that store; see that nothing of them is left."""
    crowd = Crowd(gate)
    yield crowd
    crowd.end()
    assert not coalescing._questions


@pytest.fixture
def impatient(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long."""
    monkeypatch.setattr(coalescing, "PATIENCE", 0.05)
