"""Tests without locks, and with locks in memory."""

from __future__ import annotations

import asyncio
import logging
import threading
import unittest
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.management import call_command
from django.db import transaction
from django.test import SimpleTestCase, override_settings

from django_celery_once import AlreadyQueued, journal, leftovers
from django_celery_once.conf import conf
from django_celery_once.locks import Lock, open_store
from django_celery_once.testing import once_disabled, once_in_memory
from django_celery_once.testing.overrides import ALIAS
from tests.guarded_tasks import report

pytestmark = pytest.mark.django_db


@pytest.fixture
def _no_redis(settings: Any) -> None:
    """Point the locks at a server that is not there."""
    locks = {**settings.CACHES["locks"], "LOCATION": "redis://127.0.0.1:1"}
    settings.CACHES = {**settings.CACHES, "locks": locks}


def queue_twice() -> None:
    """Queue a task, and once more: raise ``AlreadyQueued`` where there are locks."""
    report.delay("a")
    report.delay("a")


def run(case: type[unittest.TestCase]) -> unittest.TestResult:
    """Run the tests of a class."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


class TestDisabled:
    """``once_disabled``"""

    @pytest.mark.usefixtures("_no_redis")
    def test_queues_without_asking_for_locks(self, caplog: pytest.LogCaptureFixture) -> None:
        """Queue twice while no Redis is there, and say nothing above INFO."""
        caplog.set_level(logging.DEBUG, "django_celery_once")
        with once_disabled():
            queue_twice()
        assert {each.levelname for each in caplog.records} == {"INFO"}

    @override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks_locmem", "TIMEOUT": 5})
    def test_keeps_the_other_keys(self) -> None:
        """Override one key, for the length of the block."""
        with once_disabled():
            assert (conf.enabled, conf.cache, conf.timeout) == (False, "locks_locmem", 5)
        assert conf.enabled

    def test_reads_the_settings_when_it_begins(self) -> None:
        """Decorate first, override later."""
        seen = []

        @once_disabled()
        def look() -> None:
            seen.append((conf.enabled, conf.timeout))

        with override_settings(DJANGO_CELERY_ONCE={"TIMEOUT": 5}):
            look()
        assert seen == [(False, 5)]
        assert look.__name__ == "look"

    def test_does_without_the_setting(self) -> None:
        """Work where ``DJANGO_CELERY_ONCE`` is not set."""
        with override_settings():
            del settings.DJANGO_CELERY_ONCE
            with once_disabled():
                queue_twice()
            assert not hasattr(settings, "DJANGO_CELERY_ONCE")

    def test_ends_with_an_exception(self) -> None:
        """Put the settings back whatever happens."""
        with pytest.raises(ZeroDivisionError), once_disabled():
            raise ZeroDivisionError
        assert conf.enabled

    def test_decorates_a_class(self) -> None:
        """Hold in ``setUp``, test and ``tearDown`` of each test, not between them."""
        seen = []

        @once_disabled()
        class Tests(SimpleTestCase):
            def setUp(self) -> None:
                seen.append(conf.enabled)

            def tearDown(self) -> None:
                seen.append(conf.enabled)

            def test_one(self) -> None:
                queue_twice()

            def test_two(self) -> None:
                queue_twice()

        assert run(Tests).wasSuccessful()
        assert seen == [False] * 4
        assert conf.enabled

    def test_decorates_an_async_function(self) -> None:
        """Hold while the coroutine runs."""

        @once_disabled()
        async def look() -> bool:
            await asyncio.sleep(0)
            return conf.enabled

        assert asyncio.run(look()) is False

    def test_passes_the_checks(self) -> None:
        """Complain of no switch that a test has thrown."""
        with once_disabled():
            call_command("check", fail_level="WARNING")


class TestInMemory:
    """``once_in_memory``"""

    @pytest.mark.usefixtures("_no_redis")
    def test_refuses_duplicates_without_redis(self) -> None:
        """Lock in memory, and only there."""
        with once_in_memory(), pytest.raises(AlreadyQueued) as caught:
            queue_twice()
        assert caught.value.phase == "queued"

    def test_leaves_no_lock(self) -> None:
        """Begin empty, and begin empty again."""
        for _each in range(2):
            with once_in_memory():
                report.delay("a")
        assert open_store("locks").scan().locks == ()
        assert ALIAS not in settings.CACHES

    def test_guards_where_the_settings_do_not(self) -> None:
        """Turn on for one test what is off for the others, and keep the other keys."""
        with (
            override_settings(DJANGO_CELERY_ONCE={"ENABLED": False, "ON_DUPLICATE": "reject"}),
            once_in_memory(),
        ):
            report.delay("a")
            assert report.delay("a").status == "REJECTED"

    def test_sets_other_keys_as_well(self) -> None:
        """Take keys of the setting, as ``override_settings`` takes settings."""
        with once_in_memory(RESERVE=5, CACHE="locks", ENABLED=False):
            assert (conf.reserve, conf.cache, conf.enabled) == (5, ALIAS, True)

    def test_keeps_the_other_caches(self) -> None:
        """Add one alias to those that are there."""
        caches["default"].set("mine", 1)
        with once_in_memory():
            assert set(settings.CACHES) > {"default", "locks", ALIAS}
            assert caches["default"].get("mine") == 1

    def test_nests(self) -> None:
        """Begin empty inside, and find outside what was there."""
        override = once_in_memory()
        with override:
            report.delay("a")
            with override, pytest.raises(AlreadyQueued):
                queue_twice()
            with pytest.raises(AlreadyQueued):
                report.delay("a")
            with once_disabled():
                report.delay("a")
            with once_disabled(), once_in_memory(), pytest.raises(AlreadyQueued):
                queue_twice()

    def test_lets_one_of_many_threads_in(self) -> None:
        """Share the locks among the threads of the process."""
        start, queued, refused = threading.Barrier(8), [], []

        def queue() -> None:
            start.wait(10)
            try:
                queued.append(report.delay("a"))
            except AlreadyQueued as duplicate:
                refused.append(duplicate)

        with once_in_memory(LOG=False):
            threads = [threading.Thread(target=queue) for _each in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        assert (len(queued), len(refused)) == (1, 7)

    def test_holds_many_locks(self) -> None:
        """Drop none where Django's own limit would have dropped a hundred."""
        with once_in_memory():
            store = open_store(conf.cache)
            for number in range(400):
                store.acquire(Lock(f"once:{number}", "owner", "token"), 60)
            assert all(store.inspect(f"once:{number}") for number in range(400))

    def test_decorates_a_class(self) -> None:
        """Empty the store before each test, also in an inherited class."""

        @once_in_memory(LOG=False)
        class Tests(SimpleTestCase):
            def test_one(self) -> None:
                with pytest.raises(AlreadyQueued):
                    queue_twice()

            def test_two(self) -> None:
                with pytest.raises(AlreadyQueued):
                    queue_twice()

        class More(Tests):
            pass

        with override_settings(DJANGO_CELERY_ONCE={"LOG": False}):
            results = run(Tests), run(More)
        assert [(each.testsRun, each.errors, each.failures) for each in results] == [
            (2, [], [])
        ] * 2

    def test_forgets_what_was_reserved(self) -> None:
        """Leave no reservation that a later test would give back to another store."""
        outside = report.reserve("outside")
        with once_in_memory():
            report.reserve("b")
            with transaction.atomic():
                report.delay_on_commit("a")
                transaction.set_rollback(True)
        assert leftovers.here() == {outside}

    def test_forgets_what_was_not_written(self) -> None:
        """Leave nothing for the journal to write in another test."""
        with once_in_memory():
            with transaction.atomic(), pytest.raises(AlreadyQueued):
                queue_twice()
            with transaction.atomic():
                with pytest.raises(AlreadyQueued):
                    report.delay("a")
                transaction.set_rollback(True)
        assert not journal.has_something()

    def test_passes_the_checks(self) -> None:
        """Complain of no store that only a test has."""
        with once_in_memory():
            call_command("check", fail_level="WARNING")


@pytest.mark.usefixtures("_no_redis")
def test_the_locks_of_tasks_with_a_cache_of_their_own_are_in_memory_too() -> None:
    """No test needs a server because a task's locks have one; its other options stay."""
    tasks = {"tests.task.*": {"cache": "locks"}, report.name: {"cache": "locks", "timeout": 7}}
    with override_settings(DJANGO_CELERY_ONCE={"CACHE": "locks", "TASKS": tasks}):
        with once_in_memory():
            with pytest.raises(AlreadyQueued) as refused:
                queue_twice()
            assert (refused.value.alias, report.once_options().timeout) == (ALIAS, 7)
        assert conf.task_options(report.name) == tasks[report.name]
