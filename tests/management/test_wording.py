"""Spans of time and tables, as people read them."""

from __future__ import annotations

import pytest

from django_celery_once.management.wording import duration, plain, table


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.6, "60 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (86400, "1 d 0 h"),
        (273600, "3 d 4 h"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    """Two units at most, and no more precision than a person wants."""
    assert duration(seconds) == words


def test_table_aligns_its_columns() -> None:
    """The widest cell of a column makes its width; no line ends in blanks."""
    lines = table(("A", "LONG"), [("abc", "x"), ("d", "")])
    assert lines == ["A    LONG", "abc  x", "d"]


def test_plain_keeps_letters_and_replaces_commands() -> None:
    """Any language's letters stay; what moves a cursor does not."""
    assert plain("größe 日本") == "größe 日本"
    assert plain("a\x1b[2J\r\n\u202eb") == "a\ufffd[2J\ufffd\ufffd\ufffdb"
