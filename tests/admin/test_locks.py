"""The admin page of live locks: what it shows, to whom, and how a lock is released."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.core.cache import caches
from django.test import Client, override_settings
from django.urls import reverse

from django_celery_once import live
from django_celery_once.admin import listing
from django_celery_once.locks import Lock, LockStore, Phase, open_store
from django_celery_once.models import BlockedDuplicate
from testproject.redis_server import RedisServer
from tests.admin import people
from tests.celery_app import app
from tests.configurations import once
from tests.factories import make_rejection
from tests.locks.stores import lock, running
from tests.outages import caches_at

pytestmark = pytest.mark.django_db

LIST = "admin:django_celery_once_heldlock_changelist"
RELEASE = "admin:django_celery_once_heldlock_release"
HISTORY = "admin:django_celery_once_heldlock_history"
CHANGE = "admin:django_celery_once_heldlock_change"
KEY = "once:tests.report:k"


@pytest.fixture
def store() -> LockStore:
    """Return the store that the pages read."""
    return open_store("locks")


def hold(store: LockStore, key: str = KEY, lease: float = 0, **fields: Any) -> Lock:
    """Put a lock into the store, under a lease if its task is to run; return its record."""
    held = lock(key, **fields)
    assert store.acquire(held, 600) is None
    if lease:
        store.start(running(held), lease)
    found = store.inspect(key)
    assert found is not None
    return found


def hold_without_worker(store: LockStore, key: str = KEY) -> Lock:
    """Put a lock into the store whose worker was last heard of long ago."""
    held = hold(store, key, lease=600)
    store.shorten(held, 100)
    found = store.inspect(key)
    assert found is not None
    return found


def text(client: Client, **query: str) -> str:
    """Return the list as a browser shows it, its words without markup."""
    page = client.get(reverse(LIST), query).content.decode()
    main = page[page.index('id="content-main"') :]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


def mark(held: Lock) -> str:
    """Return what the list gives along with its release button."""
    return listing.Holding(held).mark


def confirm(client: Client, held: Lock, **form: str) -> Any:
    """Release a lock, its page of confirmation filled in."""
    form = {"mark": mark(held), "confirmed": "yes", "reason": "stuck", **form}
    return client.post(release_url(held.key), form, follow=True)


def release_url(key: str = KEY) -> str:
    return reverse(RELEASE, args=[quote(key)])


def said(response: Any) -> list[str]:
    """Return the messages on a page."""
    return [str(message) for message in response.context["messages"]]


# ---- who may look


def test_visitors_are_sent_to_the_login() -> None:
    """Whoever is not logged in sees nothing."""
    for client in (people.anonymous(), people.customer()):
        response = client.get(reverse(LIST))
        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]


def test_staff_without_permission() -> None:
    """Staff who may not look are refused, and the index does not name the page."""
    client = people.staff("view_blockedduplicate")
    assert client.get(reverse(LIST)).status_code == 403
    assert client.get(reverse(HISTORY, args=["x"])).status_code == 403
    assert "Live locks" not in client.get(reverse("admin:index")).content.decode()


@pytest.mark.parametrize(
    "make_client",
    [people.viewer, people.releaser, people.superuser, lambda: people.staff("release_lock")],
    ids=["viewer", "releaser", "superuser", "may only release"],
)
def test_who_may_look(make_client: Callable[[], Client]) -> None:
    """Either permission opens the page, and the index leads to it."""
    client = make_client()
    assert client.get(reverse(LIST)).status_code == 200
    assert reverse(LIST) in client.get(reverse("admin:index")).content.decode()


def test_a_viewer_sees_no_release(store: LockStore) -> None:
    """The button, and what goes with it, is for those who may use it."""
    held = hold(store)
    page = people.viewer().get(reverse(LIST)).content.decode()
    assert held.owner in page
    assert "/release/" not in page
    assert mark(held) not in page
    assert "/release/" in people.releaser().get(reverse(LIST)).content.decode()


def test_the_token_stays_on_the_server(store: LockStore) -> None:
    """No page has what frees a lock in the store."""
    held = hold(store, lease=60)
    client = people.superuser()
    asked = client.post(release_url(), {"mark": mark(held)})
    for response in (client.get(reverse(LIST)), asked):
        assert response.status_code == 200
        assert held.token not in response.content.decode()


# ---- what the list shows


def test_a_line_tells_of_a_lock(store: LockStore) -> None:
    """Task, label, phase, age, worker, holder and hits are there."""
    held = hold(store, lease=60)
    store.acquire(lock(KEY), 60)
    page = text(people.viewer())
    for words in ("May report", "tests.report", "running", held.owner, KEY, "celery@here"):
        assert words in page
    assert "alive, last seen 0 seconds ago" in page
    assert re.search(r"last seen \d seconds ago 1$", page)


def test_a_queued_task_has_no_worker(store: LockStore) -> None:
    """Nothing is said of a worker that there is not."""
    hold(store)
    page = text(people.viewer())
    assert "queued" in page
    assert "alive" not in page
    assert "no sign of life" not in page


def test_one_run_more_and_a_key_that_is_kept(store: LockStore) -> None:
    """It tells what is to come, and that nothing runs any more."""
    hold(store, lease=60)
    store.acquire(lock(KEY), 600, follow=True)
    hold(store, f"{KEY}2", phase=Phase.KEPT, until="expired")
    told = text(people.viewer())
    assert "running; one run more follows" in told
    assert "ended, kept until its time is up" in told


def test_a_lock_without_a_living_worker(store: LockStore) -> None:
    """The list says for how long nothing was heard."""
    hold_without_worker(store)
    assert "no sign of life for 8 minutes" in text(people.viewer())


def test_those_held_longest_come_first(store: LockStore) -> None:
    """The order is by age."""
    for number, since in enumerate((300.0, 100.0, 200.0)):
        hold(store, f"once:t:{number}", owner=f"since-{since:.0f}", since=since)
    page = text(people.viewer())
    assert page.index("since-100") < page.index("since-200") < page.index("since-300")


def test_the_locks_of_a_task(store: LockStore) -> None:
    """``?task=`` shows a task's own, taken literally."""
    hold(store, owner="mine")
    hold(store, "once:tests.other:k", owner="other", task="tests.other")
    client = people.viewer()
    page = text(client, task="tests.report")
    assert "mine" in page
    assert "other" not in page
    assert "Nobody holds a lock of this task." in text(client, task="tests.*")


