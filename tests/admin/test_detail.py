"""The page of an incident: what it tells, to whom, and where it leads."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse
from django.utils import timezone

from django_celery_once.admin import BlockedDuplicateAdmin
from django_celery_once.columns import moment
from django_celery_once.locks import LockStore, open_store
from django_celery_once.models import BlockedDuplicate
from testproject.redis_server import RedisServer
from tests.admin import people
from tests.admin.incidents import change_url, detail, end, make_incident, refused, save
from tests.admin.test_locks import confirm, hold, hold_without_worker
from tests.factories import NOON
from tests.locks.stores import lock
from tests.outages import caches_at

pytestmark = [pytest.mark.django_db, pytest.mark.database]

KEY = "once:reports.send:1"
LOCKS = "admin:django_celery_once_heldlock_changelist"
LOCK_LINK = "/admin/django_celery_once/heldlock/?key=once%3Areports.send%3A1"


@pytest.fixture
def store() -> LockStore:
    """Return the store that the pages read."""
    return open_store("locks")


def markup(client: Client, incident: BlockedDuplicate) -> str:
    return client.get(change_url(incident)).content.decode()


# ---- what it tells


def test_a_report_that_was_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page begins with the answer, then the cause, then all that happened."""
    monkeypatch.setattr(timezone, "now", lambda: moment(NOON + 3600))
    eva = User.objects.create_user("eva")
    holder = {"requester": str(eva.pk), "label": "May report"}
    incident = save(refused(90, "eva", user=eva.pk, holder=holder), refused(2, "eva", user=eva.pk))
    page = detail(people.viewer(), end(incident, "success"))
    told = [
        "“May report” was asked for 90 more times, last by eva at 12:01. Each time it was blocked, "
        "because the request of 12:00 was still under way. That request was made by eva.",
        "Nothing to do: the request of 12:00 succeeded at 12:04.",
        "Probable cause: impatience (the same person asked again while waiting).",
        "What happened",
        "accepted: this request went through",
        "refused-2",
        "refused-90",
        "88 more were blocked and only counted",
        "lock freed: the task succeeded",
        "once:reports.send:abc",
    ]
    places = [page.find(each) for each in told]
    assert -1 not in places, told[places.index(-1)]
    assert places == sorted(places)


def test_every_field_is_only_read() -> None:
    """There is nothing to type into, nothing to save, and no history to look for."""
    page = markup(people.superuser(), make_incident())
    main = page[page.index('id="content-main"') :]
    for absent in ('name="_save"', 'name="task_name"', "<textarea", "historylink", "deletelink"):
        assert absent not in main


def test_arguments_that_were_kept() -> None:
    """They stand beside the call whose they are."""
    incident = save(refused(1, "eva", arguments="month='May', email='eva@example.com'"))
    assert "month='May', email='eva@example.com'" in detail(people.viewer(), incident)


def test_a_user_who_was_deleted() -> None:
    """The incident stays, with the name that was written down."""
    eva = User.objects.create_user("eva")
    holder = {"requester": str(eva.pk)}
    incident = save(refused(1, "eva", user=eva.pk, holder=holder))
    assert "made by eva" in detail(people.viewer(), incident)
    eva.delete()
    page = detail(people.superuser(), incident)
    assert "eva asked for “reports.send” again" in page
    assert "made by" not in page


def test_an_incident_that_is_not_there() -> None:
    """A pruned incident leads back to the index, as everywhere in the admin."""
    incident = make_incident()
    address = change_url(incident)
    BlockedDuplicate.objects.all().delete()
    assert people.viewer().get(address).status_code == 302


# ---- the lock


def test_a_lock_that_is_held(store: LockStore) -> None:
    """The page leads to its line among the live locks, whoever may see these."""
    hold(store, KEY, owner="holder-1")
    incident = make_incident()
    for client in (people.viewer(), people.staff("view_blockedduplicate", "release_lock")):
        page = markup(client, incident)
        assert f'href="{LOCK_LINK}"' in page
        assert "holder-1" in client.get(LOCK_LINK).content.decode()
    assert "Wait: the request of" in detail(client, incident)


