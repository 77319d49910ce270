"""What stands in the page about moving works when it is copied."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.shop import ROOT, check_links, python_blocks, run, start, write

PAGE = ROOT / "docs" / "moving-from-celery-once.md"
README = (ROOT / "README.md").read_text()
TEXT = PAGE.read_text()
INSTALL = python_blocks(README)["Install"][0]
SETTINGS, TASKS = python_blocks(TEXT)["From celery-once"]
(JOINING,) = python_blocks(TEXT)["From celery-singleton"]
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
rebuild.delay(7)
print(rebuild.delay(7).status, rebuild.delay(user_id=7, full=True).status)
print(type(rebuild.delay(8)).__name__)
"""
SINGLETONS = """
from reports.tasks import refresh
first = refresh.delay(7)
print([refresh.delay(user_id).id == first.id for user_id in (7, 8)])
print(type(refresh.delay(7)).__name__, refresh.delay(user_id=7, full=True).id == first.id)
"""
WAITING = """
import time
from django_celery_once import AlreadyQueued
from django_celery_once.locks import open_store
from reports.tasks import rebuild
first = rebuild.delay(7)
began = time.monotonic()
try:
    rebuild.apply_async((7,), once={"blocking": True, "blocking_timeout": 1})
except AlreadyQueued as duplicate:
    print(duplicate.task_id == first.id, 1 <= time.monotonic() - began < 5)
(lock,) = open_store("locks").scan().locks
open_store("locks").release(lock)
print(rebuild.apply_async((7,), once={"on_duplicate": "wait"}).id != first.id)
print(rebuild.once_options({"blocking": True}).blocking_timeout)
"""
CHECKS = """
from django.core.checks import run_checks
print(*run_checks())
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a new Django project with the page's lines copied into it."""
    start(tmp_path, INSTALL + SETTINGS, {"reports/tasks.py": TASKS + JOINING})
    run(tmp_path, "manage.py", "migrate", "--verbosity", "0")
    return tmp_path


def test_the_lines_work_as_written(shop: Path) -> None:
    """Check the project, and ask twice as before."""
    assert "no issues" in run(shop, "manage.py", "check", "--fail-level", "WARNING")
    told = run(shop, "manage.py", "shell", "--no-imports", script=STORY)
    assert told.splitlines() == ["REJECTED REJECTED", "AsyncResult"]


def test_a_duplicate_gets_the_result_of_the_task_in_flight(shop: Path) -> None:
    """As under celery-singleton, with the arguments spelled either way."""
    told = run(shop, "manage.py", "shell", "--no-imports", script=SINGLETONS)
    assert told.splitlines() == ["[True, False]", "AsyncResult True"]


def test_celery_onces_words_for_waiting_work_as_written(shop: Path) -> None:
    """Wait for a key as long as told, in either spelling; 10 seconds by default."""
    assert re.search(r"^\| `\"blocking\": True.* `once=\{\"blocking\": True, ", TEXT, re.MULTILINE)
    told = run(shop, "manage.py", "shell", "--no-imports", script=WAITING)
    assert told.splitlines() == ["True True", "True", "10.0"]


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
    check_links(PAGE)
