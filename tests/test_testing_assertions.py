"""Tests that expect duplicates to be refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import Client, override_settings

from django_celery_once import AlreadyQueued
from django_celery_once.signals import duplicate_rejected
from django_celery_once.testing import assert_once_rejected, once_disabled
from tests import web
from tests.guarded_tasks import bound, report

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _in_flight() -> None:
    """Have a call of each task under way."""
    report.delay("a")
    bound.delay("a")


@pytest.fixture(autouse=True)
def _no_receiver_is_left() -> Iterator[None]:
    before = len(duplicate_rejected.receivers)
    yield
    assert len(duplicate_rejected.receivers) == before


def refuse_both() -> None:
    """Have a duplicate of each task refused, and raise for the second."""
    bound.apply_async(("a",), once={"on_duplicate": "reject"})
    report.delay("a")


class TestPasses:
    """Duplicates that are expected."""

    def test_whatever_the_policy(self) -> None:
        """Count what is raised and what is not."""
        with assert_once_rejected(report, count=2) as rejections:
            report.apply_async(("a",), once={"on_duplicate": "reject"})
            with pytest.raises(AlreadyQueued):
                report.delay("a")
        assert [each.policy for each in rejections] == ["reject", "raise"]
        assert {each.task_name for each in rejections} == {report.name}

    def test_ends_the_block_at_a_duplicate(self) -> None:
        """Go on after the block, as ``assertRaises`` does."""
        with assert_once_rejected(report):
            report.delay("a")
            pytest.fail("The block should have ended.")

    def test_any_task(self) -> None:
        """Count those of all tasks where none is named."""
        with assert_once_rejected(count=2) as rejections:
            refuse_both()
        assert [each.task_name for each in rejections] == [bound.name, report.name]

    def test_only_the_task_that_is_named(self) -> None:
        """Leave the duplicates of others out."""
        with assert_once_rejected(report, count=1):
            refuse_both()

    def test_none(self) -> None:
        """Expect that nothing is refused."""
        with assert_once_rejected(count=0):
            report.delay("b")

    def test_in_another_thread(self) -> None:
        """See what is refused in a thread, such as a view's."""

        def refuse() -> None:
            report.apply_async(("a",), once={"on_duplicate": "reject"})

        with (
            override_settings(DJANGO_CELERY_ONCE={**settings.DJANGO_CELERY_ONCE, "LOG": False}),
            assert_once_rejected(report, count=1),
        ):
            thread = threading.Thread(target=refuse)
            thread.start()
            thread.join(10)

    @override_settings(ROOT_URLCONF="tests.web")
    def test_in_a_view(self, client: Client) -> None:
        """See what a view has answered."""
        web.send.delay("eva@example.com")
        with assert_once_rejected(web.send, count=1):
            assert client.post("/queue/").status_code == 409

    def test_nested(self) -> None:
        """Let each block count for itself."""
        with assert_once_rejected(report, count=2):
            with assert_once_rejected(report, count=1):
                report.delay("a")
            report.delay("a")


class TestFails:
    """Duplicates that do not come, or come unexpected."""

    def test_none_was_refused(self) -> None:
        """Name the task, what was expected and what was seen."""
        with pytest.raises(AssertionError) as caught, assert_once_rejected(report):
            report.delay("b")
        assert (
            str(caught.value) == f"Refused duplicates of {report.name}: expected at least 1, saw 0"
        )

    def test_too_many_were_refused(self) -> None:
        """List them, and show the exception that ended the block."""
        with pytest.raises(AssertionError) as caught, assert_once_rejected(count=0):
            report.delay("a")
        first, second = str(caught.value).splitlines()
        assert first == "Refused duplicates of any task: expected 0, saw 1"
        assert second.startswith(f"- {report.name}[")
        assert second.endswith(f"held {report.once_key('a')}")
        assert isinstance(caught.value.__cause__, AlreadyQueued)

    def test_too_few_were_refused(self) -> None:
        """List also those of other tasks."""
        with pytest.raises(AssertionError) as caught, assert_once_rejected(report, count=2):
            refuse_both()
        first, second, third = str(caught.value).splitlines()
        assert first == f"Refused duplicates of {report.name}: expected 2, saw 1"
        assert second.startswith(f"- {report.name}[")
        assert third.startswith(f"- {bound.name}[")

    def test_the_guard_is_off(self) -> None:
        """Say why nothing was refused."""
        with (
            once_disabled(),
            pytest.raises(AssertionError, match=r"\['ENABLED'\] is False: nothing is refused"),
            assert_once_rejected(report),
        ):
            report.delay("a")

    @pytest.mark.usefixtures("eager")
    def test_tasks_are_eager(self) -> None:
        """Say why nothing was refused."""
        with (
            pytest.raises(AssertionError, match="task_always_eager is on: a call has run"),
            assert_once_rejected(report),
        ):
            report.delay("b")

    def test_another_task_was_refused(self) -> None:
        """Let the duplicate of another task pass."""
        with pytest.raises(AlreadyQueued, match="bound"), assert_once_rejected(report):
            bound.delay("a")

    def test_another_exception_passes(self) -> None:
        """Hide no error behind a count."""
        with pytest.raises(ZeroDivisionError), assert_once_rejected(report):
            raise ZeroDivisionError


@pytest.mark.usefixtures("eager")
def test_a_reserved_key_stands_for_a_call_in_flight() -> None:
    """Refuse an eager call, too, while its key is reserved."""
    with report.reserve("b"), assert_once_rejected(report, count=1):
        report.delay("b")
