"""A site behind a strict policy, and a browser that tells what the policy blocked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.services import need

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WATCH = """
document.addEventListener("securitypolicyviolation", (event) => {
    window.policyBlocked(`${event.violatedDirective} on ${location.pathname}`);
});
"""


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=need("chromium"), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def blocked() -> list[str]:
    """Return what the policy blocked so far."""
    return []


@pytest.fixture
def page(browser: Browser, site: str, blocked: list[str]) -> Iterator[Page]:
    """Return a window on the site."""
    context = browser.new_context(base_url=site)
    context.expose_function("policyBlocked", lambda words: blocked.append(words))
    context.add_init_script(WATCH)
    yield context.new_page()
    context.close()


@pytest.fixture
def log_in(page: Page) -> Any:
    """Return a function that makes the window that of whom a test client belongs to."""

    def as_of(client: Any) -> None:
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        page.context.add_cookies(
            [
                {
                    "name": settings.SESSION_COOKIE_NAME,
                    "value": session,
                    "domain": "127.0.0.1",
                    "path": "/",
                }
            ]
        )

    return as_of
