"""A site behind a strict policy, and a browser that tells what the policy blocked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from testproject.redis_server import RedisServer
from testproject.screenshots import FLAGS
from tests.outages import caches_at
from tests.services import need

WATCH = """
document.addEventListener("securitypolicyviolation", (event) => {
    window.policyBlocked(`${event.violatedDirective} on ${location.pathname}`);
});
"""

OpenWindow = Callable[..., Page]


@pytest.fixture
def site(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of the tests' site."""
    # Playwright runs an event loop in this thread, where Django would refuse the database.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    middleware = ["tests.browser.policy.content_security_policy", *settings.MIDDLEWARE]
    with override_settings(MIDDLEWARE=middleware):
        server = LiveServer("127.0.0.1")
        try:
            yield server.url
        finally:
            server.stop()


@pytest.fixture
def shop(settings: Any) -> None:
    """Let the site be that of ``tests.browser.shop``."""
    settings.ROOT_URLCONF = "tests.browser.shop"


@pytest.fixture
def no_locks(spare_redis_server: RedisServer) -> Iterator[None]:
    """Keep the locks on a server that was stopped."""
    with override_settings(CACHES=caches_at(spare_redis_server)):
        spare_redis_server.stop()
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a Chromium."""
    with sync_playwright() as playwright:
        # Playwright switches off that Back brings a page as it was left, as people have it.
        chromium = playwright.chromium.launch(
            executable_path=need("chromium"),
            args=FLAGS,
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def blocked() -> list[str]:
    """Return what the policy blocked so far."""
    return []


@pytest.fixture
def open_window(browser: Browser, site: str, blocked: list[str]) -> Iterator[OpenWindow]:
    """Return a function that opens a window of somebody else, logged in as a test client is."""
    with ExitStack() as contexts:

        def opened(client: Client | None = None, **options: Any) -> Page:
            context = browser.new_context(base_url=site, **options)
            contexts.callback(context.close)
            context.expose_function("policyBlocked", lambda words: blocked.append(words))
            context.add_init_script(WATCH)
            page = context.new_page()
            if client is not None:
                adopt(page, client)
            return page

        yield opened


@pytest.fixture
def page(open_window: OpenWindow) -> Page:
    """Return a window on the site."""
    return open_window()


@pytest.fixture
def log_in(page: Page) -> Callable[[Client], None]:
    """Return a function that makes the window that of whom a test client belongs to."""
    return lambda client: adopt(page, client)


def adopt(page: Page, client: Client) -> None:
    """Give a window the session of a test client."""
    name = settings.SESSION_COOKIE_NAME
    value = client.cookies[name].value
    page.context.add_cookies([{"name": name, "value": value, "domain": "127.0.0.1", "path": "/"}])
