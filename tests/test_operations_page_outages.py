"""What stands in the page about operations works when it is copied."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testproject.redis_server import RedisServer
from tests.distributed.cluster import Cluster
from tests.distributed.sentinel import Constellation
from tests.shop import ROOT, check_links, python_blocks, run, start

PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text()
README = (ROOT / "README.md").read_text()
INSTALL, TASKS, _VIEWS = python_blocks(README)["Install"]
BLOCKS = python_blocks(TEXT)
(TIME_OUTS,) = BLOCKS["Time-outs"]
(SENTINEL,) = BLOCKS["Sentinel"]
(CLUSTER,) = BLOCKS["Redis Cluster"]
(RECEIVER,) = BLOCKS["What to alert on"]
STORY = """
from django_celery_once import AlreadyQueued
from reports.tasks import send_pdf_report
send_pdf_report.delay("ada@example.com", "May")
try:
    send_pdf_report.delay("ada@example.com", "May")
except AlreadyQueued as duplicate:
    print(duplicate.phase)
"""


def told(folder: Path, settings: str) -> str:
    """Check, examine and use locks with the page's settings in a new project."""
    start(folder, INSTALL + settings, {"reports/tasks.py": TASKS})
    run(folder, "manage.py", "migrate", "--verbosity", "0")
    assert "no issues" in run(folder, "manage.py", "check", "--fail-level", "WARNING")
    assert "once_doctor" not in run(folder, "manage.py", "once_doctor")
    return run(folder, "manage.py", "shell", "--no-imports", script=STORY)


def test_the_time_outs_work_as_written(tmp_path: Path) -> None:
    """Add them to the README's settings."""
    assert told(tmp_path, TIME_OUTS) == "queued\n"


def test_sentinel_works_as_written(tmp_path: Path) -> None:
    """Copy the entry, with servers that are there."""
    with Constellation() as servers:
        entry = SENTINEL.replace("redis://locks/", f"redis://{servers.name}/")
        entry = re.sub(r'"SENTINELS": \[.*\]', f'"SENTINELS": {servers.addresses()}', entry)
        assert told(tmp_path, entry) == "queued\n"


def test_a_cluster_works_as_written(tmp_path: Path) -> None:
    """Copy the entry, with servers that are there."""
    with Cluster() as servers:
        ports = [each.port for each in servers.primaries]
        entry = CLUSTER
        for number, port in enumerate(ports, 1):
            entry = entry.replace(f'10.0.0.{number}", 6379', f'127.0.0.1", {port}')
            entry = entry.replace(f"10.0.0.{number}:6379", f"127.0.0.1:{port}")
        assert told(tmp_path, entry) == "queued\n"


def test_the_lines_for_servers_are_theirs() -> None:
    """Start servers with them; Sentinel's are those of the tests."""
    lines = re.findall(r"^ *(maxmemory-policy|min-replicas-[\w-]+) (\S+)$", TEXT, re.MULTILINE)
    assert len(lines) == 3
    with RedisServer(dict(lines)) as server:
        assert server.is_running()


def test_the_receiver_works_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Send it the signal."""
    from django_celery_once.signals import lock_lost
    from tests.locks.stores import lock

    scope: dict[str, object] = {}
    exec(RECEIVER, scope)  # noqa: S102 - the page's
    try:
        lock_lost.send(sender=None, lock=lock(), retaken=True)
    finally:
        lock_lost.disconnect(scope["count"])  # type: ignore[arg-type]
    assert capsys.readouterr().out == "lock lost tests.report taken back\n"


def test_the_words_to_watch_for_are_logged() -> None:
    """Find each in the package."""
    package = "".join(each.read_text() for each in (ROOT / "django_celery_once").rglob("*.py"))
    package = re.sub(r'"\s+"', "", package)
    table = TEXT.partition("## What to alert on")[2]
    logged = re.findall(r"`([^`]*(?:…|no sign)[^`]*)`", table)
    assert len(logged) == 5
    for words in logged:
        for part in words.split("…"):
            assert part.strip() in package, part


def test_the_pages_link_to_each_other() -> None:
    """Have each link's file, and its heading."""
    assert f"](docs/{PAGE.name}" in README
    check_links(PAGE)
