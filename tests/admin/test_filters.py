"""The filters of the list, and addresses that ask for anything else."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_celery_once.admin import filters
from django_celery_once.models import BlockedDuplicate
from tests.admin import people
from tests.admin.incidents import EXPORT, LIST, age, end, listed, make_incident

pytestmark = [pytest.mark.django_db, pytest.mark.database]

Outcome = BlockedDuplicate.Outcome


@pytest.fixture
def client() -> Client:
    """Return the browser of somebody who may look."""
    return people.viewer()


@pytest.mark.parametrize(
    ("window", "found"),
    [
        ("1h", ["minutes"]),
        ("24h", ["minutes", "hours"]),
        ("7d", ["minutes", "hours", "days"]),
        ("30d", ["minutes", "hours", "days", "weeks"]),
    ],
)
def test_each_window(client: Client, window: str, found: list[str]) -> None:
    """A window shows what was last blocked in it."""
    for unit in ("minutes", "hours", "days", "weeks"):
        age(make_incident(unit, owner=unit), **{unit: 3})  # type: ignore[arg-type]
    age(make_incident(5, owner="years"), days=500)
    assert listed(client, window=window) == found


@pytest.mark.parametrize("outcome", Outcome.values)
def test_each_end(client: Client, outcome: str) -> None:
    """A state shows what ended that way, and nothing else."""
    for number, each in enumerate([*Outcome.values, ""]):
        end(make_incident(number, owner=each or "unknown"), each)
    make_incident(100, owner="held")
    assert listed(client, state=outcome) == [outcome]


def test_ended_or_not(client: Client) -> None:
    """What ended without a reason ended; what is held did not."""
    end(make_incident(1, owner="unknown"), "")
    end(make_incident(2, attempts=2, owner="failed"), "failure")
    make_incident(3, owner="held")
    assert listed(client, state="held") == ["held"]
    assert listed(client, state="freed") == ["failed", "unknown"]


def test_each_task(client: Client) -> None:
    """The tasks of which something was blocked are offered, in order, and one is shown."""
    make_incident(1, task="b.task")
    make_incident(2, task="a.task")
    make_incident(3, attempts=2, task="a.task")
    assert listed(client, task="a.task") == ["holder-3", "holder-2"]
    assert listed(client, task="b.task") == ["holder-1"]
    spec = client.get(reverse(LIST)).context["cl"].filter_specs[1]
    assert [name for name, _label in spec.lookup_choices] == ["a.task", "b.task"]


def test_a_task_that_is_not_offered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any task can be given in the address, and is then among the choices."""
    monkeypatch.setattr(filters, "MOST_TASKS", 1)
    make_incident(1, task="a.task")
    make_incident(2, task="z.task")
    response = client.get(reverse(LIST), {"task": "z.task"})
    assert response.context["cl"].result_count == 1
    spec = response.context["cl"].filter_specs[1]
    assert [name for name, _label in spec.lookup_choices] == ["a.task", "z.task"]


def test_a_task_nobody_has_heard_of(client: Client) -> None:
    """An empty list is the answer, also where the log is empty."""
    assert listed(client, task="x.task") == []
    make_incident()
    assert listed(client, task="x.task") == []
    assert listed(client, task="") == ["holder-1"]


def test_filters_go_together(client: Client) -> None:
    """Each takes away from what the others leave."""
    age(end(make_incident(1, task="a.task"), "failure"), minutes=1)
    age(end(make_incident(2, task="a.task"), "success"), minutes=1)
    age(end(make_incident(3, task="b.task"), "failure"), minutes=1)
    age(end(make_incident(4, task="a.task"), "failure"), days=2)
    query = {"task": "a.task", "state": "failure", "window": "24h"}
    assert listed(client, **query) == ["holder-1"]
    assert listed(client, q="Report 4", **query) == []


@pytest.mark.parametrize("query", ["window=2h", "window=", "state=lost", "state=%00"])
@pytest.mark.parametrize("name", [LIST, EXPORT])
def test_a_value_that_is_no_choice(query: str, name: str) -> None:
    """The plain list is the answer, as everywhere in the admin, and never all rows as a file."""
    make_incident()
    response = people.superuser().get(f"{reverse(name)}?{query}", follow=True)
    assert response.redirect_chain == [(f"{reverse(LIST)}?e=1", 302)]
    assert response.status_code == 200


@pytest.mark.parametrize(
    "lookup",
    [
        "key__contains",
        "key",
        "task_name",
        "task_name__regex",
        "holder_user__password__startswith",
        "holder_user__is_superuser",
        "attempts__user__email",
        "attempts__arguments__contains",
        "outcome__in",
        "nonsense",
    ],
)
@pytest.mark.parametrize("name", [LIST, EXPORT])
def test_a_forged_lookup(lookup: str, name: str) -> None:
    """No address filters by anything else: not by passwords, and not without an index."""
    client = people.superuser()
    client.get(reverse(LIST))
    with CaptureQueriesContext(connection) as captured:
        response = client.get(reverse(name), {lookup: "x"})
    assert response.status_code == 400
    assert not [each for each in captured if "password" in each["sql"] and "LIKE" in each["sql"]]


def test_the_filters_have_names_that_can_be_read(client: Client) -> None:
    """Each says by what it filters, and what it shows without."""
    make_incident()
    page = " ".join(client.get(reverse(LIST)).content.decode().split())
    for words in ("By time last blocked", "By task", "By how it ended", "All tasks"):
        assert words in page
