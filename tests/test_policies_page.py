"""What stands in the page about policies works when it is copied."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_celery_once import AlreadyQueued, QueueOnce, definition
from django_celery_once.options import OnceOptions, OnDuplicate, Until
from django_celery_once.wording import STANDARD, Asker
from testproject.timelines import pictures
from tests.configurations import ids
from tests.configurations import once as settings_with
from tests.guarded_tasks import report
from tests.shop import ROOT, check_links, python_blocks, run, start

PAGE = ROOT / "docs" / "policies.md"
README = (ROOT / "README.md").read_text()
TEXT = PAGE.read_text()
INSTALL = python_blocks(README)["Install"][0]
SECTIONS = {
    title.partition(":")[0].strip("`"): blocks for title, blocks in python_blocks(TEXT).items()
}
BLOCKS = [block for blocks in SECTIONS.values() for block in blocks]
TASKS = "".join(block for block in BLOCKS if block.startswith("# reports/tasks.py"))
(SETTINGS,) = (block for block in BLOCKS if block.startswith("# settings.py"))
ONCE = re.compile(r'`(\{".*?\})`')
SVG = "{http://www.w3.org/2000/svg}"
#: What an expression's comment says that it is.
CLAIM = re.compile(r"^( *)(\S.*?)  # (.+)$", re.MULTILINE)

#: A worker in this process, whose broker and results are in its memory, and time to settle.
WORKER = """
import os, time
from celery.contrib.testing.worker import start_worker
from django_celery_once.locks import Phase, open_store
from shop.celery import app

def held():
    return [lock.phase for lock in open_store("locks").scan().locks]

def wait_until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, held()
        time.sleep(0.05)

app.conf.result_backend = "cache+memory://"
app.loader.import_default_modules()
worker = start_worker(app, 4, "threads", "error", perform_ping_check=False)
worker.__enter__()
"""
END = "print(end='', flush=True)\nos._exit(0)  # what still runs is not waited for\n"
#: What the page means by a moment later.
SETTLED = "wait_until(lambda: set(held()) <= {Phase.KEPT})\n"
STARTED = """
wait_until(lambda: not held())
assert not changes[0].ready(), "the key was freed by the end of the run"
"""
BETWEEN = {"finished": SETTLED, "started": STARTED, "expired": SETTLED}
ASYNC = """
import asyncio
print(repr(asyncio.run(rebuild("customers")).id != ""))
async def careless():
    rebuild_index.delay("customers")
try:
    asyncio.run(careless())
except Exception as error:
    print(repr(type(error).__name__))
"""


def calls_in(section: str) -> list[str]:
    """Return the blocks of a section that call tasks."""
    return [block for block in SECTIONS[section] if not block.startswith("# ")]


def claims_in(block: str) -> tuple[str, list[Any]]:
    """Return the block, printing what it claims of its expressions, and these claims.

    The comment behind an expression must be its value; those behind statements are prose.
    """
    claims = []

    def told(match: re.Match[str]) -> str:
        indent, code, comment = match.groups()
        try:
            is_expression = isinstance(ast.parse(code).body[0], ast.Expr)
        except SyntaxError:
            is_expression = False
        if not is_expression:
            return match[0]
        claims.append(ast.literal_eval(comment))
        return f"{indent}print(repr({code}))"

    return CLAIM.sub(told, block), claims


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a new Django project with the page's tasks copied into it."""
    start(tmp_path, INSTALL, {"reports/tasks.py": TASKS})
    run(tmp_path, "manage.py", "migrate", "--verbosity", "0")
    return tmp_path


def told(shop: Path, script: str) -> list[Any]:
    """Run a script beside a worker; return the values it prints."""
    lines = run(shop, "manage.py", "shell", "--no-imports", script=WORKER + script + END)
    return [ast.literal_eval(line) for line in lines.splitlines()]


@pytest.mark.parametrize(
    "section", [section for section in SECTIONS if section != "wait" and calls_in(section)]
)
def test_the_calls_do_what_their_comments_say(shop: Path, section: str) -> None:
    """Run the calls of a section, one block after the other, and compare."""
    blocks = [claims_in(block) for block in calls_in(section)]
    script = BETWEEN.get(section, "").join(code for code, _claims in blocks)
    expected = [claim for _code, claims in blocks for claim in claims]
    assert expected or section == "Where to write it"
    assert told(shop, script) == expected


