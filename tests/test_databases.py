"""What asks a database something, on those that Django teams run beside SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MARKED = [str(each) for each in TESTS.rglob("test_*.py") if "mark.database" in each.read_text()]
COMMAND = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "database"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "database",
    [
        pytest.param("postgresql", marks=pytest.mark.needs("postgresql")),
        pytest.param("mariadb", marks=pytest.mark.needs("mariadb")),
    ],
)
def test_what_asks_the_database(database: str) -> None:
    """The tests marked ``database`` pass on it, each in a process with a database of its own."""
    environment = {**os.environ, "TEST_DATABASE": database}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    run = subprocess.run(
        [*COMMAND, *MARKED],
        cwd=TESTS.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
