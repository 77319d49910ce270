"""Calls by name, whose keys only their runs can make: freed as soon as any other."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError

from django_celery_once import AlreadyQueued
from django_celery_once.keys import make_custom_key
from django_celery_once.locks import Lock, open_store
from tests.integration.app import app
from tests.integration.argument_tasks import serve, serve_late
from tests.integration.calls import new_name, value, wait_for_event
from tests.integration.conftest import on_pools
from tests.integration.referee import events, note
from tests.integration.workers import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]


def send(name: str, tenant: str, scene: str = "", task: Any = serve, **options: Any) -> Any:
    """Send a call as a program without this app does, for a tenant."""
    return app.send_task(task.name, (name, scene), headers={"tenant": tenant}, **options)


def lock_of(name: str, tenant: str, task: Any = serve) -> Lock | None:
    """Return the lock of a tenant's call."""
    return open_store("locks").inspect(make_custom_key(task.name, [tenant, name]))


def wait_until_free(name: str, tenant: str, task: Any = serve) -> None:
    """Wait for less than a lease until nobody holds a tenant's key."""
    wait_until(lambda: lock_of(name, tenant, task) is None, f"the key of {tenant} free", 20)


@on_pools("prefork", "threads", "gevent")
def test_each_tenant_has_its_own_key() -> None:
    """Run both at once, and refuse a second call of either."""
    name = new_name()
    calls = [send(name, tenant, "wait") for tenant in ("north", "south")]
    wait_for_event(name, "start", 2)
    for tenant, call in zip(("north", "south"), calls, strict=True):
        lock = lock_of(name, tenant)
        assert lock is not None
        assert lock.owner == call.id
        with pytest.raises(AlreadyQueued):
            serve.apply_async((name,), once={"key": lambda *_call, tenant=tenant: [tenant, name]})
    note(name, "told", "")
    assert [value(call) for call in calls] == ["north", "south"]
    for tenant in ("north", "south"):
        wait_until_free(name, tenant)


def test_a_run_by_name_ends_as_any_other() -> None:
    """Free the key when it has ended."""
    name = new_name()
    assert value(send(name, "east")) == "east"
    wait_until_free(name, "east")


@on_pools("prefork")
@pytest.mark.parametrize("end", ["killed", "time limit", "terminated"])
def test_the_main_process_frees_the_key_of_a_run_that_dies(end: str) -> None:
    """Tell it the key that the run has made: it can't make it."""
    name = new_name()
    options = {"time_limit": 2} if end == "time limit" else {}
    call = send(name, "west", "kill" if end == "killed" else "wait", **options)
    wait_for_event(name, "start")
    if end == "terminated":
        assert lock_of(name, "west") is not None
        call.revoke(terminate=True, signal="SIGKILL")
    began = time.monotonic()
    wait_until(lambda: call.ready(), "the end of the call", 30)
    wait_until_free(name, "west")
    assert time.monotonic() - began < 30
    assert events(name).count("end") == 0
    assert value(send(name, "west")) == "west"


@on_pools("prefork")
def test_a_message_by_name_that_comes_again_is_the_same() -> None:
    """Run it once more where its first run was lost, under its own lock."""
    name = new_name()
    call = send(name, "west", "kill once", serve_late)
    assert value(call, 40) == "west"
    assert events(name) == ["start", "start", "end"]
    wait_until_free(name, "west", serve_late)


@on_pools("prefork")
def test_what_is_revoked_before_its_start_has_no_key() -> None:
    """Free nothing of another tenant's."""
    name = new_name()
    first = send(name, "public", "wait")
    wait_for_event(name, "start")
    revoked = send(name, "west", countdown=2)
    revoked.revoke()
    with pytest.raises(TaskRevokedError):
        value(revoked)
    lock = lock_of(name, "public")
    assert lock is not None
    assert lock.owner == first.id
    note(name, "told", "")
    assert value(first) == "public"
