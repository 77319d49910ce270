"""The list of blocked duplicates: who sees it, what it tells, and that nobody changes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from tests.admin import people
from tests.admin.incidents import (
    APP,
    EXPORT,
    HISTORY,
    LIST,
    change_url,
    end,
    listed,
    make_incident,
    refused,
    save,
    words,
)
from tests.duplicates import tables
from tests.factories import NOON

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ADD = f"{APP}_add"
DELETE = f"{APP}_delete"

MakeClient = Callable[[], Client]


def pages(incident: BlockedDuplicate) -> list[str]:
    """Return the pages that may be looked at."""
    return [reverse(LIST), change_url(incident), reverse(HISTORY, args=[incident.pk])]


def row(client: Client) -> dict[str, str]:
    """Return the cells of the list's first line, by their column."""
    page = client.get(reverse(LIST)).content.decode()
    cells = re.findall(r'<t[hd] class="field-(\w+)">(.*?)</t[hd]>', page)
    return {name: words(cell) for name, cell in reversed(cells)}


# ---- who may look


@pytest.mark.parametrize("make_client", [people.anonymous, people.customer])
def test_visitors_are_sent_to_the_login(make_client: MakeClient) -> None:
    """Whoever is no staff sees nothing, whatever else is permitted."""
    client = make_client()
    for page in [*pages(make_incident()), reverse(EXPORT)]:
        response = client.get(page)
        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]


def test_staff_without_permission() -> None:
    """Staff who may not look are refused, and the index does not name the page."""
    client = people.staff("view_heldlock", "release_lock", "export_blockedduplicate")
    for page in [*pages(make_incident()), reverse(EXPORT)]:
        assert client.get(page).status_code == 403
    assert "Blocked duplicates" not in client.get(reverse("admin:index")).content.decode()


@pytest.mark.parametrize(
    "make_client",
    [people.viewer, people.releaser, people.editor, people.superuser],
)
def test_who_may_look(make_client: MakeClient) -> None:
    """The permission to view opens the pages, and the index leads to the list."""
    client = make_client()
    for page in pages(make_incident()):
        assert client.get(page).status_code == 200
    assert reverse(LIST) in client.get(reverse("admin:index")).content.decode()


# ---- nobody changes it


@pytest.mark.parametrize("make_client", [people.viewer, people.editor, people.superuser])
@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_edits_a_log(make_client: MakeClient, method: str) -> None:
    """Adding, changing and deleting is refused, to superusers and forged forms as well."""
    client, incident = make_client(), make_incident()
    form = {"task_name": "forged", "post": "yes", "_save": "Save"}
    assert getattr(client, method)(reverse(ADD), form).status_code == 403
    assert getattr(client, method)(reverse(DELETE, args=[incident.pk]), form).status_code == 403
    if method == "post":
        assert client.post(change_url(incident), form).status_code == 403
    [kept] = BlockedDuplicate.objects.all()
    assert (kept.task_name, BlockedAttempt.objects.count()) == ("reports.send", 1)


def test_no_action_deletes() -> None:
    """A forged bulk action deletes nothing either."""
    client, incident = people.superuser(), make_incident()
    client.post(
        reverse(LIST),
        {"action": "delete_selected", "_selected_action": [str(incident.pk)], "post": "yes"},
    )
    assert BlockedDuplicate.objects.exists()
    page = client.get(reverse(LIST)).content.decode()
    assert 'name="action"' not in page
    assert 'type="checkbox"' not in page


def test_no_list_is_edited() -> None:
    """A forged form of a list with inputs saves nothing."""
    client, incident = people.superuser(), make_incident()
    form = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(incident.pk),
        "form-0-task_name": "forged",
        "_save": "Save",
    }
    client.post(reverse(LIST), form)
    assert BlockedDuplicate.objects.get().task_name == "reports.send"


def test_nothing_is_posted_to_the_download() -> None:
    """A download is only read."""
    assert people.superuser().post(reverse(EXPORT)).status_code == 405


# ---- what it tells


def test_a_line_tells_the_story() -> None:
    """A line says what, how often, when, by whom, in whose favour, and how it ended."""
    end(make_incident(attempts=3), "success")
    assert row(people.viewer()) == {
        "what": "Report 1",
        "blocked": "3",
        "last_blocked": "2026-05-01 12:00:03",
        "asked_by": "asker-1",
        "in_flight": "holder-1",
        "ended": "the task succeeded",
    }


