"""Changes in an admin site that queue a task: what is told where it is already under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import django
import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.contrib.messages import ERROR, SUCCESS, WARNING, get_messages
from django.db import connections
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from django.test import Client, override_settings
from django.urls import path
from django.utils.html import escape

from django_celery_once.locks import open_store
from testproject.redis_server import RedisServer
from tests.admin import people
from tests.guarded_tasks import report
from tests.outages import caches_at

pytestmark = pytest.mark.django_db

SITE = "/backstage/auth/group/"
UNDER_WAY = "This tests.task.report is already being prepared (started just now)."
UNSAVED = f"{UNDER_WAY} Nothing of what you entered was saved. Please save it again later."
OUTAGE = "We couldn't confirm your request. Nothing was changed; please try again."

HAS_LOCATIONS = django.VERSION >= (6, 1)  # actions on the change form, too
EVERYWHERE: dict[str, Any] = {}
if HAS_LOCATIONS:
    from django.contrib.admin import ActionLocation

    EVERYWHERE["location"] = list(ActionLocation)

#: Where the project queues its task, if anywhere.
_hook = ""


def queue(hook: str, value: Any) -> None:
    if hook == _hook:
        report.delay(str(value))


class MemberFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    def clean(self) -> None:
        queue("clean_formset", "north")


class MemberInline(admin.TabularInline):  # type: ignore[type-arg]
    model = User.groups.through
    formset = MemberFormSet
    extra = 1


class GroupForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean(self) -> None:
        queue("clean", "north")


class GroupAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = GroupForm
    fields = ("name",)
    inlines = (MemberInline,)
    list_display = ("id", "name")
    list_editable = ("name",)
    actions = ("rename",)

    def save_model(self, request: HttpRequest, obj: Group, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        self.message_user(request, "Published.", SUCCESS)
        queue("save_model", "north")

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        super().save_formset(request, form, formset, change)
        queue("save_formset", "north")

    def log_addition(self, *args: Any) -> Any:
        queue("log_addition", "north")
        return super().log_addition(*args)

    def response_change(self, *args: Any) -> Any:
        queue("response_change", "north")
        return super().response_change(*args)

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        super().delete_model(request, obj)
        queue("delete_model", "north")

    @admin.action(**EVERYWHERE)  # type: ignore[untyped-decorator]
    def rename(self, request: HttpRequest, selected: Any) -> None:
        selected.update(name="renamed")
        self.message_user(request, "Renamed.", SUCCESS)
        queue("rename", "north")


class ElsewhereAdmin(GroupAdmin):
    """Keep the rows in another database, as Django's manual has it."""

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).using("locks")

    def save_model(self, request: HttpRequest, obj: Group, form: Any, change: bool) -> None:
        obj.save(using="locks")
        queue("elsewhere", "north")


@pytest.fixture(autouse=True)
def _backstage(settings: Any) -> None:
    """Serve an admin site of the project's own."""
    serve(settings, GroupAdmin)


@pytest.fixture
def north() -> Group:
    """Return a group whose report is under way."""
    report.delay("north")
    return Group.objects.create(name="north")


@pytest.fixture
def client(north: Group) -> Client:
    """Return the browser of a superuser."""
    return people.superuser()


