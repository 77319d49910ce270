"""The last third of a soak beside its first one: what has grown?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.soak.sampler import Sample

#: Share of the time at the begin that does not count: imports, first requests, first forks.
WARM_UP = 0.1
#: A process may have grown by this share of its memory, or by so many bytes; by this many
#: descriptors, threads and connections.
MOST_SHARE, MOST_BYTES, MOST_COUNT = 0.05, 4 * 2**20, 2

MEASURES = ("rss", "fds", "threads", "locks")


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of one kind of process, in the first and in the last third.

    That is the median of its memory. Of what is counted, it is the median or the most, whichever
    has grown less: a leak lifts both, requests that come at once the most alone, and the age
    of a worker that is killed again and again the median alone.
    """

    kind: str
    measure: str
    first: float
    last: float
    most: float
    requests: int

    @property
    def growth(self) -> float:
        """Return the growth as a share of the first third's."""
        return (self.last - self.first) / self.first if self.first else float(self.last > 0)

    @property
    def per_thousand(self) -> float:
        """Return the growth for each 1,000 requests between the two thirds' middles."""
        return (self.last - self.first) * 1000 / self.requests if self.requests else 0.0

    @property
    def flat(self) -> bool:
        """Return whether the growth is within the limits."""
        grown = self.last - self.first
        if self.measure == "rss":
            return grown <= MOST_BYTES or self.growth <= MOST_SHARE
        return grown <= MOST_COUNT


def rows(samples: Sequence[Sample]) -> Iterator[Row]:
    """Yield the measures of each kind of process."""
    end = max(sample.at for sample in samples)
    begin = end * WARM_UP
    third = (end - begin) / 3
    for kind in dict.fromkeys(sample.kind for sample in samples):
        own = [sample for sample in samples if sample.kind == kind]
        first = [sample for sample in own if begin <= sample.at <= begin + third]
        last = [sample for sample in own if sample.at >= end - third]
        if first and last:
            requests = median(_of("requests", last)) - median(_of("requests", first))
            for measure in MEASURES:
                thirds = _thirds(_of(measure, first), _of(measure, last), measure)
                yield Row(kind, measure, *thirds, max(_of(measure, own)), int(requests))


def _thirds(first: list[int], last: list[int], measure: str) -> tuple[float, float]:
    medians, peaks = (median(first), median(last)), (max(first), max(last))
    if measure == "rss" or medians[1] - medians[0] <= peaks[1] - peaks[0]:
        return medians
    return peaks


def _of(measure: str, samples: Sequence[Sample]) -> list[int]:
    return [getattr(sample, measure) for sample in samples]


def table(found: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table; memory in MiB."""
    yield (
        f"{'process':<12} {'measure':<8} {'first third':>11} {'last third':>11} {'most':>8} "
        f"{'growth':>8} {'per 1,000':>10}  flat"
    )
    for row in found:
        unit = 2**20 if row.measure == "rss" else 1
        yield (
            f"{row.kind:<12} {row.measure:<8} {row.first / unit:>11.1f} {row.last / unit:>11.1f} "
            f"{row.most / unit:>8.1f} {row.growth:>8.1%} {row.per_thousand / unit:>10.3f}  "
            f"{'yes' if row.flat else 'NO'}"
        )