def test_the_lock_of_a_key(store: LockStore) -> None:
    """``?key=`` shows one lock."""
    hold(store, owner="mine")
    hold(store, "once:tests.report:other", owner="other")
    client = people.viewer()
    page = text(client, key=KEY)
    assert "mine" in page
    assert "other" not in page
    assert "Nobody holds a lock under this key." in text(client, key="once:tests.report:none")


@pytest.mark.parametrize("key", ["session:1", "*", "once:ü", "once:" + "x" * 5000, "\0", "once: "])
def test_what_is_no_key(key: str) -> None:
    """Whatever else is in the cache is none of this page's business."""
    caches["locks"].set("session:1", {"secret": "words"}, 60)
    page = text(people.viewer(), key=key)
    assert "Nobody holds a lock under this key." in page


def test_no_locks() -> None:
    """An empty store is said to be empty."""
    assert "Nobody holds a lock." in text(people.viewer())


def test_what_a_lock_says_is_no_markup(store: LockStore) -> None:
    """What a caller chose is shown as text."""
    hold(store, label="<script>alert(1)</script>", owner="<b>me</b>")
    client = people.releaser()
    page = client.get(reverse(LIST), {"task": '"><script>alert(2)'}).content.decode()
    page += client.get(reverse(LIST)).content.decode()
    assert "<script>alert" not in page
    assert "<b>me" not in page