@pytest.fixture
def queue_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that says where the project queues its task."""
    return lambda hook: monkeypatch.setitem(globals(), "_hook", hook)


def serve(settings: Any, kind: type[admin.ModelAdmin[Any]]) -> None:
    site = admin.AdminSite(name="backstage")
    site.register(Group, kind)
    urls = ModuleType("urls")
    urls.urlpatterns = [path("backstage/", site.urls)]  # type: ignore[attr-defined]
    settings.ROOT_URLCONF = urls


def filled_in(**more: Any) -> dict[str, Any]:
    """Return a form of a group, with its inlines."""
    formset = {"User_groups-TOTAL_FORMS": "0", "User_groups-INITIAL_FORMS": "0"}
    return {"name": "typed <b>", **formset, **more}


def edited(group: Group) -> dict[str, Any]:
    """Return a list in which a group was renamed."""
    formset = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": str(group.pk)}
    return {**formset, "form-0-name": "typed <b>", "_save": "Save"}


def chosen(group: Group, field: str = "action") -> dict[str, Any]:
    """Return an action on one group."""
    return {field: "rename", "index": "0", "_selected_action": [group.pk]}


def told(response: Any) -> list[tuple[int, str]]:
    """Return the messages, each with its level."""
    return [(each.level, each.message) for each in get_messages(response.wsgi_request)]


@pytest.mark.parametrize("hook", ["clean", "save_model", "save_formset", "response_change"])
def test_a_change_is_undone_and_kept_in_its_form(
    client: Client, north: Group, queue_in: Callable[[str], None], hook: str
) -> None:
    """Show the form with what was typed, and say that it was not saved."""
    queue_in(hook)
    response = client.post(f"{SITE}{north.pk}/change/", filled_in(_continue="Save"))
    page = response.content.decode()
    assert response.status_code == 409
    assert f'<li class="warning">{UNSAVED}</li>' in page
    assert f'value="{escape("typed <b>")}"' in page
    assert "errornote" not in page
    assert "Published." not in page
    north.refresh_from_db()
    assert north.name == "north"


@pytest.mark.parametrize("hook", ["save_model", "save_formset", "log_addition"])
def test_what_is_added_is_undone_and_kept_in_its_form(
    client: Client, queue_in: Callable[[str], None], hook: str
) -> None:
    """The same for a new one, also where its inlines are at fault."""
    queue_in(hook)
    member = {
        "User_groups-TOTAL_FORMS": "1",
        "User_groups-0-user": str(User.objects.get(username="root").pk),
    }
    response = client.post(f"{SITE}add/", filled_in(**member))
    page = response.content.decode()
    assert response.status_code == 409
    assert f'<li class="warning">{UNSAVED}</li>' in page
    assert f'value="{escape("typed <b>")}"' in page
    assert f'<option value="{member["User_groups-0-user"]}" selected>' in page
    assert Group.objects.count() == 1


def test_a_list_that_was_edited_is_undone_and_kept(
    client: Client, north: Group, queue_in: Callable[[str], None]
) -> None:
    """Show the list with what was typed."""
    queue_in("save_model")
    response = client.post(f"{SITE}?id={north.pk}", edited(north))
    page = response.content.decode()
    assert response.status_code == 409
    assert f'<li class="warning">{UNSAVED}</li>' in page
    assert f'name="form-0-name" value="{escape("typed <b>")}"' in page
    assert "errornote" not in page
    north.refresh_from_db()
    assert north.name == "north"


def test_once_it_is_free_the_same_form_is_saved(
    client: Client, north: Group, queue_in: Callable[[str], None]
) -> None:
    """What was shown again is as good as the first."""
    queue_in("save_model")
    open_store("locks").force_release(report.once_key("north"))
    response = client.post(f"{SITE}{north.pk}/change/", filled_in())
    assert (response.status_code, response["Location"]) == (302, SITE)
    north.refresh_from_db()
    assert north.name == "typed <b>"


def test_a_deletion_is_undone(
    client: Client, north: Group, queue_in: Callable[[str], None]
) -> None:
    """Ask again whether to delete, and say that nothing was deleted."""
    queue_in("delete_model")
    address = f"{SITE}{north.pk}/delete/?_changelist_filters=id"
    response = client.post(address, {"post": "yes"})
    assert (response.status_code, response["Location"]) == (302, address)
    words = f"{UNDER_WAY} Nothing was deleted. Please try again later."
    assert told(response) == [(WARNING, words)]
    assert Group.objects.filter(pk=north.pk).exists()


@pytest.mark.skipif(not HAS_LOCATIONS, reason="Django 6.1 has actions on the change form")
def test_an_action_on_the_form_is_undone(
    client: Client, north: Group, queue_in: Callable[[str], None]
) -> None:
    """Return to the form, and say that nothing which the action changed was saved."""
    queue_in("rename")
    address = f"{SITE}{north.pk}/change/?next=1"
    response = client.post(address, chosen(north, "CHANGE_FORM-action"))
    assert (response.status_code, response["Location"]) == (302, address)
    words = f"{UNDER_WAY} The action stopped there, and nothing that it had changed was saved."
    assert told(response) == [(WARNING, words)]
    north.refresh_from_db()
    assert north.name == "north"


@pytest.mark.django_db(transaction=True)
def test_an_action_in_the_transaction_of_its_request_is_undone(
    client: Client,
    north: Group,
    queue_in: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An action on a list is no transaction, unless each request is one."""
    queue_in("rename")
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    response = client.post(SITE, chosen(north))
    words = f"{UNDER_WAY} The action stopped there, and nothing that it had changed was saved."
    assert told(response) == [(WARNING, words)]
    north.refresh_from_db()
    assert north.name == "north"