def test_a_line_without_words() -> None:
    """A task without a label has its name, a visitor none, and what has not ended says so."""
    save(refused())
    found = row(people.viewer())
    assert found["what"] == "reports.send"
    assert found["asked_by"] == "not logged in"
    assert found["ended"] == "no end seen yet"


@pytest.mark.parametrize(("outcome", "told"), [("", "not known"), ("new", "new")])
def test_an_end_without_a_known_reason(outcome: str, told: str) -> None:
    """A row of another version of the app has its line, too."""
    end(make_incident(), outcome)
    assert row(people.viewer())["ended"] == told


def test_the_latest_come_first() -> None:
    """The order is by the last refused call."""
    make_incident(1, attempts=3)
    make_incident(2, attempts=5)
    make_incident(3, attempts=1)
    assert listed(people.viewer()) == ["holder-2", "holder-1", "holder-3"]


def test_the_table_has_a_caption() -> None:
    """Whoever listens to the page is told what the table is."""
    make_incident()
    page = people.viewer().get(reverse(LIST)).content.decode()
    assert re.search(r"<table[^>]*><caption[^>]*>Blocked duplicates, the latest first<", page)


def test_an_empty_log() -> None:
    """Without any rows there is a page all the same."""
    assert "0 blocked duplicates" in words(people.viewer().get(reverse(LIST)).content.decode())


def test_a_value_in_a_row_is_no_markup() -> None:
    """What somebody else chose is shown as text, on every page."""
    evil = "<script>alert(1)</script>"
    holder = {"label": evil, "task": evil, "owner": evil, "key": f"once:{evil}"}
    incident = save(
        refused(
            1, evil, path=f"/{evil}", view_name=evil, holder=holder, task_id=evil, arguments=evil
        )
    )
    client = people.superuser()
    for page in [*pages(incident), f"{reverse(LIST)}?q={evil}", f"{reverse(LIST)}?task={evil}"]:
        shown = client.get(page).content.decode()
        assert "<script>alert(1)" not in shown, page
        assert "&lt;script&gt;alert(1)" in shown, page


def test_moments_are_in_the_current_time_zone(settings: Any) -> None:
    """Staff read their own clock."""
    settings.TIME_ZONE = "Asia/Tokyo"
    make_incident()
    assert row(people.viewer())["last_blocked"] == "2026-05-01 21:00:01"


def test_without_time_zones(settings: Any) -> None:
    """With ``USE_TZ`` off, every page answers."""
    settings.USE_TZ = False
    incident = end(make_incident(), "success")
    client = people.superuser()
    for page in [*pages(incident), f"{reverse(LIST)}?window=24h"]:
        assert client.get(page).status_code == 200
    assert row(client)["last_blocked"] == "2026-05-01 12:00:01"


@pytest.mark.django_db(transaction=True, databases=["default", "locks"])
def test_the_log_is_read_where_it_is_written(settings: Any) -> None:
    """With ``LOG_DATABASE`` elsewhere, all pages show that database's rows."""
    client = people.superuser()
    settings.DJANGO_CELERY_ONCE = {"CACHE": "locks", "LOG_DATABASE": "locks"}
    with tables("locks", there=True):
        incident = save(refused(1, "eva", user=4711), database="locks")
        assert listed(client) == ["holder-1"]
        assert listed(client, q="refused-1") == ["holder-1"]
        assert listed(client, task="reports.send", state="held") == ["holder-1"]
        page = words(client.get(change_url(incident)).content.decode())
        assert "refused-1" in page
        assert client.get(reverse(HISTORY, args=[incident.pk])).status_code == 200
        download = client.get(reverse(EXPORT))
        assert "holder-1" in b"".join(download).decode()


# ---- the cost


@pytest.mark.parametrize("rows", [1, 60])
def test_pages_take_few_queries(rows: int) -> None:
    """Eight queries at most, those of login and permissions included, however many rows."""
    incidents = [
        make_incident(number, attempts=2, since=NOON + number, task=f"reports.{number % 7}")
        for number in range(rows)
    ]
    client = people.viewer()
    client.get(reverse(LIST))  # the content types are known from here on
    queries = [{}, {"q": "holder-0"}, {"window": "30d", "task": "reports.0", "state": "held"}]
    addresses = [f"{reverse(LIST)}?" + "&".join(f"{k}={v}" for k, v in q.items()) for q in queries]
    for page in (*addresses, change_url(incidents[0])):
        with CaptureQueriesContext(connection) as captured:
            assert client.get(page).status_code == 200
        assert len(captured) <= 8, [query["sql"] for query in captured]