def test_a_list_that_stopped_early_says_so(
    store: LockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes the first locks found for all."""
    for number in range(3):
        hold(store, f"once:t:{number}")
    monkeypatch.setattr(live.find, "__defaults__", ("", 2, 5.0))
    assert "The first 2 locks found; there may be more." in text(people.viewer())


def test_a_long_list_is_cut(store: LockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page shows the locks held longest, and says that there are others."""
    for number in range(3):
        hold(store, f"once:t:{number}", owner=f"since-{number}", since=100.0 + number)
    monkeypatch.setattr(listing, "SHOWN", 2)
    page = text(people.viewer())
    assert "The 2 held longest are shown." in page
    assert "since-1" in page
    assert "since-2" not in page


def test_a_store_that_can_not_list(settings: Any) -> None:
    """The page says so, and finds a lock by its key all the same."""
    settings.DJANGO_CELERY_ONCE = {"CACHE": "locks_locmem"}
    held = hold(open_store("locks_locmem"))
    client = people.releaser()
    assert "The lock store can't list its locks. Ask for one by its key." in text(client)
    assert held.owner in text(client, key=KEY)
    assert said(confirm(client, held)) == ["The lock of May report is free."]
    assert open_store("locks_locmem").inspect(KEY) is None


def test_a_store_that_is_down(settings: Any, spare_redis_server: RedisServer) -> None:
    """The page says so with the status of an outage, and nothing breaks."""
    settings.CACHES = caches_at(spare_redis_server)
    client = people.releaser()
    held = hold(open_store("locks"))
    spare_redis_server.kill()
    for query in ({}, {"key": KEY}):
        response = client.get(reverse(LIST), query)
        assert response.status_code == 503
        assert "The lock store can&#x27;t be reached now" in response.content.decode()
    answer = confirm(client, held)
    assert said(answer) == [
        "The lock store did not answer. Whether the lock was released is not known."
    ]
    assert not LogEntry.objects.exists()


# ---- releasing


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch"])
def test_a_release_is_posted(store: LockStore, method: str) -> None:
    """A link, a crawler or a prefetch releases nothing."""
    hold(store)
    response = getattr(people.releaser(), method)(release_url())
    assert response.status_code == 405
    assert response["Allow"] == "POST"
    assert store.inspect(KEY) is not None


@pytest.mark.parametrize(
    "make_client",
    [people.viewer, people.staff, people.anonymous, people.customer],
    ids=["viewer", "staff", "anonymous", "customer"],
)
def test_a_forged_release_does_nothing(store: LockStore, make_client: Callable[[], Client]) -> None:
    """Whoever lacks the permission is refused, though the form is right."""
    held = hold(store)
    form = {"mark": mark(held), "confirmed": "yes", "reason": "because"}
    response = make_client().post(release_url(), form)
    assert response.status_code in (302, 403)
    if response.status_code == 302:
        assert "/admin/login/" in response["Location"]
    assert store.inspect(KEY) is not None
    assert not LogEntry.objects.exists()


def test_a_release_from_another_site_is_refused(store: LockStore) -> None:
    """Without the form's own secret a POST is refused."""
    held = hold(store)
    client = Client(enforce_csrf_checks=True)
    people.releaser()
    client.force_login(User.objects.get(username="releaser"))
    form = {"mark": mark(held), "confirmed": "yes", "reason": "because"}
    assert client.post(release_url(), form).status_code == 403
    assert store.inspect(KEY) is not None


def test_the_page_before_a_release(store: LockStore) -> None:
    """It tells who holds what since when, asks for a reason, and does nothing yet."""
    person = User.objects.create_user("ada")
    held = hold(store, requester=str(person.pk))
    page = people.releaser().post(release_url(), {"mark": mark(held)}).content.decode()
    for words in ("May report (tests.report)", held.owner, KEY, "<dd>ada</dd>", "has not started"):
        assert words in page
    assert 'name="reason"' in page
    assert 'name="twice"' not in page
    assert 'name="revoke"' in page
    found = store.inspect(KEY)
    assert found is not None
    assert replace(found, remaining=held.remaining) == held


@pytest.mark.parametrize("requester", ["", "x", "999999", "\u00fc"])
def test_a_requester_who_is_nobody(store: LockStore, requester: str) -> None:
    """The page of a lock does not need its requester."""
    held = hold(store, requester=requester)
    response = people.releaser().post(release_url(), {"mark": mark(held)})
    assert "<dd>not known</dd>" in response.content.decode()


def test_a_lock_is_released(store: LockStore, caplog: pytest.LogCaptureFixture) -> None:
    """The lock is gone; the history, the log and the page say who did it and why."""
    held = hold(store)
    client = people.releaser()
    with caplog.at_level(logging.WARNING, "django_celery_once.live"):
        response = confirm(client, held, reason="stuck since the outage")
    assert store.inspect(KEY) is None
    assert said(response) == ["The lock of May report is free."]
    [entry] = LogEntry.objects.all()
    assert (entry.user.get_username(), entry.object_id) == ("releaser", KEY)
    words = f"Released the lock of May report, task {held.owner}: stuck since the outage"
    assert entry.get_change_message() == words
    assert "releaser freed the lock" in caplog.text
    history = client.get(reverse(HISTORY, args=[quote(KEY)])).content.decode()
    assert words in history
    index = client.get(reverse("admin:index")).content.decode()
    assert reverse(CHANGE, args=[quote(KEY)]) in index
    followed = client.get(reverse(CHANGE, args=[quote(KEY)]))
    assert followed["Location"] == f"{reverse(LIST)}?key=once%3Atests.report%3Ak"


def test_a_release_settles_the_incident(store: LockStore) -> None:
    """The journal says that somebody released the lock."""
    held = hold(store, task="reports.send")
    store.acquire(lock(KEY), 60)
    BlockedDuplicate.objects.record(make_rejection(holder=replace(held, hits=1)))
    confirm(people.releaser(), held)
    [incident] = BlockedDuplicate.objects.all()
    assert incident.outcome == "released"
    assert incident.released_at is not None


@pytest.mark.parametrize("reason", ["", "   ", "x" * 201])
def test_a_reason_is_required(store: LockStore, reason: str) -> None:
    """Without a reason, or with a novel, the page comes again."""
    held = hold(store)
    response = confirm(people.releaser(), held, reason=reason)
    assert response.context["form"].errors.keys() == {"reason"}
    assert store.inspect(KEY) is not None


def test_a_living_holder_needs_a_second_tick(store: LockStore) -> None:
    """Releasing under a worker that is alive is confirmed twice."""
    held = hold(store, lease=60)
    client = people.releaser()
    response = confirm(client, held)
    assert response.context["form"].errors.keys() == {"twice"}
    assert "this may run twice" in response.content.decode()
    assert store.inspect(KEY) is not None
    assert said(confirm(client, held, twice="on")) == ["The lock of May report is free."]
    assert store.inspect(KEY) is None


def test_a_dead_holder_needs_none(store: LockStore) -> None:
    """Releasing the lock of a worker that gives no sign of life is confirmed once."""
    held = hold_without_worker(store)
    assert said(confirm(people.releaser(), held)) == ["The lock of May report is free."]


def test_another_lock_by_now(store: LockStore) -> None:
    """The lock of a successor stays, and the page says so."""
    seen = hold(store)
    store.release(seen)
    successor = hold(store)
    response = confirm(people.releaser(), seen)
    assert said(response) == [
        "This is another lock now, or its task has started. Nothing was done."
    ]
    found = store.inspect(KEY)
    assert found is not None
    assert found.owner == successor.owner


def test_a_task_that_started_by_now(store: LockStore) -> None:
    """The lock of a task that began meanwhile is not the one that was seen."""
    seen = hold(store)
    store.start(running(seen), 60)
    response = confirm(people.releaser(), seen)
    assert said(response) == [
        "This is another lock now, or its task has started. Nothing was done."
    ]
    assert store.inspect(KEY) is not None


def test_a_lock_that_is_free_by_now(store: LockStore) -> None:
    """Nothing is left to do, and nothing is written into the history."""
    seen = hold(store)
    store.release(seen)
    assert said(confirm(people.releaser(), seen)) == ["The lock is free already."]
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("forged", ["", "x", "\u00fc"])
def test_a_mark_that_is_none(store: LockStore, forged: str) -> None:
    """A form without the mark of the lock releases nothing."""
    held = hold(store)
    response = confirm(people.releaser(), held, mark=forged)
    assert "Nothing was done." in said(response)[0]
    assert store.inspect(KEY) is not None


def test_a_key_of_something_else(store: LockStore) -> None:
    """An address can't release what is no lock."""
    caches["locks"].set("session:1", "words", 60)
    response = people.releaser().post(release_url("session:1"), {"mark": "x"}, follow=True)
    assert said(response) == ["The lock is free already."]
    assert caches["locks"].get("session:1") == "words"


def test_release_and_revoke(store: LockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers are told to drop the task."""
    revoked = []
    monkeypatch.setattr(
        app.control, "revoke", lambda task, **options: revoked.append((task, options["terminate"]))
    )
    held = hold(store, lease=60)
    response = confirm(people.releaser(), held, twice="on", revoke="on")
    assert revoked == [(held.owner, True)]
    assert said(response) == [f"The lock of May report is free and task {held.owner} is revoked."]
    assert "(and revoked the task)" in LogEntry.objects.get().get_change_message()


def test_a_broker_that_is_down(store: LockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says that the lock is free and the task not revoked."""
    monkeypatch.setattr(app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    held = hold(store)
    response = confirm(people.releaser(), held, revoke="on")
    assert said(response) == [
        f"The lock of May report is free, but task {held.owner} is not revoked: the broker can't "
        "be reached."
    ]
    assert store.inspect(KEY) is None
    assert "revoked" not in LogEntry.objects.get().get_change_message()


# ---- several caches


MOVED = {"reports.other": {"cache": "locks_django"}}


def test_locks_in_several_caches_are_told_apart(store: LockStore) -> None:
    """The cache of each is named, and a lock is freed where the list has seen it."""
    hold(store)
    stale = hold(open_store("locks_django"))
    client = people.superuser()
    assert "Cache" not in text(client)
    with once(TASKS=MOVED):
        page = client.get(reverse(LIST)).content.decode()
        assert "<br>Cache: locks</small>" in page
        assert "<br>Cache: locks_django</small>" in page
        assert f'formaction="{release_url()}?cache=locks_django"' in page
        address, marked = f"{release_url()}?cache=locks_django", {"mark": mark(stale)}
        asked = client.post(address, marked).content.decode()
        assert "<dt>Cache</dt><dd>locks_django</dd>" in asked
        client.post(address, {**marked, "confirmed": "yes", "reason": "stale"})
    assert open_store("locks_django").inspect(KEY) is None
    assert store.inspect(KEY) is not None


def test_a_cache_that_is_away_hides_no_other(spare_redis_server: RedisServer) -> None:
    """Its locks are said to be missing, on both pages, and the others are there."""
    held = hold(open_store("locks_django"), "once:reports.other:1")
    spare_redis_server.kill()
    client = people.superuser()
    with once(TASKS=MOVED), override_settings(CACHES=caches_at(spare_redis_server)):
        response = client.get(reverse(LIST))
        shown = text(client)
        overview = client.get(reverse("admin:django_celery_once_blockedduplicate_overview"))
        asked = text(client, key="once:reports.other:nobody")
    assert response.status_code == 200
    assert "The lock store “locks” can't be reached now: its locks are missing here." in shown
    assert held.owner in shown
    assert "“locks”" in overview.content.decode()
    assert "“locks”" in asked
    assert "Nobody holds" not in asked


def test_a_cache_that_can_not_list_beside_one_that_can(store: LockStore) -> None:
    """It is said whose locks are not listed."""
    held = hold(store)
    with once(TASKS={"reports.other": {"cache": "locks_locmem"}}):
        shown = text(people.superuser())
    assert held.owner in shown
    assert "The lock store “locks_locmem” can't list its locks. Ask for one by its key." in shown
