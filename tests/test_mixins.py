"""``OnceFormMixin``: to the person, a duplicate is no error."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import Group, User
from django.contrib.messages import INFO, SUCCESS, get_messages
from django.contrib.messages.storage.fallback import FallbackStorage
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, RequestFactory
from django.utils.translation import override
from django.views.generic import FormView

from django_celery_once import AlreadyQueued
from django_celery_once.mixins import OnceFormMixin
from tests import web

pytestmark = pytest.mark.django_db

EMAIL = {"email": "eva@example.com"}
AGAIN = "is already being prepared (started just now). You don't need to send it again."
#: A task queued by nobody: that is not the person's who asks again.
SENTENCE, REQUEST = f"This monthly report {AGAIN}", f"This request {AGAIN}"


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.web"


@pytest.fixture
def _under_way() -> None:
    """Let the task of every view be queued already."""
    web.send.delay("eva@example.com")


under_way = pytest.mark.usefixtures("_under_way")


def told(response: Any) -> list[tuple[int, str]]:
    """Return the messages that the answer leaves for the next page."""
    return [(each.level, each.message) for each in get_messages(response.wsgi_request)]


def test_the_first_goes_through(client: Client) -> None:
    """Without a duplicate the mixin does nothing."""
    response = client.post("/form/", EMAIL)
    assert (response.status_code, response["Location"]) == (302, "/done/")
    assert told(response) == []


@under_way
@pytest.mark.parametrize(("path", "sentence"), [("/form/", SENTENCE), ("/afterwards/", REQUEST)])
def test_a_duplicate_looks_like_a_success(client: Client, path: str, sentence: str) -> None:
    """A duplicate redirects where a success goes, with one message that makes sense alone."""
    response = client.post(path, EMAIL)
    assert (response.status_code, response["Location"]) == (302, "/done/")
    assert told(response) == [(INFO, sentence)]


@under_way
def test_a_double_click_says_it_twice_and_no_more(client: Client) -> None:
    """Each refused submit leaves its own message."""
    client.post("/form/", EMAIL)
    assert told(client.post("/form/", EMAIL)) == [(INFO, SENTENCE)] * 2


@under_way
def test_an_invalid_form_is_no_duplicate(client: Client) -> None:
    """Wrong input is answered as ever."""
    response = client.post("/form/", {"email": "nonsense"})
    assert response.status_code == 200
    assert "Enter a valid email address." in response.content.decode()


@under_way
@pytest.mark.parametrize("path", ["/rerender/", "/rerender-own-form/"])
def test_rerender(client: Client, path: str) -> None:
    """On demand a duplicate is the form as it was sent, with one error, and a 409."""
    response = client.post(path, EMAIL)
    assert response.status_code == 409
    form = response.context["form"]
    assert form.errors == {"__all__": [SENTENCE]}
    assert form["email"].value() == "eva@example.com"
    assert told(response) == []


@pytest.mark.parametrize("path", ["/success-left/", "/success-before/", "/success-too-soon/"])
def test_success_message(client: Client, path: str) -> None:
    """On either side of ``SuccessMessageMixin``: a success is told, a duplicate is none."""
    assert told(client.post(path, EMAIL)) == [(SUCCESS, "It is on its way.")]
    second = Client().post(path, EMAIL)
    assert (second.status_code, second["Location"]) == (302, "/done/")
    ((level, message),) = told(second)
    assert level == INFO
    assert message.endswith("You don't need to send it again.")


@under_way
def test_a_message_from_before_is_kept(client: Client) -> None:
    """Only what the form's own success has said is taken back."""
    assert told(client.post("/welcoming/", EMAIL)) == [(SUCCESS, "Welcome back."), (INFO, REQUEST)]


@under_way
@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/create/?next=1", "/create/?next=1"),
        ("/create-plain-url/", "/done/"),
        ("/create-without-url/", "/create-without-url/"),
    ],
)
def test_create_view_refused_before_it_saved(client: Client, path: str, location: str) -> None:
    """Without an object to go to, the way leads to a plain success URL or back to the page."""
    response = client.post(path, {"name": "authors"})
    assert (response.status_code, response["Location"]) == (302, location)
    assert told(response) == [(INFO, REQUEST)]
    assert not Group.objects.exists()


