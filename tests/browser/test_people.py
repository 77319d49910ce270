"""What people read in their windows: twice, in two tabs, of a colleague, and in an outage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from django_celery_once.locks import open_store
from tests.admin import people
from tests.browser import shop
from tests.browser.conftest import OpenWindow
from tests.web import send

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.usefixtures("shop")]

OWN = "Your monthly report is already being prepared. You don't need to send it again."
COLLEAGUE = re.compile(r"^A colleague already asked for this monthly report .+\.$")
OUTAGE = "We couldn't confirm your request. Nothing was submitted; please try again."
EMAIL = "eva@example.com"


def ask(page: Page, address: str = "/ask/", email: str = EMAIL) -> None:
    """Open a form, fill it in and send it."""
    page.goto(address)
    page.fill("[name=email]", email)
    page.fill("[name=note]", "Please hurry.")
    page.get_by_role("button", name="Send").click()


def read(page: Page, level: str, words: str | re.Pattern[str]) -> None:
    """Expect one message of a level."""
    expect(page.locator(".message")).to_have_count(1)
    expect(page.locator(f".message.{level}")).to_have_text(words)


@pytest.fixture
def slow_view() -> Iterator[None]:
    """Let the slow view wait for the test."""
    shop.GO.clear()
    shop.BEGUN.clear()
    yield
    shop.GO.set()


def test_without_a_script(open_window: OpenWindow, published: list[Any]) -> None:
    """Message and status are on the page, and the page says that a reload shows more."""
    page = open_window(people.person("eva"), java_script_enabled=False)
    ask(page)
    read(page, "success", shop.STARTED)
    ask(page)
    read(page, "info", OWN)
    expect(page.locator(".once-status")).to_contain_text("May report: Waiting for its turn.")
    expect(page.locator(".once-status-reload")).to_be_visible()
    store = open_store("locks")
    lock = store.inspect(send.once_key(EMAIL))
    assert lock is not None
    store.release(lock)
    page.reload()
    expect(page.locator(".once-status")).to_contain_text("No longer in progress.")
    expect(page.locator(".once-status-reload")).to_have_count(0)
    assert len(published) == 1


def test_two_tabs_of_one_person(open_window: OpenWindow, published: list[Any]) -> None:
    """The second tab is told, and both show the one call."""
    first = open_window(people.person("eva"))
    second = first.context.new_page()
    second.goto("/ask/")
    ask(first)
    read(first, "success", shop.STARTED)
    second.fill("[name=email]", EMAIL)
    second.get_by_role("button", name="Send").click()
    read(second, "info", OWN)
    for page in (first, second):
        expect(page.locator("[data-once-state=queued]")).to_be_visible()
    assert len(published) == 1


def test_two_people(open_window: OpenWindow, published: list[Any]) -> None:
    """The second reads of a colleague, as a warning; the first of what is theirs."""
    eva, ada = open_window(people.person("eva")), open_window(people.person("ada"))
    ask(eva)
    ask(ada)
    read(ada, "warning", COLLEAGUE)
    expect(ada.locator(".once-status")).to_have_count(0)
    ask(eva)
    read(eva, "info", OWN)
    expect(eva.locator(".once-status")).to_contain_text("Waiting for its turn.")
    assert len(published) == 1


def test_the_form_again(page: Page, published: list[Any]) -> None:
    """A view that shows the form again shows one error, and what was typed."""
    ask(page)
    ask(page, "/ask/again/")
    expect(page.locator(".errorlist li")).to_have_text(OWN)
    expect(page.locator("[name=email]")).to_have_value(EMAIL)
    expect(page.locator("[name=note]")).to_have_value("Please hurry.")
    assert len(published) == 1


@pytest.mark.usefixtures("no_locks")
def test_an_outage(page: Page, published: list[Any]) -> None:
    """The form is there again, with the sentence and what was typed; nothing is queued."""
    with page.expect_response(lambda each: each.request.method == "POST") as answer:
        ask(page)
    assert answer.value.status == 503
    expect(page.locator(".errorlist li")).to_have_text(OUTAGE)
    expect(page.locator("[name=email]")).to_have_value(EMAIL)
    expect(page.locator("[name=note]")).to_have_value("Please hurry.")
    expect(page.locator(".message")).to_have_count(0)
    assert published == []


@pytest.mark.usefixtures("slow_view")
def test_a_window_that_is_closed(open_window: OpenWindow, published: list[Any]) -> None:
    """What somebody did not wait for is queued once, and the next submit is told so."""
    page = open_window(people.person("eva"))
    page.goto("/ask/slowly/")
    page.fill("[name=email]", EMAIL)
    page.evaluate("document.getElementById('ask').requestSubmit()")
    assert shop.BEGUN.wait(shop.SLOW_SECONDS)
    again = page.context.new_page()
    page.close()
    assert published == []
    shop.GO.set()
    for _ in range(400):
        if published:
            break
        again.wait_for_timeout(25)
    assert open_store("locks").inspect(send.once_key(EMAIL)) is not None
    ask(again)
    expect(again.locator(".message.info")).to_have_text(OWN)
    assert len(published) == 1


def test_an_exception_after_the_claim(page: Page, published: list[Any]) -> None:
    """The key is free again, and nothing is queued."""
    with page.expect_response(lambda each: each.request.method == "POST") as answer:
        ask(page, "/ask/failing/")
    assert answer.value.status == 500
    assert open_store("locks").inspect(send.once_key(EMAIL)) is None
    assert published == []
    ask(page)
    read(page, "success", shop.STARTED)
