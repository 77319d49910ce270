"""What the soak takes for growth, and for two runs at once."""

from __future__ import annotations

import pytest

from benchmarks.soak.referee import overlaps
from benchmarks.soak.sampler import Sample
from benchmarks.soak.verdict import rows, table
from tests.integration.referee import Entry

MIB = 2**20


def sample(at: int, rss: int, fds: int = 10) -> Sample:
    """Return a look at the web process after ``at`` seconds, with 20 requests in each."""
    return Sample("web", 0, 1, at, at * 20, rss, fds, threads=2, locks=1)


def judged(samples: list[Sample]) -> dict[str, bool]:
    """Return which measures are flat."""
    return {row.measure: row.flat for row in rows(samples)}


def test_what_stays_is_flat() -> None:
    """Let memory come and go, and grow while the process warms up."""
    samples = [sample(at, (40 if at < 50 else 100 + at % 3) * MIB) for at in range(600)]
    assert judged(samples) == {"rss": True, "fds": True, "threads": True, "locks": True}


def test_a_leak_is_not_flat() -> None:
    """See a kilobyte and a half that each request leaves, and a descriptor in each minute."""
    samples = [sample(at, 80 * MIB + at * 20 * 1500, fds=10 + at // 60) for at in range(600)]
    assert judged(samples) == {"rss": False, "fds": False, "threads": True, "locks": True}
    [memory, *_others] = rows(samples)
    assert memory.per_thousand == pytest.approx(1_500_000)
    assert "NO" in "\n".join(table([memory]))


def test_a_burst_is_no_leak() -> None:
    """Let descriptors come and go with requests that come at once, or with a worker's age."""
    burst = [sample(at, 80 * MIB, fds=40 if at == 590 else 10) for at in range(600)]
    older = [sample(at, 80 * MIB, fds=10 + 5 * (at % 100 > 60 or at > 400)) for at in range(600)]
    assert judged(burst)["fds"]
    assert judged(older)["fds"]


def test_two_runs_at_once_are_seen() -> None:
    """Tell runs that overlap from those that follow, and from what a kill has ended."""
    first, second = ("a", "start", "1", 11, 0.0), ("a", "start", "2", 22, 1.0)
    end = ("a", "end", "1", 11, 0.5)
    both = [Entry(*first), Entry(*second)]
    assert [each[0].task_id for each in overlaps(both, killed=set())] == ["2"]
    assert list(overlaps(both, killed={11})) == []
    assert list(overlaps([Entry(*first), Entry(*end), Entry(*second)], killed=set())) == []
