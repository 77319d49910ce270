"""Prove that locks work here."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

from django.core.management.base import CommandError

from django_celery_once.doctor.examinations import examine
from django_celery_once.doctor.findings import Finding, State
from django_celery_once.management.lock_command import NOTHING, LockCommand

#: Columns of the state and of the examination's name, and the width of the whole.
STATE, NAME, WIDTH = 14, 16, 100


class Command(LockCommand):
    """Examine the set-up live, and leave nothing behind."""

    help = (
        "Prove, live, that locks work with these settings: a lock of the doctor's own is taken, "
        "seen by a second process, released and left to expire. Nothing is left behind."
    )
    exit_codes = (
        "Exit codes: 0 nothing is wrong, though there may be warnings; 1 something is wrong, or "
        "the lock store can't be reached; 2 wrong arguments. With --format=json: one document "
        "with 'healthy' (true or false) and 'examinations' (each with 'name', 'state': ok, "
        "warning, wrong or not examined, 'seen', 'advice' and 'cache', the alias that it is "
        "about, if any)."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine, tell, and end with an error where something is wrong."""
        found = []
        for name, finding in examine():
            found.append((name, finding))
            if options["format"] == "text":
                self.write_finding(name, finding)
        states = Counter(finding.state for _name, finding in found)
        if options["format"] == "json":
            self.write_json(
                {
                    "healthy": not states[State.WRONG],
                    "examinations": [_as_json(*each) for each in found],
                }
            )
        else:
            counts = [_count(state, states[state]) for state in State if states[state]]
            self.stdout.write(f"\n{', '.join(counts)}.")
        if states[State.WRONG]:
            names = dict.fromkeys(name for name, each in found if each.state is State.WRONG)
            raise CommandError(f"Something is wrong: {', '.join(names)}.", returncode=NOTHING)

    def write_finding(self, name: str, finding: Finding) -> None:
        """Write what was seen, and beneath it what to do."""
        styles = {
            State.OK: self.style.SUCCESS,
            State.WARNING: self.style.WARNING,
            State.WRONG: self.style.ERROR,
            State.NOT_EXAMINED: self.style.NOTICE,
        }
        margin = " " * (STATE + NAME)
        head = styles[finding.state](f"{finding.state:<{STATE}}") + f"{name:<{NAME}}"
        self.stdout.write(head + textwrap.indent(_wrapped(finding.seen), margin).lstrip())
        if finding.advice:
            self.stdout.write(textwrap.indent(_wrapped(f"-> {finding.advice}"), margin))
        self.stdout.flush()


def _count(state: State, count: int) -> str:
    plural = "s" if state is State.WARNING and count != 1 else ""
    return f"{count} {state}{plural}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH - STATE - NAME, break_long_words=False, break_on_hyphens=False)


def _as_json(name: str, finding: Finding) -> dict[str, str]:
    return {
        "name": name,
        "state": finding.state.value,
        "seen": finding.seen,
        "advice": finding.advice,
        "cache": finding.cache,
    }
