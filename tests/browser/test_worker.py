"""The demo's site with a real worker: a report from the form to its result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from testproject.demo.site import Site

pytestmark = pytest.mark.needs("chromium")

ADDRESSES = ("REDIS_URL", "BROKER_URL", "DATABASE_URL")
RELOADS = 200
SECONDS = "4"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Site]:
    """Return the demo's site; a test starts the worker."""
    kept = {name: os.environ.pop(name) for name in ADDRESSES if name in os.environ}
    try:
        with Site(tmp_path, REPORT_SECONDS=SECONDS) as site:
            yield site
    finally:
        os.environ.update(kept)


@pytest.fixture
def address(demo: Site) -> str:
    """Return where the site is."""
    return demo.start_web_somewhere()


def reload_until(page: Page, state: str) -> None:
    """Reload, as somebody who waits does, until the status is another."""
    for _ in range(RELOADS):
        if page.locator(f"[data-once-state={state}]").count():
            return
        page.wait_for_timeout(50)
        page.reload()
    pytest.fail(f"The status was never {state}: {page.inner_text('.once-status')}")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until something has the focus."""
    for _ in range(40):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab never led to {selector}")


def test_reloads_follow_a_report(browser: Browser, demo: Site, address: str) -> None:
    """Without a script: queued, a duplicate's message, running, done with a link."""
    with browser.new_context(base_url=address, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/")
        for words in ("is being prepared and will be mailed", "is already being prepared"):
            page.fill("[name=email]", "eva@example.com")
            page.get_by_role("button", name="Send me the report").click()
            expect(page.locator(".message")).to_contain_text(words)
        expect(page.locator(".once-status")).to_contain_text("Waiting for its turn.")
        expect(page.locator(".once-status-reload")).to_be_visible()
        demo.start_worker()
        reload_until(page, "running")
        expect(page.locator(".once-status")).to_contain_text("Being prepared")
        expect(page.locator(".once-status-reload")).to_be_visible()
        reload_until(page, "done")
        expect(page.locator(".once-status-reload")).to_have_count(0)
        page.get_by_role("link", name="Open the result").click()
        expect(page.locator(".row-title")).to_have_count(1)


def test_the_keyboard_is_enough(browser: Browser, demo: Site, address: str) -> None:
    """Fill in, send, hear how it goes on without a reload, and follow the link to the result."""
    demo.start_worker()
    with browser.new_context(base_url=address) as context:
        page = context.new_page()
        page.goto("/")
        tab_to(page, "[name=email]")
        page.keyboard.type("ada@example.com")
        tab_to(page, "form button")
        page.keyboard.press("Enter")
        expect(page.locator(".message.success")).to_be_visible()
        expect(page.locator("[data-once-state=done]")).to_be_visible(timeout=60_000)
        assert page.locator(".once-status").get_attribute("role") == "status"
        tab_to(page, ".once-status a")
        page.keyboard.press("Enter")
        page.wait_for_url("**/outbox/")
        expect(page.locator("main")).to_contain_text("ada@example.com")
