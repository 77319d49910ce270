"""Forms that tests send twice."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from celery import current_app, shared_task
from django import forms
from django.contrib.auth.models import Group
from django.contrib.messages import get_messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, TestCase
from django.urls import path
from django.views.generic import CreateView

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.locks import open_store
from django_celery_once.mixins import OnceFormMixin
from django_celery_once.models import BlockedDuplicate
from django_celery_once.testing import (
    assert_once_rejected,
    double_submit,
    once_disabled,
    once_in_memory,
)
from tests.celery_app import app
from tests.web import GroupForm

if TYPE_CHECKING:
    _CreateView = CreateView[Group, GroupForm]
else:
    _CreateView = CreateView

RUNS: list[tuple[str, bool]] = []


@shared_task(base=QueueOnce, name="tests.testing.greet", once={"keys": ["audience"]})
def greet(audience: str, group_pk: int = 0) -> str:
    """Note the run, and what it does at its commit."""
    RUNS.append((audience, Group.objects.filter(pk=group_pk).exists()))
    transaction.on_commit(lambda: RUNS.append(("committed", True)))
    return audience


@shared_task(name="tests.testing.plain")
def plain() -> None:
    RUNS.append(("plain", True))


@shared_task(base=QueueOnce, name="tests.testing.fail")
def fail() -> None:
    """Wait for another task, which Celery forbids."""
    plain.delay().get()


def queue(request: HttpRequest) -> HttpResponse:
    """Queue, and catch nothing."""
    result = greet.delay(request.POST["audience"])
    return HttpResponse(f"{result.status} {result.id}")


def queue_all(request: HttpRequest) -> HttpResponse:
    """Run one task here, queue one that is not guarded and one that fails."""
    greet.apply(("by hand",))
    plain.delay()
    fail.delay()
    return HttpResponse()


def upload(request: HttpRequest) -> HttpResponse:
    """Tell the size of each file that was sent."""
    sizes = [each.size for files in request.FILES.lists() for each in files[1]]
    return HttpResponse(f"{sizes} {request.POST.get('note')}")


class AnyName(GroupForm):
    """Leave it to the guard that nothing is saved twice."""

    def validate_unique(self) -> None: ...


class Create(OnceFormMixin, _CreateView):
    """Claim, save, publish at the commit."""

    model = Group
    form_class = AnyName
    template_name = "web/form.html"
    success_url = "/create/"
    once_task = greet

    def get_once_kwargs(self, form: forms.Form) -> dict[str, Any]:
        return {"audience": "everybody"}

    def get_task_kwargs(self, form: forms.Form) -> dict[str, Any]:
        assert self.object is not None
        return {"audience": "everybody", "group_pk": self.object.pk}


urlpatterns = [
    path("queue/", queue),
    path("queue-all/", queue_all),
    path("upload/", upload),
    path("create/", Create.as_view()),
]

EVERYBODY = {"audience": "everybody"}


@pytest.fixture(autouse=True)
def _site(settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = __name__
    RUNS.clear()
    with once_in_memory():
        yield


def is_free() -> bool:
    """Return whether the views' key is nobody's."""
    return open_store("once_in_memory").inspect(greet.once_key("everybody")) is None


def create_twice(client: Client) -> Any:
    """Send a form twice, and get the reassuring message."""
    with assert_once_rejected(greet, count=1):
        first, second = double_submit(client, "/create/", {"name": "authors"})
    assert (first.status_code, second.status_code) == (302, 302)
    (message,) = get_messages(second.wsgi_request)
    assert "already being prepared" in str(message)
    assert Group.objects.count() == 1


@pytest.mark.django_db
class TestWithBrokerInMemory:
    """Calls are queued, and nothing runs them."""

    def test_the_second_post_is_refused(self, client: Client) -> None:
        """Let the middleware answer a duplicate, and keep the lock of the first."""
        with assert_once_rejected(greet, count=1):
            first, second = double_submit(client, "/queue/", EVERYBODY)
        assert (first.status_code, second.status_code) == (200, 409)
        assert not is_free()
        assert RUNS == []

    def test_a_form_that_queues_at_the_commit(self, client: Client, published: Any) -> None:
        """Commit what the test's transaction would have kept waiting."""
        create_twice(client)
        assert [each["task"] for each in published] == [greet.name]
        assert connection.run_on_commit == []


