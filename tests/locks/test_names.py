"""Locks under one name each, on every cache, whatever a process calls their keys by now."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.management import call_command
from django.test import override_settings

from django_celery_once import releases
from django_celery_once.leases import Lease, drop, hold
from django_celery_once.locks import Lock, LockStore, Start, open_store
from tests.locks.stores import lock, running
from tests.locks.test_contract import STORES, wait_until

KEY = "once:tests.report:k"
_here = threading.local()


def tenants_key(key: str, prefix: str, version: int) -> str:
    """Spell a key as a project with tenants does: other threads have none."""
    return f"{getattr(_here, 'tenant', 'public')}:{prefix}:{version}:{key}"


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[LockStore]:
    """Return an empty store whose cache asks for the tenant of the thread."""
    if request.param == "locks_db":
        request.getfixturevalue("db")
        call_command("createcachetable", database="locks", verbosity=0)
    spelt = {**settings.CACHES[request.param], "KEY_FUNCTION": f"{__name__}.tenants_key"}
    with override_settings(CACHES={**settings.CACHES, request.param: spelt}):
        caches[request.param].clear()
        _here.tenant = "north"
        yield open_store(request.param)
        caches[request.param].clear()
        _here.tenant = "public"


def named(store: LockStore) -> Lock:
    """Return a lock of this thread's tenant."""
    return lock(alias=store.alias, name=store.name_of(KEY))


def under_way(store: LockStore) -> Lock:
    """Return the lock of a run, taken and begun for north; from here on it is public's turn."""
    mine = named(store)
    assert store.acquire(mine, 600) is None
    begun = replace(running(mine), copied=True)
    assert store.start(begun, 60) == (Start.MINE, None)
    _here.tenant = "public"
    return begun


def norths(store: LockStore) -> Lock | None:
    """Return what is under the key for those who ask as north does."""
    before, _here.tenant = _here.tenant, "north"
    try:
        return store.inspect(KEY)
    finally:
        _here.tenant = before


def test_every_verb_keeps_to_the_name(store: LockStore) -> None:
    """Renew, shorten, hand on and release what a tenant has taken, without that tenant."""
    begun = under_way(store)
    assert store.inspect(KEY) is None
    assert store.renew([begun], 300) == [(begun, Start.MINE)]
    seen = norths(store)
    assert seen is not None
    assert 290 < seen.remaining <= 300
    again = store.inspect(KEY, begun.name)
    assert again is not None
    assert (again.token, again.name) == (seen.token, seen.name) == (begun.token, begun.name)
    assert store.shorten(begun, 100)
    following = replace(named(store), name=begun.name, call="call")
    holder = store.acquire(following, 60, follow=True)
    assert holder is not None
    assert holder.follow_up is not None
    assert holder.follow_up.name == begun.name
    last = store.release(begun, ended=60)
    assert last is not None
    assert last.follow_up is not None
    seen = norths(store)
    assert seen is not None
    assert (seen.owner, seen.token) == (following.owner, last.follow_up.token)
    assert store.release(last.follow_up) is not None
    assert norths(store) is None
    assert store.start(replace(begun, run="run-2"), 60) == (Start.ENDED, None)


def test_a_lock_that_was_seen_can_be_freed_elsewhere(store: LockStore) -> None:
    """Tell the name with what is read, so that a person's release meets it."""
    under_way(store)
    seen = norths(store)
    assert seen is not None
    assert store.force_release(KEY) is None
    assert store.release(seen) is not None
    assert norths(store) is None


def test_what_was_remembered_under_a_name(store: LockStore) -> None:
    """Know of a message's end where its lock is, and nowhere else."""
    begun = under_way(store)
    store.remember(begun, 60)
    assert store.start(replace(begun, name=""), 60)[0] is Start.TAKEN
    assert store.start(replace(begun, run="run-2"), 60) == (Start.ENDED, None)


@pytest.mark.parametrize("store", ["locks", "locks_django"], indirect=True)
def test_what_blocks_is_found_for_all_tenants(store: LockStore) -> None:
    """Look after follow-ups from a process that serves them all."""
    mine = named(store)
    store.acquire(mine, 600)
    store.start(running(mine), 0.05)
    store.acquire(replace(named(store), call="call"), 60, follow=True)
    _here.tenant = "public"
    wait_until(lambda: bool(store.blocked()))
    assert [(each.key, each.name) for each in store.blocked()] == [(KEY, mine.name)]
    _here.tenant = "north"
    assert [each.name for each in store.scan().locks] == [mine.name]


@pytest.mark.parametrize("store", ["locks"], indirect=True)
def test_threads_of_ours_keep_to_the_name(store: LockStore) -> None:
    """Renew in the thread of the leases, and release in that of what was left over."""
    begun = under_way(store)
    lease = Lease(begun, 60, 0.02, lambda _lock, _retaken: None)
    store.shorten(begun, 10)
    hold(lease)
    wait_until(lambda: bool((held := norths(store)) and held.remaining > 10))
    drop(lease)
    releases.release_later(begun, 60)
    wait_until(lambda: norths(store) is None)
