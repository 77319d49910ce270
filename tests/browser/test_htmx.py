"""htmx 2 and 4 in a real browser: parts of pages, pages, and Back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_people import EMAIL, OUTAGE
from tests.web import send

pytestmark = [
    pytest.mark.needs("chromium", "npm"),
    pytest.mark.usefixtures("shop"),
    pytest.mark.parametrize("major", [2, 4]),
]

DUPLICATE = re.compile("^(Your|This) monthly report is already being prepared")


def click(page: Page, major: int, button: str) -> None:
    """Open the page of a version, and click."""
    visit(page, major)
    page.get_by_role("button", name=button, exact=True).click()


def fill_in(page: Page, major: int, form: str, button: str) -> None:
    """Open the page of a version, fill a form in and send it."""
    visit(page, major)
    page.fill(f"{form} [name=email]", EMAIL)
    page.get_by_role("button", name=button, exact=True).click()


def visit(page: Page, major: int) -> None:
    """Open the page of a version, and wait for its script."""
    page.goto(f"/htmx/{major}/", wait_until="load")
    page.wait_for_function("major => window.htmx?.version.startsWith(`${major}.`)", arg=major)


def test_a_success_takes_the_place(page: Page, major: int, blocked: list[str]) -> None:
    """What the view answers is put in; the page is wired as people wire theirs."""
    click(page, major, "Replace")
    expect(page.locator(".done")).to_have_text("On its way.")
    expect(page.locator("#replaced")).to_have_count(0)
    assert blocked == []


def test_a_duplicate_takes_the_place(page: Page, major: int, blocked: list[str]) -> None:
    """The sentence stands where the answer would."""
    send.delay(EMAIL)
    click(page, major, "Replace")
    expect(page.locator(".once-answer")).to_have_text(DUPLICATE)
    expect(page.locator("#replaced")).to_have_count(0)
    expect(page.locator("h1")).to_have_count(1)
    assert blocked == []


def test_hx_select_does_not_lose_the_sentence(page: Page, major: int) -> None:
    """An element that picks its own part of the answer shows a duplicate all the same."""
    send.delay(EMAIL)
    click(page, major, "Select")
    expect(page.locator("#place > .once-answer")).to_have_text(DUPLICATE)
    expect(page.locator("#selecting")).to_have_count(1)


@pytest.mark.usefixtures("no_locks")
def test_an_outage_keeps_the_form(page: Page, major: int, published: list[Any]) -> None:
    """The sentence is added, and what was typed stays."""
    fill_in(page, major, "#kept", "Keep")
    expect(page.locator("#kept .once-answer")).to_have_text(OUTAGE)
    expect(page.locator("#kept [name=email]")).to_have_value(EMAIL)
    assert published == []


@pytest.mark.usefixtures("no_locks")
def test_an_outage_of_a_form_view(page: Page, major: int, published: list[Any]) -> None:
    """The view's own form comes back, with one error."""
    fill_in(page, major, "#again", "Again")
    expect(page.locator("#ask .errorlist li")).to_have_text(OUTAGE)
    expect(page.locator("#ask [name=email]")).to_have_value(EMAIL)
    assert published == []


def test_a_form_view_that_shows_its_form_again(page: Page, major: int) -> None:
    """As after any other error, the form takes the form's place."""
    send.delay(EMAIL)
    fill_in(page, major, "#again", "Again")
    expect(page.locator("#ask .errorlist li")).to_have_text(DUPLICATE)
    expect(page.locator("#again")).to_have_count(0)
    expect(page.locator("h1")).to_have_text(f"htmx {major}")


def test_a_boosted_form_follows_the_redirect(page: Page, major: int) -> None:
    """The next page is shown with its message, at its address."""
    send.delay(EMAIL)
    click(page, major, "Boost")
    expect(page.locator(".message.info")).to_have_text(DUPLICATE)
    expect(page.locator("h1")).to_have_text("Monthly report")
    page.wait_for_url("**/ask/")


def test_a_boosted_form_gets_a_page(page: Page, major: int) -> None:
    """Where nothing redirects, the whole answer takes the place of the page."""
    send.delay(EMAIL)
    click(page, major, "Boost a page")
    expect(page.locator("h1")).to_have_text("Already on its way")
    expect(page.locator("main p")).to_have_text(DUPLICATE)


def test_back_to_a_page_that_queues(page: Page, major: int) -> None:
    """What htmx fetches to restore a page is a page, not a part of one."""
    send.delay(EMAIL)
    click(page, major, "Visit")
    expect(page.locator("h1")).to_have_text("Already on its way")
    page.evaluate("history.pushState({htmx: true}, '', '/buttons/')")
    with page.expect_response("**/export-and-look/") as answer:
        page.evaluate("history.back()")
    assert answer.value.request.headers["hx-history-restore-request"] == "true"
    assert answer.value.text().startswith("<!doctype html>")
    expect(page.locator("h1")).to_have_text("Already on its way")
