"""List the locks held now."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.text import Truncator

from django_celery_once import registry
from django_celery_once.live import Found, look_up
from django_celery_once.locks import Lock
from django_celery_once.management.lock_command import BAD_USAGE, NOTHING, LockCommand
from django_celery_once.management.selection import locks_of
from django_celery_once.management.wording import (
    DAY,
    HOUR,
    MINUTE,
    age,
    as_json,
    duration,
    phase,
    plain,
    table,
)

UNITS = {"": 1, "s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
HEADINGS = ("PHASE", "AGE", "TIME LEFT", "REFUSED", "WORKER", "TASK ID", "LABEL", "KEY")


def seconds(value: str) -> float:
    """Return the seconds in ``90``, ``15m``, ``1h`` or ``2d``."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhd]?)", value, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{value!r} is no time span: write seconds, or a number with s, m, h or d (2h)"
        )
    return float(found[1]) * UNITS[found[2]]


def count(value: str) -> int:
    """Return a number of locks, at least one."""
    if not re.fullmatch(r"0*[1-9]\d{0,8}", value, re.ASCII):
        raise argparse.ArgumentTypeError(f"{value!r} is no number of locks, such as 20")
    return int(value)


def pattern(value: str) -> str:
    """Return a task's name, or a prefix that ends in ``*``."""
    if not value or "*" in value[:-1]:
        raise argparse.ArgumentTypeError(
            f"{value!r} is neither a task's name nor a prefix such as 'reports.*'"
        )
    return value


class Command(LockCommand):
    """Show who holds which key, since when, and whether a worker is behind it."""

    help = "List the locks held now, the oldest first."
    exit_codes = (
        "Exit codes: 0 the locks were listed, also where there is none; 1 there is no lock "
        "under --key; 2 wrong arguments or settings, or a lock store that can't list its keys; "
        "3 the lock store can't be reached. With --format=json: one document with 'locks' (each "
        "with the same keys, times in ISO 8601 and UTC, spans in seconds), 'found' (how many "
        "there are), 'complete' (whether these are all) and 'unreachable' (the caches that did "
        "not answer; what the others hold is listed, and the exit code is 3)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what narrows the list."""
        super().add_arguments(parser)
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--task",
            type=pattern,
            metavar="NAME",
            help="Only this task's locks; a prefix, in quotes, for several: 'reports.*'.",
        )
        which.add_argument(
            "--key", help="Only the lock under this key; works with every lock store."
        )
        parser.add_argument(
            "--older-than",
            type=seconds,
            metavar="TIME",
            help="Only locks whose call was accepted that long ago: 90 (seconds), 15m, 1h, 2d.",
        )
        parser.add_argument(
            "--limit",
            type=count,
            metavar="N",
            help="Show at most so many, the oldest (default: 100).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """List them."""
        found = (
            locks_of(options["task"] or "") if options["key"] is None else self.under_key(options)
        )
        least = options["older_than"] or 0.0
        locks = [lock for lock in found.locks if age(lock) >= least]
        shown = replace(found, locks=tuple(locks[: options["limit"] or 100]))
        if options["format"] == "json":
            self.write_json(
                {
                    "complete": shown.complete,
                    "found": len(locks),
                    "unreachable": [error.alias for error in found.outages],
                    "locks": [as_json(lock) for lock in shown.locks],
                }
            )
        else:
            self.write_text(shown, len(locks))
        self.check_all_answer(found)

    def under_key(self, options: dict[str, Any]) -> Found:
        """Return the one lock that is asked for."""
        for name in ("older_than", "limit"):
            if options[name] is not None:
                written = f"--{name.replace('_', '-')}"
                raise CommandError(f"--key takes no {written}.", returncode=BAD_USAGE)
        lock = look_up(options["key"])
        if lock is None:
            raise CommandError(f"There is no lock under {options['key']}.", returncode=NOTHING)
        return Found((lock,), listed=(lock.alias,))

    def write_text(self, shown: Found, found: int) -> None:
        """Write a table, task by task, and what the list leaves out."""
        by_task: dict[str, list[Lock]] = {}
        for lock in shown.locks:
            by_task.setdefault(lock.task, []).append(lock)
        locks = [lock for each in by_task.values() for lock in each]
        several = len(registry.aliases()) > 1
        heading, *lines = table(
            ("CACHE", *HEADINGS) if several else HEADINGS,
            [(lock.alias, *_row(lock)) if several else _row(lock) for lock in locks],
        )
        for task, its in by_task.items():
            self.stdout.write(self.style.MIGRATE_HEADING(plain(task)))
            for line in [heading, *lines[: len(its)]]:
                self.stdout.write(f"  {line}")
            del lines[: len(its)]
            self.stdout.write("")
        if not found and shown.complete:
            self.stdout.write("No locks.")
        elif len(shown.locks) < found:
            self.stdout.write(
                f"{len(shown.locks)} of {found} locks, the oldest; --limit shows more."
            )
        else:
            self.stdout.write(f"{found} lock{'s'[: found != 1]}.")
        if shown.cut:
            self.stdout.write(
                self.style.WARNING(
                    "The search stopped early: there may be more. Narrow it with --task."
                )
            )
        for why in shown.unlisted.values():
            self.stdout.write(self.style.WARNING(f"{why}: ask for its locks with --key."))


def _row(lock: Lock) -> tuple[str, ...]:
    return (
        phase(lock),
        duration(age(lock)),
        duration(lock.remaining),
        str(lock.hits),
        lock.worker or "-",
        lock.owner,
        Truncator(lock.label).chars(40) or "-",
        lock.key,
    )
