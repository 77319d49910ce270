"""The pages of a long list, and what it says of its length."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import translation

from django_celery_once.admin import paging
from django_celery_once.admin.blocked import BlockedDuplicateAdmin
from django_celery_once.admin.paging import CappedPaginator, MoreThan
from django_celery_once.models import BlockedDuplicate
from tests.admin import people
from tests.admin.incidents import LIST, listed, make_incident, words

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a list of more than four rows be a long one, with two on a page."""
    monkeypatch.setattr(paging, "MOST", 4)
    monkeypatch.setattr(BlockedDuplicateAdmin, "list_per_page", 2)


def make_incidents(count: int) -> None:
    for number in range(count):
        make_incident(number, attempts=number + 1)


@pytest.mark.usefixtures("_short")
def test_pages_up_to_the_limit() -> None:
    """Each page goes on where the one before ended."""
    make_incidents(4)
    client = people.viewer()
    assert listed(client, p="1") == ["holder-3", "holder-2"]
    assert listed(client, p="2") == ["holder-1", "holder-0"]
    page = words(client.get(reverse(LIST)).content.decode())
    assert "4 blocked duplicates" in page
    assert "more than" not in page


@pytest.mark.usefixtures("_short")
def test_more_than_is_counted() -> None:
    """Beyond the limit, the list says that there are more, and shows no page of them."""
    make_incidents(7)
    client = people.viewer()
    assert "more than 4 blocked duplicates" in words(client.get(reverse(LIST)).content.decode())
    assert listed(client, p="2") == ["holder-4", "holder-3"]
    response = client.get(reverse(LIST), {"p": "3"})
    assert (response.status_code, response["Location"]) == (302, f"{reverse(LIST)}?e=1")


@pytest.mark.parametrize("separators", [True, False])
def test_the_words_of_a_great_number(
    separators: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Languages that group their figures group these, and none of the letters."""
    settings.USE_THOUSAND_SEPARATOR = separators
    monkeypatch.setattr(CappedPaginator, "count", MoreThan(10_000))
    make_incident()
    client = people.viewer()
    page = words(client.get(reverse(LIST)).content.decode())
    assert "more than 10,000 blocked duplicates" in page
    page = words(client.get(reverse(LIST), {"q": "holder-1"}).content.decode())
    assert "more than 10,000 results" in page


def test_a_great_number_in_another_language() -> None:
    """The figure is grouped as the language does."""
    with translation.override("de"):
        assert str(MoreThan(10_000)) == "mehr als 10.000"


def test_a_count_is_limited() -> None:
    """The database stops counting after the limit."""
    paginator = CappedPaginator(BlockedDuplicate.objects.all(), 50)
    with CaptureQueriesContext(connection) as captured:
        assert paginator.count == 0
    [query] = captured
    assert "LIMIT 10001" in query["sql"]
    assert "ORDER BY" not in query["sql"]
