"""Free locks by hand."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.live import Found, free, is_living, look_up, revoke
from django_celery_once.locks import Lock
from django_celery_once.management.lock_command import (
    BAD_USAGE,
    NOTHING,
    UNREACHABLE,
    LockCommand,
)
from django_celery_once.management.outcomes import Action, Result
from django_celery_once.management.selection import locks_of


class Command(LockCommand):
    """Free the lock under a key, or those of a task, each only as it was looked at."""

    help = (
        "Free a lock whose task will never end. A lock whose worker is alive is refused "
        "without --force."
    )
    exit_codes = (
        "Exit codes: 0 everything that was found is freed (with --dry-run: would be); 1 nothing "
        "was found, or something was refused, has changed meanwhile or could not be revoked; 2 "
        "wrong arguments or settings; 3 the lock store can't be reached. On a terminal the "
        "command asks before it frees anything; it never does in a script or with "
        "--format=json: one document with 'dry_run', 'complete' and 'locks' (each with 'action': "
        "freed, would free, refused, changed or unknown, 'revoked': true, false or null, and "
        "'message')."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add which locks, and how."""
        super().add_arguments(parser)
        parser.add_argument("key", nargs="?", help="The lock's key, as once_locks shows it.")
        parser.add_argument("--task", metavar="NAME", help="All locks of this task instead.")
        parser.add_argument(
            "--reason", default="", metavar="TEXT", help="Why; it is kept in the log."
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="Free also a lock whose worker is alive: the same call may then run twice.",
        )
        parser.add_argument(
            "--revoke",
            action="store_true",
            help="Also tell the workers to drop the task, and to end it if it runs.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only say what would be done; change nothing."
        )
        parser.add_argument(
            "--no-input",
            "--noinput",
            action="store_false",
            dest="interactive",
            help="Ask nothing.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look at the locks, ask, free them, tell."""
        self.as_json = options["format"] == "json"
        self.outages: dict[str, LockUnavailable] = {}
        found = self.find(options["key"], options["task"])
        plan = [self.intend(lock, force=options["force"]) for lock in found.locks]
        if options["dry_run"]:
            results = plan
        else:
            if options["interactive"] and not self.as_json:
                self.confirm(plan)
            results = self.carry_out(plan, options["reason"], revoking=options["revoke"])
        self.tell(results, found, dry_run=options["dry_run"])

    def find(self, key: str | None, task: str | None) -> Found:
        """Return the locks that are meant, at least one."""
        if (key is None) == (task is None):
            raise CommandError("Give either a KEY or --task NAME.", returncode=BAD_USAGE)
        if key is not None:
            lock = look_up(key)
            found = Found(() if lock is None else (lock,))
            missing = f"There is no lock under {key}."
        else:
            task = str(task)
            if not task or task.endswith("*"):
                raise CommandError(
                    f"--task takes the full name of one task, not {task!r}.", returncode=BAD_USAGE
                )
            found = locks_of(task)
            missing = f"There is no lock of the task {task}."
        if not found.locks:
            self.check_all_answer(found)
            raise CommandError(f"{missing} once_locks lists those there are.", returncode=NOTHING)
        return found

    def intend(self, lock: Lock, *, force: bool) -> Result:
        """Return what is to be done with a lock."""
        refused = is_living(lock) and not force
        return Result(lock, Action.REFUSED if refused else Action.WOULD_FREE)

    def confirm(self, plan: list[Result]) -> None:
        """Ask, where somebody sits at a terminal."""
        count = sum(each.action is Action.WOULD_FREE for each in plan)
        if not count or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return
        for each in plan:
            self.stdout.write(each.sentence())
        question = f"Free {'this lock' if count == 1 else f'these {count} locks'}? [y/N] "
        try:
            answer = input(question)
        except (EOFError, KeyboardInterrupt):
            self.stdout.write("")
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was freed.", returncode=NOTHING)

    def carry_out(self, plan: list[Result], reason: str, *, revoking: bool) -> list[Result]:
        """Free what is to be freed; stop asking a store that has ceased to answer."""
        results = []
        for each in plan:
            if each.action is Action.WOULD_FREE:
                each = self.carry_out_one(each.lock, reason, revoking=revoking)
            results.append(each)
        return results

    def carry_out_one(self, lock: Lock, reason: str, *, revoking: bool) -> Result:
        """Free one lock as it was looked at, and revoke its task if asked to."""
        if lock.alias in self.outages:
            return Result(lock, Action.UNKNOWN)
        try:
            last = free(lock, by=_operator(), reason=reason)
        except LockUnavailable as error:
            self.outages[lock.alias] = error
            return Result(lock, Action.UNKNOWN)
        if last is None:
            return Result(lock, Action.CHANGED)
        if not revoking:
            return Result(last, Action.FREED)
        try:
            revoke(last)
        except Exception as error:
            # Each broker's client has errors of its own; the lock is freed all the same.
            return Result(last, Action.FREED, revoked=False, trouble=str(error))
        return Result(last, Action.FREED, revoked=True)

    def tell(self, results: list[Result], found: Found, *, dry_run: bool) -> None:
        """Write what became of each lock; end with an error unless all was done."""
        if self.as_json:
            locks = [each.as_json() for each in results]
            self.write_json({"dry_run": dry_run, "complete": found.complete, "locks": locks})
        else:
            for each in results:
                style = self.style.SUCCESS if each.done else self.style.WARNING
                self.stdout.write(style(each.sentence()))
        for outage in self.outages.values():
            raise CommandError(str(outage), returncode=UNREACHABLE) from outage
        self.check_all_answer(found)
        undone = sum(not each.done for each in results)
        if undone:
            raise CommandError(
                f"Not done for {undone} of {len(results)}; see above.", returncode=NOTHING
            )
        if found.cut:
            raise CommandError(
                "The search stopped early: there may be more locks. Run it again.",
                returncode=NOTHING,
            )


def _operator() -> str:
    try:
        return f"once_release ({getpass.getuser()})"
    except (ImportError, KeyError, OSError):  # a container may run as a user without a name
        return "once_release"
