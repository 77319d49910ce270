"""The download of blocked duplicates as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_celery_once.admin import export
from django_celery_once.admin.export import BYTE_ORDER_MARK, COLUMNS, cell, csv_response
from django_celery_once.models import BlockedDuplicate
from tests.admin import people
from tests.admin.incidents import EXPORT, LIST, end, listed, make_incident, refused, save
from tests.test_middleware import run_async

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def exporter() -> Client:
    """Return the browser of staff who may look and download."""
    return people.staff("view_blockedduplicate", "export_blockedduplicate")


def text(response: Any) -> str:
    """Return a whole download."""
    return b"".join(response.streaming_content).decode()


def rows(client: Client, **query: str) -> list[dict[str, str]]:
    """Return the lines of a download, by column."""
    whole = text(client.get(reverse(EXPORT), query))
    assert whole.startswith(BYTE_ORDER_MARK)
    return list(csv.DictReader(io.StringIO(whole.removeprefix(BYTE_ORDER_MARK), newline="")))


# ---- who may download


@pytest.mark.parametrize(
    "make_client",
    [people.viewer, people.releaser, lambda: people.staff("export_blockedduplicate")],
    ids=["viewer", "releaser", "may only export"],
)
def test_a_download_has_its_own_permission(make_client: Callable[[], Client]) -> None:
    """To look is not to carry away, and to carry away is not without looking."""
    make_incident()
    client = make_client()
    assert client.get(reverse(EXPORT)).status_code == 403
    assert reverse(EXPORT) not in client.get(reverse(LIST)).content.decode()


@pytest.mark.parametrize("make_client", [exporter, people.editor, people.superuser])
def test_who_may_download(make_client: Callable[[], Client]) -> None:
    """The list has a link for those who may."""
    make_incident()
    client = make_client()
    assert client.get(reverse(EXPORT)).status_code == 200
    assert reverse(EXPORT) in client.get(reverse(LIST)).content.decode()


# ---- what is in it


def test_a_row_has_all_that_is_known() -> None:
    """Each column is there, moments in UTC with their offset."""
    incident = end(make_incident(attempts=3), "success")
    assert rows(exporter()) == [
        {
            "task_name": "reports.send",
            "label": "Report 1",
            "key": incident.key,
            "rejections": "3",
            "first_rejection": "2026-05-01T12:00:01.250000+00:00",
            "last_rejection": "2026-05-01T12:00:03.250000+00:00",
            "last_requester": "asker-1",
            "holder_task_id": "holder-1",
            "held_since": "2026-05-01T12:00:00.250000+00:00",
            "released_at": "2026-05-01T12:04:00.250000+00:00",
            "outcome": "success",
        }
    ]


def test_the_file() -> None:
    """A browser saves it under a name with the day."""
    response = exporter().get(reverse(EXPORT))
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].startswith('attachment; filename="blocked-duplicates-')


def test_nothing_was_blocked() -> None:
    """An empty log has a file with the columns' names."""
    whole = text(exporter().get(reverse(EXPORT)))
    assert whole == BYTE_ORDER_MARK + ",".join(COLUMNS) + "\r\n"


def test_names_of_all_the_world() -> None:
    """Each script comes through, and line ends within a value."""
    label = 'Łucja, "Müller"\n山田'
    save(refused(holder={"label": label}))
    assert rows(exporter())[0]["label"] == label


def test_it_has_what_the_list_shows() -> None:
    """Filters and search of the address hold, all pages of it."""
    for number in range(60):
        end(make_incident(number), "failure" if number % 2 else "success")
    client = exporter()
    assert len(rows(client)) == 60
    assert len(rows(client, p="2")) == 60
    assert len(rows(client, state="failure")) == 30
    assert [row["holder_task_id"] for row in rows(client, q="holder-7")] == ["holder-7"]
    assert rows(client, q="holder-7", state="success") == []


def test_the_link_goes_where_the_list_is() -> None:
    """The list's link has the filters and the search of the list, and no page number."""
    for number in range(3):
        end(make_incident(number), "failure" if number else "success")
    client = exporter()
    page = client.get(reverse(LIST), {"state": "failure", "q": "Report", "p": "1"})
    address = f"{reverse(EXPORT)}?q=Report&amp;state=failure"
    swapped = f"{reverse(EXPORT)}?state=failure&amp;q=Report"
    shown = page.content.decode()
    assert f'href="{address}"' in shown or f'href="{swapped}"' in shown
    found = rows(client, q="Report", state="failure")
    assert [row["holder_task_id"] for row in found] == listed(client, q="Report", state="failure")


# ---- what a spreadsheet makes of it


@pytest.mark.parametrize(
    "formula",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\ttext",
        "\rtext",
        "\uff1d1",
        "\u00a0=1",
    ],
)
def test_no_value_is_a_formula(formula: str) -> None:
    """What a spreadsheet would reckon with begins with an apostrophe, and is text."""
    assert cell(formula) == f"'{formula}"
    save(refused(1, formula, holder={"label": formula}))
    [row] = rows(exporter())
    assert (row["label"], row["last_requester"]) == (f"'{formula}", f"'{formula}")


@pytest.mark.parametrize("plain", ["", "report", "a=1", "1-2", "eva@example.com", "'quoted'"])
def test_plain_words_stay(plain: str) -> None:
    """Nothing else is touched."""
    assert cell(plain) == plain


def test_moments(settings: Any) -> None:
    """Each is told in UTC; naive ones are the server's."""
    east = timezone(timedelta(hours=2))
    assert cell(datetime(2026, 5, 1, 14, tzinfo=east)) == "2026-05-01T12:00:00+00:00"
    settings.TIME_ZONE = "Europe/Vienna"
    assert cell(datetime(2026, 5, 1, 14)) == "2026-05-01T12:00:00+00:00"
    assert cell(None) == ""


def test_without_time_zones(settings: Any) -> None:
    """With ``USE_TZ`` off, the moments are the same."""
    settings.USE_TZ = False
    make_incident()
    assert rows(exporter())[0]["held_since"] == "2026-05-01T12:00:00.250000+00:00"


# ---- how it is sent


def test_it_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read before it is sent, and never all rows at once."""
    monkeypatch.setattr(export, "CHUNK", 2)
    for number in range(5):
        make_incident(number)
    with CaptureQueriesContext(connection) as captured:
        response = csv_response(BlockedDuplicate.objects.order_by("holder_task_id"))
        assert isinstance(response, StreamingHttpResponse)
        assert len(captured) == 0
        sizes = [part.count(b"\r\n") for part in response]
        assert len(captured) == 1
    assert sizes == [0, 2, 2, 2]


@pytest.mark.django_db(transaction=True)
def test_it_is_streamed_in_an_event_loop(recwarn: pytest.WarningsRecorder) -> None:
    """An ASGI server gets parts as well: it would make one list of a plain iterator."""
    make_incident()
    exporter()
    client = AsyncClient()

    async def download() -> tuple[bool, str]:
        await client.aforce_login(await User.objects.aget(username="clerk"))
        response: Any = await client.get(reverse(EXPORT))
        parts = [part async for part in response]
        return response.is_async, b"".join(parts).decode()

    is_async, whole = run_async(download())
    assert is_async
    assert "holder-1" in whole
    assert not [each for each in recwarn if "StreamingHttpResponse" in str(each.message)]
