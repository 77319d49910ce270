"""The search of the list: what it finds, and what it takes literally."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from django_celery_once.admin import search
from django_celery_once.models import BlockedDuplicate
from tests.admin import people
from tests.admin.incidents import LIST, listed, make_incident, refused, save

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def client() -> Client:
    """Return the browser of somebody who may look, with two incidents to find."""
    make_incident(1, task="reports.csv")
    make_incident(2, task="reports.pdf")
    return people.viewer()


@pytest.mark.parametrize(
    "words",
    [
        "holder-1",
        "  holder-1 ",
        "refused-1-1",
        "once:reports.send:1",
        "Report 1",
        "reports.csv",
        "asker-1",
    ],
    ids=["holder", "blanks", "refused task", "key", "label", "task", "person"],
)
def test_what_is_found(client: Client, words: str) -> None:
    """Task ids, key, label, task and person are found."""
    assert listed(client, q=words) == ["holder-1"]


@pytest.mark.parametrize("words", ["once:reports.send:", "Repo", "  "])
def test_a_beginning(client: Client, words: str) -> None:
    """Keys and labels are found by their beginning; nothing at all is everything."""
    assert sorted(listed(client, q=words)) == ["holder-1", "holder-2"]


@pytest.mark.parametrize(
    "words", ["holder", "refused-1", "asker", "reports", "eport 1", "%", "_", "Report_1", "\\", "'"]
)
def test_what_is_taken_literally(client: Client, words: str) -> None:
    """The other things are found in full only, and no letter stands for others."""
    assert listed(client, q=words) == []


@pytest.mark.parametrize("words", ["\U0001f600" * 300, "ü" * 5000])
def test_what_is_in_no_row(client: Client, words: str) -> None:
    """Whatever is asked for, there is an answer."""
    assert listed(client, q=words) == []


def test_what_no_database_takes(client: Client) -> None:
    """A NUL is told to be wrong by the admin's own form, and never gets to a database."""
    page = client.get(reverse(LIST), {"q": "holder-1\0"})
    assert page.status_code == 200
    assert search.search(BlockedDuplicate.objects.all(), "holder-1\0").count() == 1


def test_a_person_who_was_not_the_last(client: Client) -> None:
    """Everybody is found who asked, as long as the attempt was kept."""
    holder = {"key": "once:x:1", "owner": "holder-3"}
    save(*(refused(hits, who, holder=holder) for hits, who in ((1, "eva"), (2, "ada"), (3, "eva"))))
    assert listed(client, q="ada") == ["holder-3"]
    assert listed(client, q="eva") == ["holder-3"]


def test_a_person_with_many_attempts(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search reads the latest of them only."""
    for number, last in ((3, 1), (4, 50)):
        holder = {"key": f"once:x:{number}", "owner": f"holder-{number}"}
        save(refused(last, "ada", holder=holder), refused(last + 1, "eva", holder=holder))
    monkeypatch.setattr(search, "MOST_ATTEMPTS", 1)
    assert listed(client, q="ada") == ["holder-4"]
    assert listed(client, q="eva") == ["holder-4", "holder-3"]


def test_names_of_all_the_world(client: Client) -> None:
    """A person is found in whichever script."""
    save(refused(1, "Łucja Müller 山田", holder={"key": "once:x:3", "owner": "holder-3"}))
    assert listed(client, q="Łucja Müller 山田") == ["holder-3"]
