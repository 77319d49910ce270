"""A request that meets the key which it holds itself: a fault of the program, told to nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from celery import shared_task
from celery.signals import before_task_publish
from django.contrib.auth.models import Group
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.views.generic import CreateView

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.decorators import once_view
from django_celery_once.exceptions import AlreadyQueuedHere
from django_celery_once.locks import open_store
from django_celery_once.middleware import AlreadyQueuedMiddleware
from django_celery_once.mixins import OnceFormMixin
from django_celery_once.signals import Rejection
from tests.web import GroupForm

if TYPE_CHECKING:
    _CreateView = CreateView[Group, GroupForm]
else:
    _CreateView = CreateView

pytestmark = pytest.mark.django_db(transaction=True)


@shared_task(base=QueueOnce, name="tests.own_key.welcome", once={"keys": ["audience"]})
def welcome(audience: str, group_pk: int = 0) -> None: ...


class Create(OnceFormMixin, _CreateView):
    """Queue a task by ``once_task``, and once more by what a test gives."""

    model = Group
    form_class = GroupForm
    template_name = "web/form.html"
    success_url = "/done/"
    once_task = welcome
    before: Callable[[], Any] = staticmethod(lambda: None)
    while_saving: Callable[[], Any] = staticmethod(lambda: None)
    after: Callable[[], Any] = staticmethod(lambda: None)

    def form_valid(self, form: Any) -> HttpResponse:
        self.before()
        response = super().form_valid(form)
        self.after()
        return response

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        return {"audience": "all"}

    def get_task_kwargs(self, form: Any) -> dict[str, Any]:
        self.while_saving()
        assert self.object is not None
        return {"audience": "all", "group_pk": self.object.pk}

    def handle_already_queued(self, duplicate: AlreadyQueued) -> Any:
        """Answer a duplicate as a project may."""
        return HttpResponse("already under way", status=409)


@pytest.fixture(params=[True, False], ids=["ATOMIC_REQUESTS", "autocommit"])
def atomic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tell whether each request has a transaction."""
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", request.param)
    return bool(request.param)


@pytest.fixture
def sent() -> Iterator[list[str]]:
    """Collect the ids of what is published."""
    seen: list[str] = []

    def note(headers: dict[str, Any], **_signal: Any) -> None:
        seen.append(headers["id"])

    before_task_publish.connect(note, weak=False)
    yield seen
    before_task_publish.disconnect(note)


def post(view: Any) -> Any:
    """Send a form to a view, as the handler does with or without ``ATOMIC_REQUESTS``."""
    request = RequestFactory().post("/", {"name": "authors"})
    if connections["default"].settings_dict["ATOMIC_REQUESTS"]:
        view = transaction.atomic(view)
    return view(request)


def is_free() -> bool:
    return open_store("locks").inspect(welcome.once_key("all")) is None


def delay() -> None:
    """Queue it as the README's first example does."""
    welcome.delay("all", 1)


def apply_async() -> None:
    """Queue it with words for Celery."""
    welcome.apply_async(("all", 1), countdown=5)


def delay_on_commit() -> None:
    """Queue it at the commit."""
    welcome.delay_on_commit("all", 1)


def reserve() -> None:
    """Reserve it once more."""
    welcome.reserve("all")


WAYS = [delay, apply_async, delay_on_commit, reserve]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", ["while_saving", "after"])
def test_once_task_and_a_call_in_the_view(
    atomic: bool, sent: list[str], rejections: list[Rejection], way: Any, moment: str
) -> None:
    """Name both places; queue nothing, answer nobody."""
    with pytest.raises(AlreadyQueuedHere) as raised:
        post(Create.as_view(**{moment: staticmethod(way)}))
    said = str(raised.value)
    assert said.count(".py:") == 2
    assert f"(in {way.__name__}) asks for tests.own_key.welcome" in said
    assert "by once_task (then without delay() in the view)" in said
    assert (sent, len(rejections), is_free()) == ([], 1, True)
    assert Group.objects.exists() is not atomic


@pytest.mark.parametrize("way", [delay, apply_async])
def test_a_call_in_the_view_and_once_task(atomic: bool, sent: list[str], way: Any) -> None:
    """Save nothing; what was queued already can't be taken back."""
    with pytest.raises(AlreadyQueuedHere) as raised:
        post(Create.as_view(before=staticmethod(way)))
    said = str(raised.value)
    assert f"(in {way.__name__}) has queued tests.own_key.welcome, which the once_task of" in said
    assert "Create queues when the form is saved" in said
    assert len(sent) == 1
    assert not Group.objects.exists()


def test_a_claim_for_the_commit_and_once_task(sent: list[str]) -> None:
    """Queue neither."""
    with pytest.raises(AlreadyQueuedHere, match="asks for"), transaction.atomic():
        post(Create.as_view(before=staticmethod(delay_on_commit)))
    assert sent == []
    reserve()


@pytest.mark.parametrize("moment", ["before", "while_saving", "after"])
def test_a_key_that_is_anothers_is_a_duplicate(
    atomic: bool, rejections: list[Rejection], moment: str
) -> None:
    """Answer a person as ever."""
    delay()
    assert post(Create.as_view()).status_code == 409
    assert len(rejections) == 1


@pytest.mark.parametrize("answer", ["reject", "join", "rerun"])
def test_who_wants_no_error_gets_none(sent: list[str], answer: str) -> None:
    """Let a call that is content with the reserved one be so: that is queued."""

    def call() -> None:
        welcome.apply_async(("all", 1), once={"on_duplicate": answer})

    assert post(Create.as_view(after=staticmethod(call))).status_code == 302
    assert len(set(sent)) >= 1
    assert not is_free()


@pytest.mark.parametrize("way", WAYS)
def test_a_call_within_ones_own_reservation(sent: list[str], way: Any) -> None:
    """Name both places, and what to write instead."""
    words = "by the reservation's own methods"
    with pytest.raises(AlreadyQueuedHere, match=words), welcome.reserve("all"):
        way()
    assert (sent, is_free()) == ([], True)


def test_two_calls_for_one_commit() -> None:
    """Tell it; who expects it catches it as any duplicate, and the first is queued."""
    words = "by one delay_on_commit"
    with pytest.raises(AlreadyQueuedHere, match=words), transaction.atomic():  # noqa: PT012
        delay_on_commit()
        delay_on_commit()
    with transaction.atomic():
        for _each in range(2):
            with suppress(AlreadyQueued):
                delay_on_commit()
    assert not is_free()


def reserve_and_call(_request: HttpRequest) -> HttpResponse:
    """Do what no view should."""
    with welcome.reserve("all"):
        delay()
    return HttpResponse()


def test_neither_the_decorator_nor_the_middleware_answers(client: Client) -> None:
    """Let the error through, for the developer."""
    request = RequestFactory().post("/")
    with pytest.raises(AlreadyQueuedHere):
        once_view(reserve_and_call)(request)
    with pytest.raises(AlreadyQueuedHere) as raised:
        reserve_and_call(request)
    middleware = AlreadyQueuedMiddleware(lambda _request: HttpResponse())
    with pytest.raises(AlreadyQueuedHere):
        middleware.process_exception(request, raised.value)


def test_two_calls_at_once_are_one_and_a_duplicate() -> None:
    """Keep the answer where the first is queued already: what is said is true."""
    delay()
    with pytest.raises(AlreadyQueued) as raised:
        delay()
    assert type(raised.value) is AlreadyQueued
