"""Prepare the process, then Django, then pytest.

Servers get their addresses when they start, and settings hold addresses, so the
order is: start the servers, load the settings. That is why no ini option names the
settings module: pytest-django would load it first.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import django
import django_valkey.base
import pytest
from celery import signals
from django.conf import settings
from django.core.cache import close_caches
from django.core.signals import request_finished

from tests import groups
from tests.services import LEFT_OUT, SERVICES, need, required

if TYPE_CHECKING:
    from django.test import AsyncClient, Client

    from django_celery_once.signals import Rejection

SETTINGS = "DJANGO_SETTINGS_MODULE"

if settings.configured:
    raise pytest.UsageError(f"Unset {SETTINGS}: tests/conftest.py loads the settings.")
os.environ[SETTINGS] = "tests.settings"

from testproject.redis_server import RedisServer  # noqa: E402
from tests.browsers import known_again  # noqa: E402
from tests.celery_app import app  # noqa: E402
from tests.surroundings import Surroundings  # noqa: E402

SURROUNDINGS = Surroundings()
SURROUNDINGS.start()
django.setup()

# django-valkey, once it is used, closes caches by a coroutine, which a response that ends within
# an event loop can't call. Let the other tests have Django's own way.
django_valkey.base.signals.request_finished.disconnect(django_valkey.base.close_async_caches)
request_finished.connect(close_caches)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Let each worker process load the settings after it has started its servers."""
    os.environ.pop(SETTINGS, None)


def pytest_configure() -> None:
    """Complain about a wrong ``ONCE_REQUIRE`` before the first test."""
    required()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let tests be grouped before pytest-xdist, which is there by now, looks for their groups."""
    session.config.pluginmanager.register(groups)


def pytest_unconfigure() -> None:
    """End what this process started."""
    SURROUNDINGS.stop()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a test out, or fail it, where a service that it needs is missing."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            if name not in SERVICES:
                pytest.fail(f"There is no service {name!r}: {', '.join(SERVICES)}")
            need(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was left out for want of a service and how to get it, and what was seen."""
    left_out: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _, found, words = reason.partition(LEFT_OUT)
        if found:
            left_out[words] += 1
    if left_out:
        terminalreporter.section("left out (ONCE_REQUIRE=all makes this a failure)")
        for words, count in sorted(left_out.items()):
            terminalreporter.line(f"{count} test{'s'[: count > 1]} for want of {words}")
    reports = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    if seen := [
        words for each in reports for name, words in each.user_properties if name == "seen"
    ]:
        terminalreporter.section("double clicks in the browser")
        for words in seen:
            terminalreporter.line(str(words))


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Leave the database names alone: each process has its own already."""


@pytest.fixture(scope="session")
def redis_server() -> RedisServer:
    """Return this process's Redis server, which ``settings.CACHES`` points at."""
    return SURROUNDINGS.redis


@pytest.fixture
def spare_redis_server() -> Iterator[RedisServer]:
    """Return a Redis server for one test alone, to be killed or frozen at will."""
    with RedisServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _empty_stores(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start every test with empty caches and an empty queue, leave none of its rejections."""
    from django.core.cache import caches

    from django_celery_once import definition, journal, leftovers

    SURROUNDINGS.flush(but_ends="workers" in request.fixturenames)
    for alias in ("default", "locks_locmem"):
        caches[alias].clear()
    app.control.purge()
    definition.broken.clear()
    yield
    journal.forget()
    leftovers.forget()


@pytest.fixture
def rejections() -> Iterator[list[Rejection]]:
    """Collect the rejections that are signalled."""
    from django_celery_once.signals import duplicate_rejected

    seen: list[Rejection] = []

    def note(rejection: Rejection, **_signal: Any) -> None:
        seen.append(rejection)

    duplicate_rejected.connect(note)
    yield seen
    duplicate_rejected.disconnect(note)


@pytest.fixture
def client(client: Client) -> Client:
    """Return a browser that has seen a form: without a login, it is known by that one's cookie."""
    return known_again(client)


@pytest.fixture
def async_client(async_client: AsyncClient) -> AsyncClient:
    """Return such a browser for async views."""
    return known_again(async_client)


@pytest.fixture
def eager() -> Iterator[None]:
    """Run tasks where they are called."""
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


_numbers = itertools.count()


@pytest.fixture
def published() -> Iterator[list[dict[str, Any]]]:
    """Collect the headers of the messages that are published."""
    seen: list[dict[str, Any]] = []

    def note(headers: dict[str, Any], **_signal: Any) -> None:
        seen.append(headers)

    uid = f"tests.published.{next(_numbers)}"  # Celery 5.4 knows a receiver by its address
    signals.before_task_publish.connect(note, weak=False, dispatch_uid=uid)
    yield seen
    signals.before_task_publish.disconnect(dispatch_uid=uid)