def test_locks_are_for_those_who_may_see_them(store: LockStore) -> None:
    """Who may look at incidents only gets no link that would be refused."""
    hold(store, KEY, owner="holder-1")
    assert "heldlock" not in markup(people.staff("view_blockedduplicate"), make_incident())


def test_a_stuck_lock(store: LockStore) -> None:
    """Who may release it is told to, and who may not is told whom to ask."""
    held = hold(store, KEY, owner="holder-1", lease=600)
    store.shorten(held, 100)
    incident = make_incident()
    told, asked = detail(people.releaser(), incident), detail(people.viewer(), incident)
    for page in (told, asked):
        assert "The lock has no living worker; release it." in page
        assert "Probable cause: a stuck lock, with no living worker behind it." in page
    assert "ask somebody who does" not in told
    assert "You don't have permission to release locks: ask somebody who does." in asked


def test_a_lock_that_somebody_released(store: LockStore) -> None:
    """From the stuck lock to its release, and from its incident to who did it and why."""
    held = hold_without_worker(store, KEY)
    store.acquire(lock(KEY), 60)
    incident = make_incident(owner=held.owner)
    client = people.releaser()
    confirm(client, held, reason="the worker died at noon")
    incident.refresh_from_db()
    page = markup(client, incident)
    assert "Somebody released the lock" in page
    history = reverse("admin:django_celery_once_heldlock_history", args=[quote(KEY)])
    assert f'href="{history}"' in page
    assert "the worker died at noon" in client.get(history).content.decode()
    assert "heldlock" not in markup(people.staff("view_blockedduplicate"), incident)


def test_a_lock_that_is_another_s_now(store: LockStore) -> None:
    """A successor's lock is none of this incident's business."""
    hold(store, KEY, owner="holder-2")
    page = markup(people.viewer(), make_incident())
    assert "is gone without a word" in page
    assert LOCK_LINK not in page


def test_a_store_that_is_down(settings: Any, spare_redis_server: RedisServer) -> None:
    """The page is there, and says what it can't tell."""
    settings.CACHES = caches_at(spare_redis_server)
    spare_redis_server.kill()
    assert "The lock store can't be reached" in detail(people.viewer(), make_incident())


def test_a_store_that_can_not_list(settings: Any) -> None:
    """One lock is found by its key all the same."""
    settings.DJANGO_CELERY_ONCE = {"CACHE": "locks_locmem"}
    hold(open_store("locks_locmem"), KEY, owner="holder-1")
    assert LOCK_LINK in markup(people.viewer(), make_incident())


def test_a_site_without_the_locks(settings: Any, store: LockStore) -> None:
    """Where the live locks are not registered, there is no link to them."""
    hold(store, KEY, owner="holder-1")
    site = admin.AdminSite()
    site.register(BlockedDuplicate, BlockedDuplicateAdmin)
    urls = ModuleType("urls")
    urls.urlpatterns = [path("admin/", site.urls)]  # type: ignore[attr-defined]
    settings.ROOT_URLCONF = urls
    page = markup(people.superuser(), make_incident())
    assert "Wait: the request of" in page
    assert "heldlock" not in page


# ---- the cost


@pytest.mark.parametrize("attempts", [1, 20])
def test_queries_do_not_grow(attempts: int) -> None:
    """Eight queries at most, those of login and permissions included."""
    eva = User.objects.create_user("eva")
    incident = make_incident(1, attempts, requester=str(eva.pk))
    client = people.viewer()
    client.get(change_url(incident))
    with CaptureQueriesContext(connection) as captured:
        client.get(change_url(incident))
    assert len(captured) <= 8, [query["sql"] for query in captured]
