"""Two tenants of django-tenants and tenant-schemas-celery, whose lock cache tells them apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testproject.redis_server import RedisServer
from tests.services import need, postgresql_url

ROOT = Path(__file__).parent.parent.parent
KINDS = ["once_first", "tenant_first"]
#: How each tenant's incidents of a task end.
ENDS = {
    "north": {"long": "success", "dying": "killed", "again": "success", "named": "success"},
    "south": {"revoked": "revoked", "held": "success"},
}


pytestmark = pytest.mark.timeout(320)


@pytest.fixture(scope="module", params=["shared", "tenant"])
def apps(request: pytest.FixtureRequest) -> str:
    """Return whether the app is in SHARED_APPS or in TENANT_APPS."""
    return str(request.param)


@pytest.fixture(scope="module")
def found(apps: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Play the story in a database of its own; return what was found."""
    pytest.importorskip("tenant_schemas_celery")
    import psycopg

    need("postgresql")
    name = f"once_tenants_{apps}_{os.getpid()}"
    log = tmp_path_factory.mktemp("tenants") / "worker.log"
    with psycopg.connect(postgresql_url(), autocommit=True) as server, RedisServer() as redis:
        server.execute(f"create database {name}")
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.tenants.settings",
            "TENANTS_APPS": apps,
            "TENANTS_DATABASE": name,
            "TENANTS_BROKER": redis.url(0),
            "TENANTS_RESULTS": redis.url(1),
            "TENANTS_LOCKS": redis.url(2),
            "TENANTS_LOG": str(log),
        }
        try:
            yield _play(environment, log)
        finally:
            server.execute(f"drop database {name} with (force)")


def _play(environment: dict[str, str], log: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.tenants.story"]
    story = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    said = story.stdout + story.stderr + log.read_text()
    assert story.returncode == 0, said
    told = [line for line in story.stdout.splitlines() if line.startswith("found: ")]
    lines = log.read_text().splitlines()
    found: dict[str, Any] = json.loads(told[0].removeprefix("found: "))
    found["told"] = [line for line in lines if "WARNING" in line or "Traceback" in line]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_tenant_has_locks_of_its_own(found: dict[str, Any], kind: str) -> None:
    """Refuse a tenant's duplicates for as long as its run goes on, and free all at the end."""
    seen = found[kind]
    assert seen["asked"] == ["accepted", "refused", "accepted"]
    assert seen["after the lease"] == "refused"
    assert seen["locks"] == ["north", "south"]
    assert seen["runs"] == ["north", "south"]


@pytest.mark.parametrize("kind", KINDS)
def test_ends_outside_the_tenant_free_its_lock(found: dict[str, Any], kind: str) -> None:
    """The main process, which has no tenant, sees to killed and to revoked runs."""
    assert found[kind]["killed"]
    assert found[kind]["revoked"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_on_runs_for_its_tenant(found: dict[str, Any], kind: str) -> None:
    """Follow-ups and messages by name have the tenant's key and run in its schema."""
    seen = found[kind]
    assert seen["rerun"] == "accepted"
    assert seen["follow-up"] == ["north", "north"]
    assert seen["by name"]
    assert seen["by name, runs"] == ["north", "south"]
    assert seen["asked by a task"]


def test_the_journal_is_where_its_tables_are(found: dict[str, Any], apps: str) -> None:
    """Every incident has its row in the tenant's schema, or in the one for all, and its end."""
    rows = {
        tenant: {f"{tenant}-{kind}-{name}": end for kind in KINDS for name, end in ends.items()}
        for tenant, ends in ENDS.items()
    }
    if apps == "shared":
        rows = {"public": {**rows["north"], **rows["south"]}}
    assert found["rows"] == rows


def test_no_name_is_doubted(found: dict[str, Any]) -> None:
    """Web and worker spell the keys of a tenant alike, and nothing goes wrong."""
    assert [line for line in found["told"] if "another name" in line or "KEY_PREFIX" in line] == []