def test_the_waiting_calls_do_what_their_comments_say(shop: Path) -> None:
    """Wait in a script, be refused in an event loop, and wait in a thread of one."""
    waiting, in_a_loop = calls_in("wait")
    code, claims = claims_in(waiting)
    assert told(shop, code + SETTLED + in_a_loop + ASYNC) == [
        *claims,
        True,
        "SynchronousOnlyOperation",
    ]


def test_the_settings_work_as_written(tmp_path: Path) -> None:
    """Find nothing amiss, and join, wait and guard the queue as they say."""
    start(tmp_path, INSTALL + SETTINGS, {"reports/tasks.py": TASKS})
    assert "no issues" in run(tmp_path, "manage.py", "check", "--fail-level", "WARNING")
    script = "from reports.tasks import *\n" + "".join(
        f"asked = {task}.once_options()\n"
        "print([asked.on_duplicate, asked.blocking_timeout, asked.until])\n"
        for task in ("make_report", "index_product", "count")
    )
    assert told(tmp_path, script) == [
        ["wait", 60, "finished"],
        ["reject", 10, "started"],
        [None, 10, "finished"],
    ]


def rows_of(heading: str) -> list[tuple[list[Any], list[Any]]]:
    """Return the options in each row of the table with this heading, left and right."""
    table = TEXT.partition(heading)[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*) \| (.*) \|$", table, re.MULTILINE)
    return [(options_in(left), options_in(right)) for left, right in rows]


def options_in(cell: str) -> list[Any]:
    """Return the dictionaries of options that a cell has."""
    return [ast.literal_eval(once) for once in ONCE.findall(cell)]


def test_what_to_choose_is_accepted_everywhere() -> None:
    """Take each row of the first table at a task, in the settings and in a call."""
    chosen = [once for _want, (once,) in rows_of("| you want … | write `once=` |")]
    assert len(chosen) == 10
    for once in chosen:
        assert options_errors(once) == (None, None, [])
    said = {value for once in chosen for value in once.values()}
    assert said >= {*get_args(OnDuplicate), *get_args(Until)}


def options_errors(once: dict[str, Any]) -> tuple[Any, Any, list[str]]:
    """Return what a call, a task's definition and the check of the settings say to options."""
    raised: list[type[Exception] | None] = [None, None]
    try:
        OnceOptions.merge({}, {}, once)
    except ValueError as error:
        raised[0] = type(error)
    try:
        type("Once", (QueueOnce,), {"name": "tests.once", "once": once})
    except ImproperlyConfigured as error:
        raised[1] = type(error)
        definition.broken.clear()
    with settings_with(TASKS={report.name: once}):
        return raised[0], raised[1], ids()


def test_what_does_not_go_together_is_refused() -> None:
    """Refuse each row's left side in all three places; accept its right side."""
    rows = rows_of("| refused | write instead |")
    assert len(rows) == 7
    for refused, instead in rows:
        (once,) = refused
        call, task, found = options_errors(once)
        assert (call, task) == (ValueError, ImproperlyConfigured)
        assert found in (["E001"], ["E010"])
        assert instead
        assert all(OnceOptions.merge(each) for each in instead)
    running = {"until": "running", "on_duplicate": None}
    assert OnceOptions.merge({"on_duplicate": "wait"}, running).on_duplicate is None


def test_a_person_is_told_when_it_can_be_had_again() -> None:
    """Say it in the page's words."""
    since = datetime.now(UTC) - timedelta(minutes=4)
    kept = AlreadyQueued(56 * 60 - 1, phase="kept", since=since)
    told = STANDARD.already_queued(kept, Asker.SELF, label="monthly report")
    assert f'"{told}"' in TEXT.replace("\n  ", " ")


def test_the_pictures_are_what_is_drawn() -> None:
    """Run ``python -m testproject.timelines docs/images`` where they are not."""
    drawn = pictures()
    folder = ROOT / "docs" / "images"
    assert {path.name: path.read_text() for path in folder.glob("policy-*.svg")} == drawn
    shown = dict(re.findall(r"^!\[(.+)\]\(images/(.+)\)$", TEXT, re.MULTILINE))
    assert sorted(shown.values()) == sorted(drawn)
    for words, name in shown.items():
        root = ET.fromstring(drawn[name])  # noqa: S314 - our own
        assert root.findtext(f"{SVG}desc") == words
        assert root.get("role") == "img"
        labels = [each.get("id") for each in root.iter() if each.get("id")]
        assert root.get("aria-labelledby", "").split() == labels


def test_the_pages_link_to_each_other() -> None:
    """Have each link's file, and its heading."""
    assert f"](docs/{PAGE.name}" in README
    check_links(PAGE)
