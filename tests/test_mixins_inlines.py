"""``once_task`` of a view that saves more than its form: queued when all of it is saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery import shared_task
from celery.signals import before_task_publish
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import Client, override_settings
from django.urls import path
from django.views.generic import CreateView, FormView, UpdateView
from extra_views import CreateWithInlinesView, InlineFormSetFactory, UpdateWithInlinesView
from kombu.exceptions import OperationalError

from django_celery_once import QueueOnce
from django_celery_once.locks import open_store
from django_celery_once.mixins import OnceFormMixin
from tests.celery_app import app
from tests.web import EmailForm

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "locks"])

Membership = User.groups.through
#: How many members were there when the task was published.
published: list[int] = []


@shared_task(base=QueueOnce, name="tests.mixins_inlines.welcome", once={"keys": ["name"]})
def welcome(name: str, pk: int | None = None) -> None: ...


class Members(InlineFormSetFactory):  # type: ignore[misc]
    model = Membership
    fields = ("user",)
    factory_kwargs = {"extra": 1}  # noqa: RUF012 (extra_views')


class Welcoming(OnceFormMixin):
    """Queue a task for a group and its members."""

    once_task = welcome

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        return {"name": form.cleaned_data["name"]}

    def get_task_kwargs(self, form: Any) -> dict[str, Any]:
        return {"name": self.object.name, "pk": self.object.pk}  # type: ignore[attr-defined]


class Create(Welcoming, CreateWithInlinesView):  # type: ignore[misc]
    model = Group
    fields = ("name",)
    inlines = (Members,)
    success_url = "/done/"


class Update(Welcoming, UpdateWithInlinesView):  # type: ignore[misc]
    model = Group
    fields = ("name",)
    inlines = (Members,)
    success_url = "/done/"


class Atomic(Create):
    """Save the form in a transaction, its inlines after that."""

    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            return super().form_valid(form)


class AllAtomic(Create):
    """Save all in one transaction."""

    def forms_valid(self, form: Any, inlines: Any) -> Any:
        with transaction.atomic():
            return super().forms_valid(form, inlines)


class Failing(Create):
    """Fail between the form and its inlines."""

    def form_valid(self, form: Any) -> HttpResponse:
        super().form_valid(form)
        raise ZeroDivisionError


class RolledBack(Create):
    """Take the form back, and answer all the same."""

    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            transaction.set_rollback(True)
        return response

    def forms_valid(self, form: Any, inlines: Any) -> Any:
        return self.form_valid(form)


class ByHand(Welcoming, CreateView):  # type: ignore[type-arg]
    """Save something after the form, without any package."""

    model = Group
    fields = ("name",)
    success_url = "/done/"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().post(request, *args, **kwargs)
        User.objects.get().groups.add(self.object)  # type: ignore[arg-type]
        return response


class Async(Welcoming, FormView):  # type: ignore[type-arg]
    """Do it in an event loop, where nothing is put off."""

    form_class = EmailForm
    success_url = "/done/"

    async def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return await sync_to_async(super().post)(request, *args, **kwargs)

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError

    put = get  # type: ignore[assignment]

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        return {"name": form.cleaned_data["email"]}

    get_task_kwargs = get_once_kwargs


class Elsewhere(Welcoming, UpdateView):  # type: ignore[type-arg]
    """Save to the database that the router names."""

    model = Group
    fields = ("name",)
    success_url = "/done/"

    def form_valid(self, form: Any) -> HttpResponse:
        form.save = lambda: self.object  # no table of it is there
        return super().form_valid(form)


VIEWS = [Create, Update, Atomic, AllAtomic, ByHand]
urlpatterns = [
    path(f"{view.__name__}/<int:pk>/", view.as_view())
    for view in (*VIEWS, Failing, RolledBack, Async, Elsewhere)
]


class OtherRouter:
    """Let groups be written to another database."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """Return where groups go."""
        return "locks" if model is Group else None


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    def note(**_signal: Any) -> None:
        published.append(Membership.objects.count())

    published.clear()
    User.objects.create_user("ada")
    before_task_publish.connect(note, weak=False)  # a dead one blinds Celery 5.4
    with override_settings(ROOT_URLCONF=__name__):
        yield
    before_task_publish.disconnect(note)


def post(view: Any, name: str = "north") -> HttpResponseBase:
    """Send the form of a view, with one member."""
    group, _new = Group.objects.using("default").get_or_create(name="before")
    data = {
        "name": name,
        "email": "ada@example.com",
        "User_groups-TOTAL_FORMS": 1,
        "User_groups-INITIAL_FORMS": 0,
        "User_groups-0-user": User.objects.get().pk,
    }
    response: HttpResponseBase = Client(raise_request_exception=False).post(
        f"/{view.__name__}/{group.pk}/", data
    )
    return response


def held() -> bool:
    """Return whether there is a lock."""
    return bool(open_store("locks").scan().locks)


@pytest.mark.parametrize("view", VIEWS)
def test_the_task_is_queued_after_all_is_saved(view: Any) -> None:
    """Publish once, at the end of the view where there is no transaction around it."""
    assert post(view).status_code == 302
    assert published == [1]


@pytest.mark.parametrize("view", VIEWS)
def test_it_waits_for_the_commit_of_a_transaction_around_it(view: Any) -> None:
    """Publish at the commit, and never after a rollback."""
    with transaction.atomic():
        assert post(view).status_code == 302
        assert published == []
    assert published == [1]
    with transaction.atomic():
        assert post(view, "south").status_code == 302
        transaction.set_rollback(True)
    assert published == [1]


@pytest.mark.parametrize("view", VIEWS)
def test_a_duplicate_saves_nothing(view: Any) -> None:
    """Redirect it as ever."""
    with welcome.reserve("north"):
        assert post(view).status_code == 302
    assert (published, Membership.objects.count()) == ([], 0)


@pytest.mark.parametrize(("view", "status"), [(Failing, 500), (RolledBack, 302)])
def test_what_is_not_saved_queues_nothing(view: Any, status: int) -> None:
    """Free the key with the view that fails, or that takes its form back."""
    assert post(view).status_code == status
    assert published == []
    assert not held()


def test_a_broker_that_is_down_frees_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no lock, and go where a success goes: all is saved."""

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError("broker down")

    monkeypatch.setattr(app, "send_task", fail)
    assert post(Create).status_code == 302
    assert Membership.objects.count() > 0
    assert not held()


def test_an_async_view_publishes_too() -> None:
    """Publish when the form is valid."""
    assert post(Async).status_code == 302
    assert len(published) == 1


def test_a_form_that_is_valid_outside_a_request_is_queued_at_once() -> None:
    """Hold nothing back where nobody would let it go."""
    view = Async()
    form = EmailForm({"email": "ada@example.com"})
    assert form.is_valid()
    assert view.form_valid(form).status_code == 302
    assert len(published) == 1


@override_settings(DATABASE_ROUTERS=[f"{__name__}.OtherRouter"])
@pytest.mark.parametrize("around", [("locks",), ("default", "locks"), ("default",)])
def test_a_model_view_follows_the_database_of_its_model(around: tuple[str, ...]) -> None:
    """Take the router's word where it has a transaction open, or the one that is open."""
    with ExitStack() as stack:
        for alias in around:
            stack.enter_context(transaction.atomic(using=alias))
        assert post(Elsewhere).status_code == 302
        assert published == []
        if around == ("default", "locks"):
            stack.pop_all().__exit__(None, None, None)
    assert len(published) == 1
