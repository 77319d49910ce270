"""What a check expected and what it saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Findings:
    """Prints every finding as it is made, and counts."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def expect(self, what: str, seen: object, expected: object) -> None:
        """Record what was looked at, and whether it is as promised."""
        if seen == expected:
            self.passed += 1
            print(f"ok    {what}: {show(seen)}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {what}: {show(seen)}; expected {show(expected)}", flush=True)

    def closing_line(self) -> str:
        return f"{self.passed} passed, {self.failed} failed"


def show(seen: object) -> str:
    """Return what was seen, in words."""
    if isinstance(seen, list | set):
        return ", ".join(map(show, seen)) or "nothing"
    if isinstance(seen, tuple):
        return ": ".join(map(show, seen))
    return "nobody" if seen is None else str(seen)


def wait_until(look: Callable[[], T], good: Callable[[T], bool], seconds: float) -> T:
    """Look again and again until it is good or the time is up; return what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if good(seen) or time.monotonic() > deadline:
            return seen
        time.sleep(0.25)
