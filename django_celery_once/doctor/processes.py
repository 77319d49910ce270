"""Examination of the lock store by a second process with the same settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from django.conf import ENVIRONMENT_VARIABLE

from django_celery_once.doctor.findings import Finding, not_examined, ok, wrong
from django_celery_once.doctor.probe import MARK, SECONDS, probing
from django_celery_once.doctor.store import OTHER_CACHE
from django_celery_once.locks import Lock, LockStore

#: Seconds that the second process may take to import the project and to look.
PATIENCE_SECONDS = 30


def examine_second_process(store: LockStore) -> Finding:
    """Hold a lock here and let another process look at it, ask for it and try to free it."""
    if not os.environ.get(ENVIRONMENT_VARIABLE) or not sys.executable:
        return not_examined(f"{ENVIRONMENT_VARIABLE} is not set, so none can be started.")
    with probing(store) as lock:
        if store.acquire(lock, SECONDS) is not None:
            return wrong(
                "A new key was refused as a duplicate.", "Give locks a cache of their own."
            )
        answer, trouble = _ask(lock)
        held = store.inspect(lock.key)
    if trouble:
        return wrong(
            f"A second process with the same settings failed: {trouble}",
            "Correct what it says; a worker with these settings would fail in the same way.",
        )
    if answer != {"owner": lock.owner, "refused": True, "freed": False}:
        return wrong(
            "A second process with the same settings did not see a lock held here, or could "
            "take it.",
            OTHER_CACHE,
        )
    if held is None or held.token != lock.token:
        return wrong("A second process freed a lock held here.", "Use Redis for locks.")
    return ok("A second process saw the lock, was refused it and could not release it.")


def environment() -> dict[str, str]:
    """Return this process' environment, with all that it can import."""
    paths = os.pathsep.join(path or os.curdir for path in sys.path)
    return {**os.environ, "PYTHONPATH": paths}


def _ask(lock: Lock) -> tuple[dict[str, object], str]:
    """Return what the other process says, or why it says nothing."""
    try:
        witness = subprocess.run(  # noqa: S603 (this very interpreter, and a key of our own)
            [sys.executable, "-m", "django_celery_once.doctor.witness", lock.alias, lock.key],
            env=environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, str(error)
    for line in witness.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK)), ""
    said = witness.stderr.strip().splitlines() or [f"exit code {witness.returncode}"]
    return {}, said[-1]
