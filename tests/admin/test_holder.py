"""How the request that went through stands, and who made it."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User

from django_celery_once.admin.holder import Standing, find_result, holder_name, look_up
from django_celery_once.locks import LockStore, Phase, open_store
from django_celery_once.models import BlockedDuplicate
from testproject.redis_server import RedisServer
from tests.admin.incidents import end, make_incident
from tests.locks.stores import lock, running
from tests.outages import caches_at

pytestmark = pytest.mark.django_db

KEY = "once:reports.send:1"


@pytest.fixture
def store() -> LockStore:
    """Return the store that the pages read."""
    return open_store("locks")


def incident() -> BlockedDuplicate:
    """Return the row of an incident whose end was not seen."""
    return make_incident(1, key=KEY)


def test_ended(store: LockStore) -> None:
    """The log's word is enough: the key may be another's by now."""
    store.acquire(lock(KEY, owner="holder-1"), 60)
    found = look_up(end(incident(), "success"))
    assert (found.standing, found.lock) == (Standing.ENDED, None)


def test_queued(store: LockStore) -> None:
    """A lock that no run has begun with."""
    store.acquire(lock(KEY, owner="holder-1"), 60)
    found = look_up(incident())
    assert found.standing is Standing.QUEUED
    assert found.lock is not None
    assert found.lock.owner == "holder-1"


def test_running(store: LockStore) -> None:
    """A worker that renews its lease lives."""
    held = lock(KEY, owner="holder-1")
    store.acquire(held, 60)
    store.start(running(held), 60)
    found = look_up(incident())
    assert found.standing is Standing.RUNNING
    assert found.lock is not None
    assert found.lock.worker == "celery@here"


def test_silent(store: LockStore) -> None:
    """A worker that was not heard of for longer than ``LEASE`` does not."""
    held = lock(KEY, owner="holder-1")
    store.acquire(held, 60)
    store.start(running(held), 600)
    found = store.inspect(KEY)
    assert found is not None
    store.shorten(found, 100)
    assert look_up(incident()).standing is Standing.SILENT


def test_kept(store: LockStore) -> None:
    """A run that has ended, and whose key is kept until its time is up."""
    store.acquire(lock(KEY, owner="holder-1", phase=Phase.KEPT, until="expired"), 60)
    assert look_up(incident()).standing is Standing.KEPT


def test_gone(store: LockStore) -> None:
    """Nobody holds the key, or another does."""
    assert look_up(incident()).standing is Standing.GONE
    store.acquire(lock(KEY, owner="holder-2"), 60)
    found = look_up(incident())
    assert (found.standing, found.lock) == (Standing.GONE, None)


def test_unreachable(
    settings: Any, spare_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is said to be one, and logged."""
    settings.CACHES = caches_at(spare_redis_server)
    spare_redis_server.kill()
    with caplog.at_level(logging.WARNING, "django_celery_once.admin.holder"):
        assert look_up(incident()).standing is Standing.UNREACHABLE
    assert f"The lock {KEY} can't be looked up" in caplog.text


def test_a_cache_that_is_not_there(settings: Any) -> None:
    """Wrong settings break no page."""
    settings.DJANGO_CELERY_ONCE = {"CACHE": "nowhere"}
    assert look_up(incident()).standing is Standing.UNREACHABLE


def test_the_name_of_a_person() -> None:
    """The user's name, the number of one who is deleted, or nothing."""
    eva = User.objects.create_user("eva")
    assert holder_name(make_incident(1, requester=str(eva.pk))) == "eva"
    assert holder_name(make_incident(2, requester="999999")) == "user 999999 (deleted)"
    assert holder_name(make_incident(3)) == ""
    assert holder_name(make_incident(4, requester=str(uuid.uuid4()))) == ""


def test_a_person_who_is_deleted_now() -> None:
    """The row of the log stays, and knows the person no more."""
    eva = User.objects.create_user("eva")
    row = make_incident(1, requester=str(eva.pk))
    eva.delete()
    row.refresh_from_db()
    assert holder_name(row) == ""


def test_no_results_without_their_app() -> None:
    """django-celery-results is no requirement."""
    assert find_result("holder-1") is None
