"""What two tenants see, played with a real worker; the findings are printed as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.tenants.settings")
django.setup()

from django.core.management import call_command  # noqa: E402
from django_tenants.utils import get_tenant_model, schema_context  # noqa: E402
from psycopg import sql  # noqa: E402

from django_celery_once import AlreadyQueued  # noqa: E402
from django_celery_once.locks import open_store  # noqa: E402
from tests import quiet_results  # noqa: E402
from tests.tenants.app import TASKS, app, notes  # noqa: E402

TENANTS = ("north", "south")
WORKER = [
    sys.executable, "-m", "celery", "-A", "tests.tenants.app", "worker", "--concurrency", "2",
    "--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel", "INFO",
]  # fmt: skip


_called: set[str] = set()


def ask(tenant: str, task: Any, name: str, *args: object, **options: Any) -> str:
    """Call a task for a tenant and say how that went; the first call's id says whose it is."""
    own = f"{tenant}-{name}"
    if own not in _called:
        _called.add(own)
        options["task_id"] = own
    with schema_context(tenant):
        try:
            task.apply_async((name, *args), **options)
        except AlreadyQueued:
            return "refused"
    return "accepted"


def noted(name: str) -> list[str]:
    """Return what the runs of a name have left."""
    return notes().lrange(f"note:{name}", 0, -1)  # type: ignore[return-value]


def go(name: str) -> None:
    """Let the runs of a name end."""
    notes().set(f"go:{name}", 1)


def locks() -> list[str]:
    """Return the names of all locks, whoever's they are."""
    with schema_context("public"):
        client = open_store("locks")._primary()  # type: ignore[attr-defined]
    return sorted(name.decode() for name in client.scan_iter("*:once:*", _type="hash"))


def wait_until(true: Callable[[], object], seconds: float = 30) -> bool:
    """Wait for another process; return whether it came true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def rows() -> dict[str, dict[str, str]]:
    """Return how the incidents in each schema's own table ended."""
    from django.db import connection

    found = {}
    for schema in ("public", *TENANTS):
        with connection.cursor() as cursor:
            cursor.execute("select to_regclass(%s)", [f"{schema}.{TABLE}"])
            if cursor.fetchone()[0] is not None:
                table = sql.Identifier(schema, TABLE)
                cursor.execute(sql.SQL("select holder_task_id, outcome from {}").format(table))
                found[schema] = dict(cursor.fetchall())
    return found


TABLE = "django_celery_once_blockedduplicate"


def play(kind: str, task: Any) -> dict[str, object]:
    """Play every scene with one task."""
    found: dict[str, object] = {}

    long = f"{kind}-long"
    asked = [ask(tenant, task, long, "wait") for tenant in ("north", "north", "south")]
    found["asked"] = asked
    wait_until(lambda: len(noted(long)) == 2)
    time.sleep(8)  # longer than LEASE
    found["after the lease"] = ask("north", task, long)
    found["locks"] = [name.split(":")[0] for name in locks()]
    go(long)
    wait_until(lambda: not locks(), 10)
    found["runs"] = sorted(noted(long))

    dying = f"{kind}-dying"
    ask("north", task, dying, "die", countdown=1)
    ask("north", task, dying)
    wait_until(lambda: noted(dying))
    found["killed"] = wait_until(lambda: not locks(), 10)

    revoked = f"{kind}-revoked"
    ask("south", task, revoked, countdown=2)
    ask("south", task, revoked)
    app.control.revoke(f"south-{revoked}")
    found["revoked"] = wait_until(lambda: not locks(), 10) and noted(revoked) == []

    again = f"{kind}-again"
    ask("north", task, again, "wait")
    wait_until(lambda: noted(again))
    found["rerun"] = ask("north", task, again, "run", once={"on_duplicate": "rerun"})
    go(again)
    wait_until(lambda: len(noted(again)) == 2 and not locks())
    found["follow-up"] = noted(again)

    named = f"{kind}-named"
    ask("north", task, named, "wait")
    wait_until(lambda: noted(named))
    with schema_context("north"):
        own = app.send_task(task.name, (named,))
    with schema_context("south"):
        app.send_task(task.name, (named,))
    found["by name"] = wait_until(lambda: own.state == "REVOKED" and len(noted(named)) == 2)
    go(named)
    wait_until(lambda: not locks())
    found["by name, runs"] = sorted(noted(named))

    held = f"{kind}-held"
    ask("south", task, held, "wait")
    wait_until(lambda: noted(held))
    ask("south", task, f"{held}-asker", "ask")
    wait_until(lambda: "refused" in noted(f"{held}-asker"))
    go(held)
    found["asked by a task"] = wait_until(lambda: not locks())
    return found


def main() -> None:
    """Make the tenants, start a worker, and play."""
    quiet_results.take_off()
    call_command("migrate_schemas", verbosity=0)
    for name in TENANTS:
        get_tenant_model().objects.create(schema_name=name)
    with Path(os.environ["TENANTS_LOG"]).open("wb") as log:
        worker = subprocess.Popen(WORKER, stdout=log, stderr=log, start_new_session=True)
        try:
            found: dict[str, object] = {kind: play(kind, task) for kind, task in TASKS.items()}
            wait_until(lambda: all("" not in found.values() for found in rows().values()), 20)
        finally:
            worker.terminate()
            worker.wait(30)
    found["rows"] = rows()
    sys.stdout.write(f"\nfound: {json.dumps(found)}\n")


if __name__ == "__main__":
    signal.alarm(280)
    main()
