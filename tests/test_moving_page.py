"""What stands in the page about moving works when it is copied."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.shop import ROOT, python_blocks, run, start, write

PAGE = ROOT / "docs" / "moving-from-celery-once.md"
README = (ROOT / "README.md").read_text()
TEXT = PAGE.read_text()
INSTALL = python_blocks(README)["Install"][0]
SETTINGS, TASKS = python_blocks(TEXT)["From celery-once"]
(VIEWS,) = python_blocks(TEXT)["From celery-singleton"]
COMMANDS = re.findall(r"^python (manage\.py once_.*)$", TEXT, re.MULTILINE)

#: What celery-once's users have.
OLD = """
CELERY_ONCE = {
    "backend": "celery_once.backends.Redis",
    "settings": {"url": "redis://127.0.0.1:1/0", "default_timeout": 60 * 60, "blocking": True},
}
"""
STORY = """
from reports.tasks import rebuild
from reports.views import rebuilding
first = rebuild.delay(7)
print(rebuild.delay(7).status, rebuild.delay(user_id=7, full=True).status)
print(rebuilding(7).id == first.id, rebuilding(8).id == first.id)
"""
CHECKS = """
from django.core.checks import run_checks
print(*run_checks())
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a new Django project with the page's lines copied into it."""
    files = {"reports/tasks.py": TASKS, "reports/views.py": VIEWS}
    start(tmp_path, INSTALL + SETTINGS, files)
    run(tmp_path, "manage.py", "migrate", "--verbosity", "0")
    return tmp_path


def test_the_lines_work_as_written(shop: Path) -> None:
    """Check the project, ask twice as before, and as under celery-singleton."""
    assert "no issues" in run(shop, "manage.py", "check", "--fail-level", "WARNING")
    told = run(shop, "manage.py", "shell", "--no-imports", script=STORY)
    assert told.splitlines() == ["REJECTED REJECTED", "True False"]


def test_the_commands_work_as_written(shop: Path) -> None:
    """Free what is left of the task."""
    run(shop, "manage.py", "shell", "--no-imports", script=STORY)
    listed, freed = (run(shop, *shlex.split(command)) for command in COMMANDS)
    assert "2 locks." in listed
    assert freed.count("Freed once:reports.tasks.rebuild:") == 2


def test_what_is_left_of_the_old_settings_is_told(shop: Path) -> None:
    """Find it in the namespace of Django's settings, and link to the id."""
    write(shop, {"shop/settings.py": OLD})
    told = run(shop, "manage.py", "shell", "--no-imports", script=CHECKS)
    assert "(django_celery_once.W016)" in told
    assert "without effect: backend, blocking, default_timeout, url." in told
    assert "[W016](../README.md#w016)" in TEXT


def test_the_pages_link_to_each_other() -> None:
    """Have each link's file, and its heading."""
    assert f"](docs/{PAGE.name})" in README
    for file, anchor in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", TEXT):
        assert (PAGE.parent / file).is_file()
        assert re.search(rf"^##+ {anchor}$", README, re.MULTILINE | re.IGNORECASE)
