"""The admin's overview: its numbers, the lists behind them, the days and the stuck locks."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_celery_once.admin import figures
from django_celery_once.admin.chart import HEIGHT, draw
from django_celery_once.admin.figures import DayFigure
from django_celery_once.locks import open_store
from django_celery_once.models import BlockedDuplicate
from testproject.redis_server import RedisServer
from tests.admin import people
from tests.admin.test_locks import hold, hold_without_worker
from tests.duplicates import tables
from tests.factories import make_lock, make_rejection
from tests.outages import caches_at

pytestmark = [pytest.mark.django_db, pytest.mark.database]

OVERVIEW = "admin:django_celery_once_blockedduplicate_overview"
LIST = "admin:django_celery_once_blockedduplicate_changelist"
NOW = datetime(2026, 5, 20, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be noon of a day in May for whoever asks Django."""
    monkeypatch.setattr(timezone, "now", lambda: NOW)


def blocked(task: str, at: datetime, number: int = 0, database: str = "default") -> None:
    """Save an incident whose last duplicate was blocked at that moment."""
    holder = make_lock(key=f"once:{task}:{at.timestamp()}-{number}", task=task)
    rejection = make_rejection(task_name=task, holder=holder, at=at.timestamp())
    BlockedDuplicate.objects.using(database).record(rejection)


def blocked_before(task: str, *hours: float) -> None:
    """Save incidents as many hours old."""
    for number, each in enumerate(hours):
        blocked(task, NOW - timedelta(hours=each), number)


def links(client: Client) -> list[tuple[int, str]]:
    """Return the number and the address of each link into the list."""
    page = client.get(reverse(OVERVIEW)).content.decode()
    pattern = rf'<a href="({re.escape(reverse(LIST))}\?[^"]+)">([0-9]+)</a>'
    return [(int(count), href.replace("&amp;", "&")) for href, count in re.findall(pattern, page)]


def main(client: Client) -> str:
    """Return the overview itself, without what is around it on all pages."""
    page = client.get(reverse(OVERVIEW)).content.decode()
    return page[page.index('id="content-main"') : page.rindex("</section>")]


# ---- who may look


def test_visitors_are_sent_to_the_login() -> None:
    """Whoever is not logged in sees nothing."""
    for client in (people.anonymous(), people.customer()):
        response = client.get(reverse(OVERVIEW))
        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]


def test_staff_without_permission() -> None:
    """Who may see locks only is refused."""
    assert people.staff("view_heldlock").get(reverse(OVERVIEW)).status_code == 403


@pytest.mark.parametrize("make_client", [people.viewer, people.releaser, people.superuser])
def test_who_may_look(make_client: Callable[[], Client]) -> None:
    """The permission to view opens the page, and the list leads to it."""
    client = make_client()
    assert client.get(reverse(OVERVIEW)).status_code == 200
    assert reverse(OVERVIEW) in client.get(reverse(LIST)).content.decode()


def test_the_overview_is_only_read() -> None:
    """There is nothing to post."""
    assert people.superuser().post(reverse(OVERVIEW)).status_code == 405


# ---- the numbers


def test_each_number_is_that_of_the_list_behind_it() -> None:
    """Every link leads to as many incidents as it says."""
    blocked_before("reports.send", 0.5, 0.6, 3, 30, 24 * 6.9, 24 * 8, 24 * 29.9)
    blocked_before("a&b=c ü", 2, 24 * 10)
    blocked_before("reports.old", 24 * 31)
    client = people.viewer()
    found = links(client)
    assert [count for count, _href in found] == [2, 3, 5, 7, 0, 1, 1, 2, 2, 4, 6, 9]
    for count, href in found:
        assert client.get(href).context["cl"].queryset.count() == count, href


def test_the_limits_of_a_window_are_those_of_the_list() -> None:
    """An incident just as old as a window counts in it, in both."""
    blocked_before("reports.send", 1, 24, 7 * 24, 30 * 24)
    client = people.viewer()
    found = links(client)
    assert [count for count, _href in found] == [1, 2, 3, 4] * 2
    for count, href in found:
        assert client.get(href).context["cl"].queryset.count() == count, href


def test_the_busiest_task_comes_first() -> None:
    """Tasks are in order of what was blocked in the longest window."""
    blocked_before("b.quiet", 1)
    blocked_before("c.busy", 24 * 20, 24 * 21)
    blocked_before("a.quiet", 24 * 20)
    assert [each.task for each in figures.read_figures().tasks] == ["c.busy", "a.quiet", "b.quiet"]


def test_nothing_was_blocked() -> None:
    """An empty log has a page, too."""
    client = people.viewer()
    assert [count for count, _href in links(client)] == [0, 0, 0, 0]
    assert 'height="0"' in client.get(reverse(OVERVIEW)).content.decode()


def test_a_task_is_no_markup() -> None:
    """A name that somebody chose is shown as text."""
    blocked_before("<script>alert(1)</script>", 1)
    assert "<script>alert" not in people.viewer().get(reverse(OVERVIEW)).content.decode()


# ---- the days


def test_a_figure_for_each_day() -> None:
    """The last thirty days are there, those without anything as well."""
    blocked_before("reports.send", 1, 2, 24 * 3, 24 * 29)
    days = figures.read_figures().days
    assert [days[0].day, days[-1].day] == [date(2026, 4, 21), date(2026, 5, 20)]
    assert {each.day: each.count for each in days if each.count} == {
        date(2026, 5, 20): 2,
        date(2026, 5, 17): 1,
        date(2026, 4, 21): 1,
    }


