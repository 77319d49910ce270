"""The admin's pages in a real browser: under a strict policy, with the keyboard, on a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from playwright.sync_api import Page, ViewportSize

from django_celery_once.keys import key_of
from django_celery_once.locks import open_store
from django_celery_once.models import BlockedDuplicate
from tests.admin import people
from tests.admin.test_locks import KEY, MOVED, hold, hold_without_worker
from tests.configurations import once
from tests.factories import make_rejection

pytestmark = pytest.mark.needs("chromium")

APP = "admin:django_celery_once"
LOCKS = f"{APP}_heldlock_changelist"
PHONE: ViewportSize = {"width": 390, "height": 844}

LogIn = Callable[[Any], None]


def pages() -> list[str]:
    """Return the addresses of the pages, with something to show on each."""
    store = open_store("locks")
    hold(store, lease=60)
    hold_without_worker(store, f"{KEY}-lost")
    BlockedDuplicate.objects.record(make_rejection())
    incident = BlockedDuplicate.objects.get()
    return [
        reverse(LOCKS),
        reverse(f"{APP}_heldlock_history", args=["once"]),
        reverse(f"{APP}_blockedduplicate_overview"),
        reverse(f"{APP}_blockedduplicate_changelist"),
        reverse(f"{APP}_blockedduplicate_change", args=[incident.pk]),
    ]


def press_until(page: Page, key: str, selector: str) -> None:
    """Press a key until something has the focus, as somebody without a mouse does."""
    for _ in range(80):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press(key)
    pytest.fail(f"{key} never led to {selector}")


def test_the_watch_sees_what_is_blocked(page: Page, log_in: LogIn, blocked: list[str]) -> None:
    """An inline style is reported, so that silence means something."""
    log_in(people.viewer())
    page.goto(reverse("admin:index"))
    assert blocked == []
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x')")
    for _ in range(100):
        if blocked:
            break
        page.wait_for_timeout(50)
    assert set(blocked) == {"style-src-attr on /admin/"}


def test_no_page_needs_what_a_strict_policy_blocks(
    page: Page, log_in: LogIn, blocked: list[str]
) -> None:
    """No script, no style and no attribute of either is inline."""
    log_in(people.superuser())
    for address in pages():
        response = page.goto(address, wait_until="load")
        assert response is not None
        assert response.status == 200
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert page.locator("#content [style], #content script:not([src])").count() == 0
    assert blocked == []


def test_the_style_of_the_pages_is_served(page: Page, log_in: LogIn) -> None:
    """Each page has its style sheet, which takes its colours from the admin's."""
    log_in(people.superuser())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(reverse(f"{APP}_blockedduplicate_overview"))
        bar = page.locator(".once-chart text").first
        words = bar.evaluate("each => getComputedStyle(each).fill")
        body = bar.evaluate("each => getComputedStyle(document.body).color")
        assert words == body, scheme


def test_a_lock_is_released_with_the_keyboard(
    page: Page, log_in: LogIn, blocked: list[str]
) -> None:
    """From the list over the question to the message, no mouse and no script is needed."""
    store = open_store("locks")
    hold(store, lease=60)
    log_in(people.releaser())
    page.goto(reverse(LOCKS))
    press_until(page, "Tab", "button[name=mark]")
    page.keyboard.press("Enter")
    page.wait_for_selector("input[name=reason]")
    assert "this may run twice" in page.inner_text("#content-main")
    press_until(page, "Tab", "input[name=reason]")
    page.keyboard.type("nobody needs it")
    press_until(page, "Tab", "input[name=twice]")
    page.keyboard.press("Space")
    press_until(page, "Tab", "input[type=submit]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".messagelist .success")
    assert page.inner_text(".messagelist .success") == "The lock of May report is free."
    assert store.inspect(KEY) is None
    assert "nobody needs it" in LogEntry.objects.get().get_change_message()
    assert blocked == []


def test_a_release_without_a_reason_is_stopped(page: Page, log_in: LogIn) -> None:
    """The browser itself asks for what is required."""
    store = open_store("locks")
    hold(store)
    log_in(people.releaser())
    page.goto(reverse(LOCKS))
    page.click("button[name=mark]")
    page.click("input[type=submit]")
    assert page.evaluate("document.activeElement.name") == "reason"
    assert store.inspect(KEY) is not None


def test_every_release_button_is_in_sight(page: Page, log_in: LogIn) -> None:
    """On a small screen, where locks are in several caches, which the page has to tell apart."""
    key = key_of("reports.tasks.send_monthly_report", "May")
    for alias in ("locks", "locks_django"):
        hold(open_store(alias), key, lease=60, owner=str(uuid4()))
    log_in(people.superuser())
    page.set_viewport_size({"width": 1280, "height": 800})
    with once(TASKS=MOVED):
        page.goto(reverse(LOCKS))
        buttons = page.get_by_role("button", name="Release the lock").all()
        ends = [box["x"] + box["width"] for each in buttons if (box := each.bounding_box())]
    assert len(ends) == 2
    assert max(ends) <= 1280


def test_nothing_sticks_out_on_a_phone(page: Page, log_in: LogIn) -> None:
    """The pages are as wide as the screen; a wide table scrolls by itself."""
    log_in(people.superuser())
    page.set_viewport_size(PHONE)
    for address in pages()[:3]:
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], address
