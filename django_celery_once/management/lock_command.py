"""What the commands about locks have in common: their format, errors and exit codes."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.live import Found

NOTHING = 1
BAD_USAGE = 2
UNREACHABLE = 3


class LockCommand(BaseCommand):
    """A command on the lock store, which ends with a sentence wherever it can't go on."""

    #: An operator must be able to free a lock though some app of the project is amiss.
    requires_system_checks: list[str] = []  # noqa: RUF012 (as in BaseCommand)
    #: The last paragraph of the help.
    exit_codes = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser, with the exit codes at the end of its help."""
        return super().create_parser(prog_name, subcommand, epilog=self.exit_codes, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--format``."""
        parser.add_argument(
            "--format",
            choices=["text", "json"],
            default="text",
            help="Text for people (the default), or one JSON document for scripts.",
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Turn an outage and a wrong setting into a sentence and an exit code."""
        try:
            return super().execute(*args, **options)
        except LockUnavailable as error:
            raise CommandError(str(error), returncode=UNREACHABLE) from error
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=BAD_USAGE) from error

    def check_all_answer(self, found: Found) -> None:
        """End with an error where a cache did not answer: its locks are not among those told."""
        if found.outages:
            words = " ".join(str(error) for error in found.outages)
            missing = " Its locks are missing here." if found.listed else ""
            raise CommandError(f"{words}{missing}", returncode=UNREACHABLE)

    def write_json(self, document: dict[str, Any]) -> None:
        """Write one document. Texts stay as they are; a terminal may be asked to show any."""
        self.stdout.write(json.dumps(document, indent=2))
