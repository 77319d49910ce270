"""Records: what is expected of a value, though Python does not freeze it."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from django_celery_once.locks import Lock

LOCK = Lock("once:reports.send:1", "a", "t", label="May")


def test_records_are_equal_by_their_fields() -> None:
    """In sets and as keys, too; of a lock the cache that it was found in does not count."""
    assert {LOCK, replace(LOCK), replace(LOCK, alias="locks")} == {LOCK}
    assert replace(LOCK, label="June") != LOCK


def test_records_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(LOCK)) == LOCK  # noqa: S301


def test_a_record_has_no_other_fields() -> None:
    with pytest.raises(AttributeError):
        LOCK.lable = "May"  # type: ignore[attr-defined]
