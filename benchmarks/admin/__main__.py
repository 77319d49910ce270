"""How fast the admin's pages are with millions of incidents, on PostgreSQL.

    python -m benchmarks.admin --incidents 2000000

Works in a database of its own on the server that TEST_POSTGRES_URL names, and drops it at the
end. Ends with 1 where a page misses its target.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from testproject.redis_server import RedisServer
from tests.services import postgresql_url

#: Queries of a page, and milliseconds of each of them; the overview counts all the rows.
MOST_QUERIES, MOST_MS, MOST_MS_OF_OVERVIEW = 8, 100, 300


def main() -> int:
    """Seed, open every page, tell."""
    asked = _arguments()
    with RedisServer() as redis, _database(postgresql_url(), f"once_bench_{os.getpid()}"):
        os.environ["TEST_REDIS_URL"] = redis.url().rpartition("/")[0]
        _load_django()
        _seed(asked.incidents)
        missed = _measure()
    if missed:
        print(f"Missed by: {'; '.join(missed)}.")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admin", description=__doc__)
    parser.add_argument(
        "--incidents", type=int, default=2_000_000, help="how many incidents to write"
    )
    return parser.parse_args()


@contextmanager
def _database(url: str, name: str) -> Iterator[None]:
    """Create a database for the length of a block, and let the tests' settings name it."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    os.environ.update(TEST_DATABASE="postgresql", TEST_DATABASE_NAME=name)
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            yield
        finally:
            server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def _load_django() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()

    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _seed(incidents: int) -> None:
    from benchmarks.admin.seed import seed

    begin = time.perf_counter()
    attempts = seed(incidents)
    seconds = time.perf_counter() - begin
    print(
        f"seeded {incidents:,} incidents and {attempts:,} attempts in {seconds:.0f} s", flush=True
    )


def _measure() -> list[str]:
    """Print one line for each page; return the names of those that miss their target."""
    from benchmarks.admin.pages import measure_all

    missed = []
    for name, measure in measure_all():
        print(f"{name}: {measure}", flush=True)
        most = MOST_MS_OF_OVERVIEW if name == "overview" else MOST_MS
        if len(measure.queries) > MOST_QUERIES or measure.slowest > most:
            missed.append(name)
    return missed


if __name__ == "__main__":
    sys.exit(main())
