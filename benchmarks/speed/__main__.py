"""Measure the app's speed beside a plain task, bare Redis and four other packages.

    python -m benchmarks.speed             all topics; writes benchmarks/RESULTS.md
    python -m benchmarks.speed key refuse  these only; writes nothing
    python -m benchmarks.speed --quick     seconds instead of minutes; writes nothing

Ends with 0 also where a target is missed, and says so.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.speed.finding import Finding
from testproject.redis_server import RedisServer

TOPICS = (
    "accept", "refuse", "journal", "key", "worker", "race", "leases", "memory", "imports", "scale",
)  # fmt: skip
FOLDER = Path(__file__).resolve().parent.parent


def main() -> int:
    """Measure, print, and write the results of a whole run."""
    asked = _arguments()
    topics = asked.topics or list(TOPICS)
    # Also who is told to end ends servers, workers and the database first.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with _servers() as url:
        findings = {topic: _measure(topic, url, asked.quick) for topic in topics}
        _tell(list(findings.values()), url, write=set(topics) == set(TOPICS) and not asked.quick)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "topics", nargs="*", choices=[*TOPICS, []], metavar="topic", help=", ".join(TOPICS)
    )
    parser.add_argument("--quick", action="store_true", help="only see whether it runs")
    return parser.parse_args()


@contextmanager
def _servers() -> Iterator[str]:
    """Start Redis servers of the run's own, and tell the settings of them and of PostgreSQL."""
    from benchmarks.speed.postgresql import database

    with RedisServer() as redis, RedisServer() as small, RedisServer() as large:
        url, *scale = (each.url().rpartition("/")[0] for each in (redis, small, large))
        os.environ.update(SPEED_REDIS_URL=url, SPEED_SCALE_URLS=" ".join(scale))
        with database() as name:
            os.environ["SPEED_DATABASE"] = name
            yield url


def _measure(topic: str, url: str, quick: bool) -> Finding:
    from benchmarks.speed.app import CONTENDERS
    from benchmarks.speed.bench import Bench
    from benchmarks.speed.report import as_text

    begin = time.perf_counter()
    module = importlib.import_module(f"benchmarks.speed.topics.{topic}")
    finding: Finding = module.measure(Bench(url, CONTENDERS, quick))
    print(as_text(finding))
    print(f"[{topic}: {time.perf_counter() - begin:.0f} s]\n", flush=True)
    return finding


def _tell(findings: list[Finding], url: str, *, write: bool) -> None:
    from benchmarks.speed.machine import facts
    from benchmarks.speed.picture import draw
    from benchmarks.speed.report import as_markdown, targets

    print(targets(findings))
    if write:
        FOLDER.joinpath("RESULTS.md").write_text(as_markdown(findings, facts(url)))
        FOLDER.joinpath("results.svg").write_text(draw(findings))


if __name__ == "__main__":
    sys.exit(main())