@pytest.mark.parametrize(
    ("zone", "day"), [("Pacific/Kiritimati", date(2026, 5, 20)), ("UTC", date(2026, 5, 19))]
)
def test_days_are_those_of_the_current_time_zone(zone: str, day: date) -> None:
    """What happened at noon was tomorrow in the east."""
    blocked("reports.send", NOW - timedelta(days=1))
    with timezone.override(zone):
        assert [each.day for each in figures.read_figures().days if each.count] == [day]


def test_days_of_a_changed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day on which summer time begins has 23 hours, and each belongs to one day."""
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 4, 2, 12, tzinfo=UTC))
    first = datetime(2026, 3, 28, 12, 30, tzinfo=ZoneInfo("Europe/Vienna")).astimezone(UTC)
    for hour in range(48):
        blocked("reports.send", first + timedelta(hours=hour))
    with timezone.override("Europe/Vienna"):
        counts = {each.day.day: each.count for each in figures.read_figures().days if each.count}
    assert counts == {28: 12, 29: 23, 30: 13}


def test_without_time_zones(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``USE_TZ`` off, days are those of the server's clock."""
    settings.USE_TZ = False
    monkeypatch.setattr(timezone, "now", lambda: NOW.replace(tzinfo=None))
    blocked("reports.send", NOW)
    assert figures.read_figures().days[-1] == DayFigure(date(2026, 5, 20), 1)
    assert [each.counts["1h"] for each in figures.read_figures().tasks] == [1]


def test_the_picture_has_a_table_with_its_numbers() -> None:
    """The same days and numbers are drawn and written."""
    blocked_before("reports.send", 1, 2, 24 * 3)
    page = main(people.viewer())
    for day, count in (("May 20, 2026", 2), ("May 17, 2026", 1), ("May 16, 2026", 0)):
        assert f"<title>{day}: {count}</title>" in page
        assert f'<th scope="row">{day}</th><td class="once-number">{count}</td>' in page
    assert re.search(r'<svg[^>]+role="img"[^>]+aria-labelledby="once-chart-title"', page)
    assert page.count("<caption id=") == 2


def test_the_numbers_of_a_picture_are_not_localized(settings: Any) -> None:
    """No language puts a separator into a coordinate."""
    settings.USE_THOUSAND_SEPARATOR = True
    page = main(people.viewer())
    for value in re.findall(r' (?:x|y|width|height|x1|x2|y1|y2)="([^"]*)"', page):
        assert value.isdigit()


def test_a_low_bar_is_seen() -> None:
    """One beside a million is no day without any, and the highest is as high as may be."""
    days = [DayFigure(date(2026, 5, day), count) for day, count in ((1, 0), (2, 1), (3, 10**6))]
    assert [bar.height for bar in draw(days).bars] == ["0", "1", str(HEIGHT)]


# ---- the locks


def text(client: Client) -> str:
    return " ".join(client.get(reverse(OVERVIEW)).content.decode().split())


def test_the_lock_held_longest() -> None:
    """It is named, and leads to its line among the live locks."""
    store = open_store("locks")
    hold(store, "once:t:young", label="young")
    hold(store, "once:t:old", label="old", since=1000.0)
    page = text(people.viewer())
    assert re.search(r'Held longest: <a href="[^"]+heldlock/\?key=once%3At%3Aold">old</a>', page)
    assert "No worker that runs a task has gone silent." in page


def test_locks_without_a_living_worker() -> None:
    """They are counted and named."""
    store = open_store("locks")
    hold(store, "once:t:alive", lease=60)
    hold_without_worker(store, "once:t:lost")
    page = text(people.viewer())
    assert "1 lock without a living worker:" in page
    assert "heldlock/?key=once%3At%3Alost" in page


def test_no_locks() -> None:
    """An empty store is said to be empty."""
    assert "Nobody holds a lock." in text(people.viewer())


def test_locks_are_for_those_who_may_see_them() -> None:
    """The permission to view incidents is not the one to view locks."""
    hold(open_store("locks"), label="secret report")
    page = text(people.staff("view_blockedduplicate"))
    assert "have permission to look at the locks" in page
    assert "secret report" not in page


def test_a_store_that_can_not_list(settings: Any) -> None:
    """The page says so."""
    settings.DJANGO_CELERY_ONCE = {"CACHE": "locks_locmem"}
    assert "The lock store can&#x27;t list its locks." in text(people.viewer())


def test_a_store_that_is_down(settings: Any, spare_redis_server: RedisServer) -> None:
    """The figures are there without the locks."""
    settings.CACHES = caches_at(spare_redis_server)
    spare_redis_server.kill()
    blocked_before("reports.send", 1)
    page = text(people.viewer())
    assert "The lock store can&#x27;t be reached now" in page
    assert "reports.send" in page


# ---- the cost


@pytest.mark.django_db(databases=["default", "locks"], transaction=True)
def test_the_log_is_read_where_it_is_written(settings: Any) -> None:
    """With ``LOG_DATABASE`` elsewhere, that database's rows are counted."""
    settings.DJANGO_CELERY_ONCE = {"CACHE": "locks", "LOG_DATABASE": "locks"}
    with tables("locks", there=True):
        blocked("reports.send", NOW, database="locks")
        assert [count for count, _href in links(people.viewer())] == [1] * 8


def test_queries_do_not_grow() -> None:
    """A page is at most eight queries, those of login and permissions included."""
    client = people.viewer()
    for tasks in (1, 12):
        for number in range(tasks):
            blocked_before(f"reports.{number}", 1, 24)
        with CaptureQueriesContext(connections["default"]) as captured:
            client.get(reverse(OVERVIEW))
        assert len(captured) <= 8