@pytest.mark.django_db(transaction=True)
class TestWithRealTransactions:
    """Views commit by themselves."""

    def test_a_form_that_queues_at_the_commit(self, client: Client, published: Any) -> None:
        """Queue once."""
        create_twice(client)
        assert [each["task"] for each in published] == [greet.name]

    @pytest.mark.usefixtures("eager")
    def test_an_eager_run_sees_what_was_saved(self, client: Client) -> None:
        """Run once, after both posts."""
        create_twice(client)
        assert RUNS == [("everybody", True), ("committed", True)]


@pytest.mark.django_db
@pytest.mark.usefixtures("eager")
class TestEager:
    """``task_always_eager``"""

    def test_the_second_post_is_refused(self, client: Client) -> None:
        """Run once, after both posts, and free the key."""
        with assert_once_rejected(greet, count=1) as rejections:
            first, second = double_submit(client, "/queue/", EVERYBODY)
        assert first.content.decode() == f"PENDING {rejections[0].holder.owner}"
        assert second.status_code == 409
        assert rejections[0].holder.phase == "queued"
        assert RUNS == [("everybody", False), ("committed", True)]
        assert is_free()
        incident = BlockedDuplicate.objects.get()
        assert (incident.rejections, incident.outcome) == (1, "success")

    def test_a_form_that_queues_at_the_commit(self, client: Client) -> None:
        """Run with what was saved, once."""
        create_twice(client)
        assert RUNS == [("everybody", True), ("committed", True)]
        assert is_free()

    def test_who_captures_commits_as_well_does_nothing_twice(self, client: Client) -> None:
        """Leave nothing to capture."""
        with TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
            create_twice(client)
        assert callbacks == []
        assert len(RUNS) == 2

    def test_two_forms_in_a_row(self, client: Client) -> None:
        """Accept the next when the first is done."""
        for _each in range(2):
            first, second = double_submit(client, "/queue/", EVERYBODY)
            assert (first.status_code, second.status_code) == (200, 409)

    def test_a_single_post_runs_at_once(self, client: Client) -> None:
        """Leave no trace of what waited."""
        double_submit(client, "/queue/", EVERYBODY)
        assert client.post("/queue/", EVERYBODY).content.startswith(b"SUCCESS")
        assert "apply" not in vars(QueueOnce)

    def test_without_locks(self, client: Client) -> None:
        """Run both."""
        with once_disabled():
            first, second = double_submit(client, "/queue/", EVERYBODY)
        assert (first.status_code, second.status_code) == (200, 200)
        assert RUNS == [("everybody", False), ("committed", True)] * 2

    def test_only_guarded_calls_wait(self, client: Client) -> None:
        """Run at once what is not queued under a lock; let a failure be the task's own."""
        with assert_once_rejected(fail, count=1):
            double_submit(client, "/queue-all/")
        assert [name for name, _seen in RUNS if name != "committed"] == [
            *("by hand", "plain") * 2,
            "plain",
        ]

    def test_a_failure_that_is_propagated(self, client: Client) -> None:
        """Raise it after both posts."""
        app.conf.task_eager_propagates = True
        try:
            with pytest.raises(RuntimeError, match="Never call"), assert_once_rejected(fail):
                double_submit(client, "/queue-all/")
        finally:
            app.conf.task_eager_propagates = False

    def test_a_view_that_lets_the_duplicate_through(self, client: Client, settings: Any) -> None:
        """Run the first though the second post raises."""
        settings.MIDDLEWARE = []
        with pytest.raises(AlreadyQueued):
            double_submit(client, "/queue/", EVERYBODY)
        assert len(RUNS) == 2
        with assert_once_rejected(greet, count=1):
            double_submit(client, "/queue/", EVERYBODY)


@pytest.mark.django_db
def test_a_mocked_call_has_no_lock(client: Client) -> None:
    """Refuse nothing where the guard itself is mocked."""
    with (
        mock.patch.object(greet, "delay", return_value=current_app.AsyncResult("id")) as delay,
        assert_once_rejected(count=0),
    ):
        double_submit(client, "/queue/", EVERYBODY)
    assert delay.call_count == 2


def test_files_are_sent_whole_each_time(client: Client) -> None:
    """Rewind the files of a form, also where a field has several, and pass options on."""
    data = {
        "one": SimpleUploadedFile("one.txt", b"1"),
        "two": [SimpleUploadedFile("two.txt", b"22"), BytesIO(b"333")],
        "note": "as it is",
    }
    first, second = double_submit(client, "/upload/", data, follow=True)
    assert first.content == second.content == b"[1, 2, 3] as it is"
    assert first.redirect_chain == []
