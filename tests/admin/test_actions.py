"""Actions of an admin site that queue tasks, such as *Run selected tasks*."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.messages import ERROR, WARNING, get_messages
from django.db import connections
from django.http import HttpRequest
from django.test import Client, override_settings
from django.urls import path

from django_celery_once.claims import new_lock
from django_celery_once.locks import open_store
from django_celery_once.models import BlockedAttempt
from testproject.redis_server import RedisServer
from tests.admin import people
from tests.guarded_tasks import held, labelled
from tests.outages import caches_at

pytestmark = pytest.mark.django_db

LIST = "/backstage/auth/user/?is_staff__exact=0"
STOPPED = "The action stopped there: whatever was to come after it was left out."
UNDER_WAY = "This tests.task.labelled is already being prepared (started just now)."
REFUSED = f"{UNDER_WAY} {STOPPED}"


@admin.action(description="Send their reports")
def send_reports(_admin: Any, _request: HttpRequest, selected: Any) -> None:
    """Queue a task for each, and think of no duplicates."""
    for user in selected.order_by("username"):
        labelled.delay(user.username, "May")


class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    actions = (send_reports,)
    list_display = ("username", "first_name")
    list_editable = ("first_name",)
    list_filter = ("is_staff",)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save, then queue."""
        super().save_model(request, obj, form, change)
        labelled.delay(obj.username, "May")


@pytest.fixture(autouse=True)
def _backstage(settings: Any) -> None:
    """Serve an admin site of the project's own."""
    site = admin.AdminSite(name="backstage")
    site.register(User, UserAdmin)
    urls = ModuleType("urls")
    urls.urlpatterns = [path("backstage/", site.urls)]  # type: ignore[attr-defined]
    settings.ROOT_URLCONF = urls


@pytest.fixture
def users() -> list[User]:
    """Return the users to send reports to."""
    return [User.objects.create_user(name) for name in ("ada", "bob", "eva")]


@pytest.fixture
def client(users: list[User]) -> Client:
    """Return the browser of a superuser."""
    return people.superuser()


def hold(name: str, user_id: str = "", label: str = "") -> None:
    """Let a report be under way."""
    key = labelled.once_key(name, "May")
    lock = new_lock(key, labelled.name, "first", label=label, requester=user_id)
    assert open_store("locks").acquire(lock, 60) is None


def send(client: Client, *users: User, **more: str) -> Any:
    """Start the action."""
    form = {"action": "send_reports", "index": "0", "_selected_action": [each.pk for each in users]}
    return client.post(LIST, {**form, **more})


def told(response: Any) -> list[tuple[int, str]]:
    """Return the messages, each with its level, after the redirect back to the list."""
    assert (response.status_code, response["Location"]) == (302, LIST)
    return [(each.level, each.message) for each in get_messages(response.wsgi_request)]


def queued(user: User) -> bool:
    """Return whether a report of this user is under way."""
    return open_store("locks").inspect(labelled.once_key(user.username, "May")) is not None


def test_a_duplicate_is_a_message(client: Client, users: list[User]) -> None:
    """Lead back to the list with a warning, and write down who asked."""
    hold("ada")
    response = send(client, users[0])
    assert told(response) == [(WARNING, REFUSED)]
    page = client.get(LIST).content.decode()
    assert '<li class="warning">This tests.task.labelled is already' in page
    assert BlockedAttempt.objects.get().requester == "root"


def test_ones_own_label_is_told(client: Client, users: list[User]) -> None:
    """Tell the label to whoever asked before, and the task's name to others."""
    hold("ada", str(User.objects.get(username="root").pk), "May report")
    hold("bob", str(users[2].pk), "secret")
    [(_level, own)] = told(send(client, users[0]))
    assert own == f"Your May report is already being prepared. {STOPPED}"
    client = people.person("clerk", is_superuser=True, is_staff=True)
    [(_level, anothers)] = told(send(client, users[1]))
    assert anothers == f"A colleague already asked for this tests.task.labelled just now. {STOPPED}"


@pytest.mark.parametrize("across", ["0", "1"])
def test_what_comes_after_a_duplicate_is_left_out(
    client: Client, users: list[User], across: str
) -> None:
    """Say that the action ended there; what it had queued before stays queued."""
    hold("bob")
    selected = users[:1] if across == "1" else users
    response = send(client, *selected, select_across=across)
    assert told(response) == [(WARNING, REFUSED)]
    assert [queued(user) for user in users] == [True, True, False]
    assert held(labelled.once_key("ada", "May")).requester


@pytest.mark.django_db(transaction=True)
def test_a_transaction_around_the_request(
    client: Client, users: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tell it outside the transaction, which is rolled back."""
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    hold("ada")
    undone = "The action stopped there, and nothing that it had changed was saved."
    assert told(send(client, users[0])) == [(WARNING, f"{UNDER_WAY} {undone}")]
    assert BlockedAttempt.objects.count() == 1


@pytest.mark.parametrize(
    ("several", "words"),
    [
        (
            False,
            "We couldn't confirm your request. Nothing was submitted; please try again.",
        ),
        (
            True,
            "We couldn't confirm your request, or not all of it: some of it may be on its way. "
            "Please try again.",
        ),
    ],
)
def test_an_outage_is_a_message(
    client: Client,
    users: list[User],
    spare_redis_server: RedisServer,
    several: bool,
    words: str,
) -> None:
    """Say nothing that may be wrong of what was queued before."""
    with override_settings(CACHES=caches_at(spare_redis_server)):
        spare_redis_server.kill()
        response = send(client, *(users if several else users[:1]))
    assert told(response) == [(ERROR, words)]


def test_a_program_gets_a_problem(client: Client, users: list[User]) -> None:
    """Answer what a client asks for."""
    hold("ada")
    form = {"action": "send_reports", "index": "0", "_selected_action": [users[0].pk]}
    response = client.post(LIST, form, headers={"accept": "application/json"})
    assert (response.status_code, response.json()["detail"]) == (409, REFUSED)


def test_what_was_typed_is_not_thrown_away(client: Client, users: list[User]) -> None:
    """Leave a page to go back from where a list was edited: nothing of it was saved."""
    hold("ada")
    form = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(users[0].pk),
        "form-0-first_name": "Ada",
        "_save": "Save",
    }
    response = client.post("/backstage/auth/user/?username=ada", form)
    assert response.status_code == 409
    users[0].refresh_from_db()
    assert users[0].first_name == ""