@under_way
def test_create_view_refused_after_it_saved(client: Client) -> None:
    """With the object saved, the way is that of a success."""
    response = client.post("/create-first/", {"name": "authors"})
    assert response["Location"] == f"/groups/{Group.objects.get().pk}/"


@under_way
def test_create_view_rerenders(client: Client) -> None:
    """A model form can be shown again as well."""
    response = client.post("/create-rerender/", {"name": "authors"})
    assert response.status_code == 409
    assert response.context["form"].errors == {"__all__": [REQUEST]}


@under_way
def test_update_view(client: Client) -> None:
    """A refused update goes to the object's page and changes nothing."""
    group = Group.objects.create(name="authors")
    response = client.post(f"/update/{group.pk}/", {"name": "editors"})
    assert response["Location"] == f"/groups/{group.pk}/"
    group.refresh_from_db()
    assert group.name == "authors"


@under_way
def test_delete_view(client: Client) -> None:
    """A refused deletion deletes nothing."""
    user = User.objects.create_user("eva")
    assert client.post(f"/delete/{user.pk}/")["Location"] == "/done/"
    assert User.objects.filter(pk=user.pk).exists()


@under_way
def test_a_missing_success_url_is_told(client: Client) -> None:
    """A mistake of the developer's is not hidden."""
    with pytest.raises(ImproperlyConfigured, match="No URL to redirect to"):
        client.post("/broken-success-url/", EMAIL)


@under_way
def test_without_the_messages_framework(client: Client, settings: Any) -> None:
    """A site without messages gets the redirect."""
    settings.INSTALLED_APPS = [
        name for name in settings.INSTALLED_APPS if name != "django.contrib.messages"
    ]
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if ".messages." not in name]
    response = client.post("/form/", EMAIL)
    assert (response.status_code, response["Location"]) == (302, "/done/")


def test_a_get_shows_the_form(client: Client) -> None:
    """A page that is looked at asks nobody for a lock."""
    assert client.get("/form/").status_code == 200


def test_answers_can_be_overridden() -> None:
    """A site has its own words and its own way."""

    class View(OnceFormMixin):
        once_label = "invoice"

        def get_already_queued_message(self, duplicate: AlreadyQueued) -> str:
            return f"{super().get_already_queued_message(duplicate)} ({duplicate.task_id})"

    with override("en"):
        words = View().get_already_queued_message(AlreadyQueued(5, task_id="id-1"))
    assert words.startswith("This invoice is already being prepared (")
    assert words.endswith("(id-1)")


class ReportForm(forms.Form):
    email = forms.EmailField()


class ReportView(OnceFormMixin, FormView):  # type: ignore[type-arg]
    """A view whose task is always under way."""

    form_class = ReportForm
    template_name = "web/form.html"
    success_url = "/done/"

    def form_valid(self, form: Any) -> Any:
        raise AlreadyQueued(5, label="May report")


def post_to(view: Any, data: dict[str, str]) -> Any:
    request = RequestFactory().post("/", data)
    request.session = {}  # type: ignore[assignment]
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    return view(request)


def test_the_tasks_label_names_the_thing() -> None:
    """Use the words of the task where the view has none of its own."""
    view = ReportView()
    view.request = RequestFactory().get("/")
    view.request.user = User(pk=7)
    duplicate = AlreadyQueued(5, label="May report", requested_by="7")
    words = "Your May report is already being prepared. You don't need to send it again."
    assert view.get_already_queued_message(duplicate) == words
    stranger = AlreadyQueued(5, label="May report", requested_by="8")
    assert "May" not in view.get_already_queued_message(stranger)


def test_a_formset_is_shown_again() -> None:
    """Answer with the message where there is no one form to hold it."""
    formset = forms.formset_factory(ReportForm)
    view = ReportView.as_view(form_class=formset, once_on_duplicate="rerender")
    data = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "0", "form-0-email": "a@example.com"}
    response = post_to(view, data)
    assert response.status_code == 409
    errors = response.context_data["form"].non_form_errors()
    assert "already being prepared" in errors[0]


def test_an_unknown_answer_is_named() -> None:
    """Do not redirect silently where a view asks for something that is not there."""
    view = ReportView.as_view(once_on_duplicate="reject")
    with pytest.raises(ImproperlyConfigured, match=r"ReportView\.once_on_duplicate .*'reject'"):
        post_to(view, {"email": "a@example.com"})