@pytest.mark.django_db(transaction=True)
def test_what_an_action_on_the_list_has_changed_stays(
    client: Client, north: Group, queue_in: Callable[[str], None]
) -> None:
    """Say no more than that it stopped; its own words of a success may be true."""
    queue_in("rename")
    response = client.post(SITE, chosen(north))
    words = f"{UNDER_WAY} The action stopped there: whatever was to come after it was left out."
    assert told(response) == [(SUCCESS, "Renamed."), (WARNING, words)]
    north.refresh_from_db()
    assert north.name == "renamed"


@pytest.fixture
def elsewhere(transactional_db: None) -> Iterator[None]:
    """Give the second database a table of groups."""
    with connections["locks"].schema_editor() as editor:
        editor.create_model(Group)
    yield
    with connections["locks"].schema_editor() as editor:
        editor.delete_model(Group)


@pytest.mark.django_db(transaction=True, databases=["default", "locks"])
@pytest.mark.usefixtures("elsewhere")
def test_rows_in_another_database_than_the_admin_undoes(
    client: Client, north: Group, queue_in: Callable[[str], None], settings: Any
) -> None:
    """What the admin's own transaction is not about may be saved: do not deny it."""
    serve(settings, ElsewhereAdmin)
    queue_in("elsewhere")
    response = client.post(f"{SITE}add/", filled_in())
    assert (response.status_code, response["Location"]) == (302, f"{SITE}add/")
    words = f"{UNDER_WAY} Not all of it was done: please look what was saved and what was not."
    assert told(response) == [(WARNING, words)]
    assert Group.objects.using("locks").count() == 1


def test_inlines_whose_check_queues(
    client: Client, north: Group, queue_in: Callable[[str], None]
) -> None:
    """They can't be shown without being refused again: return to the page."""
    queue_in("clean_formset")
    address = f"{SITE}{north.pk}/change/"
    response = client.post(address, filled_in())
    assert (response.status_code, response["Location"]) == (302, address)
    assert told(response) == [(WARNING, UNSAVED)]


def test_an_outage_keeps_the_form(
    client: Client,
    north: Group,
    queue_in: Callable[[str], None],
    spare_redis_server: RedisServer,
) -> None:
    """503, with what was typed; nothing was saved."""
    queue_in("save_model")
    with override_settings(CACHES=caches_at(spare_redis_server)):
        spare_redis_server.kill()
        response = client.post(f"{SITE}{north.pk}/change/", filled_in())
    assert response.status_code == 503
    assert f'<li class="error">{escape(OUTAGE)}</li>' in response.content.decode()
    assert f'value="{escape("typed <b>")}"' in response.content.decode()
    assert ERROR not in [level for level, _words in told(client.get(SITE))]


def test_a_program_reads_the_same(
    client: Client, north: Group, queue_in: Callable[[str], None]
) -> None:
    """A client that prefers JSON gets a problem with these words."""
    queue_in("save_model")
    json = {"accept": "application/json"}
    response = client.post(f"{SITE}{north.pk}/change/", filled_in(), headers=json)
    assert (response.status_code, response.json()["detail"]) == (409, UNSAVED)
