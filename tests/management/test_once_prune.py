"""``once_prune``: what it deletes, what it says, how it ends."""

from __future__ import annotations

import json
import time
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_celery_once.management.lock_command import BAD_USAGE, UNREACHABLE
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from tests.duplicates import tables
from tests.factories import make_lock, make_rejection

pytestmark = [pytest.mark.django_db, pytest.mark.database]

DAY = 86_400


def seed(*days: float) -> None:
    """Write an incident for each age in days, with an attempt."""
    for number, age in enumerate(days):
        rejection = make_rejection(
            holder=make_lock(owner=f"holder-{number}"), at=time.time() - age * DAY
        )
        BlockedDuplicate.objects.record(rejection, [rejection])


def prune(*arguments: str, **options: Any) -> str:
    """Run the command; return what it wrote."""
    written = StringIO()
    call_command("once_prune", *arguments, stdout=written, **options)
    return written.getvalue()


def test_what_is_older_than_the_setting_goes() -> None:
    """Incidents go with their attempts, younger ones stay."""
    seed(31, 29, 60)
    assert prune().startswith("Deleted 2 blocked duplicates older than 30 days in 0.")
    assert BlockedDuplicate.objects.get().holder_task_id == "holder-1"
    assert BlockedAttempt.objects.get().incident.holder_task_id == "holder-1"
    assert prune() == "No blocked duplicates are older than 30 days.\n"


@override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "LOG_RETENTION_DAYS": 1.5})
def test_the_setting_may_be_changed() -> None:
    """``LOG_RETENTION_DAYS`` is the default of ``--days``."""
    seed(1, 2)
    assert prune().startswith("Deleted 1 blocked duplicate older than 1.5 days in")


@pytest.mark.parametrize(
    ("days", "deleted"), [("0", 3), ("1", 2), ("0.5", 2), ("1e9", 0), ("40", 1)]
)
def test_days(days: str, deleted: int) -> None:
    """``--days`` wins over the setting."""
    seed(0.1, 2, 50)
    prune("--days", days)
    assert BlockedDuplicate.objects.count() == 3 - deleted


def test_a_dry_run_deletes_nothing() -> None:
    """``--dry-run`` counts."""
    seed(31, 32)
    assert prune("--dry-run") == (
        "Would delete 2 blocked duplicates older than 30 days; nothing was deleted.\n"
    )
    assert BlockedDuplicate.objects.count() == 2


@pytest.mark.parametrize("dry_run", [True, False])
def test_json(dry_run: bool) -> None:
    """Scripts get one document."""
    seed(31)
    told = json.loads(prune("--format=json", "--days=7", dry_run=dry_run))
    assert told.pop("seconds") >= 0
    assert told == {"found": 1, "deleted": int(not dry_run), "days": 7.0, "dry_run": dry_run}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--days", "-1"], "argument --days: must be 0 days or more, not -1"),
        (["--days", "nan"], "argument --days: must be 0 days or more, not nan"),
        (["--days", "inf"], "argument --days: must be 0 days or more, not inf"),
        (["--days", "a week"], "argument --days: invalid number of days value: 'a week'"),
        (["--batch", "0"], "argument --batch: must be from 1 to 10000, not 0"),
        (["--batch", "10001"], "argument --batch: must be from 1 to 10000, not 10001"),
        (["--batch", "many"], "argument --batch: invalid batch size value: 'many'"),
        (["--format", "xml"], "argument --format: invalid choice"),
    ],
)
def test_wrong_arguments(arguments: list[str], words: str) -> None:
    """What can't be meant is said, and nothing is deleted."""
    seed(31)
    with pytest.raises(CommandError) as error:
        prune(*arguments)
    assert words in str(error.value)
    assert BlockedDuplicate.objects.count() == 1


@pytest.mark.parametrize("setting", [{"LOG_RETENTION_DAYS": "30"}, {"LOG_DATABASE": "nowhere"}])
def test_wrong_settings(setting: dict[str, object]) -> None:
    """A setting that can't be used is a sentence that names it, and an exit code."""
    with (
        override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", **setting}),
        pytest.raises(CommandError, match=next(iter(setting))) as error,
    ):
        prune()
    assert error.value.returncode == BAD_USAGE


@pytest.mark.django_db(transaction=True)
def test_a_failing_database() -> None:
    """A database that fails is a sentence and an exit code of its own."""
    with (
        tables("default", there=False),
        pytest.raises(CommandError, match="The database 'default' failed: ") as error,
    ):
        prune()
    assert error.value.returncode == UNREACHABLE


def test_the_help_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` says what a script may rely on."""
    with pytest.raises(SystemExit):
        call_command("once_prune", "--help")
    assert "Exit codes: 0 done" in capsys.readouterr().out
