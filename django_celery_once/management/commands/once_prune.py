"""Delete old blocked duplicates."""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error
from django.utils.connection import ConnectionDoesNotExist

from django_celery_once.conf import conf
from django_celery_once.management.lock_command import BAD_USAGE, UNREACHABLE, LockCommand
from django_celery_once.models import BlockedDuplicate
from django_celery_once.pruning import prune

#: Rows that a database can be asked to delete by number, in one statement.
MAX_BATCH = 10_000


class Command(LockCommand):
    """Delete blocked duplicates whose last refused call is long ago."""

    help = (
        "Delete blocked duplicates, with their attempts, whose last refused call is older than "
        "LOG_RETENTION_DAYS. Works in batches, each a transaction of its own; may be "
        "interrupted and run again at any time."
    )
    exit_codes = (
        f"Exit codes: 0 done, also where there was nothing to delete; {BAD_USAGE} wrong "
        f"arguments or settings; {UNREACHABLE} the database failed (what was deleted until then "
        "stays deleted). With --format=json: one document with 'found' (how many are that old), "
        "'deleted', 'days', 'dry_run' and 'seconds' (how long it took)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--days``, ``--batch`` and ``--dry-run``."""
        super().add_arguments(parser)
        parser.add_argument(
            "--days",
            type=_days,
            help="Delete what is older than this many days (default: LOG_RETENTION_DAYS).",
        )
        parser.add_argument(
            "--batch",
            type=_batch,
            default=1000,
            help=f"Delete this many at a time, up to {MAX_BATCH} (default: 1000).",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only say how many would be deleted."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete, and say how many."""
        days = conf.log_retention_days if options["days"] is None else options["days"]
        database, dry_run = conf.log_database, options["dry_run"]
        begin = time.monotonic()
        try:
            old = BlockedDuplicate.objects.using(database).aged(days)
            count = old.count() if dry_run else prune(old, options["batch"])
        except ConnectionDoesNotExist as error:
            raise CommandError(f"LOG_DATABASE: {error}", returncode=BAD_USAGE) from error
        except Error as error:
            raise CommandError(
                f"The database {database!r} failed: {error}", returncode=UNREACHABLE
            ) from error
        seconds = time.monotonic() - begin
        if options["format"] == "json":
            self.write_json(
                {
                    "found": count,
                    "deleted": 0 if dry_run else count,
                    "days": days,
                    "dry_run": dry_run,
                    "seconds": round(seconds, 3),
                }
            )
        else:
            self.stdout.write(_sentence(count, days, seconds, dry_run=dry_run))


def _sentence(count: int, days: float, seconds: float, *, dry_run: bool) -> str:
    age = f"older than {days:g} {'day' if days == 1 else 'days'}"
    if not count:
        return f"No blocked duplicates are {age}."
    incidents = f"{count:,} blocked {'duplicate' if count == 1 else 'duplicates'} {age}"
    if dry_run:
        return f"Would delete {incidents}; nothing was deleted."
    return f"Deleted {incidents} in {seconds:.1f} s."


def _days(text: str) -> float:
    days = float(text)  # argparse tells a ValueError as "invalid … value"
    if not 0 <= days < math.inf:
        raise argparse.ArgumentTypeError(f"must be 0 days or more, not {text}")
    return days


def _batch(text: str) -> int:
    batch = int(text)
    if not 1 <= batch <= MAX_BATCH:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MAX_BATCH}, not {text}")
    return batch


# What argparse calls the type of a wrong value.
_days.__name__, _batch.__name__ = "number of days", "batch size"
